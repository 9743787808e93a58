"""From a log to a router to keep: any method, judged on the log.

Everything that is said about the router comes from the log, valued doubly robustly, and from a shadow sample where
there is one: every row of either is decided by fits that never saw it. That leaves no bias to speak of, but what
the router learnt from the same rows is in no interval: in 240 synthetic logs of 600 rows beside 150 prompts, 93% of
the value's intervals and 90% of the gain's held the truth of the router at hand (the recommended recipe's; biases 0.001
and -0.006; on the log alone 92% and 95%), against 95% on the shadow for a router that was fitted elsewhere
(`python -m experiments.checks.shadow_evidence`). A later log is the better judge (`jaxroute evaluate`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from jaxroute import counterfactual, estimators, nuisance, policies, recipe, sweep
from jaxroute.data import shadow as shadows
from jaxroute.data.logs import LogTable
from jaxroute.data.units import cost_scale as break_even
from jaxroute.estimators import conclusion, evidence
from jaxroute.learn import estimates, methods, objectives
from jaxroute.learn.inputs import MethodInput, MethodResult, mean
from jaxroute.learn.members import HYPERPARAMS, scalars
from jaxroute.learn.methods import Method
from jaxroute.learn.per_weight import ascending
from jaxroute.numerics import as_arrays, relative
from jaxroute.policies import budgets
from jaxroute.recipe import levels
from jaxroute.serving import kinds, portable, posterior
from jaxroute.serving.router import Router
from jaxroute.system.threads import one_blas_thread
from jaxroute.types import (
    Examples,
    Hyperparams,
    InputError,
    Key,
    Logs,
    Loss,
    Nuisances,
    NuisanceSpec,
    Spec,
    Table,
    UnsupportedLogError,
)

PIECES = 256
ROWS_A_MODEL = 100


@one_blas_thread()
def fit(
    key: Key,
    logs: Logs,
    models: Sequence[str],
    *,
    method: str | Loss | Method = "recommended",
    shadow: Examples | None = None,
    prior: recipe.Prior | None = None,
    encoder: str | None = None,
    revision: str | None = None,
    spec: NuisanceSpec = NuisanceSpec(),
    members: int = 1,
    cost_weights: Sequence[float] | None = None,
    normalised_cost_weights: Sequence[float] | None = None,
    cost_scale: float | None = None,
    estimator: str | estimates.Estimator | None = None,
    training: Spec | None = None,
    hyperparams: Hyperparams | None = None,
    hidden: tuple[int, ...] = (256, 128),
    steps: int = 1000,
    clip: float | None = None,
    mesh: Mesh | None = None,
    candidates: Sequence[str] | None = None,
    currency: str = "",
    on_stage: Callable[[str], None] = lambda _: None,
    on_evidence: Callable[[evidence.Evidence], None] = lambda _: None,
) -> Router:
    """A router of a log, by any method.

    Args:
        key: of everything random.
        logs: N rows, costs in the data's own unit.
        models: K names, in the order of ``logs.available``.
        method: a name in `methods.METHODS`, a loss of the protocol of `types.Loss`, or a record like those there.
        shadow: prompts that every available model answered, beside the log; outcomes in the log's units, a cost that
            is not known is NaN (`data.shadow.priced` says what is learnt then).
        prior: of the models' mean quality, in their order (`data.priors` reads one), for a method that takes one; what
            is said of the router never uses it.
        encoder, revision: what made the features, for texts at serving time; None: features are given.
        spec: of the nuisances.
        members: nuisances and routers with folds and seeds of their own, averaged.
        cost_weights: ascending, quality per unit of cost, that routers are trained at and judged at; None: the
            normalised grid. normalised_cost_weights: the same per ``cost_scale``. At most one of the two.
        cost_scale: cost units per normalised unit; None: from the log's doubly robust means.
        estimator: of the outcomes that a trained method learns from, see `estimates`; None: the method's own.
        training, hyperparams: of networks that learn the decision; None: those of the study.
        hidden, steps: of a distilled network.
        clip: smaller propensities are raised to it in what is said about the router; None:
            ``estimators.evaluation_clip(K)``.
        mesh: see ``sweep.mesh``; None: all devices.
        candidates: the models that may be chosen, as where others take too long; the router learns from all of them,
            and never chooses another. For methods that predict; None: all.
        currency: "USD" where the log's costs are known to be in US dollars; "" where their unit is not known.
        on_stage: called with what is about to be done, for progress.
        on_evidence: called once with all that the log says of the router; ``summary`` keeps the essence.

    Returns:
        Router; ``summary`` says what the log holds, how the router was made, what it is worth on the log and how much
        of that rests on the shadow (``shadow_share``, 0 to 1).

    Raises:
        InputError: an unknown method, a wrong loss, settings that mean nothing for the method, names that do not
            match the log, or too few rows; all of it before anything is fitted.

    Example:
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> small = dict(spec=NuisanceSpec(("mean",), folds=3), training=Spec((8,), steps=20, chunk=10))
        >>> router = fit(jax.random.key(2), logs, table.models, method="rm_softmax", **small)
        >>> router
        Router(per_weight, 4 models, 32 features, cost_scale=...)
        >>> router.route(table.features, normalised_cost_weight=0.5).index.shape
        (300,)
    """
    chosen = methods.named(method)
    rows, num_models = logs.available.shape
    check(chosen, (rows, num_models), models, spec, members, (estimator, training, hyperparams))
    check_rows(chosen, logs, shadow, spec)
    check_prior(chosen, prior, num_models)
    allowed = None if candidates is None else np.isin(models, candidates)
    check_candidates(chosen, allowed)
    if shadow is not None and shadow.features.shape[1] != logs.features.shape[1]:
        raise InputError(
            f"the shadow's prompts have {shadow.features.shape[1]} features, the log's {logs.features.shape[1]}: "
            "encode both alike"
        )
    settings = scalars(HYPERPARAMS if hyperparams is None else hyperparams)
    if chosen.loss is not None:
        objectives.check(chosen.loss, num_models, settings)
    weights = weights_of(cost_weights, normalised_cost_weights)
    logs, shadow = as_arrays((logs, shadow))
    taught = None if shadow is None else as_arrays(shadows.priced(shadow, logs, models))
    clip = estimators.evaluation_clip(num_models) if clip is None else clip
    nuisance_key, *_ = jax.random.split(key, 3)

    on_stage("nuisances, cross-fitted")
    fits = _nuisances(nuisance_key, logs, taught, spec, chosen.learner, members)
    nuisances = mean([of_member for of_member, _ in fits])
    robust = counterfactual.doubly_robust(logs, nuisances, clip=clip)
    scale, reason = break_even(robust, np.asarray(logs.available), logs.weight)
    if cost_scale is not None:
        scale, reason = cost_scale, "given"
    given = MethodInput(
        key,
        logs,
        taught,
        nuisances,
        fits,
        robust,
        float(scale),
        tuple(float(w) for w in weights(scale)),
        range(members),
        spec,
        estimator,
        Spec() if training is None else training,
        settings,
        hidden,
        steps,
        sweep.mesh() if mesh is None else mesh,
        on_stage,
        None if prior is None else as_arrays(prior),
        candidates=None if allowed is None else jnp.asarray(allowed),
    )
    result = chosen.make(given)

    on_stage("evidence from the log")
    learn = counterfactual.examples(logs, nuisances, taught, clip=levels.CLIP)
    found = _evidence(jax.random.fold_in(key, 3), chosen.name, models, given, result, clip, learn, shadow)
    found = found._replace(currency=currency)
    on_evidence(found)
    by_cost_weight = _by_cost_weight(found, learn, scale, given.times, allowed)
    known = int(np.isfinite(np.asarray(logs.propensity)).sum())
    summary: dict[str, Any] = {
        "method": chosen.name,
        "kind": kinds.name_of(result.kind),
        "rows": rows,
        **({} if logs.weight is None else {"requests": float(jnp.sum(logs.weight))}),
        "rows_with_feedback": int(np.isfinite(np.asarray(logs.quality)).sum()),
        "rows_with_known_propensity": known,
        "shadow_prompts": 0 if shadow is None else len(shadow.features),
        "shadow_costs_unknown": 0 if shadow is None else int(shadows.unpriced(*shadow[1:]).sum()),
        "rows_by_model": dict(zip(models, np.bincount(logs.action, minlength=num_models).tolist(), strict=True)),
        "cost_scale_from": reason,
        "members": members,
        "cores": cores(),
        **result.summary,
        **({} if prior is None else {"prior": _prior(result.summary["prior"], prior, models)}),
        "currency": currency,
        "conclusion": conclusion.of_evidence(found, scale),
        "by_cost_weight": by_cost_weight,
    }
    curve, everyone = budgets.thinned(result.curve, PIECES), np.ones(num_models, bool)
    if allowed is not None:
        everyone, summary["measured_without"] = allowed, [m for m, may in zip(models, allowed, strict=True) if not may]
    kind = kinds.in_32_bits(result.kind)
    last_layer = uncertain(kind, given.cells)
    return Router(tuple(models), kind, float(scale), curve, everyone, encoder, revision, summary, last_layer=last_layer)


def uncertain(kind: kinds.Kind, cells: Examples) -> posterior.Posterior:
    """The posterior of a router from the answers that it learned from; see ``serving.posterior``."""
    axes = portable.axes(kinds.on_host(kinds.arrays(kind)))
    features, outcomes, observed = jax.tree.map(np.asarray, cells)
    components = portable.project(axes, features)
    return posterior.fit(components, axes["deviation"], outcomes.quality, outcomes.cost, observed)


def cores() -> int | None:
    """How many cores this process may use: with another number, sums round differently and close decisions differ."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def rows_needed(logs: Logs, shadow: Examples | None = None, *, per_model: int = ROWS_A_MODEL) -> np.ndarray:
    """Answers with feedback that each model still needs before its level is worth routing on, [K].

        max(0, per_model - rows with feedback of model k - its answers in the shadow)

    A hundred answers put the standard error of a model's mean quality at 0.05 or below (it is at most
    0.5 / sqrt(n)), the size of a difference between neighbouring models; a new model starts with all of them.
    """
    answered = np.asarray(logs.action)[np.isfinite(np.asarray(logs.quality))]
    answered_by_all = 0 if shadow is None else answers(shadow)
    return np.maximum(per_model - np.bincount(answered, minlength=logs.available.shape[1]) - answered_by_all, 0)


