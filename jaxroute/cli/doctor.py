"""``jaxroute doctor LOG``: what a log contains and what can be learnt from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.cli import output, reading
from jaxroute.data.logs.entries import EARLIER, ELSE, OTHER
from jaxroute.types import Examples, InputError, Logs, Nuisances, NuisanceSpec, UnsupportedLogError

if TYPE_CHECKING:
    from jaxroute.data.logs import LogTable
    from jaxroute.estimators.drift import Change

QUICK = NuisanceSpec(("mean", "ridge"), folds=3)
SHADOW = 250
PRIOR = 0.06
"""Quality units. Other tasks' levels predict a model's to 0.03 to 0.13: beyond this error a prior says as much as the
log."""


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

    encoders.check(encoder)
    output.check_page(page)
    table = reading.read(log, how)
    logs, used = reading.as_logs(table, encoder)
    answered = reading.as_shadow(shadow, table, how, used)
    try:
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
        (``data.context.drivers``); with times also changes, those that stand (``estimators.drift``). With a shadow
        sample also shadow: the number of prompts, and for every model its answers and the standard errors of its mean
        quality (``levels``) from the log and from both.
    """
    import jax
    import jax.numpy as jnp

    from jaxroute import estimators, nuisance
    from jaxroute.data import context as contexts
    from jaxroute.data import splits
    from jaxroute.data.logs import folding
    from jaxroute.estimators import drift
    from jaxroute.learn import fitting
    from jaxroute.recipe import levels

    names = table.models
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
    needed = fitting.rows_needed(logs, shadow)
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
            }
        )
    duplicates = None if table.prompt is None else splits.near_duplicates(table.prompt)
    verdict = _overall(diagnosis.source, report.targets[0]["verdict"], [str(m["verdict"]) for m in models])
    answered = np.zeros(num_models) if shadow is None else fitting.answers(shadow)
    known = [name for name, count in zip(names, answered, strict=True) if count >= fitting.ROWS_A_MODEL]
    carried = verdict == "refuse" and len(known) > 1
    missed = missing(table)
    changed = [] if table.timestamp is None else drift.changes(logs, nuisances, table.timestamp)
    since = [one.at for one in changed if one.changed and one.what != "share"]
    verdict = "caution" if carried or (verdict == "ok" and (missed or table.outliers or since)) else verdict
    advice = _advice(diagnosis.source, report.targets[0]["reasons"], models, verdict, known, shadow is None)
    if refused := fitting.refusal(logs, shadow):
        verdict = "refuse"
        advice = [f"A router cannot be fitted: {refused}.", *(line for line in advice if "Next step" not in line)]
    elif carried:
        advice.insert(0, "The log alone would be refused, but the shadow sample covers enough models for routing.")
    if verdict != "refuse" and (moment := last_fifth(table)):
        advice.append(
            "The log has times, so a router can be judged on later requests than it learned from: jaxroute fit LOG "
            f"--split-time {moment} (the last fifth of the rows)"
        )
    if verdict != "refuse" and shadow is None and (vague := _uncertain(models)):
        advice.append(
            f"The mean quality over all prompts is uncertain for {_listed(vague)}. What you know of these models "
            "beside the log (a leaderboard, an old evaluation, another task's results) would help most: "
            "jaxroute fit LOG --prior FILE"
        )
    if since and verdict != "refuse":
        advice.append(
            "Models changed inside the log, and what is learnt is an average of before and after. If enough rows are "
            f"left, learn from those since then: jaxroute fit LOG --since {written(max(since))}"
        )
    drivers = contexts.drivers(table.context, table.action)
    for one in drivers:
        if one["drove"]:
            advice.append(
                f"The column {one['name']} drove the choice of the model (Cramer's V {one['strength']:.2f}): it is a "
                "confounder that is in the log. With --context, as here, everything is adjusted for it; without it, "
                f"what {one['name']} does to quality is credited to the models."
            )
    return {
        "conclusion": conclusion(verdict, models),
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
        + list(diagnosis.warnings)
        + drift.said(changed, names, written, known=diagnosis.source == "known"),
        "verdict": verdict,
        "advice": advice,
    } | ({} if with_shadow is None else {"shadow": with_shadow})


