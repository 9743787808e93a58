"""What a log says of a router, as figures and tables of the page: values, gains, support, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from jaxroute.estimators.evidence import Evidence
from jaxroute.nuisance.curves import Curve
from jaxroute.report.canvas import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    STYLE,
    legend_below,
    new_canvas,
    set_title,
    settle,
    weight_axis,
)
from jaxroute.report.figures import Drawing
from jaxroute.report.tables import Cell

LEAST_ROWS = 20
SHADOW_NOTE = (
    " shadow's share: its part of the value, by effective rows; all of it where the log supports too little. No hidden "
    "confounder can touch that part, and flips at speaks of the log alone."
)
VERDICTS = {"ok": COLOURS[0], "caution": COLOURS[4], "refuse": COLOURS[1]}


def draw_evidence(evidence: Evidence, *, cost_scale: float | None = None, unit: str = "USD") -> list[Drawing]:
    """Value with its intervals at every cost weight, and calibration of the nuisances it rests on."""
    return [draw_value(evidence, cost_scale=cost_scale, unit=unit), draw_calibration(evidence)]


def draw_value(evidence: Evidence, *, cost_scale: float | None = None, unit: str = "USD") -> Drawing:
    """Off-policy value against the cost weight: interval, range under a hidden confounder, truth where known."""
    values = evidence.values
    x = values["cost_weight"].to_numpy()
    points = 100 * values.drop(columns=["label", "verdict", "reasons"])
    with mpl.rc_context(STYLE):
        figure, axes = new_canvas(height=5.6)
        interval = "95% interval from the log" + (" and its shadow sample" if evidence.shadow else "")
        hidden = f"hidden confounder of {evidence.strength:g}, no noise"
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
        f"Value of {evidence.router} from {evidence.rows:,} log rows it was not fitted on, self-normalised doubly "
        "robust. An open mark is the outcome model's guess: the log has no evidence there, hence no interval."
    )
    if evidence.shadow:
        caption += f" {evidence.shadow:,} prompts that every model answered are pooled with it, by effective rows."
    return Drawing("value", title, caption, f"Line chart of off-policy value against cost weight. {title}.", figure)


def draw_calibration(evidence: Evidence) -> Drawing:
    """Predicted against observed: propensities and qualities, all models together and one by one."""
    found = evidence.diagnostics
    with mpl.rc_context(STYLE):
        figure, first = new_canvas(height=5.0)
        first.remove()
        left, right = figure.subplots(1, 2)
        _calibration(left, found.propensity_curves, "propensity", "chosen, share of rows")
        _calibration(right, found.quality_curves, "predicted quality", "mean quality")
        worst = np.nanmax([*found.quality_error, 0.0])
        title = f"Quality predictions are off by {100 * np.nanmean(found.quality_error):.0f} points on average"
        title += f", by {100 * worst:.0f} for the worst model"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
        legend_below(figure, left)
        settle(figure)
    caption = (
        "Ten bins of equal width, out of fold; the diagonal is perfect calibration. Bars under the curves show where "
        f"the rows are; a model's line skips bins of fewer than {LEAST_ROWS} rows. Left: the fitted model of who was "
        "chosen; where the log holds the propensity of its choice, values rest on that one."
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
    title = f"The log's verdict on {evidence.router}, of {count} cost weights: {said}"
    held = evidence.values.dropna(subset="low")
    if "truth" in held and len(held):
        inside = int(held["truth"].between(held["low"], held["high"]).sum())
        title += f"; the truth is inside {inside} of {len(held)} intervals"
    return title


def evidence_tables(evidence: Evidence) -> list[dict[str, Any]]:
    """Tables of the page: values, gains, models."""
    tables = [_values(evidence), _models(evidence)]
    return tables if evidence.gains.empty else [tables[0], _gains(evidence), tables[1]]


def reasons(evidence: Evidence) -> list[tuple[str, list[str]]]:
    """(where, what the verdict rests on there) for every cost weight, and what is wrong with the nuisances."""
    rows = zip(*(evidence.values[name] for name in ("cost_weight", "verdict", "reasons")), strict=True)
    found = [(f"cost weight {weight:g}: {verdict}", list(lines)) for weight, verdict, lines in rows if len(lines)]
    warnings = list(evidence.diagnostics.warnings)
    return [*found, ("nuisances", warnings)] if warnings else found


def _values(evidence: Evidence) -> dict[str, Any]:
    lines = []
    for row in evidence.values.to_dict("records"):
        line = [
            _number(row["cost_weight"], "{:g}"),
            _points(row["value"]),
            _range(row["low"], row["high"]),
            Cell(row["verdict"], list(VERDICTS).index(row["verdict"])),
            *([_points(row["truth"])] if "truth" in row else []),
            _points(row["advantage"], "{:+.1f}"),
            _number(row["flips_at"], "{:.2f}"),
            _range(row["hidden_low"], row["hidden_high"]),
            _range(row["band_low"], row["band_high"]),
            _number(row["effective_sample_size"], "{:.0f}"),
            *([_percent(row["shadow_share"])] if "shadow_share" in row else []),
        ]
        lines.append(line)
    heads = ["cost weight", "value", "95% interval", "verdict", *(["truth"] if "truth" in evidence.values else [])]
    heads += ["on the logger", "flips at", f"hidden x{evidence.strength:g}", "all at once", "effective rows"]
    beside = "shadow_share" in evidence.values
    heads += ["shadow's share"] if beside else []
    return {
        "caption": f"Value of {evidence.router} from the log, in points",
        "header": [(head, "") for head in heads],
        "lines": lines,
        "note": (
            "on the logger: value less the logging policy's. all at once: a band that holds at every cost weight "
            f"together. hidden x{evidence.strength:g}: what a hidden confounder could leave which moves the odds of "
            "any choice by that factor, noise left out. flips at: the factor from which better (or worse) than the "
            "logging policy no longer follows. A dash: no evidence in the log." + (SHADOW_NOTE if beside else "")
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
        "note": "Without an interval the gain is the outcome model's guess.",
    }


def _models(evidence: Evidence) -> dict[str, Any]:
    found = evidence.diagnostics
    lines = []
    for k, model in enumerate(evidence.models):
        line = [Cell(model, np.nan), _number(found.rows[k], "{:.0f}"), _percent(found.share[k])]
        line += [_percent(found.predicted_share[k]), _percent(found.feedback[k])]
        line += [_number(found.propensity_log_loss[k], "{:.2f}"), _points(found.propensity_error[k])]
        lines.append([*line, _number(found.quality_brier[k], "{:.3f}"), _points(found.quality_error[k])])
    heads = ["model", "rows", "share", "propensity", "feedback", "log loss", "off by"]
    return {
        "caption": "Models in the log, and how far its nuisances can be trusted",
        "header": [(head, "") for head in [*heads, "squared error", "off by"]],
        "lines": lines,
        "note": (
            "propensity: its mean; log loss and off by: of the fitted propensities; squared error and off by, last: of "
            "the predicted quality. off by: expected calibration error in points, out of fold. A dash: no row."
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
