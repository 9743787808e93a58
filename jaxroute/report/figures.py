"""Figures from results: quality against cost, regret against cost weight, routing shares.

The figures use matplotlib's object interface (no pyplot, no global state). Titles state the result and are computed
from the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from jaxroute.report.canvas import (
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    PAPER,
    band,
    cost_axis,
    label_points,
    legend_below,
    new_canvas,
    readable_on,
    set_title,
    settle,
    styled,
    weight_axis,
    weight_label,
    weight_title,
)
from jaxroute.report.results import CEILING, LEARNED, NO_ROUTING, PLUG_IN, cells, kinds, table_weights
from jaxroute.report.summary import ranked, summarise
from jaxroute.types import InputError

MAX_PLUG_INS, MAX_LEARNED, MAX_MODELS = 2, 4, 6
ORACLES = ("oracle", "conditional_oracle")  # bounds that nobody can learn


class Drawing(NamedTuple):
    """A figure with its title, caption and alternative text; name is the stem of its files.

    Example:
        >>> Drawing("shares", "Title", "Caption.", "Alternative text.", Figure()).name
        'shares'
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


def draw_figures(results: pd.DataFrame, meta: Mapping[str, Any] | None = None) -> list[Drawing]:
    """Every figure that the metrics in ``results`` allow, for each of its cells.

    Args:
        results: frame in the schema of ``report.COLUMNS`` and ``kind``.
        meta: may hold cost_unit ("USD" by default) and cost_scale; other keys are ignored.

    Example:
        >>> from jaxroute.report.results import example
        >>> [drawing.name for drawing in draw_figures(example())]
        ['quality_cost', 'regret', 'shares']
    """
    unit, scale = (meta or {}).get("cost_unit", "USD"), (meta or {}).get("cost_scale")
    drawings = []
    for label, rows in cells(results):
        metrics = set(rows["metric"])
        drawn = []
        if {"quality", "cost"} <= metrics:
            drawn.append(draw_quality_cost(rows, unit=unit))
        for metric in ("regret", "conditional_regret"):
            if metric in metrics:
                drawn.append(draw_regret(rows, metric, cost_scale=scale, unit=unit))
        method = next(iter(_routers(rows)), None)
        if method is not None and any(m.startswith("share:") for m in metrics):
            drawn.append(draw_shares(rows, method, cost_scale=scale, unit=unit))
        suffix = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        for d in drawn:
            name = f"{d.name}-{suffix}" if suffix else d.name
            drawings.append(d._replace(name=name, caption=f"{label}: {d.caption}" if label else d.caption))
    return drawings


def draw_quality_cost(results: pd.DataFrame, *, unit: str = "USD") -> Drawing:
    """Mean quality against mean cost: a curve per router (one point per cost weight), single models as points.

    Example:
        >>> from jaxroute.report.results import example
        >>> draw_quality_cost(example()).title
        "plug_in_ridge reaches the best single model's quality at 45% of its cost"
    """
    costs, qualities = summarise(results, "cost"), summarise(results, "quality")
    points = costs[["method", "cost_weight", "mean"]].merge(qualities, on=["method", "cost_weight"])
    points = points.rename(columns={"mean_x": "cost", "mean_y": "quality"})
    points["cost"] *= 1000
    points[["quality", "low", "high"]] *= 100
    of, routers = kinds(results), _routers(results)
    with styled():
        figure, axes = new_canvas(height=6.4)
        obstacles = []
        for method, look in _looks(routers, of).items():
            curve = points[points["method"] == method].sort_values("cost_weight")
            x, y = curve["cost"].to_numpy(), curve["quality"].to_numpy()
            axes.plot(x, y, label=method, **look)
            band(axes, x, curve, look["color"])
            obstacles.append(np.column_stack([x, y]))
        oracle = points[points["method"] == "oracle"].sort_values("cost_weight")
        if len(oracle):
            label = "oracle (sees every answer)"
            axes.plot(oracle["cost"], oracle["quality"], color=INK, ls=":", lw=1.8, label=label)
            obstacles.append(oracle[["cost", "quality"]].to_numpy())
        # One row of each is enough: a single model is the same point at every cost weight. The best single model is
        # chosen at each cost weight; the one at the smallest weight is the best by quality.
        fixed = points[points["method"].map(of) == NO_ROUTING].groupby("method", as_index=False).first()
        singles, random = (fixed[fixed["method"].str.match(m)] for m in ("single:", "random$"))
        singles_label = "single models" if len(singles) else None
        axes.scatter(singles["cost"], singles["quality"], s=34, color=MUTED, zorder=4, label=singles_label)
        axes.scatter(random["cost"], random["quality"], s=42, color=MUTED, marker="x", zorder=4)
        best = fixed[fixed["method"] == "best_single"]
        if len(best):
            ring: dict[str, Any] = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.8, "zorder": 5}
            axes.scatter(best["cost"], best["quality"], s=150, label="best single model", **ring)
        cost_axis(axes, points["cost"].to_numpy())
        axes.set_xlabel(f"mean cost ({unit} per 1,000 prompts, log scale)")
        axes.set_ylabel("mean quality (points)")
        title = set_title(axes, _quality_cost_title(points, [m for m in routers if of[m] != CEILING]))
        legend_below(figure, axes)
        settle(figure)
        named = pd.concat([singles, random])
        names = named["method"].str.removeprefix("single:").tolist()
        label_points(figure, axes, named[["cost", "quality"]].to_numpy(), names, obstacles)
    caption = (
        "Each curve is one router and each marker one cost weight (small weights on the right, large ones on the "
        f"left). Bands are 95% intervals of quality over seeds. {_reach(points, routers)}"
    )
    return Drawing("quality_cost", title, caption, f"Line chart of quality against cost. {title}.", figure)


