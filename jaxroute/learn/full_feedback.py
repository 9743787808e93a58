"""From a full table to a router to keep: every model's answers are known, so nothing has to be estimated from choices.

Methods get the table as a log whose outcome model is the table itself, so that what they learn from (doubly robust
outcomes) is the table's own answers at any propensity. Outcome models are fitted to all answers, cross-fitted over
prompts whose groups share a fold. Everything that is said about the router is cross-validated: a prompt is decided by
fits that never saw it, and valued by its own answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxroute import estimators, nuisance, policies
from jaxroute.data import scale as scales
from jaxroute.data import ties
from jaxroute.data.units import cost_scale as break_even
from jaxroute.estimators.verdict import ENOUGH_EFFECTIVE_ROWS
from jaxroute.learn import checks, fitting, judging, keywords, methods, objectives
from jaxroute.learn.inputs import MethodResult, TableInput, shared
from jaxroute.learn.members import HYPERPARAMS
from jaxroute.learn.methods import Method
from jaxroute.numerics import as_arrays
from jaxroute.policies import budgets
from jaxroute.serving import kinds
from jaxroute.serving.router import Router
from jaxroute.system import maps
from jaxroute.system.threads import cores, one_blas_thread
from jaxroute.system.wording import here
from jaxroute.types import (
    Examples,
    Hyperparams,
    InputError,
    Key,
    Logs,
    Loss,
    Nuisances,
    NuisanceSpec,
    Outcomes,
    Spec,
    Table,
    UnsupportedLogError,
)

LABEL = "every model's answers, cross-validated"


@one_blas_thread()
def fit(
    key: Key,
    table: Examples,
    models: Sequence[str],
    *,
    method: str | Loss | Method = "recommended",
    group: np.ndarray | None = None,
    encoder: str | None = None,
    revision: str | None = None,
    spec: NuisanceSpec = NuisanceSpec(),
    members: int = 1,
    cost_weights: Sequence[float] | None = None,
    normalised_cost_weights: Sequence[float] | None = None,
    cost_scale: float | None = None,
    training: Spec | None = None,
    hyperparams: Hyperparams | None = None,
    hidden: tuple[int, ...] = (256, 128),
    steps: int = 3000,
    mesh: Mesh | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Router:
    """A router of a full table, by any method of `methods.METHODS`.

    Args:
        key: of everything random.
        table: N prompts; outcomes [N, K], costs in the data's own unit and NaN where unknown; available [N, K], False
            where an answer is missing.
        models: K names.
        group: [N] ids; prompts of a group share a fold.
        method, encoder, revision, spec, members, cost_weights, normalised_cost_weights, cost_scale, training,
            hyperparams, hidden, steps, mesh, on_stage: see `fitting.fit`.

    Returns:
        Router; ``summary`` says how it was made and what it is worth by cross-validation. With an unknown cost it
        takes cost weight 0 alone.

    Raises:
        InputError: as `fitting.fit`; a cost weight above 0 where costs are unknown, a model without an answer, or
            features whose squares overflow or vanish.

    Example:
        >>> from jaxroute.data import synthetic
        >>> made = synthetic.make(jax.random.key(0), num_prompts=200, num_models=3)
        >>> table = Examples(made.features, made.outcomes, made.available)
        >>> router = fit(jax.random.key(1), table, made.models, method="plug_in_ridge", hidden=(8,), steps=20)
        >>> router.summary["by_cost_weight"][0]["label"]
        "every model's answers, cross-validated"
    """
    asked: dict[str, Any] = {
        "spec": spec, "training": training, "hyperparams": hyperparams, "hidden": hidden, "steps": steps, "mesh": mesh,
        "on_stage": on_stage,
    }  # fmt: skip
    keywords.check({**asked, "members": members, "cost_scale": cost_scale})
    chosen = methods.named(method)
    rows, num_models = table.available.shape
    checks.check(chosen, (rows, num_models), models, spec, (None, training, hyperparams))
    if chosen.loss is not None:
        objectives.check(chosen.loss, num_models, HYPERPARAMS if hyperparams is None else hyperparams)
    if why := scales.unfit(np.asarray(table.features)):
        raise UnsupportedLogError(why)
    maps.make_room()
    table = as_arrays(table)
    if not (answered := np.asarray(table.available.any(0))).all():
        raise InputError(f"model {models[int(np.argmin(answered))]!r} has no answer in the table: leave it out")
    weights = fitting.weights_of(cost_weights, normalised_cost_weights)
    named = [w for given in (cost_weights, normalised_cost_weights) if given is not None for w in given]
    known, unknown = _filled(table, max(named, default=0.0))
    if unknown:
        weights, cost_scale = fitting.weights_of([0.0], None), 1.0
    scale, reason = break_even(known.outcomes, np.asarray(known.available))
    if cost_scale is not None:
        scale, reason = cost_scale, "given" if not unknown else "1, as costs are unknown"

    on_stage("outcome models, cross-fitted")
    fits = _outcome_models(key, known, group, chosen, spec, members)
    given = TableInput(
        **shared(key, scale, weights(scale), members, **asked),
        logs=_as_log(known, group),
        shadow=None,
        nuisances=fits[0][0],
        fits=fits,
        robust=known.outcomes,
        estimator=None,
        prior=None,
        answers=known,
    )
    result = chosen.make(given)
    summary: dict[str, Any] = {
        "method": chosen.name,
        "kind": kinds.name_of(result.kind),
        "table_prompts": rows,
        "answers_by_model": dict(zip(models, np.asarray(known.available).sum(0).tolist(), strict=True)),
        "costs_unknown": unknown,
        "cost_scale_from": reason,
        "members": members,
        "cores": cores(),
        **result.summary,
        "by_cost_weight": judged(result, given, group),
    }
    curve = None if unknown else budgets.thinned(result.curve, fitting.PIECES)
    everyone = np.ones(num_models, bool)
    kind = kinds.in_32_bits(result.kind)
    last_layer = judging.uncertain(kind, known)
    return Router(tuple(models), kind, float(scale), curve, everyone, encoder, revision, summary, last_layer=last_layer)


def _filled(table: Examples, largest: float) -> tuple[Examples, int]:
    """The table with a number in every cell, 0 where there is no answer; and how many answers have no known cost.

    Args:
        table: N prompts. largest: cost weight that is asked for.

    Raises:
        InputError: a cost weight above 0 where costs are unknown.
    """
    unknown = int((table.available & ~jnp.isfinite(table.outcomes.cost)).sum())
    if unknown and largest > 0:
        raise InputError(
            f"{unknown} of {int(table.available.sum())} answers have no cost: only cost weight 0 means something; "
            f"give costs ({here('read_table(prices=...)', 'jaxroute table --prices')}), or cost weight 0"
        )
    quality, cost = table.outcomes
    if unknown:  # the same cost for all says nothing of any; the router shows none
        cost = jnp.ones_like(quality)
    filled = (jnp.where(table.available, y, 0.0) for y in (quality, cost))
    return table._replace(outcomes=Outcomes(*filled)), unknown


def _outcome_models(
    key: Key, table: Examples, group: np.ndarray | None, method: Method, spec: NuisanceSpec, members: int
) -> tuple[tuple[Nuisances, nuisance.NuisanceModel], ...]:
    """Of every member, beside the table's own answers in the nuisances' place."""
    exact = Nuisances(table.available / jnp.sum(table.available, 1, keepdims=True), table.outcomes)
    # A method that trains on the answers themselves has no use for outcome models.
    learner = method.learner or ("mean" if method.loss is not None else None)
    used = spec if learner is None else dataclasses.replace(spec, outcome_models=(learner,), combine="select")
    keys = [key, *(jax.random.fold_in(key, member) for member in range(1, members))]
    found = [nuisance.fit_outcomes(k, *table, used, group=group)[1] for k in keys]
    return tuple((exact, nuisance.NuisanceModel(model, None, {}, 0, None)) for model in found)  # type: ignore[arg-type]


def of_table(key: Key, table: Table, *, encoder: str | None, **options: Any) -> Router:
    """``fit`` on a checked table; prompts that repeat another nearly word for word share its fold.

    Args:
        key: of everything random.
        table: with the features that ``encoder`` made of its prompts; None: the router takes features, not texts.
        options: of ``fit``.
    """
    answers = Examples(table.features, table.outcomes, table.available)  # type: ignore[arg-type]
    return fit(key, answers, table.models, group=ties.tied(table), encoder=encoder, **options)


def judged(result: MethodResult, given: TableInput, group: np.ndarray | None) -> list[dict[str, Any]]:
    """What the artefact keeps by cost weight: value, and gain on the best single model, out of fold, with intervals.

    The best single model is the table's own at each cost weight, so that what is said of the gain is too little; the
    upper end of its interval allows for that (``estimators.wider``).
    """
    table, weights, labels = given.answers, given.cost_weights, None if group is None else jnp.asarray(group)
    ours = result.policy(weights)
    anyone = jnp.ones((1, table.available.shape[1]), bool)
    single = policies.best_single(table.outcomes, jnp.asarray(weights), available=table.available)
    names = policies.best_single(table.outcomes, jnp.asarray(weights), available=table.available, prompts=anyone)
    records = []
    for policy, alone, name, weight in zip(ours, single, names, weights, strict=True):
        mine, theirs = (estimators.shadow_rows(table, p, weight)._replace(group=labels) for p in (policy, alone))
        value, gain = estimators.estimate(mine), estimators.difference(mine, theirs)
        least, most = estimators.interval(gain)
        most = float(gain.value) + estimators.wider(anyone.shape[1]) * (most - float(gain.value))
        records.append(
            {
                "normalised_cost_weight": round(weight * given.cost_scale, 6),
                "cost_weight": weight,
                "value": float(value.value),
                "interval": list(estimators.interval(value)),
                "label": LABEL,
                "verdict": "ok" if len(table.available) >= ENOUGH_EFFECTIVE_ROWS else "caution",
                "reasons": [],
                "shadow_share": 0.0,
                "best_single": int(jnp.argmax(name[0])),
                "gain": float(gain.value),
                "gain_interval": [least, most],
                "gain_shadow_share": 0.0,
            }
        )
    return records


def _as_log(table: Examples, group: np.ndarray | None) -> Logs:
    """The table's first answers: with the table as outcome model, it makes no difference whose they are."""
    action = jnp.argmax(table.available, 1)
    quality, cost = (jnp.take_along_axis(y, action[:, None], 1)[:, 0] for y in table.outcomes)
    labels = None if group is None else jnp.asarray(group)
    return Logs(table.features, action, quality, cost, 1 / jnp.sum(table.available, 1), table.available, labels)
