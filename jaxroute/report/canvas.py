"""Page size, palette, axes and labels that all figures share."""

from __future__ import annotations

import contextlib
import itertools
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox

INK, MUTED, GRID, PAPER = "#1f2328", "#6b7280", "#e3e6ea", "#ffffff"
# Okabe and Ito's palette, which survives the common kinds of colour blindness; markers and dashes repeat it.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FONTS = (
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC"),
    *("Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS"),
)
"""Of a text, each character is drawn in the first of these fonts that is installed and has it."""
STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "font.size": 11.5,
    "grid.color": GRID,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a model name may hold dollar signs
    "xtick.color": INK,
    "ytick.color": INK,
}


@cache
def fonts() -> tuple[str, ...]:
    """Those of ``FONTS`` that are installed; the first comes with matplotlib.

    Example:
        >>> fonts()[0]
        'DejaVu Sans'
    """
    there = set(font_manager.get_font_names())
    return tuple(name for name in FONTS if name in there)


@contextlib.contextmanager
def styled(**further: Any) -> Iterator[None]:
    """Drawing in here has the style, and a character that no font has is an empty box; see ``undrawn``.

    Example:
        >>> with styled():
        ...     mpl.rcParams["axes.titlelocation"]
        'left'
    """
    settings: dict[Any, Any] = {**STYLE, "font.family": list(fonts()), **further}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def undrawn(texts: Iterable[str]) -> str:
    """The characters of texts that no font here has, each once.

    Example:
        >>> undrawn(["gpt-4o", "\\ue000"]) == "\\ue000"
        True
    """
    known = [font_manager.get_font(font_manager.findfont(name)) for name in fonts()]
    different = dict.fromkeys("".join(texts))
    return "".join(c for c in different if not any(font.get_char_index(ord(c)) for font in known))


def new_canvas(height: float) -> tuple[Figure, Axes]:
    """900 pixels wide at 100 dots an inch, height in inches.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> figure.get_size_inches().tolist()
        [9.0, 5.0]
    """
    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_axisbelow(True)
    return figure, axes