def draw_regret(
    results: pd.DataFrame, metric: str = "regret", *, cost_scale: float | None = None, unit: str = "USD"
) -> Drawing:
    """Mean regret against the cost weight, with the best fixed choices for comparison.

    Example:
        >>> from jaxroute.report.results import example
        >>> draw_regret(example()).title
        'mine has the lowest mean regret at every cost weight in the tables'
    """
    between = f"{metric}_between"  # measured between the points of the grid: drawn here, left out of tables
    measured = [metric, between] if between in set(results["metric"]) else [metric]
    summary = pd.concat([summarise(results, m) for m in measured]).dropna(subset="cost_weight")
    summary[["mean", "low", "high"]] *= 100
    of, routers = kinds(results), _routers(results)
    looks: dict[str, dict[str, Any]] = {
        "best_single": {"color": MUTED, "ls": "--", "lw": 1.8, "label": "best single model"},
        "cheapest": {"color": MUTED, "ls": ":", "lw": 1.8, "label": "cheapest model"},
        "conditional_oracle": {"color": INK, "ls": ":", "lw": 1.8, "label": "conditional oracle"},
    }
    with styled():
        figure, axes = new_canvas(height=5.4)
        # The lines of bad fixed choices may leave the figure; its range is set by the routers.
        drawn = summary[summary["method"].isin(routers)]
        top = 1.3 * max(drawn["mean"].max(), drawn["high"].fillna(0).max()) if len(drawn) else np.inf
        for method, look in (looks | _looks(routers, of)).items():
            curve = summary[summary["method"] == method].sort_values("cost_weight")
            if not (curve["mean"] < top).any():
                continue
            axes.plot(curve["cost_weight"], curve["mean"], **({"label": method} | look))
            band(axes, curve["cost_weight"].to_numpy(), curve, look["color"])
        axes.set_ylim(0, top if 0 < top < np.inf else None)
        weight_axis(axes, table_weights(results, metric), cost_scale, unit)
        largest = summary["cost_weight"].max()
        if largest > 0:
            axes.set_xlim(-0.001 * largest, 1.06 * largest)
        axes.set_ylabel(f"mean {metric.replace('_', ' ')} (points)")
        wins = summary[~summary["method"].map(of).eq(CEILING)].dropna(subset="mean")
        wins = wins[wins["cost_weight"].isin(table_weights(results, metric))]
        title = set_title(axes, _regret_title(wins, metric))
        legend_below(figure, axes)
        settle(figure)
    reference = "conditional" if metric == "conditional_regret" else "realised"
    caption = (
        f"Regret to the {reference} oracle; lower is better. Bands are 95% intervals over seeds. Methods whose bands "
        "overlap may still differ significantly, because methods are paired by seed: see the table of differences. "
        "Lines of fixed choices may leave the figure."
    )
    alt = f"Line chart of {metric.replace('_', ' ')} against cost weight. {title}."
    return Drawing(metric, title, caption, alt, figure)


