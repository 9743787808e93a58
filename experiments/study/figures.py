"""The study's figures: one panel per table, levels of a factor from left to right, a line per method."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.study.design import in_order
from jaxroute.report import Drawing
from jaxroute.report.canvas import COLOURS, INK, MARKERS, MUTED, styled
from jaxroute.report.summary import student_interval

LOOKS = {
    "recommended": (COLOURS[1], MARKERS[1], "-"),
    "plug_in_stack": (COLOURS[0], MARKERS[0], "-"),
    "best_single": (MUTED, MARKERS[6], "--"),
    "rm_softmax": (COLOURS[2], MARKERS[2], "-"),
    "rm_softmax_entropic": (COLOURS[3], MARKERS[3], "-"),
    "rm_softmax_entropic_calibrated": (COLOURS[3], MARKERS[3], "--"),
    "rm_classification": (COLOURS[4], MARKERS[4], "-"),
    "rm_affine": (COLOURS[5], MARKERS[5], "-"),
    "rm_softmax_entropic_dm": (COLOURS[5], MARKERS[6], "--"),
    "plug_in_student": (COLOURS[6], "*", "-"),
    "plug_in_stack_full": (INK, ".", ":"),
}
ACROSS = (
    *("recommended", "rm_softmax_entropic", "rm_interval", "rm_classification", "rm_affine", "rm_conditional"),
    "plug_in_stack_full",
)
"""Drawn along the cost weight: what is trained per cost weight, and what is one router for all."""
ACROSS_LOOKS = {**LOOKS, "rm_interval": (COLOURS[6], "*", "-"), "rm_conditional": (COLOURS[2], MARKERS[2], "-")}
NAMES = {"plug_in_stack_full": "plug_in_stack, full feedback"}
RARE = ("logger, 500 rows", ("log size", "500"))
QUESTIONS = (
    ("log size", "2000", "rows of the log (2000: or all there are)", "Regret falls with the size of the log"),
    ("logger", "weak router 2", "logging policy", "Who wrote the log decides what can be learnt from it"),
    ("shadow", "0", "prompts that every model answered", "What a small shadow sample adds to 2,000 rows"),
    ("models", "all", "models in the pool", "Regret against the number of models"),
    ("capacity", "128 x 128", "hidden layers of the router", "Small routers: learning the decision or the outcomes"),
    ("outcome model", "stack", "outcome model behind the doubly robust utilities", "Other outcome models"),
    ("encoder", "MiniLM", "encoder of the prompts", "Another encoder"),
    ("split", "random", "split", "Tasks that training never saw"),
    (RARE[0], "weak router 2", "logging policy", "Who wrote the log, with 500 rows of it"),
    ("clip", "0.1", "propensity clip of the utilities learnt from", "Clipping"),
    ("propensity", "known", "propensities", "Estimated propensities"),
)
"""(factor, what its home is called there, axis label, title)."""
HOMES = {RARE[0]: RARE[1]}
"""The cell that a factor is moved from, where that is not the centre."""
WIDTHS = ("linear", "8 units", "128 x 128")
OVERLAP = "effective_sample_size"
LETTERS = {"": "2", "weak router 6": "6", "uniform": "U", "cost-biased 2": "C", "task-dependent 2": "T"}


def draw(rows: pd.DataFrame) -> list[Drawing]:
    """Every figure that the finished cells allow; ``rows`` from `study.report.labelled`."""
    found = [_along(rows, *question) for question in QUESTIONS if (rows["factor"] == question[0]).any()]
    if ((rows["factor"] == "centre") & (rows["metric"] == "regret")).any():
        found.append(_weights(rows))
    if (rows["metric"] == OVERLAP).any() and (rows["factor"] == "logger").any():
        found.append(_overlap(rows))
    return found


def _panels(tables: list[str]) -> tuple[Figure, list[Axes]]:
    height = 3.1 * -(-len(tables) // 2) + 0.9
    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(-(-len(tables) // 2), min(2, len(tables)), squeeze=False).ravel()
    for axes in grid[len(tables) :]:
        axes.set_visible(False)
    for axes, table in zip(grid, tables, strict=False):
        axes.set_axisbelow(True)
        axes.set_title(table)
    return figure, list(grid[: len(tables)])


def _along(rows: pd.DataFrame, factor: str, here: str, label: str, title: str) -> Drawing:
    """Mean regret against the levels of one factor; the cell that it is moved from, mostly the centre, is one."""
    home = HOMES.get(factor, ("centre", ""))
    at_home = (rows["factor"] == home[0]) & (rows["level"] == home[1])
    mean = rows.assign(level=rows["level"].mask(at_home, here))
    mean = mean[(mean["metric"] == "mean_regret") & (at_home | (mean["factor"] == factor))]
    tables = in_order(mean[mean["factor"] == factor]["dataset"])
    with styled():
        figure, grid = _panels(tables)
        for axes, table in zip(grid, tables, strict=True):
            part = mean[mean["dataset"] == table]
            levels = _ordered(part["level"].unique().tolist())
            moved = set(part[part["factor"] == factor]["method"])
            reached = part.groupby("method")["level"].nunique()
            drawn = [method for method in LOOKS if method in moved and reached[method] > 1]
            for place, method in enumerate(drawn):
                (colour, marker, dash), line = LOOKS[method], part[part["method"] == method]
                at = [student_interval(line[line["level"] == level]["value"].to_numpy()) for level in levels]
                centre, low, high = np.array(at).T
                x = np.arange(len(levels)) + 0.05 * (place - (len(drawn) - 1) / 2)
                run = np.isfinite(centre)  # a line goes on over a level at which the method was not run
                x, centre, low, high = x[run], centre[run], low[run], high[run]
                axes.errorbar(
                    x,
                    centre,
                    [centre - low, high - centre],
                    color=colour,
                    marker=marker,
                    ls=dash,
                    ms=5,
                    lw=1.5,
                    elinewidth=0.8,
                    label=NAMES.get(method, method),
                )
            names = [textwrap.fill(level, 11) for level in levels]
            axes.set_xticks(range(len(levels)), names, fontsize=9)
        _finish(figure, grid, label, title)
    values = mean[mean["method"] == "recommended"].groupby(["dataset", "level"])["value"].mean().reset_index()
    alt = f"{title}. Mean regret of recommended in points: " + ", ".join(
        f"{row.dataset} {row.level} {row.value:.1f}" for row in values.itertuples()
    )
    caption = "Mean regret over six cost weights, points; lower is better. Bars: 95% Student-t over seeds."
    return Drawing(f"study-{factor.replace(',', '').replace(' ', '-')}", title, caption, alt, figure)


def _overlap(rows: pd.DataFrame) -> Drawing:
    """Regret of every logging policy against how many rows of a uniform log its log is worth, a point per logger."""
    title = "Regret against overlap: how many rows of a uniform log a log is worth"
    here = rows[rows["factor"].isin(["centre", "logger"])]
    worth = here[here["metric"] == OVERLAP].groupby(["dataset", "level"])["value"].mean()
    mean = here[here["metric"] == "mean_regret"]
    tables = in_order(worth.index.get_level_values("dataset"))
    with styled():
        figure, grid = _panels(tables)
        for axes, table in zip(grid, tables, strict=True):
            part = mean[(mean["dataset"] == table) & mean["level"].isin(worth[table].index)]
            for method, (colour, marker, dash) in LOOKS.items():
                line = part[part["method"] == method].groupby("level")["value"]
                if line.ngroups < 2:
                    continue
                at = pd.DataFrame({"x": worth[table], "y": line.mean()}).dropna().sort_values("x")
                axes.plot(at["x"], at["y"], color=colour, marker=marker, ls=dash, ms=5, label=NAMES.get(method, method))
            axes.set_xscale("log")
            _name_loggers(axes, worth[table])
            ends = sorted({round(float(x)) for x in worth[table]})[:: max(1, worth[table].nunique() - 1)]
            axes.set_xticks(ends, [f"{x:,}" for x in ends])
            axes.xaxis.set_minor_locator(NullLocator())
        key = "above: 2, 6 weak router, U uniform,\nC cost-biased, T task-dependent"
        _finish(figure, grid, f"effective sample size, rows (log scale)\n{key}", title)
    caption = "Mean regret over six cost weights against (sum w)^2 / sum w^2, w = 1 / propensity; means over seeds."
    caption += " Loggers: 2 and 6 weak routers, U uniform, C cost-biased, T task-dependent."
    return Drawing("study-overlap", title, caption, f"{title}; one panel per table", figure)


def _name_loggers(axes: Axes, worth: pd.Series) -> None:
    """The loggers' LETTERS above their points; those closer than a letter is wide share one place."""
    span = np.log(worth.max() / worth.min())
    groups: list[list[tuple[float, str]]] = []
    for level, x in worth.sort_values().items():
        if not groups or np.log(x / groups[-1][0][0]) > 0.04 * span:
            groups.append([])
        groups[-1].append((x, LETTERS.get(str(level), str(level))))
    axes.set_title(axes.get_title(loc="left"), pad=20)
    for group in groups:
        x = np.exp(np.mean([np.log(x) for x, _ in group]))
        text = ",".join(letter for _, letter in group)
        axes.text(x, 1, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=9, color=MUTED)


