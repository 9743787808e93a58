"""Fitting the nuisances of a log, and predicting them for new prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute.nuisance import calibration, combine, crossfit, folding, host, propensity, targets
from jaxroute.nuisance.learners import HOST_LEARNERS, LEARNERS, candidate_names, learners_of
from jaxroute.nuisance.observed import cells, groups, known_propensity, times
from jaxroute.numerics import as_arrays, relative, weighted_mean
from jaxroute.system.threads import one_blas_thread
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, NuisanceSpec, Outcomes

BLOCK = 512  # new prompts that one compiled call predicts
PROPENSITY_LEARNERS = ("logistic", "mlp", *HOST_LEARNERS)


class OutcomeModel(NamedTuple):
    """Cross-fitted outcome candidates and the weights that combine them."""

    folds: crossfit.OutcomeFold
    host: dict[str, list[host.HostFold]]
    weights: Outcomes  # [C] for quality, [C] for cost
    out_of_fold: Outcomes  # candidates [C, N, K] on the fitting rows
    fold: Int[Array, " N"]  # of the fitting rows
    spec: NuisanceSpec
    times: Float[Array, " N"] | None = None  # how often each of them counts


class NuisanceModel(NamedTuple):
    """What `predict` needs: outcome and propensity fits of every fold, and the propensity's calibration."""

    outcomes: OutcomeModel
    propensity_folds: crossfit.PropensityFold
    propensity_host: dict[str, list[Any]]
    propensity_candidate: int
    calibration: calibration.Calibration


@one_blas_thread()
def fit_outcomes(
    key: Key,
    features: Float[Array, "N D"],
    outcomes: Outcomes,
    observed: Bool[Array, "N K"],
    spec: NuisanceSpec = NuisanceSpec(),
    *,
    group: Int[Array, " N"] | np.ndarray | None = None,
    times: Float[Array, " N"] | None = None,
) -> tuple[Outcomes, OutcomeModel]:
    """Cross-fitted outcome model from any pattern of observed cells.

    A log observes one model per row, a full table all of them, and a log with a shadow sample has rows of both kinds;
    only the pattern differs.

    Args:
        features: [N, D]. outcomes: [N, K] in [0, 1] and cost units; NaN or anything where not observed.
        observed: [N, K].
        spec: learners and settings.
        group: [N] ids; rows of a group share a fold.
        times: [N] how often every row counts, about 1 on average (`numerics.relative`); None: once.

    Returns:
        (out-of-fold prediction [N, K], model for new prompts).

    Raises:
        InputError: an unknown learner, or one that fails.

    Example:
        Every second answer of a table is seen, and all of them are predicted:

        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=60, num_models=3)
        >>> seen = np.indices((60, 3)).sum(0) % 2 == 0
        >>> spec = NuisanceSpec(("mean",), folds=3)
        >>> predicted, model = fit_outcomes(jax.random.key(1), table.features, table.outcomes, seen, spec)
        >>> predicted.quality.shape, predict_outcomes(model, table.features[:5]).cost.shape
        ((60, 3), (5, 3))
    """
    candidate_names(spec)
    wanted = spec
    if not _compiled(spec).outcome_models:  # levels and projections come with the compiled learners
        spec = dataclasses.replace(spec, outcome_models=("mean", *spec.outcome_models))
    fold_key, fit_key = jax.random.split(key)
    rows = features.shape[0]
    fold = folding.assign_folds(fold_key, rows, spec.folds, None if group is None else np.asarray(group))
    priced = np.asarray(observed) & np.isfinite(outcomes.cost)
    seen = priced & np.isfinite(outcomes.quality)
    paid = None if (seen == priced).all() else priced  # answers that nobody rated have a cost all the same
    folds, candidates = crossfit.fit_outcomes(fit_key, features, outcomes, seen, fold, _compiled(spec), times, paid)
    on_host, more = host.fit_outcomes(folds, np.asarray(features), outcomes, seen, fold, spec, times, paid)
    if more is not None:
        candidates = Outcomes(*(jnp.concatenate(pair) for pair in zip(candidates, more, strict=True)))
    even = jax.tree.map(lambda c: np.full(len(c), 1.0 / len(c), np.float32), candidates)
    model = OutcomeModel(folds, on_host, even, candidates, jnp.asarray(fold), spec, times)
    model = reweigh(model, outcomes, observed, wanted)
    return combine.mix(model.weights, candidates), model


def reweigh(model: OutcomeModel, outcomes: Outcomes, observed: Array, spec: NuisanceSpec) -> OutcomeModel:
    """The same fits under another rule or with fewer learners: only the combination is computed anew."""
    fitted = learners_of(model.spec)
    index = np.flatnonzero(
        [any(m is f or (isinstance(m, str) and m == f) for m in spec.outcome_models) for f in fitted]
    )
    if not len(index):
        raise ValueError(
            f"none of {spec.outcome_models} was fitted; choose from {', '.join(candidate_names(model.spec))}"
        )
    part = model.out_of_fold
    part = part if len(index) == len(fitted) else jax.tree.map(lambda c: c[index], part)
    weights = _weigh(part, outcomes, observed, model.times, spec.combine)
    every = np.zeros((2, len(fitted)), np.float32)
    every[:, index] = weights
    return model._replace(weights=Outcomes(*map(jnp.asarray, every)))


