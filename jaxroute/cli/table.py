"""``jaxroute table RUN... --out FOLDER``: results of evaluation tools as one full-feedback table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxroute.cli import options, output
from jaxroute.cli.sheets import Sheet
from jaxroute.types import NuisanceSpec

FEWEST_PROMPTS = 10 * NuisanceSpec().folds
"""Prompts that a router is fitted to at least."""


def table(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Result files or folders of them; NAME=RUN where a run names no model."),
    ],
    out: Annotated[Path, typer.Option(help="Where the table goes: a folder that does not exist yet.")],
    score: Annotated[
        list[str] | None,
        typer.Option(help="The scorer, metric or filter that is the quality. Repeatable: one for each task."),
    ] = None,
    quality: Annotated[
        str | None, typer.Option(help="LABEL=NUMBER,... where scores are words: C=1,P=0.5,I=0 unless said otherwise.")
    ] = None,
    quality_range: Annotated[
        str | None, typer.Option(help="WORST,BEST of scores that are numbers: 1,5 for stars, 5,1 where less is better.")
    ] = None,
    prices: options.Prices = None,
    reprice: options.Reprice = False,
    failures: options.Failures = "drop",
    judged: Annotated[
        Path | None,
        typer.Option("--scores", help="File of ids, optional models, and scores, where the runs have none."),
    ] = None,
) -> output.Result:
    """Turn results of evaluation tools into a table of prompts that several models answered.

    Reads Inspect AI, lm-evaluation-harness, lighteval, promptfoo, OpenAI Batch, HELM, DeepEval, EvalPlus, BFCL,
    OpenCompass, SWE-bench, experiments of platforms (Langfuse, MLflow and others), and files of one answer a row (Ragas
    and others). Runs are joined by prompt. What a model did not answer is missing, and a cost that is not known stays
    unknown. A router can be fitted to the table alone (jaxroute fit --table), or to a log with the table beside it
    (--shadow).

    Examples:

      jaxroute table logs/small.eval logs/large.eval --out table

      jaxroute table results/ --score exact_match --prices prices.csv --out table

      jaxroute table small=small.csv large=large.csv --score faithfulness --out table
    """
    from jaxroute.data import harness, tables
    from jaxroute.data.harness import scores

    tables.refuse_occupied(out)
    found = [one for run in runs for one in harness.read(run)]
    if judged is not None:
        found = harness.judged(found, judged)
    joined = harness.join(
        found,
        wanted=score or (),
        labels=scores.mapping(quality),
        quality_range=None if quality_range is None else options.scale(quality_range),
        prices=options.price_list(prices, reprice),
        reprice=reprice,
        failures=failures,
    )
    tables.write(out, joined.queries, joined.outcomes)
    counts: dict[str, Any] = {"table": str(out), **joined.counts}
    return output.Result(counts, *_shown(counts), counts["by_model"])


def _shown(counts: dict[str, Any]) -> tuple[list[str], list[Sheet]]:
    from jaxroute.data.harness import counting

    first, *all_said = counting.said(counts)
    all_said = [f"{counts['table']}: {first}", *all_said]
    keys = ("model", "answers", "quality", "cost", "missing", "cost_unknown")
    lines = []
    for row in counts["by_model"]:
        cost = "unknown" if math.isnan(row["cost"]) else f"{row['cost']:.4g}"
        lines.append([*({**row, "cost": cost}[key] for key in keys), counting.kinds(row["failed"]) or "none"])
    header = ["model", "answers", "quality", "cost", "missing", "cost unknown", "failed"]
    if counts["cost_unknown"]:
        all_said.append(
            f"{counts['cost_unknown']} costs are unknown, so jaxroute fit --table takes cost weight 0 alone; "
            "with token counts, --prices gives costs"
        )
    lacking = FEWEST_PROMPTS - counts["prompts"]
    more = f" ({FEWEST_PROMPTS} prompts at least: {lacking} more)" if lacking > 0 else ""
    all_said.append(f"next: jaxroute fit --table {counts['table']} --out ROUTER{more}")
    return all_said, [Sheet("models", header, lines)]
