"""What exploring costs and when it proves the next gain, by policy and floor."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jaxroute.report.canvas import (
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    PAPER,
    legend_below,
    new_canvas,
    settle,
    styled,
)
from jaxroute.report.figures import Drawing
from jaxroute.system.printing import days


def draw_exploration(
    rates: Sequence[Mapping[str, Any]], best: Mapping[str, Any], unit: str = "the log's unit"
) -> Drawing | None:
    """Days until the gain is proven, against what 1,000 requests cost more and against the loss; a line per policy.

    Args:
        rates: records with policy, floor, extra_cost_per_1000, loss (quality units) and days (inf: never).
        best: the record of the setting that is named first; it is ringed. unit: of the cost.

    Returns:
        The figure; None where no setting proves the gain.

    Example:
        >>> same = {"policy": "contenders", "extra_cost_per_1000": 1.0, "loss": 0.01}
        >>> rates = [same | {"floor": floor, "days": 4 / floor} for floor in (0.1, 0.2)]
        >>> draw_exploration(rates, rates[1]).title
        'The gain is proven soonest, in 20 days, with contenders and a floor of 0.2 (1.0 points lost)'
        >>> draw_exploration([rates[0] | {"days": float("inf")}], rates[0]) is None
        True
    """
    frame = pd.DataFrame(rates).replace([float("inf")], float("nan"))
    known = frame.dropna(subset=["days"])
    if known.empty:
        return None
    known = known.assign(loss=100 * known["loss"])
    titles = {"extra_cost_per_1000": f"extra cost per 1,000 requests ({unit})", "loss": "loss (points of utility)"}
    columns = [name for name in titles if known[name].notna().any()]
    with styled():
        figure, axes = new_canvas(height=5.2)
        axes.remove()
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for panel, column in zip(panels, columns, strict=True):
            _panel(panel, known, column)
            panel.set_xlabel(titles[column])
            asked = {"extra_cost_per_1000": best["extra_cost_per_1000"], "loss": 100 * best["loss"]}[column]
            ring = {"s": 150, "facecolors": "none", "edgecolors": INK, "linewidths": 1.6, "zorder": 5}
            panel.scatter([asked], [best["days"]], label="the setting named above", **ring)
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        panels[0].yaxis.set_minor_formatter(NullFormatter())
        panels[0].set_ylabel("days until the gain is proven")
        soonest = known.sort_values("days").iloc[0]
        title = (
            f"The gain is proven soonest, in {days(soonest['days'])}, with {soonest['policy']} and a floor of "
            f"{soonest['floor']:g} ({soonest['loss']:.1f} points lost)"
        )
        figure.suptitle(textwrap.fill(title, 66), x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
        legend_below(figure, panels[0])
        settle(figure)
    never = [f"{name} at {len(part)}" for name, part in frame[frame["days"].isna()].groupby("policy")]
    caption = (
        "Each mark is one floor, the share of the requests that is spread evenly over the models, from "
        f"{frame['floor'].min():g} to {frame['floor'].max():g} along each line. Lower is sooner and further left is "
        "cheaper; left of 0, exploring saves. Days are at the stated requests a day and share of ratings."
    )
    caption += f" Not drawn, because they never prove the gain: {', '.join(never)} floors." if never else ""
    return Drawing("exploration", title, caption, f"Days of exploration against its cost. {title}.", figure)


def _panel(axes: Axes, known: pd.DataFrame, column: str) -> None:
    axes.axvline(0, color=MUTED, lw=1.0, ls=":")
    for index, (policy, part) in enumerate(known.groupby("policy", sort=False)):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        line = part.sort_values("floor")
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5.5, "lw": 1.6, "markeredgecolor": PAPER}
        axes.plot(line[column], line["days"], label=str(policy), **style)