def _weights(rows: pd.DataFrame) -> Drawing:
    """The centre along the cost weight, on and between the training grid, less the stacked plug-in."""
    title = "Across cost weights, on and between the training grid"
    part = rows[(rows["factor"] == "centre") & rows["metric"].isin(["regret", "regret_between"])]
    tables = in_order(part["dataset"])
    with styled():
        figure, grid = _panels(tables)
        for axes, table in zip(grid, tables, strict=True):
            wide = part[part["dataset"] == table].pivot_table(
                index=["cost_weight", "seed"], columns="method", values="value"
            )
            axes.axhline(0, color=COLOURS[0], lw=1.2)
            for method in (name for name in ACROSS if name in wide):
                colour, marker, dash = ACROSS_LOOKS[method]
                gap = (wide[method] - wide["plug_in_stack"]).groupby(level="cost_weight").mean()
                axes.plot(
                    np.sqrt(gap.index),
                    gap,
                    color=colour,
                    marker=marker,
                    ls=dash,
                    ms=4,
                    lw=1.5,
                    label=NAMES.get(method, method),
                )
            ticks = [0, 0.1, 0.25, 0.5, 1, 2]
            axes.set_xticks(np.sqrt(ticks), [f"{w:g}" for w in ticks], fontsize=9)
        label = "cost weight (normalised, square-root scale)"
        _finish(figure, grid, label, title, "regret less plug_in_stack's (points)")
    caption = "Regret minus that of plug_in_stack at the same cost weight, points; below 0 is better. Means over seeds."
    return Drawing("study-cost-weights", title, caption, f"{title}, one panel per table", figure)


def _finish(figure: Figure, grid: list[Axes], label: str, title: str, y: str = "mean regret (points)") -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    for axes in grid[-2:]:
        axes.set_xlabel(label, fontsize=11)
    figure.supylabel(y, fontsize=11)
    seen: dict[str, Any] = {}
    for axes in grid:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            seen.setdefault(name, handle)
    figure.legend(list(seen.values()), list(seen), loc="outside lower center", ncols=3, handlelength=2.6, fontsize=10)


def _ordered(levels: list[str]) -> list[str]:
    """Numbers ascending, then words in their order of appearance, "all" last; widths from the smallest on."""
    if set(WIDTHS) & set(levels):
        return sorted(levels, key=WIDTHS.index)
    numbers = sorted((x for x in levels if x.replace(".", "").isdigit()), key=float)
    return numbers + sorted((x for x in levels if x not in numbers), key=lambda x: x == "all")
