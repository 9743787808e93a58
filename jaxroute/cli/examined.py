"""What ``jaxroute doctor`` examines: everything that it reports of a log, as numbers and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.cli import advice
from jaxroute.types import Examples, Logs, Nuisances, NuisanceSpec

if TYPE_CHECKING:
    from jaxroute.data.logs import LogTable
    from jaxroute.estimators.drift import Change

QUICK = NuisanceSpec(("mean", "ridge"), folds=3)


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

    from jaxroute import nuisance
    from jaxroute.data import context as contexts
    from jaxroute.data import ties
    from jaxroute.data.logs import crowded, folding, latency, oddities, rated_costs, rating
    from jaxroute.estimators import drift, judge

    names, taken = table.models, latency.by_model(table)
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, QUICK)
    diagnosis = nuisance.diagnose(logs, nuisances, models=names)
    uniform, *singles = _support(logs, nuisances, names)
    with_shadow = None if shadow is None else _with_shadow(logs, nuisances, shadow, names)
    models = _models(logs, nuisances, shadow, names, singles, taken)
    duplicates = None if table.prompt is None else ties.near_duplicates(table.prompt)
    changed = [] if table.timestamp is None else drift.changes(logs, nuisances, table.timestamp)
    since = [one.at for one in changed if one.changed and one.what != "share"]
    verdict, todo = _verdict(table, logs, shadow, diagnosis.source, uniform, models, since)
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
        "effective_rows_of_uniform": float(uniform["effective_sample_size"]),
        "uniform": uniform["verdict"],
        "warnings": advice.missing(table)
        + list(table.outliers)
        + [said for said in [folding(table, QUICK.folds), rated_costs(table)] if said]
        + oddities.said(table)
        + list(diagnosis.warnings)
        + drift.said(changed, names, advice.written, known=diagnosis.source == "known"),
        "verdict": verdict,
        "advice": [said for said in [crowded(table)] if said]
        + todo
        + lines
        + [said for said in [rating(table)] if said]
        + latency.unknown(taken)
        + judge.said(biases, names),
    } | ({} if with_shadow is None else {"shadow": with_shadow})


def _support(logs: Logs, nuisances: Nuisances, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """What the log can say of a uniform policy, and of each single model after it; see ``estimators.support``."""
    import jax.numpy as jnp

    from jaxroute import estimators

    available = np.asarray(logs.available)
    uniform = available / available.sum(1, keepdims=True)
    singles = np.eye(len(names))[:, None, :] * available[None]
    left = singles.sum(2, keepdims=True) == 0  # where that model is not available, any other one counts
    policies = np.concatenate([uniform[None], np.where(left, uniform[None], singles)])
    clips = np.array([estimators.trusted_clip(logs, policy) for policy in policies])
    found: list[Mapping[str, Any]] = [{} for _ in policies]
    for clip in set(clips.tolist()):
        these = np.flatnonzero(clips == clip)
        report = estimators.support(logs, jnp.asarray(policies[these]), nuisances, clip=clip, models=names)
        for i, target in zip(these.tolist(), report.targets, strict=True):
            found[i] = target
    return found


def _models(
    logs: Logs,
    nuisances: Nuisances,
    shadow: Examples | None,
    names: Sequence[str],
    singles: Sequence[Mapping[str, Any]],
    taken: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A record of each model: its rows, and what they say of its quality and cost.

    Args:
        names: [K]. singles: [K] of ``_support``, of a policy that always takes that model each.
        taken: of ``data.logs.latency.by_model``.
    """
    from jaxroute.learn import sufficiency
    from jaxroute.recipe import means

    needed = sufficiency.rows_needed(logs, shadow)
    error = np.sqrt(np.diag(means.of_log(logs, nuisances).covariance))
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
                "judged": int(judged.sum()),
                "share": float(np.average(own, weights=times)),
                "feedback": float(times[judged].sum() / times[own].sum()) if own.any() else 0.0,
                "quality": float(np.average(quality[judged], weights=times[judged])) if judged.any() else None,
                "quality_error": float(error[k]) if judged.any() else None,
                "cost": float(np.average(cost[own], weights=times[own])) if own.any() else None,
                "verdict": singles[k]["verdict"] if judged.any() else "refuse",
                "reasons": list(singles[k]["reasons"]),
                "rows_needed": int(needed[k]),
                **({"latencies": taken[name]["rows"], "latency_p95": taken[name]["p95"]} if taken else {}),
            }
        )
    return models


def _verdict(
    table: LogTable,
    logs: Logs,
    shadow: Examples | None,
    source: str,
    uniform: Mapping[str, Any],
    models: list[dict[str, Any]],
    since: Sequence[float],
) -> tuple[str, list[str]]:
    """What the log can be used for, and what would change that.

    Args:
        source: of the propensities. uniform: what the log can say of a uniform policy. models: of ``_models``.
        since: the times at which answers changed.
    """
    from jaxroute.data import scale
    from jaxroute.learn import sufficiency

    verdict = _overall(source, uniform["verdict"], [str(m["verdict"]) for m in models])
    answered = np.zeros(len(models)) if shadow is None else sufficiency.answers(shadow)
    known = [m["model"] for m, count in zip(models, answered, strict=True) if count >= sufficiency.ROWS_A_MODEL]
    carried = verdict == "refuse" and len(known) > 1
    doubtful = bool(advice.missing(table) or table.outliers or since)
    verdict = "caution" if carried or (verdict == "ok" and doubtful) else verdict
    todo = advice.first(source, uniform["reasons"], models, verdict, known, shadow is None)
    if refused := sufficiency.refusal(logs, shadow):
        others = [] if scale.unfit(np.asarray(logs.features)) else [line for line in todo if "Next step" not in line]
        return "refuse", [f"A router cannot be fitted: {refused}.", *others]
    if carried:
        todo.insert(0, "The log alone would be refused, but the shadow sample covers enough models for routing.")
    return verdict, todo


def _change(one: Change, names: Sequence[str]) -> dict[str, Any]:
    return {**one._asdict(), "model": names[one.model], "at": advice.written(one.at)}


def _with_shadow(logs: Logs, nuisances: Nuisances, shadow: Examples, names: Sequence[str]) -> dict[str, Any]:
    """What the shadow sample adds to the knowledge about every model."""
    import jax

    from jaxroute import nuisance, recipe
    from jaxroute.data import shadow as shadows
    from jaxroute.learn import sufficiency
    from jaxroute.recipe import levels

    together, model = nuisance.fit(jax.random.key(0), logs, QUICK, shadow=shadows.priced(shadow, logs, names))
    before = levels.fit(logs, nuisances).deviation
    after = levels.fit(logs, together, shadow, recipe.shadow_predictions(model, len(logs.action))).deviation
    answers = sufficiency.answers(shadow)
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
