"""``jaxroute doctor LOG``: what a log contains and what can be learnt from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.cli import advice, output, reading
from jaxroute.types import Examples, InputError, Logs, Nuisances, NuisanceSpec, UnsupportedLogError

if TYPE_CHECKING:
    from jaxroute.data.logs import LogTable
    from jaxroute.estimators.drift import Change

QUICK = NuisanceSpec(("mean", "ridge"), folds=3)
MANY = 50
"""Models: with more of them, a log that has a few answers of each is refused without a report."""
WARNINGS = 30
"""Warnings that are printed; of a log with many models there are hundreds."""


def doctor(
    log: reading.LogPath,
    how: reading.How = reading.AS_IT_IS,
    encoder: reading.Encoder = "hashed",
    shadow: reading.Shadow = None,
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
    from jaxroute.learn import checks

    encoders.check(encoder)
    output.check_page(page)
    table = reading.read(log, how)
    if shadow is None and len(table.models) > MANY and (why := checks.scattered(table)):
        raise UnsupportedLogError(why)  # at once: a report would take minutes
    logs, used = reading.as_logs(table, encoder)
    answered = reading.as_shadow(shadow, table, how, used)
    try:
        with output.progress({}) as on_stage:
            on_stage("propensities, overlap and outcomes")
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


def examine(table: LogTable, logs: Logs, shadow: Examples | None = None) -> dict[str, Any]:
    """Everything that the doctor reports, as numbers and texts.

    Args:
        table: the checked log. logs: the same as arrays.
        shadow: S further prompts that every model answered.

    Returns:
        conclusion (a sentence), counts, models (a record each), targets (a uniform policy and each single model, with
        verdicts), propensities, warnings, verdict, advice. With context columns also context
        (``data.context.drivers``); with times also changes, those that stand (``estimators.drift``);
        with people's ratings also judge, its bias by model (``estimators.judge``). With a shadow
        sample also shadow: the number of prompts, and for every model its answers and the standard errors of its mean
        quality (``levels``) from the log and from both.
    """
    import jax
    import jax.numpy as jnp

    from jaxroute import estimators, nuisance
    from jaxroute.data import context as contexts
    from jaxroute.data import scale, splits
    from jaxroute.data.logs import folding, latency, oddities, rating
    from jaxroute.estimators import drift, judge
    from jaxroute.learn import checks
    from jaxroute.recipe import levels

    names, taken = table.models, latency.by_model(table)
    num_models = len(names)
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, QUICK)
    diagnosis = nuisance.diagnose(logs, nuisances, models=names)
    available = np.asarray(logs.available)
    uniform = available / available.sum(1, keepdims=True)
    singles = np.eye(num_models)[:, None, :] * available[None]
    left = singles.sum(2, keepdims=True) == 0  # where that model is not available, any other one counts
    singles = np.where(left, uniform[None], singles)
    report = estimators.support(logs, jnp.asarray(np.concatenate([uniform[None], singles])), nuisances, models=names)
    with_shadow = None if shadow is None else _with_shadow(logs, nuisances, shadow, names)
    needed = checks.rows_needed(logs, shadow)
    error = np.sqrt(np.diag(levels.of_log(logs, nuisances).covariance))
    action, quality, cost = (np.asarray(y) for y in (logs.action, logs.quality, logs.cost))
    times = np.ones(len(action)) if logs.weight is None else np.asarray(logs.weight, float)
    models = []
    for k, name in enumerate(names):
        own = action == k
        judged = own & np.isfinite(quality)
        models.append(
            {
                "model": name,
                "rows": int(own.sum()),
                "share": float(np.average(own, weights=times)),
                "feedback": float(times[judged].sum() / times[own].sum()) if own.any() else 0.0,
                "quality": float(np.average(quality[judged], weights=times[judged])) if judged.any() else None,
                "quality_error": float(error[k]) if judged.any() else None,
                "cost": float(np.average(cost[own], weights=times[own])) if own.any() else None,
                "verdict": report.targets[1 + k]["verdict"] if judged.any() else "refuse",
                "rows_needed": int(needed[k]),
                **({"latencies": taken[name]["rows"], "latency_p95": taken[name]["p95"]} if taken else {}),
            }
        )
    duplicates = None if table.prompt is None else splits.near_duplicates(table.prompt)
    verdict = _overall(diagnosis.source, report.targets[0]["verdict"], [str(m["verdict"]) for m in models])
    answered = np.zeros(num_models) if shadow is None else checks.answers(shadow)
    known = [name for name, count in zip(names, answered, strict=True) if count >= checks.ROWS_A_MODEL]
    carried = verdict == "refuse" and len(known) > 1
    missed = advice.missing(table)
    changed = [] if table.timestamp is None else drift.changes(logs, nuisances, table.timestamp)
    since = [one.at for one in changed if one.changed and one.what != "share"]
    verdict = "caution" if carried or (verdict == "ok" and (missed or table.outliers or since)) else verdict
    todo = advice.first(diagnosis.source, report.targets[0]["reasons"], models, verdict, known, shadow is None)
    if refused := checks.refusal(logs, shadow):
        verdict = "refuse"
        others = [] if scale.unfit(np.asarray(logs.features)) else [line for line in todo if "Next step" not in line]
        todo = [f"A router cannot be fitted: {refused}.", *others]
    elif carried:
        todo.insert(0, "The log alone would be refused, but the shadow sample covers enough models for routing.")
    drivers = contexts.drivers(table.context, table.action)
    lines = advice.further(table, models, since, drivers, fitted=verdict != "refuse", alone=shadow is None)
    biases = [] if logs.human_quality is None else judge.biases(logs)
    return {
        "conclusion": advice.conclusion(verdict, models),
        **({"judge": [one._asdict() | {"model": names[one.model]} for one in biases]} if biases else {}),
        **({"context": drivers} if drivers else {}),
        **({"changes": [_change(one, names) for one in changed if one.changed]} if changed else {}),
        "counts": table.counts | ({} if duplicates is None else {"near-duplicate prompts": duplicates}),
        "left_out": table.left_out,
        "models": models,
        "propensities": diagnosis.source,
        "effective_rows_of_uniform": float(report.targets[0]["effective_sample_size"]),
        "uniform": report.targets[0]["verdict"],
        "warnings": missed
        + list(table.outliers)
        + [said for said in [folding(table, QUICK.folds)] if said]
        + oddities.said(table)
        + list(diagnosis.warnings)
        + drift.said(changed, names, advice.written, known=diagnosis.source == "known"),
        "verdict": verdict,
        "advice": todo
        + lines
        + [said for said in [rating(table)] if said]
        + latency.unknown(taken)
        + judge.said(biases, names),
    } | ({} if with_shadow is None else {"shadow": with_shadow})


def _change(one: Change, names: Sequence[str]) -> dict[str, Any]:
    return {**one._asdict(), "model": names[one.model], "at": advice.written(one.at)}


def _with_shadow(logs: Logs, nuisances: Nuisances, shadow: Examples, names: Sequence[str]) -> dict[str, Any]:
    """What the shadow sample adds to the knowledge about every model."""
    import jax

    from jaxroute import nuisance, recipe
    from jaxroute.data import shadow as shadows
    from jaxroute.learn import checks
    from jaxroute.recipe import levels

    together, model = nuisance.fit(jax.random.key(0), logs, QUICK, shadow=shadows.priced(shadow, logs, names))
    before = levels.fit(logs, nuisances).deviation
    after = levels.fit(logs, together, shadow, recipe.shadow_predictions(model, len(logs.action))).deviation
    answers = checks.answers(shadow)
    return {
        "prompts": len(shadow.features),
        "models": [
            {"model": name, "answers": int(answers[k]), "error_log": float(before[k]), "error_both": float(after[k])}
            for k, name in enumerate(names)
        ],
    }


def _overall(source: str, uniform: str, singles: list[str]) -> str:
    """refuse: no choice of the logging policy was random, or fewer than two models can be evaluated."""
    if source == "deterministic" or sum(verdict != "refuse" for verdict in singles) < 2:
        return "refuse"
    return "ok" if uniform == "ok" else "caution"


def _shown(found: dict[str, Any]) -> tuple[list[str], list[output.Sheet]]:
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
        sheets.append(output.Sheet("left out", ["why", "records", "by model"], lines))
    if "context" in found:
        lines = [
            [one["name"], one["strength"], one["p_value"], "yes" if one["drove"] else "no"] for one in found["context"]
        ]
        header = ["column", "strength (0 to 1)", "p", "drove the choice"]
        sheets.append(output.Sheet("context columns against the chosen model", header, lines))
    if "judge" in found:
        header = ["model", "answers rated by both", "judge minus people", "low", "high", "spread of one answer"]
        keys = ["model", "ratings", "bias", "low", "high", "spread"]
        lines = [[None if m[key] != m[key] else m[key] for key in keys] for m in found["judge"]]
        sheets.append(output.Sheet("the judge's scores against people's ratings", header, lines))
    if "shadow" in found:
        header = ["model", "answers", "error, log alone", "error, log and shadow"]
        keys = ["model", "answers", "error_log", "error_both"]
        title = f"shadow sample of {found['shadow']['prompts']} prompts: standard error of mean quality"
        sheets.append(output.Sheet(title, header, [[m[key] for key in keys] for m in found["shadow"]["models"]]))
    header = ["model", "rows", "share", "feedback", "quality", "cost", "evaluating it", "rows needed"]
    keys = ["model", "rows", "share", "feedback", "quality", "cost", "verdict", "rows_needed"]
    if "latencies" in found["models"][0]:
        header, keys = [*header, "p95 (s)"], [*keys, "latency_p95"]
    if any(m.get("latencies", m["rows"]) != m["rows"] for m in found["models"]):
        header, keys = [*header, "latencies"], [*keys, "latencies"]
    sheets.append(
        output.Sheet(
            "models", header, [[m[key] if m[key] == m[key] else None for key in keys] for m in found["models"]]
        )
    )
    return said, sheets