def last_fifth(table: LogTable) -> str:
    """When the last fifth of a log's rows begins, as --split-time takes it; "" where some rows have no time.

    Example:
        >>> from jaxroute.data.logs import load
        >>> row = {"prompt": "hi", "quality": 1, "cost": 1}
        >>> rows = [row | {"model": "ab"[i % 2], "timestamp": f"2026-11-{i + 1:02}"} for i in range(20)]
        >>> last_fifth(load(rows))
        '2026-11-17'
    """
    if table.timestamp is None or not np.isfinite(table.timestamp).all():
        return ""
    begins = np.sort(table.timestamp)[int(0.8 * len(table))]
    if begins == table.timestamp.min():
        return ""
    day = datetime.fromtimestamp(float(begins), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    earlier = float((table.timestamp < day.timestamp()).mean())
    return f"{day:%Y-%m-%d}" if earlier >= 0.6 else written(float(begins))


def written(moment: float) -> str:
    """A time, as options take it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _change(one: Change, names: Sequence[str]) -> dict[str, Any]:
    return {**one._asdict(), "model": names[one.model], "at": written(one.at)}


def missing(table: LogTable) -> list[str]:
    """Models and endpoints of which all or most requests were left out of the log.

    Args:
        table: the checked log.

    Returns:
        One line for each, with the reasons.
    """
    lines = []
    rows = dict(zip(table.models, np.bincount(table.action, minlength=len(table.models)).tolist(), strict=True))
    reasons: dict[str, dict[str, int]] = {}
    for why, by in table.left_out.items():
        for model, count in by.items():
            if why not in (OTHER, ELSE, EARLIER) and model != "no model":
                reasons.setdefault(model, {})[why] = count
    for model, by in reasons.items():
        kept, lost = rows.get(model, 0), sum(by.values())
        if lost >= kept:
            why = ", ".join(f"{reason} {count}" for reason, count in by.items())
            share = f"all {lost}" if kept == 0 else f"{lost} of {lost + kept}"
            lines.append(f"{model}: {share} requests are left out ({why}), so the results do not describe them")
    for endpoint, (kept, lost) in table.endpoints.items():
        if kept == 0 and lost:
            lines.append(f"endpoint {endpoint}: all {lost} requests are left out")
    return lines


def _uncertain(models: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of whose mean quality a prior would say as much as the log.

    Example:
        >>> a, b, c = ({"model": m, "quality_error": e} for m, e in (("a", 0.08), ("b", 0.02), ("c", None)))
        >>> _listed(_uncertain([a, b, c]))
        'c (no judged answer), a (± 0.08)'
    """
    return [m for m in models if m["quality_error"] is None or m["quality_error"] > PRIOR]


def _listed(models: Sequence[Mapping[str, Any]]) -> str:
    """The models with the standard errors of their mean quality, the largest first."""
    ranked = sorted(models, key=lambda m: -(m["quality_error"] or 1))
    errors = ("no judged answer" if m["quality_error"] is None else f"± {m['quality_error']:.2g}" for m in ranked)
    return ", ".join(f"{m['model']} ({error})" for m, error in zip(ranked, errors, strict=True))


def _with_shadow(logs: Logs, nuisances: Nuisances, shadow: Examples, names: Sequence[str]) -> dict[str, Any]:
    """What the shadow sample adds to the knowledge about every model."""
    import jax

    from jaxroute import nuisance, recipe
    from jaxroute.data import shadow as shadows
    from jaxroute.learn import fitting
    from jaxroute.recipe import levels

    together, model = nuisance.fit(jax.random.key(0), logs, QUICK, shadow=shadows.priced(shadow, logs, names))
    before = levels.fit(logs, nuisances).deviation
    after = levels.fit(logs, together, shadow, recipe.shadow_predictions(model, len(logs.action))).deviation
    answers = fitting.answers(shadow)
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


def _advice(
    source: str, reasons: Any, models: list[dict[str, Any]], verdict: str, known: list[str], alone: bool
) -> list[str]:
    """known: models with enough answers in the shadow sample. alone: there is no shadow sample."""
    lines = []
    if source == "deterministic":
        lines.append(
            "The model of every request was certain, so the log says nothing about the other models. Send a small "
            "share of requests (5% is enough) to a random model, and log the probability of every choice."
        )
    elif source != "known":
        lines.append(
            "Log the probability of every choice (propensity); here it had to be estimated for some or all rows."
        )
    lines += list(reasons)
    lines += [
        f"{m['model']}: collect {m['rows_needed']} more answers with feedback before routing to it, or leave it out."
        for m in models
        if m["rows_needed"]
    ]
    if alone and any(m["rows_needed"] for m in models):
        lines.append(
            f"As an alternative to a longer log, have {SHADOW} prompts answered by every model "
            f"({SHADOW * len(models)} answers) and pass them as --shadow. They describe rarely chosen models better "
            "than the log does. jaxroute shadow LOG estimates what they cost."
        )
    if verdict != "refuse":
        usable = [m["model"] for m in models if m["verdict"] != "refuse" or m["model"] in known]
        option = "" if alone else " --shadow FOLDER"
        lines.append(
            f"A router can be fitted among {', '.join(usable)}. Next step: jaxroute fit LOG{option} --out ROUTER"
        )
    return lines


MEANS = {
    "ok": "A router can be learnt from this log, and judged on one like it.",
    "caution": "A router can be learnt from this log, but not every policy can be judged on it.",
    "refuse": "This log cannot say which model should answer which prompt.",
}


def conclusion(verdict: str, models: Sequence[Mapping[str, Any]]) -> str:
    """The verdict in a sentence, and which models lack judged answers.

    Example:
        >>> print(conclusion("refuse", [{"model": "a", "rows": 20, "feedback": 0.6, "rows_needed": 90}]))
        This log cannot say which model should answer which prompt. Judged answers are too few for a (12; log 90 more).
    """
    few = [
        f"{m['model']} ({m['rows'] * m['feedback']:.0f}; log {m['rows_needed']} more)"
        for m in models
        if m["rows_needed"]
    ]
    return MEANS[verdict] + (f" Judged answers are too few for {', '.join(few)}." if few else "")


def _shown(found: dict[str, Any]) -> tuple[list[str], list[output.Sheet]]:
    """What is said, the verdict first and what would change it next; and the tables."""
    said = [f"verdict: {found['verdict']}. {found['conclusion']}"]
    said += [f"- {line}" for line in found["advice"]]
    said += [f"warning: {line}" for line in found["warnings"]]
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
    if "shadow" in found:
        header = ["model", "answers", "error, log alone", "error, log and shadow"]
        keys = ["model", "answers", "error_log", "error_both"]
        title = f"shadow sample of {found['shadow']['prompts']} prompts: standard error of mean quality"
        sheets.append(output.Sheet(title, header, [[m[key] for key in keys] for m in found["shadow"]["models"]]))
    header = ["model", "rows", "share", "feedback", "quality", "cost", "evaluating it", "rows needed"]
    keys = ["model", "rows", "share", "feedback", "quality", "cost", "verdict", "rows_needed"]
    sheets.append(output.Sheet("models", header, [[m[key] for key in keys] for m in found["models"]]))
    return said, sheets
