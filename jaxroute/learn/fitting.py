"""From a log to a router to keep: the recommended recipe, judged on the log, distilled into one network.

Everything that is said about the router comes from the log, valued doubly robustly, and from a shadow sample where
there is one: every row of either is decided by fits that never saw it. That leaves no bias to speak of, but what
the router learnt from the same rows is in no interval: in 240 synthetic logs of 600 rows beside 150 prompts, 93% of
the value's intervals and 90% of the gain's held the truth of the router at hand (biases 0.001 and -0.006; on the log
alone 92% and 95%), against 95% on the shadow for a router that was fitted elsewhere
(`python -m experiments.checks.shadow_evidence`). A later log is the better judge (`jaxroute evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxroute import counterfactual, estimators, policies, recipe
from jaxroute.data.units import cost_scale as break_even
from jaxroute.estimators import evidence
from jaxroute.policies import budgets
from jaxroute.recipe import levels
from jaxroute.serving import distil
from jaxroute.serving.kinds import PlugIn
from jaxroute.serving.router import Router
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, NuisanceSpec, Outcomes

PIECES = 256
ROWS_A_MODEL = 100


def fit(
    key: Key,
    logs: Logs,
    models: Sequence[str],
    *,
    shadow: Examples | None = None,
    encoder: str | None = None,
    revision: str | None = None,
    spec: NuisanceSpec = NuisanceSpec(),
    members: int = 1,
    cost_scale: float | None = None,
    hidden: tuple[int, ...] = (256, 128),
    steps: int = 3000,
    clip: float | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
    on_evidence: Callable[[evidence.Evidence], None] = lambda _: None,
) -> Router:
    """The recommended router of a log.

    Args:
        key: of everything random.
        logs: N rows, costs in the data's own unit.
        models: K names, in the order of ``logs.available``.
        shadow: prompts that every available model answered, beside the log; outcomes in the log's units.
        encoder, revision: what made the features, for texts at serving time; None: features are given.
        spec: of the nuisances.
        members: recipes with folds and networks of their own, whose predictions are averaged before distilling.
        cost_scale: cost units per normalised unit; None: from the log's doubly robust means.
        hidden, steps: of the distilled network.
        clip: smaller propensities are raised to it in what is said about the router; None:
            ``estimators.evaluation_clip(K)``.
        on_stage: called with what is about to be done, for progress.
        on_evidence: called once with all that the log says of the router; ``summary`` keeps the essence.

    Returns:
        Router; ``summary`` says what the log holds, what the router is worth on it and how much of that rests on the
        shadow (``shadow_share``, 0 to 1), and what distilling cost.

    Raises:
        InputError: names and log do not match, or too few rows.

    Example:
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> spec = NuisanceSpec(("mean",), folds=3)
        >>> router = fit(jax.random.key(2), logs, table.models, spec=spec, hidden=(8,), steps=20)
        >>> router.route(table.features, normalised_cost_weight=0.5).index.shape
        (300,)
    """
    rows, num_models = logs.available.shape
    if len(models) != num_models or len(set(models)) != num_models:
        raise InputError(f"{len(models)} model names ({', '.join(models)}) for a log of {num_models}: one each")
    if members < 1:
        raise InputError(f"members={members}: a router is made of one recipe or more")
    if rows < 10 * spec.folds:
        raise InputError(f"{rows} log rows are too few to fit and judge a router with {spec.folds} folds: log more")
    logs, shadow = jax.tree.map(jnp.asarray, (logs, shadow))
    if shadow is not None and shadow.features.shape[1] != logs.features.shape[1]:
        raise InputError(
            f"the shadow's prompts have {shadow.features.shape[1]} features, the log's {logs.features.shape[1]}: "
            "encode both alike"
        )
    clip = estimators.evaluation_clip(num_models) if clip is None else clip
    recipe_key, student_key, split_key = jax.random.split(key, 3)
    band_key = jax.random.fold_in(key, 3)

    on_stage("nuisances, cross-fitted")
    ensemble = recipe.fit_ensemble(recipe_key, logs, spec, members=members, shadow=shadow)
    nuisances, predicted, fitted, of_shadow = ensemble
    robust = counterfactual.doubly_robust(logs, nuisances, clip=clip)
    scale, reason = break_even(robust, np.asarray(logs.available))
    if cost_scale is not None:
        scale, reason = cost_scale, "given"

    on_stage("evidence from the log")
    weights = [normalised / scale for normalised in recipe.GRID]
    learn = counterfactual.examples(logs, nuisances, shadow, clip=levels.CLIP)
    found = _evidence(band_key, logs, nuisances, predicted, weights, clip, shadow, of_shadow, learn)
    on_evidence(found._replace(models=tuple(models)))

    on_stage("distilling into one network")
    prompts = logs.features if shadow is None else jnp.concatenate([logs.features, jnp.asarray(shadow.features)])
    teacher = recipe.predict_ensemble(fitted, prompts)
    held = np.asarray(jax.random.permutation(split_key, rows))[: max(rows // 10, 1)]
    used = np.setdiff1d(np.arange(len(prompts)), held)
    student = distil.fit(
        student_key,
        prompts[used],
        jax.tree.map(lambda y: y[used], teacher),
        cost_scale=scale,
        hidden=hidden,
        dimensions=spec.dimensions,
        steps=steps,
    )
    loss = _distilling(student, hidden, logs.features[held], jax.tree.map(lambda y: y[held], teacher), scale)
    pieces = budgets.curve(predicted, robust, available=logs.available)
    known = int(np.isfinite(np.asarray(logs.propensity)).sum())
    summary: dict[str, Any] = {
        "rows": rows,
        "rows_with_feedback": int(np.isfinite(np.asarray(logs.quality)).sum()),
        "rows_with_known_propensity": known,
        "shadow_prompts": 0 if shadow is None else len(shadow.features),
        "rows_by_model": dict(zip(models, np.bincount(logs.action, minlength=num_models).tolist(), strict=True)),
        "cost_scale_from": reason,
        "members": members,
        "share_of_contrasts": float(np.mean([m.share for m in fitted])),
        "by_cost_weight": _by_cost_weight(found, learn, scale),
        "distilling": loss,
    }
    return Router(
        tuple(models),
        PlugIn(student, hidden),
        float(scale),
        budgets.thinned(pieces, PIECES),
        np.ones(num_models, bool),
        encoder,
        revision,
        summary,
    )


def rows_needed(logs: Logs, shadow: Examples | None = None, *, per_model: int = ROWS_A_MODEL) -> np.ndarray:
    """Answers with feedback that each model still needs before its level is worth routing on, [K].

        max(0, per_model - rows with feedback of model k - its answers in the shadow)

    A hundred answers put the standard error of a model's mean quality at 0.05 or below (it is at most
    0.5 / sqrt(n)), the size of a difference between neighbouring models; a new model starts with all of them.
    """
    answered = np.asarray(logs.action)[np.isfinite(np.asarray(logs.quality))]
    beside = 0 if shadow is None else answers(shadow)
    return np.maximum(per_model - np.bincount(answered, minlength=logs.available.shape[1]) - beside, 0)


def answers(shadow: Examples) -> np.ndarray:
    """Answers with a quality that a shadow sample holds of every model, [K]."""
    return (np.asarray(shadow.available) & np.isfinite(np.asarray(shadow.outcomes.quality))).sum(0)


def _evidence(
    key: Key,
    logs: Logs,
    nuisances: Nuisances,
    predicted: Outcomes,
    weights: list[float],
    clip: float,
    shadow: Examples | None,
    of_shadow: Outcomes | None,
    learn: Examples,
) -> evidence.Evidence:
    """Against best single and the logging policy at every cost weight; each row decided out of fold."""
    single = partial(policies.best_single, learn.outcomes, jnp.asarray(weights), available=learn.available)
    against = {
        "logging policy": evidence.logging_policy(logs, nuisances, len(weights)),
        "best single": single(prompts=logs.available),
    }
    on_shadow = None
    if shadow is not None and of_shadow is not None:  # how the logging policy would have chosen there is not known
        ours = _decided(of_shadow, weights, shadow.available)
        on_shadow = {"recommended": ours, "best single": single(prompts=shadow.available)}
    return evidence.gather(
        key,
        logs,
        nuisances,
        _decided(predicted, weights, logs.available),
        weights,
        against=against,
        name="recommended",
        clip=clip,
        shadow=shadow,
        on_shadow=on_shadow,
    )


def _decided(predicted: Outcomes, weights: list[float], available: Array) -> Array:
    """The policy [L, N, K] that takes the highest predicted utility."""
    return jnp.stack([policies.greedy(counterfactual.utility(predicted, w), available=available) for w in weights])


def _by_cost_weight(found: evidence.Evidence, learn: Examples, scale: float) -> list[dict[str, Any]]:
    """What the artefact keeps of the evidence."""
    gains = found.gains[found.gains["against"] == "best single"]
    weights = jnp.asarray(found.values["cost_weight"].to_numpy(), jnp.float32)
    anyone = jnp.ones((1, len(found.models)), bool)
    single = policies.best_single(learn.outcomes, weights, available=learn.available, prompts=anyone)
    singles = np.asarray(jnp.argmax(single[:, 0], -1))
    records = []
    for row, gain, best in zip(found.values.to_dict("records"), gains.to_dict("records"), singles, strict=True):
        weight, interval = row["cost_weight"], [row["low"], row["high"]]
        records.append(
            {
                "normalised_cost_weight": round(weight * scale, 6),
                "cost_weight": weight,
                "value": row["value"],
                "interval": None if np.isnan(row["low"]) else interval,
                "label": row["label"],
                "verdict": row["verdict"],
                "reasons": row["reasons"],
                "shadow_share": float(row.get("shadow_share", 0.0)),
                "best_single": int(best),
                "gain": gain["gain"],
                "gain_interval": None if np.isnan(gain["low"]) else [gain["low"], gain["high"]],
                "gain_shadow_share": float(gain.get("shadow_share", 0.0)),
            }
        )
    return records


def _distilling(
    student: distil.Student, hidden: tuple[int, ...], features: Array, teacher: Outcomes, scale: float
) -> dict[str, float]:
    """On prompts that distilling never saw: how often the student decides otherwise, and what that costs."""
    predicted = distil.predict(student, features, hidden)
    other, lost = [], []
    for normalised in recipe.GRID:
        theirs = counterfactual.utility(teacher, normalised / scale)
        choice = jnp.argmax(counterfactual.utility(predicted, normalised / scale), 1)
        other.append(float(jnp.mean(choice != jnp.argmax(theirs, 1))))
        lost.append(float(jnp.mean(jnp.max(theirs, 1) - jnp.take_along_axis(theirs, choice[:, None], 1)[:, 0])))
    return {"decides_otherwise": float(np.mean(other)), "predicted_utility_lost": float(np.mean(lost))}