def draw_shares(results: pd.DataFrame, method: str, *, cost_scale: float | None = None, unit: str = "USD") -> Drawing:
    """Which models ``method`` sends prompts to, as stacked bars over the cost weights.

    Example:
        >>> from jaxroute.report.results import example
        >>> draw_shares(example(), "mine").title
        'As the cost weight grows, mine moves from large (60%) to small (70%)'
    """
    mine = results[(results["method"] == method) & results["metric"].str.startswith("share:")]
    if mine.empty:
        raise InputError(f"results: method {method!r} has no share:<model> rows; name a method that has them")
    weights = table_weights(mine, mine["metric"].iloc[0])
    parts = {m: summarise(mine, m).set_index("cost_weight")["mean"] for m in mine["metric"].unique()}
    shares = 100 * pd.DataFrame(parts).reindex(weights).fillna(0.0)
    shares.columns = shares.columns.str.removeprefix("share:")
    largest = shares.max().sort_values(ascending=False, kind="stable")
    shown = [m for m in largest.index[:MAX_MODELS] if largest[m] > 0]
    # Models used at small cost weights are at the bottom of the stack.
    centre = shares[shown].mul(np.arange(len(shares)), axis=0).sum() / shares[shown].sum()
    shown = centre.sort_values(kind="stable").index.tolist()
    others = shares.drop(columns=shown)
    with styled():
        figure, axes = new_canvas(height=5.0)
        x, base = np.arange(len(shares)), np.zeros(len(shares))
        stack = [(m, shares[m].to_numpy(), COLOURS[i]) for i, m in enumerate(shown)]
        if others.to_numpy().sum() > 0:
            stack.append((f"{others.shape[1]} other models", others.sum(axis=1).to_numpy(), "#b6bcc5"))
        for label, height, colour in stack:
            axes.bar(x, height, 0.78, base, color=colour, edgecolor=PAPER, linewidth=1, label=label)
            for i in np.flatnonzero(height >= 6):
                middle = base[i] + height[i] / 2
                text_colour = readable_on(colour)
                axes.text(x[i], middle, f"{height[i]:.0f}%", ha="center", va="center", color=text_colour)
            base += height
        axes.set_ylim(0, 100)
        axes.grid(visible=False, axis="x")
        axes.set_xticks(x, [weight_label(w, cost_scale) for w in weights])
        axes.set_xlabel(weight_title(cost_scale, unit))
        axes.set_ylabel("share of prompts (%)")
        first, last = shares.iloc[0], shares.iloc[-1]
        ends = f"moves from {first.idxmax()} ({first.max():.0f}%) to {last.idxmax()} ({last.max():.0f}%)"
        if first.idxmax() == last.idxmax():
            ends = f"sends most prompts to {last.idxmax()} (first {first.max():.0f}%, last {last.max():.0f}%)"
        title = set_title(axes, f"As the cost weight grows, {method} {ends}")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right center")
        settle(figure)
    caption = "Mean routing shares over seeds at each cost weight; shares below 6% are not labelled."
    return Drawing("shares", title, caption, f"Stacked bars of routing shares. {title}.", figure)


def _routers(results: pd.DataFrame) -> list[str]:
    """The routers that figures show: the best learned ones, the best plug-ins, and the best ceiling that is learned."""
    metric = next((m for m in ("regret", "utility", "quality") if m in set(results["metric"])), None)
    if metric is None:
        return []
    of = kinds(results)
    order = ranked(summarise(results, metric, grid=table_weights(results, metric)), metric, of)
    learned, plug_ins, ceilings = ([m for m in order if of[m] == kind] for kind in (LEARNED, PLUG_IN, CEILING))
    learnable = [m for m in ceilings if m not in ORACLES]
    return learned[:MAX_LEARNED] + plug_ins[:MAX_PLUG_INS] + learnable[:1]


def _looks(routers: Sequence[str], of: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    dashes = {LEARNED: "-", PLUG_IN: "--", CEILING: "-."}
    # By name and not by rank, so that a router keeps its colour when another log changes the order.
    place = {method: i for i, method in enumerate(sorted(routers))}
    looks: dict[str, dict[str, Any]] = {}
    for method in routers:
        i = place[method]
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        looks[method] = look | {"ls": dashes[of[method]], "lw": 1.8, "ms": 5, "zorder": 3}
    return looks


def _quality_cost_title(points: pd.DataFrame, routers: Sequence[str]) -> str:
    best = points[points["method"] == "best_single"]
    if best.empty or not routers:
        return "Mean quality against mean cost"
    reached = points[points["method"].isin(routers) & (points["quality"] >= best["quality"].iloc[0])]
    if reached.empty:
        return "No router reaches the mean quality of the best single model"
    first = reached.loc[reached["cost"].idxmin()]
    ratio = 100 * first["cost"] / best["cost"].iloc[0] if best["cost"].iloc[0] > 0 else np.inf
    return f"{first['method']} reaches the best single model's quality at {ratio:.0f}% of its cost"


def _reach(points: pd.DataFrame, routers: Sequence[str]) -> str:
    peak = points[points["method"].isin(routers)].groupby("method")["quality"].max().reindex(list(routers))
    return "Best mean quality: " + ", ".join(f"{m} {q:.1f}" for m, q in peak.items()) + "."


def _regret_title(wins: pd.DataFrame, metric: str) -> str:
    regret = f"mean {metric.replace('_', ' ')}"
    lowest = wins.loc[wins.groupby("cost_weight")["mean"].idxmin(), "method"].value_counts(sort=True)
    total = int(lowest.sum())
    if len(lowest) == 1:
        return f"{lowest.index[0]} has the lowest {regret} at every cost weight in the tables"
    if not total:
        return f"{regret.capitalize()} against the cost weight"
    parts = [f"{method} at {count}" for method, count in lowest.items()]
    return f"Lowest {regret} at {total} cost weights: {', '.join(parts)}"
