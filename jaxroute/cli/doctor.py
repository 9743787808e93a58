"""``jaxroute doctor LOG``: what a log contains and what can be learnt from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.cli import options, output, reading
from jaxroute.cli.examined import examine
from jaxroute.cli.progress import doing
from jaxroute.cli.sheets import Sheet
from jaxroute.types import InputError, UnsupportedLogError

MANY = 50
"""Models: with more of them, a log that has a few answers of each is refused without a report."""
WARNINGS = 30
"""Warnings that are printed; of a log with many models there are hundreds."""


def doctor(
    log: options.LogPath,
    how: options.How = options.AS_IT_IS,
    encoder: options.Encoder = "hashed",
    shadow: options.Shadow = None,
    page: output.Page = None,
) -> output.Result:
    """Check a log: models, costs, propensities and overlap, with a verdict on what can be learnt from it.

    The exit code is 0 for ok or caution, 2 for bad input, and 3 for refuse (no router can be fitted to this log). With
    --shadow the report says how precisely the mean quality of each model is known from the log, and from the log and
    the shadow sample together.

    Examples:

      jaxroute doctor requests.parquet --report page

      jaxroute doctor spend_logs.jsonl --column quality=metadata.rating --quality-range 1,5

      jaxroute doctor requests.csv --prices default --drop-bad --json

      jaxroute doctor requests.parquet --shadow answered_by_all/
    """
    from jaxroute.data import encoders
    from jaxroute.learn import sufficiency

    encoders.check(encoder)
    output.check_page(page)
    table = reading.read(log, how, listed=True)
    if shadow is None and len(table.models) > MANY and (why := sufficiency.scattered(table)):
        raise UnsupportedLogError(why)  # at once: a report would take minutes
    logs, used = reading.as_logs(table, encoder)
    answered = reading.as_shadow(shadow, table, how, used)
    try:
        with doing("propensities, overlap and outcomes"):
            examined = examine(table, logs, answered)
    except InputError as error:  # a log of a few rows
        rows = ", ".join(f"{name} {n}" for name, n in zip(table.models, np.bincount(table.action), strict=False))
        raise UnsupportedLogError(f"{error} (read: {rows})") from None
    found = {"log": str(log), "features": "the log's own" if used is None else used} | examined
    said, sheets = _shown(found)
    written = output.write_page(page, f"What the log {Path(log).name} can teach", said, sheets)
    record = found | {"conclusion": [found["conclusion"]], "report": written}
    said += [f"report: {written}"] if written else []
    return output.Result(record, said, sheets, found["models"], found["verdict"] != "refuse")


def _shown(found: dict[str, Any]) -> tuple[list[str], list[Sheet]]:
    """What is said, the verdict first and what would change it next; and the tables."""
    said = [f"verdict: {found['verdict']}. {found['conclusion']}"]
    said += [f"- {line}" for line in found["advice"]]
    said += [f"warning: {line}" for line in found["warnings"][:WARNINGS]]
    if (more := len(found["warnings"]) - WARNINGS) > 0:
        said.append(f"warning: {more} more, which --json lists")
    said.append(f"{found['log']}: " + ", ".join(f"{count} {kind}" for kind, count in found["counts"].items()))
    said.append(f"features: {found['features']}; propensities: {found['propensities']}")
    said.append(
        f"evaluating a uniform policy: {found['uniform']} ({found['effective_rows_of_uniform']:.0f} effective rows); "
        "missing feedback is assumed to be missing at random"
    )
    sheets = []
    if found["left_out"]:
        lines = [
            [why, sum(by.values()), ", ".join(f"{m} {n}" for m, n in by.items())]
            for why, by in found["left_out"].items()
        ]
        sheets.append(Sheet("left out", ["why", "records", "by model"], lines))
    if "context" in found:
        lines = [
            [one["name"], one["strength"], one["p_value"], "yes" if one["drove"] else "no"] for one in found["context"]
        ]
        header = ["column", "strength (0 to 1)", "p", "drove the choice"]
        sheets.append(Sheet("context columns against the chosen model", header, lines))
    if "judge" in found:
        header = ["model", "answers rated by both", "judge minus people", "low", "high", "spread of one answer"]
        keys = ["model", "ratings", "bias", "low", "high", "spread"]
        lines = [[None if m[key] != m[key] else m[key] for key in keys] for m in found["judge"]]
        sheets.append(Sheet("the judge's scores against people's ratings", header, lines))
    if "shadow" in found:
        header = ["model", "answers", "error, log alone", "error, log and shadow"]
        keys = ["model", "answers", "error_log", "error_both"]
        title = f"shadow sample of {found['shadow']['prompts']} prompts: standard error of mean quality"
        sheets.append(Sheet(title, header, [[m[key] for key in keys] for m in found["shadow"]["models"]]))
    header = ["model", "rows", "share", "feedback", "quality", "cost", "evaluating it", "rows needed"]
    keys = ["model", "rows", "share", "feedback", "quality", "cost", "verdict", "rows_needed"]
    if "latencies" in found["models"][0]:
        header, keys = [*header, "p95 (s)"], [*keys, "latency_p95"]
    if any(m.get("latencies", m["rows"]) != m["rows"] for m in found["models"]):
        header, keys = [*header, "latencies"], [*keys, "latencies"]
    sheets.append(
        Sheet("models", header, [[m[key] if m[key] == m[key] else None for key in keys] for m in found["models"]])
    )
    return said, sheets
