"""The door: a log in, nuisances out, and a model that predicts them for new prompts."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute.nuisance import combine, crossfit, propensity, targets
from jaxroute.numerics import masked_softmax
from jaxroute.types import Key, Logs, Nuisances, NuisanceSpec, Outcomes


class OutcomeModel(NamedTuple):
    """Cross-fitted outcome candidates and the weights that combine them."""

    folds: crossfit.OutcomeFold
    weights: Outcomes  # [C] for quality, [C] for cost
    out_of_fold: Outcomes  # candidates [C, N, K] on the fitting rows
    spec: NuisanceSpec


class NuisanceModel(NamedTuple):
    """What `predict` needs: outcome and propensity fits of every fold."""

    outcomes: OutcomeModel
    propensity_folds: crossfit.PropensityFold
    propensity_candidate: Int[Array, ""]
    temperature: Float[Array, ""]


def fit_outcomes(
    key: Key,
    features: Float[Array, "N D"],
    outcomes: Outcomes,
    observed: Bool[Array, "N K"],
    spec: NuisanceSpec = NuisanceSpec(),
    *,
    group: Int[Array, " N"] | None = None,
) -> tuple[Outcomes, OutcomeModel]:
    """Cross-fitted outcome model from any pattern of observed cells.

    A log observes one model a row, a full table (the full-feedback ceiling) all of them, a log beside a
    shadow sample both: the pattern is the only difference.

    Args:
        features: [N, D]. outcomes: [N, K] in [0, 1] and cost units; NaN or anything where not observed.
        observed: [N, K].
        spec: learners and settings.
        group: [N] ids; rows of a group share a fold.

    Returns:
        (out-of-fold prediction [N, K], model for new prompts).
    """
    fold_key, fit_key = jax.random.split(key)
    rows = features.shape[0]
    fold = crossfit.assign_folds(fold_key, rows, spec.folds, None if group is None else np.asarray(group))
    observed = jnp.asarray(observed) & jnp.isfinite(outcomes.quality) & jnp.isfinite(outcomes.cost)
    folds, candidates = crossfit.fit_outcomes(fit_key, features, outcomes, observed, fold, spec)
    model = OutcomeModel(folds, _weigh(candidates, outcomes, observed, spec), candidates, spec)
    return combine.mix(model.weights, candidates), model


@partial(jax.jit, static_argnames="spec")
def _weigh(candidates: Outcomes, outcomes: Outcomes, observed: Array, spec: NuisanceSpec) -> Outcomes:
    """Weights [C] from squared error of quality and of relative, capped cost."""
    outcomes = jax.tree.map(lambda y: jnp.where(observed, y, 0.0), outcomes)
    weight = observed.astype(outcomes.quality.dtype)
    level = targets.levels(outcomes, weight)
    target = targets.relative(outcomes, level)
    cost = targets.relative(candidates, level).cost
    rule = combine.stack if spec.combine == "stack" else combine.select
    return Outcomes(rule(candidates.quality, target.quality, weight), rule(cost, target.cost, weight))


def reweigh(model: OutcomeModel, outcomes: Outcomes, observed: Array, spec: NuisanceSpec) -> OutcomeModel:
    """The same fits under another rule or with fewer learners: only the combination is computed anew."""
    sizes = {"ridge": len(model.spec.penalties), "mlp": model.spec.snapshots}
    kept = np.concatenate([np.full(sizes[m], m in spec.outcome_models) for m in model.spec.outcome_models])
    index = np.flatnonzero(kept)
    observed = jnp.asarray(observed) & jnp.isfinite(outcomes.quality) & jnp.isfinite(outcomes.cost)
    part = _weigh(jax.tree.map(lambda c: c[index], model.out_of_fold), outcomes, observed, spec)
    weights = jax.tree.map(lambda w: jnp.zeros(len(kept), w.dtype).at[index].set(w), part)
    return model._replace(weights=weights)


def predict_outcomes(model: OutcomeModel, features: Float[Array, "N D"]) -> Outcomes:
    """Predicted quality in [0, 1] and cost in cost units [N, K] of new prompts, averaged over folds."""
    return _predict_outcomes(model.folds, model.weights, features, model.spec)


@partial(jax.jit, static_argnames="spec")
def _predict_outcomes(
    folds: crossfit.OutcomeFold, weights: Outcomes, features: Array, spec: NuisanceSpec
) -> Outcomes:
    candidates = crossfit.over_folds(partial(crossfit.predict_outcomes, spec=spec), folds, features)
    return combine.mix(weights, candidates)


def fit(
    key: Key,
    logs: Logs,
    spec: NuisanceSpec = NuisanceSpec(),
) -> tuple[Nuisances, NuisanceModel]:
    """Cross-fitted nuisances of a log.

    Row i's outcomes and propensities come from fits that never saw row i (nor its group). The entry of
    the chosen model is the log's own propensity where it is known, unless spec.propensity is "estimated".

    Args:
        key: JAX key. logs: N rows; quality NaN rows count for propensities only.
        spec: learners and settings.

    Returns:
        (Nuisances [N, K] for the log's rows, NuisanceModel for `predict`).

    Raises:
        ValueError: an unknown learner, or fewer rows than folds.

    Reference: Chernozhukov et al., "Double/debiased machine learning for treatment and structural
    parameters", https://arxiv.org/abs/1608.00060 (2018).
    """
    num_rows, num_models = logs.available.shape
    if num_rows < 2 * spec.folds:
        raise ValueError(f"{num_rows} log rows are too few for {spec.folds} folds: log more, or lower folds")
    outcome_key, propensity_key = jax.random.split(key)
    logs = jax.tree.map(jnp.asarray, logs)
    chosen = jax.nn.one_hot(logs.action, num_models, dtype=bool)
    table = Outcomes(*(jnp.where(chosen, y[:, None], jnp.nan) for y in (logs.quality, logs.cost)))
    outcomes, model = fit_outcomes(outcome_key, logs.features, table, chosen, spec, group=logs.group)

    fold_key, fit_key = jax.random.split(propensity_key)
    group = None if logs.group is None else np.asarray(logs.group)
    fold = crossfit.assign_folds(fold_key, num_rows, spec.folds, group)
    folds, logits = crossfit.fit_propensities(fit_key, logs.features, logs.action, logs.available, fold, spec)
    losses = jax.vmap(lambda z: jnp.mean(propensity.log_loss(z, logs.action, logs.available)))(logits)
    best = jnp.argmin(losses)
    temperature = propensity.fit_temperature(logits[best], logs.action, logs.available)
    fitted = masked_softmax(logits[best] / temperature, logs.available)
    whole = NuisanceModel(model, folds, best, temperature)
    return Nuisances(known_propensity(fitted, logs, spec), outcomes), whole


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
    spec = model.outcomes.spec
    logits = _predict_logits(model.propensity_folds, features, outcomes.quality.shape[1], spec)
    return Nuisances(
        masked_softmax(logits[model.propensity_candidate] / model.temperature, available), outcomes
    )


@partial(jax.jit, static_argnames=("num_models", "spec"))
def _predict_logits(
    folds: crossfit.PropensityFold, features: Array, num_models: int, spec: NuisanceSpec
) -> Array:
    predict_one = partial(crossfit.predict_logits, num_models=num_models, spec=spec)
    return crossfit.over_folds(predict_one, folds, features)


def predict_logs(model: NuisanceModel, logs: Logs) -> Nuisances:
    """Nuisances for another log's rows (a validation log, say): `predict`, with its known propensities."""
    logs = jax.tree.map(jnp.asarray, logs)
    new = predict(model, logs.features, logs.available)
    return new._replace(propensity=known_propensity(new.propensity, logs, model.outcomes.spec))