def answers(shadow: Examples | Table) -> np.ndarray:
    """Answers with a quality that a shadow sample holds of every model, [K]."""
    return (np.asarray(shadow.available) & np.isfinite(np.asarray(shadow.outcomes.quality))).sum(0)


def check_prior(method: Method, prior: recipe.Prior | None, num_models: int) -> None:
    """Refuse a prior that a method does not take, or that is not one of these models.

    Raises:
        InputError: says which of the two, or which field is wrong.
    """
    if prior is None:
        return
    if not method.informed:
        able = ", ".join(name for name, m in methods.METHODS.items() if m.informed)
        raise InputError(f"{method.name} takes no prior; the methods that do: {able}")
    for name, values, least in zip(prior._fields, map(np.asarray, prior), (-np.inf, 0.0), strict=True):
        if values.shape != (num_models,) or not np.isfinite(values).all() or values.min() <= least:
            raise InputError(f"prior.{name}: needs a finite number for each of {num_models} models, deviations above 0")


def check_candidates(method: Method, allowed: np.ndarray | None) -> None:
    """Refuse a choice of models by which a method cannot be fitted.

    Raises:
        InputError: a method whose networks learn the decision among all models, or fewer than two candidates.
    """
    if allowed is None:
        return
    if method.decides:
        raise InputError(
            f"{method.name} learns the decision among all models: fit a method that predicts (recommended), or give "
            "the limit to jaxroute route"
        )
    if allowed.sum() < 2:
        raise InputError(f"{int(allowed.sum())} model(s) may be chosen: a router needs two; raise the limit")