def set_title(axes: Axes, title: str) -> str:
    """Set and return the title, broken into lines of about equal length that fit on the figure.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> title = set_title(axes, "The router is better than any single model. " * 2)
        >>> axes.get_title()
        'The router is better than any single model. The router\\nis better than any single model.'
    """
    figure: Any = axes.figure
    for longest in range(76, 20, -4):
        lines = -(-len(title) // longest)
        drawn = axes.set_title(textwrap.fill(title, min(longest, len(title) // lines + 12)))
        if drawn.get_window_extent(figure.canvas.get_renderer()).width <= 0.9 * figure.bbox.width:  # left of it: labels
            break
    return title


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend under the axes, in as many columns as fit beside each other.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> _ = axes.plot([0, 1], label="a router")
        >>> legend_below(figure, axes)
        >>> len(figure.legends)
        1
    """
    for columns in (3, 2, 1):
        legend = figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, handlelength=2.6
        )
        if columns == 1 or legend.get_window_extent(figure.canvas.get_renderer()).width < figure.bbox.width:  # type: ignore[attr-defined]
            return
        legend.remove()


def settle(figure: Figure) -> None:
    """Lay out once and keep the layout, so that labels are placed in final coordinates and all files agree.

    Example:
        >>> figure, _ = new_canvas(height=5.0)
        >>> settle(figure)
        >>> figure.get_layout_engine() is None or not figure.get_layout_engine().adjust_compatible
        True
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def band(axes: Axes, x: np.ndarray, curve: pd.DataFrame, colour: str) -> None:
    """The area between a curve's lower and upper ends, where they are known.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> band(axes, np.array([0.0, 1.0]), pd.DataFrame({"low": [0.1, 0.2], "high": [0.3, 0.4]}), COLOURS[0])
        >>> len(axes.collections)
        1
    """
    if curve["low"].notna().any():
        axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=0.16, lw=0)


def cost_axis(axes: Axes, cost: np.ndarray) -> None:
    """A logarithmic axis of costs; with models that are free, one that begins at 0.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> cost_axis(axes, np.array([0.0, 0.5, 2.0]))
        >>> axes.get_xscale()
        'symlog'
    """
    positive = cost[cost > 0]
    if not positive.size:
        return
    if (cost <= 0).any():
        axes.set_xscale("symlog", linthresh=positive.min())  # free models are drawn at zero
    else:
        axes.set_xscale("log")
        subs = (1.0, 2.0, 5.0) if positive.max() / positive.min() < 1e4 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def weight_axis(axes: Axes, ticks: Sequence[float], cost_scale: float | None, unit: str) -> None:
    """An axis of normalised cost weights, the small ones spread.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> weight_axis(axes, [0.0, 1.0], None, "USD")
        >>> axes.get_xlabel()
        'cost weight (normalised), square-root scale'
    """
    # Square roots spread the small weights without losing zero.
    axes.set_xscale("function", functions=(lambda w: np.sign(w) * np.sqrt(np.abs(w)), lambda x: x * np.abs(x)))
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: weight_label(value, cost_scale)))
    axes.set_xlabel(f"{weight_title(cost_scale, unit)}, square-root scale")


def weight_label(weight: float, cost_scale: float | None) -> str:
    """A normalised cost weight, and below it the same per unit of cost.

    Example:
        >>> weight_label(0.5, None), weight_label(0.5, 0.01)
        ('0.5', '0.5\\n50')
    """
    return f"{weight:g}" if cost_scale is None else f"{weight:g}\n{weight / cost_scale:.3g}"


def weight_title(cost_scale: float | None, unit: str) -> str:
    """The title of an axis of cost weights.

    Example:
        >>> weight_title(0.01, "USD")
        'cost weight (normalised; below it: quality per USD)'
    """
    below = "" if cost_scale is None else f"; below it: quality per {unit}"
    return f"cost weight (normalised{below})"


def readable_on(colour: str) -> str:
    """The colour of a text on a bar of a colour.

    Example:
        >>> readable_on("#000000"), readable_on("#ffffff")
        ('#fefefe', '#111111')
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    # Not PAPER and INK: those are swapped on a dark page, while the bars keep their colours.
    return "#fefefe" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#111111"


def label_points(
    figure: Figure, axes: Axes, points: np.ndarray, names: Sequence[str], curves: Sequence[np.ndarray]
) -> None:
    """Label each point where the label covers no curve, point or other label.

    Example:
        >>> figure, axes = new_canvas(height=5.0)
        >>> _ = axes.plot([0, 1], [0, 1])
        >>> label_points(figure, axes, np.array([[0.25, 0.5], [0.75, 0.5]]), ["a", "b"], [np.array([[0, 0], [1, 1]])])
        >>> [text.get_text() for text in axes.texts]
        ['a', 'b']
    """
    to_display = axes.transData.transform
    markers = [to_display(points)] if len(points) else []
    taken = np.concatenate([np.empty((0, 2)), *markers, *(_along(to_display(c)) for c in curves)])
    frame, placed = axes.get_window_extent(), list[Bbox]()
    pixel = 72 / figure.dpi
    for point, name in zip(points, names, strict=True):
        anchor = to_display(point)
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=10, color=MUTED, zorder=6)
        text.set_in_layout(False)
        size = text.get_window_extent()
        best = (np.inf, 0.0, 0.0)
        for distance in (8, 18, 30, 44):
            for angle in np.deg2rad(np.arange(0, 360, 30)):
                centre = anchor + distance * np.array([np.cos(angle), np.sin(angle)])
                left = centre[0] - size.width * (1 - np.cos(angle)) / 2
                bottom = centre[1] - size.height * (1 - np.sin(angle)) / 2
                box = Bbox.from_bounds(left, bottom, size.width, size.height)
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                covered = ((taken > np.subtract(box.min, 5)) & (taken < np.add(box.max, 5))).all(axis=1).sum()
                crowded = sum(box.overlaps(other) for other in placed)
                cost = 40.0 * crowded + 4.0 * covered + 100.0 * (not inside) + distance / 8
                if cost < best[0]:
                    best = (cost, left, bottom)
        text.set_position(tuple(pixel * (np.array(best[1:]) - anchor)))
        placed.append(Bbox.from_bounds(best[1], best[2], size.width, size.height))


def _along(path: np.ndarray) -> np.ndarray:
    """Points every few pixels along a polyline in display coordinates."""
    pieces = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) / 5)) for a, b in itertools.pairwise(path)]
    return np.concatenate([path, *pieces])
