"""What report.html says beside its figures: results, and what a log says, as sentences and tables of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxroute.estimators import conclusion
from jaxroute.estimators.evidence import Evidence
from jaxroute.report.canvas import undrawn
from jaxroute.report.comparison import headline
from jaxroute.report.evidence import evidence_tables, reasons
from jaxroute.report.results import COLUMNS, KINDS, RECOMMENDED, kinds, table_weights
from jaxroute.report.summary import best_of, ranked, summarise
from jaxroute.report.tables import (
    COMPARISON_HEADER,
    COMPARISON_NOTE,
    Cell,
    comparison_lines,
    interval_cell,
    method_table,
    quantity,
    seeds_note,
)
from jaxroute.types import InputError

ALONG_WEIGHTS = ("regret", "conditional_regret", "utility", "quality", "cost", "rci")
WHOLE_CURVE = ("mean_regret", "mean_utility", "aiq", "nauc", "peak", "qnc")


def boxes(models: Sequence[str]) -> list[str]:
    """A note where the names of models have characters that no font here can draw."""
    if not (lost := undrawn(models)):
        return []
    return [f"Figures show an empty box for {' '.join(lost)}: no font here has it. Install one (Noto Sans CJK, say)."]


def title(results: pd.DataFrame | None, meta: Mapping[str, Any]) -> str:
    """The page's title: what ``meta`` says, else the data sets."""
    named = meta.get("title") or meta.get("dataset")
    return str(named or ("a log" if results is None else ", ".join(map(str, results["dataset"].unique()))))


def of_evidence(evidence: Evidence, unit: str, money: float) -> dict[str, Any]:
    """What the page's section on the log holds; money: what the log's costs are multiplied by to be in the unit."""
    verdicts = evidence.values["verdict"].tolist()
    said = ", ".join(f"{v} at {verdicts.count(v)}" for v in dict.fromkeys(verdicts))
    return {
        "router": evidence.router,
        "rows": f"{evidence.rows:,}",
        "source": evidence.diagnostics.source,
        "verdict": f"{said} of {len(verdicts)} cost weights",
        "conclusion": conclusion.of_evidence(evidence._replace(currency=unit), 1.0, money),
        "tables": evidence_tables(evidence, unit=unit, money=money),
        "reasons": reasons(evidence),
        "truth": "truth" in evidence.values,
        "shadow": evidence.shadow,
    }


def of_results(label: str, rows: pd.DataFrame, unit: str, scale: float | None) -> dict[str, Any]:
    """Headline and tables of one cell, regret first; without a full table, utility first."""
    metrics = [m for m in ALONG_WEIGHTS if m in set(rows["metric"])]
    whole = [m for m in WHOLE_CURVE if m in set(rows["metric"])]
    if not metrics:
        raise InputError(f"results: none of the metrics {', '.join(ALONG_WEIGHTS)} is present; add rows of one of them")
    main = metrics[0]
    grid = table_weights(rows, main)
    number = COMPARISON_HEADER.index("difference")
    differences = [
        [Cell(part, float(part) if i == number and part != "-" else np.nan) for i, part in enumerate(line)]
        for line in comparison_lines(rows, main)
    ]
    with_recipe = any(line[0].text == RECOMMENDED for line in differences)
    others = "other plug-in, the recommended recipe" if with_recipe else "plug-in"
    return {
        "label": label,
        "headline": headline(rows, main),
        "weights": grid,
        "main": _along_weights(rows, main, unit, scale),
        "differences": {
            "caption": f"Routers against the best {others} and the best single model",
            "header": [(title, "") for title in COMPARISON_HEADER],
            "lines": differences,
            "note": COMPARISON_NOTE,
        },
        "more": [_along_weights(rows, m, unit, scale) for m in metrics if m != main]
        + ([_whole_curve(rows, whole, unit)] if whole else []),
    }


