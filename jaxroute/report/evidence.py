"""What a log says about a router, as figures and tables: values, gains, support, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxroute.estimators.evidence import LOGGER, Evidence
from jaxroute.nuisance.curves import Curve
from jaxroute.report.canvas import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    legend_below,
    new_canvas,
    set_title,
    settle,
    styled,
    weight_axis,
)
from jaxroute.report.figures import Drawing
from jaxroute.report.frontier import draw_frontier, draw_traffic, money_table
from jaxroute.report.tables import Cell

LEAST_ROWS = 20
SHADOW_NOTE = (
    " The shadow's share is the weight of the shadow sample in the value, by effective rows; it is 100% where the log "
    'does not support the router. A hidden confounder cannot affect that part, and "flips at" concerns the log only.'
)
VERDICTS = {"ok": COLOURS[0], "caution": COLOURS[4], "refuse": COLOURS[1]}


def draw_evidence(
    evidence: Evidence, *, cost_scale: float | None = None, unit: str = "USD", money: float = 1.0
) -> list[Drawing]:
    """Quality against cost, traffic, value at every cost weight, and calibration of the nuisances behind it.

    Args:
        evidence: with normalised cost weights. cost_scale: cost units per normalised unit. unit: of money.
        money: what the log's costs are multiplied by to be in that unit.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> [drawing.name for drawing in draw_evidence(example())]
        ['traffic', 'value', 'calibration']
    """
    along: dict[str, Any] = {"cost_scale": cost_scale, "unit": unit}
    frontier = draw_frontier(evidence, unit=unit, money=money)
    first = [] if frontier is None else [frontier]
    return [*first, draw_traffic(evidence, **along), draw_value(evidence, **along), draw_calibration(evidence)]


def draw_value(evidence: Evidence, *, cost_scale: float | None = None, unit: str = "USD") -> Drawing:
    """Off-policy value against the cost weight: interval, range under a hidden confounder, truth where known.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> draw_value(example()).title
        'Verdict on router at 2 cost weights: refuse at 2'
    """
    values = evidence.values
    x = values["cost_weight"].to_numpy()
    points = 100 * values.drop(columns=["label", "verdict", "reasons"])
    with styled():
        figure, axes = new_canvas(height=5.6)
        interval = "95% interval from the log" + (" and its shadow sample" if evidence.shadow else "")
        hidden = f"range under a hidden confounder of {evidence.strength:g} (sampling noise left out)"
        for part, colour, label in (("hidden_", MUTED, hidden), ("", COLOURS[0], interval)):
            low, high = points[f"{part}low"], points[f"{part}high"]
            if low.notna().any():
                axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0, label=label)
        axes.plot(x, points["value"], color=COLOURS[0], lw=1.8, zorder=3)
        for verdict, colour in VERDICTS.items():
            here = (values["verdict"] == verdict).to_numpy()
            if here.any():
                face = PAPER if verdict == "refuse" else colour
                marks: dict[str, Any] = {"facecolors": face, "edgecolors": colour, "linewidths": 1.8, "zorder": 4}
                axes.scatter(x[here], points["value"][here], s=46, label=f"estimate, verdict {verdict}", **marks)
        logged = points["value"] - points["advantage"]
        if logged.notna().any():
            axes.plot(x, logged, color=MUTED, ls="--", lw=1.8, label="the logging policy, as logged")
        if "truth" in points:
            axes.scatter(x, points["truth"], s=52, marker="x", color=INK, lw=1.8, zorder=5, label="truth (full table)")
        weight_axis(axes, x.tolist(), cost_scale, unit)
        axes.set_ylabel("value (points)")
        title = set_title(axes, _value_title(evidence))
        legend_below(figure, axes)
        settle(figure)
    caption = (
        f"Value of {evidence.router}, estimated by the self-normalised doubly robust estimator from {evidence.rows:,} "
        "log rows that it was not fitted on. An open mark is the outcome model's guess: the log has no evidence there, "
        "so there is no interval."
    )
    if evidence.shadow:
        caption += f" {evidence.shadow:,} prompts that every model answered are pooled with the log, by effective rows."
    return Drawing("value", title, caption, f"Line chart of off-policy value against cost weight. {title}.", figure)


def draw_calibration(evidence: Evidence) -> Drawing:
    """Predicted against observed propensities and qualities, for all models together and for each.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> draw_calibration(example()).title
        'Quality predictions are off by 25 points on average, by 38 for the worst model'
    """
    found = evidence.diagnostics
    with styled():
        figure, first = new_canvas(height=5.0)
        first.remove()
        left, right = figure.subplots(1, 2)
        _calibration(left, found.propensity_curves, "predicted propensity", "share of rows that chose the model")
        _calibration(right, found.quality_curves, "predicted quality", "mean quality")
        worst = np.nanmax([*found.quality_error, 0.0])
        title = f"Quality predictions are off by {100 * np.nanmean(found.quality_error):.0f} points on average"
        title += f", by {100 * worst:.0f} for the worst model"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
        legend_below(figure, left)
        settle(figure)
    caption = (
        "Out-of-fold predictions in ten bins of equal width; the diagonal is perfect calibration. Bars under the "
        f"curves show the number of rows; a model's line skips bins with fewer than {LEAST_ROWS} rows. Left: the "
        "fitted propensity model. Where the log records the propensity of its choice, values use the recorded one."
    )
    return Drawing("calibration", title, caption, f"Two calibration plots. {title}.", figure)


def _calibration(axes: Axes, curves: Sequence[Curve], across: str, up: str) -> None:
    rows = np.sum([c.rows for c in curves], 0)
    for index, curve in enumerate(curves):
        label = "each model" if index == 0 else None
        seen = curve.rows >= LEAST_ROWS
        axes.plot(curve.predicted[seen], curve.observed[seen], color=MUTED, lw=0.9, alpha=0.55, label=label)
    weight = np.array([c.rows for c in curves], float)
    with np.errstate(invalid="ignore"):
        pooled = [
            np.nansum(weight * np.array([getattr(c, part) for c in curves]), 0) / np.where(rows, rows, np.nan)
            for part in ("predicted", "observed")
        ]
    axes.plot([0, 1], [0, 1], color=INK, ls=":", lw=1.2, label="perfect")
    axes.plot(*pooled, color=COLOURS[0], marker="o", ms=5, lw=2, zorder=4, label="all models")
    centres = (np.arange(len(rows)) + 0.5) / len(rows)
    axes.bar(centres, 0.18 * rows / max(rows.max(), 1), 0.9 / len(rows), color=COLOURS[5], alpha=0.5, zorder=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def _value_title(evidence: Evidence) -> str:
    verdicts, count = evidence.values["verdict"], len(evidence.values)
    said = ", ".join(f"{v} at {int((verdicts == v).sum())}" for v in VERDICTS if (verdicts == v).any())
    title = f"Verdict on {evidence.router} at {count} cost weights: {said}"
    held = evidence.values.dropna(subset="low")
    if "truth" in held and len(held):
        inside = int(held["truth"].between(held["low"], held["high"]).sum())
        title += f"; the truth is inside {inside} of {len(held)} intervals"
    return title


def evidence_tables(evidence: Evidence, *, unit: str = "USD", money: float = 1.0) -> list[dict[str, Any]]:
    """Tables of the page: money and traffic, values, gains, models.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> for table in evidence_tables(example()):
        ...     print(table["caption"])
        Money and traffic of router
        Value of router from the log, in points
        Gain of router, paired on the same rows, in points
        Models in the log, and the errors of propensities and predictions
    """
    gains = [] if evidence.gains.empty else [_gains(evidence)]
    values = _values(evidence) | {"texts": (3,)}
    return [money_table(evidence, unit=unit, money=money), values, *gains, _models(evidence)]


def reasons(evidence: Evidence) -> list[tuple[str, list[str]]]:
    """(cost weight, reasons for the verdict there) for every cost weight, and warnings about the nuisances.

    Example:
        >>> from jaxroute.estimators.evidence import example
        >>> [at for at, _ in reasons(example())]
        ['cost weight 0: refuse', 'cost weight 0.5: refuse']
    """
    rows = zip(*(evidence.values[name] for name in ("cost_weight", "verdict", "reasons")), strict=True)
    found = [(f"cost weight {weight:g}: {verdict}", list(lines)) for weight, verdict, lines in rows if len(lines)]
    warnings = list(evidence.diagnostics.warnings)
    return [*found, ("propensities and predictions", warnings)] if warnings else found


def _values(evidence: Evidence) -> dict[str, Any]:
    lines = []
    gains = evidence.gains
    paired = [] if gains.empty else gains.loc[gains["against"] == LOGGER, "gain"].tolist()
    paired = paired or evidence.values["advantage"].tolist()
    for row, gain in zip(evidence.values.to_dict("records"), paired, strict=True):
        line = [
            _number(row["cost_weight"], "{:g}"),
            _points(row["value"]),
            _range(row["low"], row["high"]),
            Cell(row["verdict"], list(VERDICTS).index(row["verdict"])),
            *([_points(row["truth"])] if "truth" in row else []),
            _points(row["advantage"] if np.isnan(row["advantage"]) else gain, "{:+.1f}"),
            _number(row["flips_at"], "{:.2f}"),
            _range(row["hidden_low"], row["hidden_high"]),
            _range(row["band_low"], row["band_high"]),
            _number(row["effective_sample_size"], "{:.0f}"),
            *([_percent(row["shadow_share"])] if "shadow_share" in row else []),
        ]
        lines.append(line)
    heads = ["cost weight", "value", "95% interval", "verdict", *(["truth"] if "truth" in evidence.values else [])]
    heads += ["gain over logger", "flips at", f"hidden x{evidence.strength:g}", "all at once", "effective rows"]
    has_shadow = "shadow_share" in evidence.values
    heads += ["shadow's share"] if has_shadow else []
    return {
        "caption": f"Value of {evidence.router} from the log, in points",
        "header": [(head, "") for head in heads],
        "lines": lines,
        "note": (
            "Gain over logger: over the logging policy, paired on the same rows where it is known. All at once: a band "
            f"that holds at every cost weight together. Hidden x{evidence.strength:g}: the range of values if a hidden "
            "confounder changes the odds of any choice by up to that factor, without sampling noise. Flips at: the "
            "factor from which the sign of the gain over the logger is no longer certain. A dash means no evidence in "
            "the log." + (SHADOW_NOTE if has_shadow else "")
        ),
    }


def _gains(evidence: Evidence) -> dict[str, Any]:
    lines = []
    for row in evidence.gains.to_dict("records"):
        line = [Cell(row["against"], np.nan), _number(row["cost_weight"], "{:g}")]
        line += [_points(row["gain"], "{:+.1f}"), _range(row["low"], row["high"])]
        line += [_percent(row["shadow_share"])] if "shadow_share" in row else []
        lines.append([*line, _points(row["truth"], "{:+.1f}")] if "truth" in row else line)
    heads = ["against", "cost weight", "gain", "95% interval"]
    heads += ["shadow's share"] if "shadow_share" in evidence.gains else []
    heads += ["truth"] if "truth" in evidence.gains else []
    return {
        "caption": f"Gain of {evidence.router}, paired on the same rows, in points",
        "header": [(head, "") for head in heads],
        "lines": lines,
        "note": "A gain without an interval is the outcome model's guess. The best single model was picked on these "
        "rows, so the gain over it looks rather too small; the upper end of its interval allows for that.",
    }


def _models(evidence: Evidence) -> dict[str, Any]:
    found = evidence.diagnostics
    lines = []
    for k, model in enumerate(evidence.models[: len(found.rows)]):  # further ones are not in the log
        line = [Cell(model, np.nan), _number(found.rows[k], "{:.0f}"), _percent(found.share[k])]
        line += [_percent(found.predicted_share[k]), _percent(found.feedback[k])]
        line += [_number(found.propensity_log_loss[k], "{:.2f}"), _points(found.propensity_error[k])]
        lines.append([*line, _number(found.quality_brier[k], "{:.3f}"), _points(found.quality_error[k])])
    heads = ["model", "rows", "share", "mean propensity", "feedback", "propensity log loss", "propensity error"]
    return {
        "caption": "Models in the log, and the errors of propensities and predictions",
        "header": [(head, "") for head in [*heads, "quality squared error", "quality error"]],
        "lines": lines,
        "note": (
            "The propensity and quality errors are expected calibration errors in points, out of fold. A dash means "
            "that the model has no row."
        ),
    }


def _number(value: float, form: str) -> Cell:
    return Cell("-", np.nan) if np.isnan(value) else Cell(form.format(value), float(value))


def _points(value: float, form: str = "{:.1f}") -> Cell:
    return _number(100 * value, form)


def _percent(value: float) -> Cell:
    return _number(100 * value, "{:.0f}%")


def _range(low: float, high: float) -> Cell:
    return Cell("-", np.nan) if np.isnan(low) else Cell(f"[{100 * low:.1f}, {100 * high:.1f}]", float(low))
