"""Fitting the nuisances of a log, and predicting them for new prompts."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute.nuisance import calibration, combine, crossfit, host, propensity, targets
from jaxroute.nuisance.learners import HOST_LEARNERS, LEARNERS, candidate_names, learners_of
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, NuisanceSpec, Outcomes

PROPENSITY_LEARNERS = ("logistic", "mlp", *HOST_LEARNERS)


class OutcomeModel(NamedTuple):
    """Cross-fitted outcome candidates and the weights that combine them."""

    folds: crossfit.OutcomeFold
    host: dict[str, list[host.HostFold]]
    weights: Outcomes  # [C] for quality, [C] for cost
    out_of_fold: Outcomes  # candidates [C, N, K] on the fitting rows
    fold: Int[Array, " N"]  # of the fitting rows
    spec: NuisanceSpec


class NuisanceModel(NamedTuple):
    """What `predict` needs: outcome and propensity fits of every fold, and the propensity's calibration."""

    outcomes: OutcomeModel
    propensity_folds: crossfit.PropensityFold
    propensity_host: dict[str, list[Any]]
    propensity_candidate: int
    calibration: calibration.Calibration


def fit_outcomes(
    key: Key,
    features: Float[Array, "N D"],
    outcomes: Outcomes,
    observed: Bool[Array, "N K"],
    spec: NuisanceSpec = NuisanceSpec(),
    *,
    group: Int[Array, " N"] | np.ndarray | None = None,
) -> tuple[Outcomes, OutcomeModel]:
    """Cross-fitted outcome model from any pattern of observed cells.

    A log observes one model per row, a full table all of them, and a log with a shadow sample has rows of both kinds;
    only the pattern differs.

    Args:
        features: [N, D]. outcomes: [N, K] in [0, 1] and cost units; NaN or anything where not observed.
        observed: [N, K].
        spec: learners and settings.
        group: [N] ids; rows of a group share a fold.

    Returns:
        (out-of-fold prediction [N, K], model for new prompts).

    Raises:
        InputError: an unknown learner, or one that fails.
    """
    candidate_names(spec)
    wanted = spec
    if not _compiled(spec).outcome_models:  # levels and projections come with the compiled learners
        spec = dataclasses.replace(spec, outcome_models=("mean", *spec.outcome_models))
    fold_key, fit_key = jax.random.split(key)
    rows = features.shape[0]
    fold = crossfit.assign_folds(fold_key, rows, spec.folds, None if group is None else np.asarray(group))
    seen = _seen(outcomes, observed)
    folds, candidates = crossfit.fit_outcomes(fit_key, features, outcomes, seen, fold, _compiled(spec))
    on_host, more = host.fit_outcomes(folds, np.asarray(features), outcomes, np.asarray(seen), fold, spec)
    if more is not None:
        candidates = Outcomes(*(jnp.concatenate(pair) for pair in zip(candidates, more, strict=True)))
    every = jax.tree.map(lambda c: jnp.full(c.shape[0], 1.0 / c.shape[0]), candidates)
    model = reweigh(
        OutcomeModel(folds, on_host, every, candidates, jnp.asarray(fold), spec), outcomes, observed, wanted
    )
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
    part = jax.tree.map(lambda c: c[index], model.out_of_fold)
    weights = _weigh(part, outcomes, _seen(outcomes, observed), spec.combine)
    return model._replace(weights=jax.tree.map(lambda w: jnp.zeros(len(fitted), w.dtype).at[index].set(w), weights))


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
def _weigh(candidates: Outcomes, outcomes: Outcomes, observed: Array, rule: str) -> Outcomes:
    """Weights [C] from squared error of quality and of relative, capped cost."""
    outcomes = jax.tree.map(lambda y: jnp.where(observed, y, 0.0), outcomes)
    weight = observed.astype(outcomes.quality.dtype)
    level = targets.levels(outcomes, weight)
    target = targets.relative(outcomes, level)
    cost = targets.relative(candidates, level).cost
    choose = combine.stack if rule == "stack" else combine.select
    return Outcomes(choose(candidates.quality, target.quality, weight), choose(cost, target.cost, weight))


def predict_outcomes(model: OutcomeModel, features: Float[Array, "N D"]) -> Outcomes:
    """Predicted quality in [0, 1] and cost in cost units [N, K] of new prompts, averaged over folds."""
    return combine.mix(model.weights, predict_candidates(model, features))


def predict_candidates(model: OutcomeModel, features: Float[Array, "N D"]) -> Outcomes:
    """Every candidate's predictions [C, N, K] of new prompts, averaged over folds (see ``reweigh``)."""
    candidates = jax.block_until_ready(_predict_candidates(model.folds, features, _compiled(model.spec)))
    more = host.predict_outcomes(model.host, model.folds, features, model.spec)
    if more is None:
        return candidates
    return Outcomes(*(jnp.concatenate(pair) for pair in zip(candidates, more, strict=True)))