def out_of_fold(model: OutcomeModel) -> Outcomes:
    """Out-of-fold predictions [N, K] of the fitting rows under the model's weights."""
    return combine.mix(model.weights, model.out_of_fold)


def _compiled(spec: NuisanceSpec) -> NuisanceSpec:
    """The same with the learners that run in JAX alone: what a compiled program may depend on."""
    return dataclasses.replace(
        spec, outcome_models=tuple(m for m in spec.outcome_models if isinstance(m, str) and m in LEARNERS)
    )


def _seen(outcomes: Outcomes, observed: Array) -> Array:
    return jnp.asarray(observed) & jnp.isfinite(outcomes.quality) & jnp.isfinite(outcomes.cost)


@partial(jax.jit, static_argnames="rule")
def _weigh(candidates: Outcomes, outcomes: Outcomes, observed: Array, times: Array | None, rule: str) -> Outcomes:
    """Weights [C] from squared error of quality and of relative, capped cost."""
    seen = _seen(outcomes, observed)
    outcomes = jax.tree.map(lambda y: jnp.where(seen, y, 0.0), outcomes)
    weight = seen.astype(outcomes.quality.dtype)
    weight = weight if times is None else weight * times[:, None]
    level = targets.levels(outcomes, weight)
    pairs = (candidates.quality, targets.relative(candidates, level).cost), targets.relative(outcomes, level)
    choose: Callable[..., Array] = combine.stack if rule == "stack" else combine.select
    return Outcomes(*jax.vmap(choose, (0, 0, None))(*(jnp.stack(pair) for pair in pairs), weight))


def predict_outcomes(model: OutcomeModel, features: Float[Array, "N D"]) -> Outcomes:
    """Predicted quality in [0, 1] and cost in cost units [N, K] of new prompts, averaged over folds.

    Learners of weight 0 are not computed.
    """
    names = candidate_names(model.spec)
    weighs = {name for name, *w in zip(names, *map(np.asarray, model.weights), strict=True) if any(w)}
    used = [name in weighs or name not in LEARNERS for name in names]
    kept = tuple(m for m in model.spec.outcome_models if not (isinstance(m, str) and m in LEARNERS) or m in weighs)
    if all(used) or not _compiled(dataclasses.replace(model.spec, outcome_models=kept)).outcome_models:
        return combine.mix(model.weights, predict_candidates(model, features))
    part = np.flatnonzero(used)
    folds = model.folds._replace(
        params={name: params for name, params in model.folds.params.items() if name in weighs},
        correction=model.folds.correction[:, part[part < model.folds.correction.shape[1]]],
    )
    weights = jax.tree.map(lambda w: w[part], model.weights)
    spec = dataclasses.replace(model.spec, outcome_models=kept)
    return combine.mix(weights, predict_candidates(model._replace(folds=folds, weights=weights, spec=spec), features))


def predict_candidates(model: OutcomeModel, features: Float[Array, "N D"]) -> Outcomes:
    """Every candidate's predictions [C, N, K] of new prompts, averaged over folds (see ``reweigh``)."""
    candidates = _in_blocks(partial(_predict_candidates, model.folds, spec=_compiled(model.spec)), features)
    more = host.predict_outcomes(model.host, model.folds, features, model.spec)
    if more is None:
        return candidates
    return Outcomes(*(jnp.concatenate(pair) for pair in zip(candidates, more, strict=True)))


def _in_blocks(predict: Callable[[np.ndarray], Any], features: Array) -> Any:
    """``predict`` of BLOCK rows at a time, [C, N, K]: one compiled program serves any number of rows."""
    rows, parts = np.asarray(features), []
    for start in range(0, max(1, len(rows)), BLOCK):
        block = rows[start : start + BLOCK]
        padded = predict(np.pad(block, ((0, BLOCK - len(block)), (0, 0))))
        parts.append(jax.tree.map(np.asarray, padded))
    return jax.tree.map(lambda *y: jnp.asarray(np.concatenate(y, 1)[:, : len(rows)]), *parts)


@partial(jax.jit, static_argnames="spec")
def _predict_candidates(folds: crossfit.OutcomeFold, features: Array, spec: NuisanceSpec) -> Outcomes:
    return crossfit.over_folds(partial(crossfit.predict_outcomes, spec=spec), folds, features)


