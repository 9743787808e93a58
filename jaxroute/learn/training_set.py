"""A log, and a shadow sample beside it, as routers learn from them: projected features, normalised outcomes, folds."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxroute import counterfactual, estimators, nuisance, projection
from jaxroute.learn import estimates, folds
from jaxroute.learn.inputs import MethodInput
from jaxroute.nuisance.folding import foldable
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Examples, Hyperparams, Key, Logs, Nuisances, Outcomes


class TrainingSet(NamedTuple):
    """R = N + S rows, those of the log and then of the shadow sample; costs are divided by ``cost_scale``.

    learn, validate: the same rows with the outcomes that are learnt from, at the learning clip, and doubly robust
    ones at the evaluation clip; what every model answered in a shadow sample is both. axes: of the features [R, d].
    """

    learn: Examples
    validate: Examples
    folds: folds.Folds
    axes: projection.Projection
    cost_scale: float


def prepare(
    key: Key,
    logs: Logs,
    nuisances: Nuisances,
    *,
    cost_scale: float,
    shadow: Examples | None = None,
    estimator: str | estimates.Estimator = "dr",
    hyperparams: Hyperparams,
    num_folds: int = 5,
    dimensions: int = 128,
    clip: float | None = None,
) -> TrainingSet:
    """The training set of a log.

    Args:
        key: of the folds.
        logs: N rows; rows of one group share a fold, where groups can make folds.
        nuisances: cross-fitted for them.
        cost_scale: cost units per normalised unit.
        shadow: S prompts that every available model answered; None: the log alone.
        estimator: of the outcomes learnt from, see `estimates.outcomes`.
        hyperparams: scalars, of which the estimator's keywords are taken.
        num_folds: F. dimensions: of the projected features, at most.
        clip: of the propensities where routers are validated; None: ``estimators.evaluation_clip(K)``.

    Returns:
        TrainingSet; what is not available has zeros.

    Raises:
        InputError: too few rows for the folds, or what the estimator refuses.
    """
    rows, num_models = logs.available.shape
    clip = estimators.evaluation_clip(num_models) if clip is None else clip
    validate = counterfactual.examples(logs, nuisances, shadow, clip=clip)
    count = len(validate.available)
    group = nuisance.groups(foldable(logs.group, logs.action, num_folds), rows, count)
    axes = projection.fit(validate.features, jnp.ones(count), dimensions)
    features = projection.project(axes, validate.features)
    of_log = estimates.outcomes(estimator, logs, nuisances, hyperparams)
    with nan_is_unknown():  # the answers that the shadow lacks
        learnt = jax.tree.map(lambda new, y: jnp.concatenate([new, y[rows:]]), of_log, validate.outcomes)

    def examples(outcomes: Outcomes) -> Examples:
        quality, cost = (jnp.where(validate.available, y, 0.0) for y in outcomes)
        return Examples(features, Outcomes(quality, cost / cost_scale), validate.available)

    drawn = folds.assign(key, count, num_folds, group, nuisance.times(logs, count))
    return TrainingSet(examples(learnt), examples(validate.outcomes), drawn, axes, cost_scale)


def of_method(key: Key, given: MethodInput) -> TrainingSet:
    """``prepare`` with what a method was given."""
    return prepare(
        key,
        given.logs,
        given.nuisances,
        cost_scale=given.cost_scale,
        shadow=given.shadow,
        estimator=given.estimator or "dr",
        hyperparams=given.hyperparams,
        dimensions=given.spec.dimensions,
    )