@partial(jax.jit, static_argnames="spec")
def _predict_candidates(folds: crossfit.OutcomeFold, features: Array, spec: NuisanceSpec) -> Outcomes:
    return crossfit.over_folds(partial(crossfit.predict_outcomes, spec=spec), folds, features)


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
    """
    num_rows, num_models = logs.available.shape
    unknown = set(spec.propensity_models) - set(PROPENSITY_LEARNERS)
    if unknown or not spec.propensity_models:
        raise InputError(f"unknown propensity models {sorted(unknown)}; choose from {', '.join(PROPENSITY_LEARNERS)}")
    if num_rows < 2 * spec.folds:
        raise InputError(f"{num_rows} log rows are too few for {spec.folds} folds; use more rows or fewer folds")
    outcome_key, propensity_key = jax.random.split(key)
    logs = jax.tree.map(jnp.asarray, logs)
    every = cells(logs, shadow)
    group = crossfit.foldable(logs.group, logs.action, spec.folds)
    grouped = groups(group, num_rows, len(every.available))
    outcomes, model = fit_outcomes(outcome_key, *every, spec, group=grouped)
    outcomes = jax.tree.map(lambda y: y[:num_rows], outcomes)

    fold_key, fit_key = jax.random.split(propensity_key)
    fold = crossfit.assign_folds(fold_key, num_rows, spec.folds, group)
    folds, logits = crossfit.fit_propensities(fit_key, logs.features, logs.action, logs.available, fold, spec)
    on_host, more = host.fit_propensities(
        folds, np.asarray(logs.features), np.asarray(logs.action), num_models, fold, spec
    )
    logits = logits if more is None else jnp.concatenate([logits, more])
    losses = jax.vmap(lambda z: jnp.mean(propensity.log_loss(z, logs.action, logs.available)))(logits)
    best = int(jnp.argmin(losses))
    calibrated = calibration.fit(spec.calibration, logits[best], logs.action, logs.available)
    fitted = calibration.apply(calibrated, logits[best], logs.available)
    whole = NuisanceModel(model, folds, on_host, best, calibrated)
    return Nuisances(known_propensity(fitted, logs, spec), outcomes), whole


def groups(group: np.ndarray | None, log_rows: int, rows: int) -> np.ndarray | None:
    """Groups of the log's rows, and one of its own for every shadow prompt."""
    if group is None or rows == log_rows:
        return group
    return np.concatenate([group, np.max(group) + 1 + np.arange(rows - log_rows)])


def as_cells(logs: Logs) -> tuple[Outcomes, Bool[Array, "N K"]]:
    """A log as a table with one observed cell a row: (outcomes [N, K], observed [N, K])."""
    chosen = jax.nn.one_hot(logs.action, logs.available.shape[1], dtype=bool)
    return Outcomes(*(jnp.where(chosen, jnp.asarray(y)[:, None], jnp.nan) for y in (logs.quality, logs.cost))), chosen


def cells(logs: Logs, shadow: Examples | None = None) -> Examples:
    """What outcome models are fitted to: a log's observed cells, then a shadow sample's; ``available``: observed."""
    of_log = Examples(jnp.asarray(logs.features), *as_cells(logs))
    if shadow is None:
        return of_log
    return jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.asarray(b, a.dtype)]), of_log, shadow)


def known_propensity(fitted: Float[Array, "N K"], logs: Logs, spec: NuisanceSpec) -> Float[Array, "N K"]:
    """Fitted propensities with the log's own at the chosen model, where known and wanted."""
    if spec.propensity == "estimated":
        return fitted
    chosen = jax.nn.one_hot(logs.action, fitted.shape[1], dtype=bool)
    known = jnp.isfinite(logs.propensity)[:, None] & chosen
    return jnp.where(known, logs.propensity[:, None], fitted)


def predict(
    model: NuisanceModel, features: Float[Array, "N D"], available: Bool[Array, "N K"] | None = None
) -> Nuisances:
    """Nuisances of new prompts: fitted outcomes and propensities, averaged over folds.

    Args:
        features: [N, D]. available: [N, K] candidate sets, None for all models.

    Returns:
        Nuisances [N, K]; propensity rows sum to one.
    """
    outcomes = predict_outcomes(model.outcomes, features)
    spec, num_models = model.outcomes.spec, outcomes.quality.shape[1]
    logits = _predict_logits(model.propensity_folds, features, num_models, _compiled(spec))
    more = host.predict_logits(model.propensity_host, model.propensity_folds, features, num_models)
    logits = logits if more is None else jnp.concatenate([logits, more])
    return Nuisances(calibration.apply(model.calibration, logits[model.propensity_candidate], available), outcomes)


@partial(jax.jit, static_argnames=("num_models", "spec"))
def _predict_logits(folds: crossfit.PropensityFold, features: Array, num_models: int, spec: NuisanceSpec) -> Array:
    predict_one = partial(crossfit.predict_logits, num_models=num_models, spec=spec)
    return crossfit.over_folds(predict_one, folds, features)


def predict_logs(model: NuisanceModel, logs: Logs) -> Nuisances:
    """Nuisances for another log's rows (a validation log, say): `predict`, with its known propensities."""
    logs = jax.tree.map(jnp.asarray, logs)
    new = predict(model, logs.features, logs.available)
    return new._replace(propensity=known_propensity(new.propensity, logs, model.outcomes.spec))
