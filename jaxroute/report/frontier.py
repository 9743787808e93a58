"""What a log says of a router in money: quality against cost beside single models, and which models get the traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from jaxroute.estimators.accounts import accounts
from jaxroute.estimators.evidence import Evidence
from jaxroute.report.canvas import (
    COLOURS,
    INK,
    MUTED,
    cost_axis,
    label_points,
    legend_below,
    new_canvas,
    set_title,
    settle,
    styled,
)
from jaxroute.report.figures import Drawing, draw_shares
from jaxroute.report.results import COLUMNS, LEARNED
from jaxroute.report.tables import Cell

LEAST_SHARE = 0.005


def draw_frontier(evidence: Evidence, *, unit: str = "USD", money: float = 1.0) -> Drawing | None:
    """Mean quality against mean cost, as the log has them: the router at every cost weight, single models, the logger.

    Args:
        evidence: of one router on one log.
        unit: of money. money: what the log's costs are multiplied by to be in that unit.

    Returns:
        The figure; None where the log supports no point of the router.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> draw_frontier(example()) is None  # four rows support no point
        True
        >>> points = pd.DataFrame({"policy": ["router", "large"], "kind": ["router", "single model"]})
        >>> points["cost_weight"] = [0.0, None]
        >>> for part, values in {"quality": [0.8, 0.8], "cost": [0.001, 0.004]}.items():
        ...     points[[part, f"{part}_low", f"{part}_high"]] = [[x, 0.9 * x, 1.1 * x] for x in values]
        >>> draw_frontier(example()._replace(frontier=points)).title
        'The estimated quality of large, the best single model, is reached at 25% of its cost'
    """
    points = evidence.frontier.dropna(subset=["quality", "cost"])
    points = points.assign(cost=1000 * money * points["cost"])
    points[["quality", "quality_low", "quality_high"]] *= 100
    router = points[points["kind"] == "router"].sort_values("cost_weight")
    if router.empty:
        return None
    singles, logger = (points[points["kind"] == kind] for kind in ("single model", "logging policy"))
    with styled():
        figure, axes = new_canvas(height=5.8)
        bars: dict[str, Any] = {"capsize": 3, "lw": 1.2}
        own = {"color": COLOURS[0], "label": evidence.router, "ls": "-", "zorder": 4}
        others = {"color": MUTED, "label": "single models of the log", "ls": "none"}
        for part, style in ((router, own), (singles, others)):
            error = np.abs([part["quality"] - part["quality_low"], part["quality_high"] - part["quality"]])
            if len(part):
                axes.errorbar(part["cost"], part["quality"], error, marker="o", **(style | bars))
        label = "the logging policy"
        axes.scatter(logger["cost"], logger["quality"], s=60, marker="x", color=INK, zorder=5, label=label)
        cost_axis(axes, points["cost"].to_numpy())
        axes.margins(x=0.12)  # room for the names at the edges
        axes.set_xlabel(f"mean cost ({unit} per 1,000 requests, log scale)")
        axes.set_ylabel("mean quality (points)")
        title = set_title(axes, _title(router, singles))
        legend_below(figure, axes)
        settle(figure)
        curve = router[["cost", "quality"]].to_numpy()
        label_points(figure, axes, singles[["cost", "quality"]].to_numpy(), singles["policy"].tolist(), [curve])
    lost = sorted(set(evidence.models) - set(singles["policy"]))
    caption = (
        f"Estimated from {evidence.rows:,} log rows that the router was not fitted on; bars are 95% intervals of "
        "quality. Each mark of the router is one cost weight, small weights on the right."
    )
    caption += f" The log does not support a point for {', '.join(lost)}." if lost else ""
    return Drawing("frontier", title, caption, f"Quality against cost. {title}.", figure)


def draw_traffic(evidence: Evidence, *, cost_scale: float | None = None, unit: str = "USD") -> Drawing:
    """Which models the router sends the log's requests to, as stacked bars over the cost weights.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> draw_traffic(example()).caption
        "Shares of the log's requests at each cost weight; shares below 6% are not labelled."
    """
    records = [
        {"cost_weight": weight, "metric": f"share:{model}", "value": share}
        for weight, row in zip(evidence.values["cost_weight"], evidence.shares, strict=True)
        for model, share in zip(evidence.models, row, strict=True)
    ]
    fixed = dict.fromkeys(COLUMNS, "") | {"seed": 0, "standard_error": np.nan, "method": evidence.router}
    frame = pd.DataFrame([{**fixed, "kind": LEARNED, **record} for record in records])
    drawn = draw_shares(frame, evidence.router, cost_scale=cost_scale, unit=unit)
    caption = "Shares of the log's requests at each cost weight; shares below 6% are not labelled."
    return drawn._replace(name="traffic", caption=caption)


def money_table(evidence: Evidence, *, unit: str = "USD", money: float = 1.0) -> dict[str, Any]:
    """A table of the page: what 1,000 requests cost, what is saved, and the traffic of every model.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> table = money_table(example())
        >>> [cell.text for cell in table["lines"][0]]  # what four rows cannot say is a dash
        ['0', '-', '-', '-', '-', '-', 'model 0 100%']
    """
    lines = []
    for weight, row in zip(evidence.values["cost_weight"], accounts(evidence).to_dict("records"), strict=True):
        traffic = sorted(row["shares"].items(), key=lambda one: -one[1])
        cost = money * row["cost_per_1000"]
        lines.append(
            [
                Cell(f"{weight:g}", float(weight)),
                Cell("-" if np.isnan(cost) else f"{cost:.3g}", cost),
                _percent(row, "saved_on_best_single"),
                _percent(row, "saved_on_logging_policy"),
                Cell("-" if np.isnan(row["quality"]) else f"{100 * row['quality']:.1f}", row["quality"]),
                _points(row, "quality_gained_on_best_single"),
                Cell(", ".join(f"{name} {share:.0%}" for name, share in traffic if share >= LEAST_SHARE), np.nan),
            ]
        )
    heads = ["cost weight", f"cost of 1,000 requests ({unit})", "saved, against the best single model"]
    heads += ["saved, against the logging policy", "quality", "quality, against the best single model", "traffic"]
    return {
        "caption": f"Money and traffic of {evidence.router}",
        "header": [(head, "") for head in heads],
        "lines": lines,
        "note": (
            "Saved is the share of the spend, negative where the router spends more; quality is in points; 95% "
            "intervals in brackets. A dash means that the log does not support the number."
        ),
        "texts": (6,),
    }


def _percent(row: dict[Any, Any], name: str) -> Cell:
    value = row.get(name, np.nan)
    if np.isnan(value):
        return Cell("-", np.nan)
    return Cell(f"{100 * value:.0f}% [{100 * row[f'{name}_low']:.0f}, {100 * row[f'{name}_high']:.0f}]", value)


def _points(row: dict[Any, Any], name: str) -> Cell:
    value = row.get(name, np.nan)
    if np.isnan(value):
        return Cell("-", np.nan)
    return Cell(f"{100 * value:+.1f} [{100 * row[f'{name}_low']:+.1f}, {100 * row[f'{name}_high']:+.1f}]", value)


def _title(router: pd.DataFrame, singles: pd.DataFrame) -> str:
    if singles.empty:
        return "Mean quality against mean cost"
    best = singles.sort_values("quality").iloc[-1]
    reached = router[router["quality"] >= best["quality"]]
    if reached.empty or not best["cost"] > 0:
        return f"At no cost weight does the router reach the quality of {best['policy']}, the best single model"
    least = reached.sort_values("cost").iloc[0]
    share = 100 * least["cost"] / best["cost"]
    return f"The estimated quality of {best['policy']}, the best single model, is reached at {share:.0f}% of its cost"
