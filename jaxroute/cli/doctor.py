"""``jaxroute doctor LOG``: what is in a log, and what can be learnt from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from jaxroute import estimators, nuisance, recipe
from jaxroute.cli import reading
from jaxroute.data import splits
from jaxroute.data.logs.entries import ELSE, OTHER
from jaxroute.data.logs.loading import LogTable, folding
from jaxroute.learn import fitting
from jaxroute.recipe import levels
from jaxroute.types import Examples, Logs, Nuisances, NuisanceSpec

QUICK = NuisanceSpec(("mean", "ridge"), folds=3)
SHADOW = 250


def doctor(
    log: reading.LogPath,
    how: reading.How = reading.AS_IT_IS,
    encoder: reading.Encoder = "hashed",
    shadow: reading.Shadow = None,
    as_json: reading.Json = False,
) -> None:
    """Examine a log: models, costs, propensities, overlap, and a verdict on what can be learnt.

    Exit code 0: ok or caution. 2: bad input. 3: refuse, the log cannot carry a router. With --shadow it says what the
    shadow sample adds: how well each model's mean quality is known from the log, and from both.

    Examples:

      jaxroute doctor requests.parquet

      jaxroute doctor spend_logs.jsonl --column quality=metadata.rating --quality-range 1,5

      jaxroute doctor requests.csv --prices default --drop-bad --json

      jaxroute doctor requests.parquet --shadow answered_by_all/
    """
    table = reading.read(log, how)
    logs, used = reading.as_logs(table, encoder)
    answered = reading.as_shadow(shadow, table, used)
    found = {"log": str(log), "features": "the log's own" if used is None else used} | examine(table, logs, answered)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    if found["verdict"] == "refuse":
        raise typer.Exit(3)


def examine(table: LogTable, logs: Logs, shadow: Examples | None = None) -> dict[str, Any]:
    """Everything the doctor says, as plain numbers and words.

    Args:
        table: the checked log. logs: the same as arrays.
        shadow: S prompts beside it that every model answered.

    Returns:
        counts, models (a record each), targets (a uniform policy and each single model, with verdicts),
        propensities, warnings, verdict, advice; with a shadow sample also shadow: prompts, and of every model its
        answers and the standard errors of its mean quality (``levels``) from the log and from both.
    """
    names = table.models
    num_models = len(names)
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, QUICK)
    diagnosis = nuisance.diagnose(logs, nuisances, models=names)
    available = np.asarray(logs.available)
    uniform = available / available.sum(1, keepdims=True)
    singles = np.eye(num_models)[:, None, :] * available[None]
    left = singles.sum(2, keepdims=True) == 0  # where the one model is missing, any other has to do
    singles = np.where(left, uniform[None], singles)
    report = estimators.support(logs, jnp.asarray(np.concatenate([uniform[None], singles])), nuisances, models=names)
    beside = None if shadow is None else _beside(logs, nuisances, shadow, names)
    needed = fitting.rows_needed(logs, shadow)
    action, quality, cost = (np.asarray(y) for y in (logs.action, logs.quality, logs.cost))
    models = []
    for k, name in enumerate(names):
        own = action == k
        judged = own & np.isfinite(quality)
        models.append(
            {
                "model": name,
                "rows": int(own.sum()),
                "share": float(own.mean()),
                "feedback": float(judged.sum() / max(own.sum(), 1)),
                "quality": float(quality[judged].mean()) if judged.any() else None,
                "cost": float(cost[own].mean()) if own.any() else None,
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
    verdict = "caution" if carried or (verdict == "ok" and missed) else verdict
    advice = _advice(diagnosis.source, report.targets[0]["reasons"], models, verdict, known, shadow is None)
    if carried:
        advice.insert(0, "The log alone is refused; the shadow sample knows enough models to route among.")
    return {
        "counts": table.counts | ({} if duplicates is None else {"near-duplicate prompts": duplicates}),
        "left_out": table.left_out,
        "models": models,
        "propensities": diagnosis.source,
        "effective_rows_of_uniform": float(report.targets[0]["effective_sample_size"]),
        "uniform": report.targets[0]["verdict"],
        "warnings": missed + [said for said in [folding(table, QUICK.folds)] if said] + list(diagnosis.warnings),
        "verdict": verdict,
        "advice": advice,
    } | ({} if beside is None else {"shadow": beside})


def missing(table: LogTable) -> list[str]:
    """What is wholly or mostly missing from a log because of what was left out of it: a model, or an endpoint.

    Args:
        table: the checked log.

    Returns:
        A line for each, which says why.
    """
    lines = []
    rows = dict(zip(table.models, np.bincount(table.action, minlength=len(table.models)).tolist(), strict=True))
    reasons: dict[str, dict[str, int]] = {}
    for why, by in table.left_out.items():
        for model, count in by.items():
            if why not in (OTHER, ELSE) and model != "no model":
                reasons.setdefault(model, {})[why] = count
    for model, by in reasons.items():
        kept, lost = rows.get(model, 0), sum(by.values())
        if lost >= kept:
            why = ", ".join(f"{reason} {count}" for reason, count in by.items())
            share = f"all {lost}" if kept == 0 else f"{lost} of {lost + kept}"
            lines.append(
                f"{model}: {share} requests are left out ({why}); what is said of the log leaves them out, too"
            )
    for endpoint, (kept, lost) in table.endpoints.items():
        if kept == 0 and lost:
            lines.append(f"endpoint {endpoint}: all {lost} requests are left out")
    return lines


def _beside(logs: Logs, nuisances: Nuisances, shadow: Examples, names: Sequence[str]) -> dict[str, Any]:
    """What the shadow adds to what is known of every model."""
    together, model = nuisance.fit(jax.random.key(0), logs, QUICK, shadow=shadow)
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
    """refuse: no choice of the logger's was random, or fewer than two models can be valued at all."""
    if source == "deterministic" or sum(verdict != "refuse" for verdict in singles) < 2:
        return "refuse"
    return "ok" if uniform == "ok" else "caution"


