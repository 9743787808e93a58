"""Cross-fitting of the learners that run outside JAX: the same folds, projections and targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxroute import projection
from jaxroute.nuisance import crossfit, targets, trees
from jaxroute.nuisance.learners import HOST_LEARNERS, on_host
from jaxroute.nuisance.own import HostLearner
from jaxroute.types import NuisanceSpec, Outcomes


class HostFold(NamedTuple):
    """One host learner on one fold: its fits of quality and of relative cost, and the cost correction [K]."""

    quality: Any
    cost: Any
    correction: np.ndarray


def _projected(folds: Any, features: Array | np.ndarray) -> np.ndarray:
    return np.asarray(projection.project(folds.projection, jnp.asarray(features)))


def _restored(learner: HostLearner, fitted: HostFold, level: targets.Levels, x: np.ndarray) -> Outcomes:
    num_models = len(level.cost)
    raw = Outcomes(*(jnp.asarray(learner.predict(y, x, num_models)) for y in fitted[:2]))
    return targets.restore(raw, level, jnp.asarray(fitted.correction)[None])


def fit_outcomes(
    folds: crossfit.OutcomeFold,
    features: np.ndarray,
    outcomes: Outcomes,
    observed: np.ndarray,
    fold: np.ndarray,
    spec: NuisanceSpec,
    times: Array | None = None,
    paid: np.ndarray | None = None,
) -> tuple[dict[str, list[HostFold]], Outcomes | None]:
    """Fit every host learner on every fold's complement; (fits per learner, candidates [C, N, K] or None).

    ``paid``: the cells to whose costs the predicted ones average; None: those observed.
    """
    learners = on_host(spec)
    if not learners:
        return {}, None
    outcomes = Outcomes(*(jnp.where(observed, y, 0.0) for y in outcomes))
    fits: dict[str, list[HostFold]] = {name: [] for name in learners}
    predicted = {name: [np.zeros(observed.shape, np.float32) for _ in range(2)] for name in learners}
    x = _projected(folds, features)
    for f in range(spec.folds):
        level = jax.tree.map(lambda x: x[f], folds.level)  # noqa: B023
        target = targets.relative(outcomes, level)
        counts = (fold != f)[:, None] if times is None else ((fold != f) * np.asarray(times))[:, None]
        weight, costs = (np.asarray(cells) * counts for cells in (observed, observed if paid is None else paid))
        for name, learner in learners.items():
            quality, cost = (learner.fit(f, x, np.asarray(y), weight) for y in target)
            shape = jnp.asarray(learner.predict(cost, x, observed.shape[1]))
            correction = np.asarray(targets.cost_correction(shape, jnp.asarray(costs, shape.dtype)))
            fits[name].append(HostFold(quality, cost, correction))
            own = fold == f
            for store, y in zip(predicted[name], _restored(learner, fits[name][-1], level, x[own]), strict=True):
                store[own] = np.asarray(y)
    return fits, Outcomes(*(jnp.stack([jnp.asarray(predicted[name][i]) for name in learners]) for i in range(2)))


def predict_outcomes(
    fits: dict[str, list[HostFold]], folds: crossfit.OutcomeFold, features: Array, spec: NuisanceSpec
) -> Outcomes | None:
    """New rows: every host learner's mean over folds, [C, N, K]; None without host learners."""
    if not fits:
        return None
    means, learners, x = [], on_host(spec), _projected(folds, features)
    for name, fitted in fits.items():
        each = []
        for f, one in enumerate(fitted):
            level = jax.tree.map(lambda x: x[f], folds.level)  # noqa: B023
            each.append(_restored(learners[name], one, level, x))
        means.append(jax.tree.map(lambda *y: jnp.mean(jnp.stack(y), 0), *each))
    return jax.tree.map(lambda *y: jnp.stack(y), *means)


def fit_propensities(
    folds: crossfit.PropensityFold,
    features: np.ndarray,
    action: np.ndarray,
    num_models: int,
    fold: np.ndarray,
    spec: NuisanceSpec,
    times: Array | None = None,
) -> tuple[dict[str, list[Any]], np.ndarray | None]:
    """Library classifiers of the logged model; (fits per learner, out-of-fold logits [C, N, K] or None)."""
    names = sorted(set(spec.propensity_models) & set(HOST_LEARNERS))
    if not names:
        return {}, None
    fits: dict[str, list[Any]] = {name: [] for name in names}
    logits = np.zeros((len(names), len(action), num_models), np.float32)
    x = _projected(folds, features)
    for f in range(spec.folds):
        kept = None if times is None else np.asarray(times)[fold != f]
        for i, name in enumerate(names):
            fits[name].append(trees.fit_propensity(name, f, x[fold != f], action[fold != f], kept))
            logits[i, fold == f] = trees.predict_propensity(fits[name][-1], x[fold == f], num_models)
    return fits, logits


def predict_logits(
    fits: dict[str, list[Any]], folds: crossfit.PropensityFold, features: Array, num_models: int
) -> Array | None:
    """New rows: every host classifier's mean log-probability over folds, [C, N, K]."""
    if not fits:
        return None
    x = _projected(folds, features)
    each = (np.mean([trees.predict_propensity(b, x, num_models) for b in fits[name]], 0) for name in sorted(fits))
    return jnp.stack([jnp.asarray(logits) for logits in each])
