"""What a log or a table says of a router, as lines, tables of text and a page: for evaluate, fit and compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxroute.cli.sheets import Sheet

if TYPE_CHECKING:
    from jaxroute.estimators.evidence import Evidence

Row = Mapping[str, Any]


def reasons(rows: Sequence[Row]) -> list[str]:
    """A line for each verdict but ok: where it holds, why, and what would change it.

    Example:
        >>> why = "the effective sample size 90 is below 200; log about 2.2 times as many rows"
        >>> rows = [{"normalised_cost_weight": w, "verdict": "caution", "reasons": [why]} for w in (0.0, 0.5)]
        >>> reasons([*rows, {"normalised_cost_weight": 1.0, "verdict": "ok", "reasons": []}])[0][:48]
        'caution at cost weights 0, 0.5: the effective sa'
    """
    places: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for row in rows:
        if row.get("verdict", "ok") != "ok":
            where = places.setdefault((row["verdict"], tuple(row.get("reasons") or ())), [])
            where.append(f"{row['normalised_cost_weight']:g}")
    return [
        f"{verdict} at cost weight{'s' if len(weights) > 1 else ''} {', '.join(weights)}"
        + (f": {'; '.join(why)}" if why else "")
        for (verdict, why), weights in places.items()
    ]


def sheets(rows: Sequence[Row], on: str, currency: str = "") -> list[Sheet]:
    """Money and traffic, then values: of a ``LogEvaluation`` or of a ``TableEvaluation``."""
    if rows and "regret" in rows[0]:
        return [_of_table(rows, on)]
    return [*money(rows, on, currency), _of_log(rows, on)]


def money(rows: Sequence[Row], on: str, currency: str = "") -> list[Sheet]:
    """What 1,000 requests cost, what is saved and which models answer; none where that was not measured."""
    if not rows or "cost_per_1000" not in rows[0]:
        return []
    header = ["normalised", "quality", "cost per 1,000", "saved, vs logger", "saved, vs best single", "traffic"]
    lines = [
        [
            row["normalised_cost_weight"],
            _text(row["quality"], "{:.3f}"),
            _text(row["cost_per_1000"], "{:.4g}"),
            _saved(row, "logging_policy"),
            _saved(row, "best_single"),
            ", ".join(f"{name} {share:.0%}" for name, share in _traffic(row["shares"])),
        ]
        for row in rows
    ]
    return [Sheet(f"money and traffic on {on} (cost in {unit_of(currency)})", header, lines)]


def unit_of(currency: str) -> str:
    """In which costs are, in words."""
    return "US dollars" if currency == "USD" else "the log's unit"


def difference(rows: Sequence[Row], title: str) -> Sheet:
    """Of a ``Comparison``."""
    lines = []
    for row in rows:
        nothing = unknown(row["difference"])
        interval = "extrapolation" if unknown(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        interval = "unknown" if nothing else interval
        shown = [row["normalised_cost_weight"], row["cost_weight"], None if nothing else row["difference"]]
        lines.append([*shown, interval, _percent(row, "saved"), row["verdict"]])
    header = ["normalised", "cost weight", "difference", "95% interval", "A saves", "A is"]
    return Sheet(title, header, lines)


def ranking(rows: Sequence[Row], title: str) -> Sheet:
    """Of a ``Ranking``."""
    header = ["normalised", "router", "value", "minus the best other", "bounds", "verdict"]
    lines = []
    for row in rows:
        known = not unknown(row["low"])
        lines.append(
            [
                row["normalised_cost_weight"],
                row["router"],
                None if unknown(row["value"]) else row["value"],
                f"{row['best_other']} {row['difference']:+.3f}" if known else "unknown",
                f"[{row['low']:+.3f}, {row['high']:+.3f}]" if known else "none",
                row["verdict"],
            ]
        )
    return Sheet(title, header, lines)


def unknown(value: Any) -> bool:
    """None, or NaN."""
    return value is None or math.isnan(value)


def _of_log(rows: Sequence[Row], on: str) -> Sheet:
    header = ["normalised", "value", "95% interval", "gain over logger", "gain over best single", "flips at", "verdict"]
    shared = any(row.get("shadow_share") or 0 > 0 for row in rows)
    lines = []
    for row in rows:
        gains = []
        for name in ("gain_on_logging_policy", "gain_on_best_single"):
            gain, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
            text = "unknown" if unknown(gain) else "extrapolation"
            gains.append(text if unknown(high) else f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]")
        interval = "none" if unknown(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}]"
        share = [f"{row['shadow_share'] or 0:.0%}"] if shared else []
        value = None if unknown(row["value"]) else row["value"]
        flips = _text(row["flips_at"], "{:.2f}")
        lines.append([row["normalised_cost_weight"], value, interval, *gains, flips, row["verdict"], *share])
    return Sheet(f"value on {on} (quality units)", header + (["shadow's share"] if shared else []), lines)


def _of_table(rows: Sequence[Row], on: str) -> Sheet:
    columns = ("normalised_cost_weight", "value", "regret", "quality", "cost")
    lines = [
        [
            *(None if unknown(row[name]) else row[name] for name in columns),
            f"{row['best_single']} {row['best_single_value']:.4f}",
        ]
        for row in rows
    ]
    header = ["normalised", "value", "regret", "quality", "cost", "best single"]
    return Sheet(f"value on {on} (quality units; cost in the data's unit)", header, lines)


def _traffic(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    """The models that get half a percent or more, most first."""
    return sorted(((m, s) for m, s in shares.items() if s >= 0.005), key=lambda one: -one[1])


def _saved(row: Row, opponent: str) -> str:
    return _percent(row, f"saved_on_{opponent}")


def _percent(row: Row, name: str) -> str:
    if unknown(row.get(name)):
        return "unknown"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{100 * row[name]:.0f}% ({100 * low:.0f} to {100 * high:.0f})"


def _text(value: Any, form: str) -> str:
    return "unknown" if unknown(value) else form.format(value)


def normalised(found: Evidence, scale: float) -> Evidence:
    """The same evidence with normalised cost weights, as in pages and tables."""

    tables = (found.values, found.gains, found.frontier)
    values, gains, frontier = (t.assign(cost_weight=(t["cost_weight"] * scale).round(6)) for t in tables)
    return found._replace(values=values, gains=gains, frontier=frontier)


def write_page(
    folder: Path, found: Evidence, cost_scale: float, title: str, *, left_out: Sequence[str] = (), figures: bool = False
) -> Path:
    """Write report.html with the evidence of the log, and its figures as files if wanted; returns the page's path.

    left_out: sentences on rows that are no evidence, because the router learned from them.
    """
    from jaxroute import report

    unit = found.currency or "unit of cost"
    drawings = report.draw_evidence(found, cost_scale=cost_scale, unit=unit)
    meta = {"title": title, "models": list(found.models), "cost_scale": cost_scale, "cost_unit": unit}
    meta["left_out"] = left_out
    if figures:
        report.write_figures(folder, drawings)
    return report.write_html(folder, None, meta, drawings, evidence=found)