def _advice(
    source: str, reasons: Any, models: list[dict[str, Any]], verdict: str, known: list[str], alone: bool
) -> list[str]:
    """known: models that the shadow sample knows well enough. alone: there is no shadow sample."""
    lines = []
    if source == "deterministic":
        lines.append(
            "Every request's model was certain, so nothing is known of the others: send a small share of requests "
            "to a random model (5% will do) and log the probability of the choice."
        )
    elif source != "known":
        lines.append("Log the probability of every choice (propensity): here it was partly or wholly estimated.")
    lines += list(reasons)
    lines += [
        f"{m['model']}: {m['rows_needed']} more answers with feedback before it is worth routing on, or leave it out."
        for m in models
        if m["rows_needed"]
    ]
    if alone and any(m["rows_needed"] for m in models):
        lines.append(
            f"Instead of logging more: have {SHADOW} prompts answered by every model ({SHADOW * len(models)} answers) "
            "and give them to jaxroute fit --shadow: they say of rare models what the log cannot. "
            "Their price: jaxroute shadow LOG."
        )
    if verdict != "refuse":
        usable = [m["model"] for m in models if m["verdict"] != "refuse" or m["model"] in known]
        beside = "" if alone else " --shadow FOLDER"
        lines.append(f"Can be learnt: routing among {', '.join(usable)}. Next: jaxroute fit LOG{beside} --out ROUTER")
    return lines


def _print(found: dict[str, Any]) -> None:
    print(f"{found['log']}: " + ", ".join(f"{count} {kind}" for kind, count in found["counts"].items()))
    print(f"features: {found['features']}; propensities: {found['propensities']}")
    header = ["model", "rows", "share", "feedback", "quality", "cost", "value of it alone", "rows needed"]
    keys = ["model", "rows", "share", "feedback", "quality", "cost", "verdict", "rows_needed"]
    reading.show("models", header, [[m[key] for key in keys] for m in found["models"]])
    if found["left_out"]:
        lines = [
            [why, sum(by.values()), ", ".join(f"{m} {n}" for m, n in by.items())]
            for why, by in found["left_out"].items()
        ]
        reading.show("left out", ["why", "records", "by model"], lines)
    if "shadow" in found:
        header = ["model", "answers", "error, log alone", "error, log and shadow"]
        keys = ["model", "answers", "error_log", "error_both"]
        title = f"shadow sample of {found['shadow']['prompts']} prompts: standard error of mean quality"
        reading.show(title, header, [[m[key] for key in keys] for m in found["shadow"]["models"]])
    print(
        f"a uniform policy: {found['uniform']} ({found['effective_rows_of_uniform']:.0f} effective rows); "
        "feedback is taken to be missing at random"
    )
    for line in found["warnings"]:
        print(f"warning: {line}")
    print(f"verdict: {found['verdict']}")
    for line in found["advice"]:
        print(f"- {line}")
