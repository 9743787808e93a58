"""The files that a run writes: results.parquet, figures/*.svg and *.png, report.html.

Every file is written under a temporary name and then renamed, so a reader never sees half a file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from jaxroute.data import saving
from jaxroute.estimators.evidence import Evidence
from jaxroute.report import pages
from jaxroute.report.canvas import styled
from jaxroute.report.figures import Drawing
from jaxroute.report.results import cells, check_columns
from jaxroute.report.sections import boxes, facts, of_evidence, of_results, pairs, title, units
from jaxroute.report.svg import svg, within_page


def write_results(folder: str | Path, results: pd.DataFrame) -> Path:
    """Write results.parquet; returns its path.

    Example:
        >>> import tempfile
        >>> from jaxroute.report.results import example
        >>> path = write_results(tempfile.mkdtemp(), example())
        >>> path.name, pd.read_parquet(path).equals(example())
        ('results.parquet', True)
    """
    check_columns(results)
    buffer = io.BytesIO()
    results.to_parquet(buffer, index=False)
    return _write(Path(folder) / "results.parquet", buffer.getvalue())


def write_figures(folder: str | Path, figures: Iterable[Drawing]) -> list[Path]:
    """Write figures/<name>.svg (adapts to a dark page), .png (1800 pixels wide) and .pdf; returns the paths.

    Example:
        >>> import tempfile
        >>> from jaxroute.report.figures import draw_regret
        >>> from jaxroute.report.results import example
        >>> [path.name for path in write_figures(tempfile.mkdtemp(), [draw_regret(example())])]
        ['regret.svg', 'regret.png', 'regret.pdf']
    """
    paths = []
    for drawing in figures:
        stem = Path(folder) / "figures" / drawing.name
        paths.append(_write(stem.with_name(f"{drawing.name}.svg"), svg(drawing).encode()))
        dated: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}}  # the same bytes every time
        for form, metadata in dated.items():
            buffer = io.BytesIO()
            with styled():
                drawing.figure.savefig(buffer, format=form, dpi=200, metadata={"Title": drawing.title, **metadata})
            paths.append(_write(stem.with_name(f"{drawing.name}.{form}"), buffer.getvalue()))
    return paths


def write_html(
    folder: str | Path,
    results: pd.DataFrame | None,
    meta: Mapping[str, Any],
    figures: Iterable[Drawing] = (),
    *,
    evidence: Evidence | None = None,
) -> Path:
    """Write one self-contained report.html: headline, tables, figures, assumptions, configuration.

    Args:
        folder: created if it does not exist.
        results: frame in the schema of COLUMNS and ``kind``; one section for each of its ``report.cells``. None:
            there is no full table, and the page holds only the evidence.
        meta: what was run, every key optional: title, dataset, num_prompts, models (names), seeds, timing, config,
            environment, cost_scale (cost of a normalised weight of 1, in cost_unit), cost_unit ("USD"),
            notes (sentences to print beside the assumptions), left_out (sentences on rows of the log that are no
            evidence, to print where it begins).
        figures: from ``draw_figures`` and ``draw_evidence``; inlined as SVG.
        evidence: what a log says about one router; the page has a section for it.

    Returns:
        The path of report.html.

    Example:
        >>> import tempfile
        >>> from jaxroute.report.results import example
        >>> page = write_html(tempfile.mkdtemp(), example(), {"title": "My run"}).read_text()
        >>> "My run" in page, "mine has a mean regret of 10.00" in page
        (True, True)
    """
    unit, scale = meta.get("cost_unit", "USD"), meta.get("cost_scale")
    sections = [] if results is None else [of_results(label, rows, unit, scale) for label, rows in cells(results)]
    shown = [w for section in sections for w in section["weights"]]
    if evidence is not None:
        shown += list(evidence.values["cost_weight"])
    html = pages.render(
        "page.html.jinja",
        title=title(results, meta),
        facts=facts(results, meta),
        sections=sections,
        evidence=None if evidence is None else of_evidence(evidence, unit, 1.0 if results is None else scale or 1.0),
        units=units(shown, scale),
        unit=unit,
        figures=[(d, within_page(d)) for d in figures],
        left_out=meta.get("left_out", ()),
        notes=[*meta.get("notes", ()), *boxes(meta.get("models", ()))],
        metrics=set() if results is None else set(results["metric"]),
        config=json.dumps(meta["config"], indent=2, default=str) if meta.get("config") else "",
        environment=pairs(meta.get("environment", {})),
        timing=pairs(meta.get("timing", {})),
    )
    return _write(Path(folder) / "report.html", html)


def _write(path: Path, data: bytes) -> Path:
    with saving.file(path) as file:
        file.write(data)
    return path