def _prior(found: dict[str, Any], prior: recipe.Prior, models: Sequence[str]) -> dict[str, Any]:
    """What the log says of a prior: see ``recipe.priors.Trusted``."""
    each = zip(models, *(np.asarray(y).tolist() for y in prior), found["followed"], found["level"], strict=True)
    names = ("model", "expected", "deviation", "followed", "level")
    line = {name: found[name] for name in ("slope", "shift", "scale")}
    return {**line, "by_model": [dict(zip(names, one, strict=True)) for one in each]}


def check_rows(
    method: Method, rows: Logs | LogTable, shadow: Examples | Table | None = None, spec: NuisanceSpec = NuisanceSpec()
) -> None:
    """Refuse rows that a method cannot be fitted to; also before they are encoded.

    Raises:
        UnsupportedLogError: too few rows or ratings.
        InputError: weights that the method does not know.
    """
    if why := refusal(rows, shadow, spec):
        raise UnsupportedLogError(why)
    if relative(None if rows.weight is None else jnp.asarray(rows.weight)) is not None and not method.weighs:
        raise InputError(
            f"{method.name} counts every row once, and the rows of this log stand for several requests each (weight): "
            "choose another method"
        )


def refusal(rows: Logs | LogTable, shadow: Examples | Table | None = None, spec: NuisanceSpec = NuisanceSpec()) -> str:
    """Why no router can be fitted to a log, whatever the method; "" if one can. The doctor asks the same.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> refusal(example()[0])
        '4 rows are too few to fit and judge a router with 5 folds: give more'
    """
    rated = int(np.isfinite(np.asarray(rows.quality)).sum()) + (0 if shadow is None else int(answers(shadow).sum()))
    return _few("rows", len(rows.action), spec) or _few("answers with a quality", rated, spec)


def _few(what: str, count: int, spec: NuisanceSpec) -> str:
    if count >= 10 * spec.folds:
        return ""
    return f"{count} {what} are too few to fit and judge a router with {spec.folds} folds: give more"