def _along_weights(rows: pd.DataFrame, metric: str, unit: str, scale: float | None) -> dict[str, Any]:
    table = method_table(rows, metric, unit=unit)
    weights = [(title, "" if scale is None else f"{float(title) / scale:.3g}") for title in table.header[:-1]]
    name = ("method", "" if scale is None else f"weight per {unit}:")
    return {
        "short": metric.replace("_", " "),
        "caption": f"Mean {metric.replace('_', ' ')} at each cost weight",
        "header": [name, ("kind", ""), ("mean", ""), *weights],  # the mean first: phones show few columns
        "lines": [[*_name_cells(method, table.kinds), line[-1], *line[:-1]] for method, line in table.lines],
        "best": table.best,
        "note": table.note,
    }


def _whole_curve(rows: pd.DataFrame, metrics: list[str], unit: str) -> dict[str, Any]:
    summaries = {m: summarise(rows, m) for m in metrics}
    of = kinds(rows)
    order = ranked(pd.concat(list(summaries.values())).drop_duplicates("method"), metrics[0], of)
    found = {m: {row["method"]: row for _, row in s.iterrows()} for m, s in summaries.items()}
    lines = [[*_name_cells(x, of), *(interval_cell(found[m].get(x), m) for m in metrics)] for x in order]
    return {
        "short": "whole curve",
        "caption": "Metrics of the whole quality-cost curve, over the run's own grid of cost weights",
        "header": [
            ("method", ""),
            ("kind", ""),
            *((m.replace("_", " "), quantity(m, unit)[1].split(" (")[0]) for m in metrics),
        ],
        "lines": lines,
        "best": best_of(summaries[metrics[0]], metrics[0], of),
        "note": "A dash means undefined in at least one seed. " + seeds_note(next(iter(summaries.values()))),
    }


def _name_cells(method: str, of: Mapping[str, str]) -> list[Cell]:
    return [Cell(method, np.nan), Cell(of[method], KINDS.index(of[method]))]


def units(shown: Iterable[float], scale: float | None) -> list[tuple[str, str, str]]:
    """Cost weight: normalised, per unit of cost, and the price of one point of quality that it implies.

    Weights that agree to six digits are one weight: the rest is single precision.
    """
    if scale is None:
        return []
    weights = sorted({float(f"{w:.6g}") for w in shown})
    worth = ("any price" if w == 0 else f"{10 * scale / w:.3g}" for w in weights)
    return [(f"{w:g}", f"{w / scale:.3g}", price) for w, price in zip(weights, worth, strict=True)]


def facts(results: pd.DataFrame | None, meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run, as names and texts; what is not known is left out."""
    if results is None:
        results = pd.DataFrame(columns=COLUMNS)
    models, seeds = meta.get("models"), meta.get("seeds", sorted(results["seed"].unique()) or None)
    facts = [("dataset", meta.get("dataset")), ("prompts", meta.get("num_prompts"))]
    facts.append(("models", None if models is None else f"{len(models)}: {', '.join(map(str, models))}"))
    for column in ("logger", "log_size", "split"):
        values = ", ".join(map(str, results[column].dropna().unique()))
        facts.append((column.replace("_", " "), values or None))
    if seeds is not None:
        facts.append(("seeds", seeds if np.isscalar(seeds) else f"{len(seeds)}: {', '.join(map(str, seeds))}"))
    return [(name, _text(value)) for name, value in facts if value is not None]


def pairs(mapping: Any) -> list[tuple[str, str]]:
    """The entries of a mapping as texts; anything else is one entry without a name.

    Example:
        >>> pairs({"seconds": 12345}), pairs("fast")
        ([('seconds', '12,345')], [('', 'fast')])
    """
    if not isinstance(mapping, Mapping):
        return [("", _text(mapping))]
    return [(str(key), _text(value)) for key, value in mapping.items()]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return (
        f"{value:,}" if isinstance(value, int) else value if isinstance(value, str) else json.dumps(value, default=str)
    )