@one_blas_thread()
def fit(
    key: Key, logs: Logs, spec: NuisanceSpec = NuisanceSpec(), *, shadow: Examples | None = None
) -> tuple[Nuisances, NuisanceModel]:
    """Cross-fitted nuisances of a log.

    Row i's outcomes and propensities come from fits that never saw row i (nor its group). The entry of
    the chosen model is the log's own propensity where it is known, unless spec.propensity is "estimated".

    Args:
        key: JAX key. logs: N rows; quality NaN rows count for propensities only.
        spec: learners and settings.
        shadow: S more prompts that every available model answered. To the outcome models they are rows with
            more than one cell seen; propensities are of the log alone.

    Returns:
        (Nuisances [N, K] for the log's rows, NuisanceModel for `predict`); `out_of_fold` of the model's
        outcomes has the shadow's rows too, after the log's.

    Raises:
        InputError: an unknown learner, one that fails, or fewer rows than twice the folds.

    Reference: Chernozhukov et al., "Double/debiased machine learning for treatment and structural
    parameters", https://arxiv.org/abs/1608.00060 (2018).

    Example:
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=200, num_models=3)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> nuisances, model = fit(jax.random.key(2), logs, NuisanceSpec(("mean",), folds=3))
        >>> nuisances.propensity.shape, predict(model, table.features[:5]).outcomes.quality.shape
        ((200, 3), (5, 3))
    """
    num_rows, num_models = logs.available.shape
    unknown = set(spec.propensity_models) - set(PROPENSITY_LEARNERS)
    if unknown or not spec.propensity_models:
        raise InputError(f"unknown propensity models {sorted(unknown)}; choose from {', '.join(PROPENSITY_LEARNERS)}")
    if num_rows < 2 * spec.folds:
        raise InputError(f"{num_rows} log rows are too few for {spec.folds} folds; use more rows or fewer folds")
    outcome_key, propensity_key = jax.random.split(key)
    logs = as_arrays(logs)
    every = cells(logs, shadow)
    group = folding.foldable(logs.group, logs.action, spec.folds)
    grouped = groups(group, num_rows, len(every.available))
    whole = times(logs, len(every.available))
    outcomes, model = fit_outcomes(outcome_key, *every, spec, group=grouped, times=whole)
    if shadow is not None:
        outcomes = jax.tree.map(lambda y: y[:num_rows], outcomes)

    fold_key, fit_key = jax.random.split(propensity_key)
    own = relative(logs.weight)
    fold = folding.assign_folds(fold_key, num_rows, spec.folds, group)
    folds, logits = crossfit.fit_propensities(
        fit_key, model.folds.projection, logs.features, logs.action, logs.available, fold, spec, own
    )
    on_host, more = host.fit_propensities(
        folds, np.asarray(logs.features), np.asarray(logs.action), num_models, fold, spec, own
    )
    logits = logits if more is None else jnp.concatenate([logits, more])
    choose = _propensities if spec.calibration == "isotonic" else jax.jit(_propensities, static_argnames="kind")
    best, calibrated, fitted = choose(logits, logs.action, logs.available, own, kind=spec.calibration)
    every_fit = NuisanceModel(model, folds, on_host, int(best), calibrated)
    return Nuisances(known_propensity(fitted, logs, spec), outcomes), every_fit


def _propensities(
    logits: Float[Array, "C N K"], action: Array, available: Array, times: Array | None, kind: str
) -> tuple[Int[Array, ""], calibration.Calibration, Float[Array, "N K"]]:
    """The candidate of the smallest out-of-fold log loss, its calibration, and the propensities that they make."""
    losses = jax.vmap(lambda z: weighted_mean(propensity.log_loss(z, action, available), times))(logits)
    best = jnp.argmin(losses)
    calibrated = calibration.fit(kind, logits[best], action, available, times)
    return best, calibrated, calibration.apply(calibrated, logits[best], available)


def predict(
    model: NuisanceModel, features: Float[Array, "N D"], available: Bool[Array, "N K"] | None = None
) -> Nuisances:
    """Nuisances of new prompts: fitted outcomes and propensities, averaged over folds.

    Args:
        features: [N, D]. available: [N, K] candidate sets, None for all models.

    Returns:
        Nuisances [N, K]; propensity rows sum to one. See ``fit`` for an example.
    """
    outcomes = predict_outcomes(model.outcomes, features)
    spec, num_models = _compiled(model.outcomes.spec), outcomes.quality.shape[1]
    logits = _in_blocks(partial(_predict_logits, model.propensity_folds, num_models=num_models, spec=spec), features)
    more = host.predict_logits(model.propensity_host, model.propensity_folds, features, num_models)
    logits = logits if more is None else jnp.concatenate([logits, more])
    return Nuisances(calibration.apply(model.calibration, logits[model.propensity_candidate], available), outcomes)


@partial(jax.jit, static_argnames=("num_models", "spec"))
def _predict_logits(folds: crossfit.PropensityFold, features: Array, num_models: int, spec: NuisanceSpec) -> Array:
    predict_one = partial(crossfit.predict_logits, num_models=num_models, spec=spec)
    return crossfit.over_folds(predict_one, folds, features)


def predict_logs(model: NuisanceModel, logs: Logs) -> Nuisances:
    """Nuisances for another log's rows (a validation log, say): `predict`, with its known propensities."""
    logs = as_arrays(logs)
    new = predict(model, logs.features, logs.available)
    return new._replace(propensity=known_propensity(new.propensity, logs, model.outcomes.spec))