def check(
    method: Method,
    shape: tuple[int, int],
    models: Sequence[str],
    spec: NuisanceSpec,
    members: int,
    of_training: tuple[Any, ...],
) -> None:
    """Refuse what cannot be fitted to rows of a shape [N, K], before anything is.

    Raises:
        InputError: see ``fit``.
    """
    rows, num_models = shape
    if len(models) != num_models or len(set(models)) != num_models:
        raise InputError(f"{len(models)} model names ({', '.join(models)}) for {num_models} models: one each")
    if members < 1:
        raise InputError(f"members={members}: a router is made of one member or more")
    if why := _few("rows", rows, spec):
        raise UnsupportedLogError(why)
    if not method.decides:
        for name, value in zip(("estimator", "training", "hyperparams"), of_training, strict=True):
            if value is not None:
                raise InputError(f"{name}= means nothing to {method.name}, which trains no network to decide: leave it")


def weights_of(
    cost_weights: Sequence[float] | None, normalised: Sequence[float] | None
) -> Callable[[float], np.ndarray]:
    """The cost weights, once the unit of cost is known."""
    if cost_weights is not None and normalised is not None:
        raise InputError("give cost_weights or normalised_cost_weights, not both")
    if cost_weights is not None:
        fixed = ascending(cost_weights)
        return lambda scale: fixed
    grid = ascending(recipe.GRID if normalised is None else normalised)
    return lambda scale: grid / scale


def _nuisances(
    key: Key, logs: Logs, shadow: Examples | None, spec: NuisanceSpec, learner: str | None, members: int
) -> tuple[tuple[Nuisances, nuisance.NuisanceModel], ...]:
    """One fit a member. A method's own learner is fitted beside the nuisances', which stay as they are without it.

    Reference: several sample splits, section 3.4 of Double/debiased machine learning for treatment and structural
    parameters, by Chernozhukov et al., https://arxiv.org/abs/1608.00060 (2018).
    """
    own = () if learner is None or learner in spec.outcome_models else (learner,)
    every = dataclasses.replace(spec, outcome_models=(*spec.outcome_models, *own))
    cells, rows = nuisance.cells(logs, shadow), len(logs.action)
    fits = []
    for k in (key, *(jax.random.fold_in(key, member) for member in range(1, members))):
        nuisances, model = nuisance.fit(k, logs, every, shadow=shadow)
        if own:
            part = nuisance.reweigh(model.outcomes, cells.outcomes, cells.available, spec)
            model = model._replace(outcomes=part)
            nuisances = nuisances._replace(outcomes=jax.tree.map(lambda y: y[:rows], nuisance.out_of_fold(part)))
        fits.append((nuisances, model))
    return tuple(fits)


def _evidence(
    key: Key,
    name: str,
    models: Sequence[str],
    given: MethodInput,
    result: MethodResult,
    clip: float,
    learn: Examples,
    shadow: Examples | None,
) -> evidence.Evidence:
    """Against best single and the logging policy at every cost weight; each row decided out of fold."""
    logs, weights = given.logs, jnp.asarray(given.cost_weights)
    rows, ours = len(logs.action), result.policy(given.cost_weights)
    single = partial(policies.best_single, learn.outcomes, weights, available=learn.available, weight=given.times)
    against = {
        "logging policy": evidence.logging_policy(logs, given.nuisances, len(weights)),
        "best single": single(prompts=given.available[:rows]),
    }
    on_shadow = None
    if shadow is not None:  # how the logging policy would have chosen there is not known
        on_shadow = {name: ours[:, rows:], "best single": single(prompts=given.available[rows:])}
    return evidence.gather(
        key,
        logs,
        given.nuisances,
        ours[:, :rows],
        weights,
        against=against,
        models=models,
        name=name,
        clip=clip,
        shadow=shadow,
        on_shadow=on_shadow,
    )


def _by_cost_weight(
    found: evidence.Evidence, learn: Examples, scale: float, times: Array | None, allowed: np.ndarray | None
) -> list[dict[str, Any]]:
    """What the artefact keeps of the evidence."""
    gains = found.gains[found.gains["against"] == "best single"]
    weights = jnp.asarray(found.values["cost_weight"].to_numpy(), jnp.float32)
    anyone = jnp.ones((1, len(found.models)), bool) if allowed is None else jnp.asarray(allowed)[None]
    single = policies.best_single(learn.outcomes, weights, available=learn.available, prompts=anyone, weight=times)
    singles = np.asarray(jnp.argmax(single[:, 0], -1))
    records = []
    spent = estimators.accounts(found).drop(columns="best_single").to_dict("records")
    every = zip(found.values.to_dict("records"), gains.to_dict("records"), singles, spent, strict=True)
    for row, gain, best, account in every:
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
                **{str(name): None if y != y else y for name, y in account.items()},  # JSON has no NaN
            }
        )
    return records
