"""The outcome learners that run compiled and vmapped over folds, behind one protocol.

A learner fits one fold's training rows and predicts, for one prompt, quality and RELATIVE cost of every
model by each of its candidates. To add one: a module with its maths, and a line in LEARNERS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.nuisance import gp, knn, mlp, ridge
from jaxroute.nuisance.targets import Levels
from jaxroute.projection import Projection
from jaxroute.types import Key, NuisanceSpec, Outcomes, Params


class Training(NamedTuple):
    """What a learner may see of one fold: projected rows, relative targets, weights (0: not seen)."""

    key: Key
    features: Float[Array, "N d"]
    targets: Outcomes
    weight: Float[Array, "N K"]
    level: Levels
    projection: Projection


class Learner(NamedTuple):
    """fit(training, spec) -> params; predict(params, x [d], level, projection, spec) -> Outcomes [C, K]."""

    fit: Callable[[Training, NuisanceSpec], Params]
    predict: Callable[[Params, Array, Levels, Projection, NuisanceSpec], Outcomes]
    candidates: Callable[[NuisanceSpec], int]
    keeps_level: bool = False  # averages of observed costs need no correction of their mean


def _predict_level(_: Any, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return Outcomes(level.quality[None], jnp.ones_like(level.cost)[None])


def _fit_ridge(t: Training, spec: NuisanceSpec) -> Params:
    return ridge.fit(t.features, t.targets, t.weight, t.level, spec.penalties)


def _fit_hierarchical(t: Training, spec: NuisanceSpec) -> Params:
    return ridge.fit_hierarchical(t.features, t.targets, t.weight, t.level, spec.pooled_penalties)


def _predict_linear(b: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return ridge.predict(b, x, level)


def _fit_knn(t: Training, spec: NuisanceSpec) -> Params:
    return knn.fit(t.features * t.projection.deviation[None], t.targets, t.weight)


def _predict_knn(rows: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return knn.predict(rows, x * axes.deviation, level, spec.neighbours)


def _fit_gp(t: Training, spec: NuisanceSpec) -> Params:
    x = t.features * t.projection.deviation[None]
    return gp.fit(t.key, x, t.targets, t.weight, t.level, spec.processes)


def _predict_gp(process: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return gp.predict(process, x * axes.deviation, level)


def _fit_mlp(t: Training, spec: NuisanceSpec) -> Params:
    return mlp.fit(t.key, t.features, t.targets, t.weight, t.level, spec)


def _predict_mlp(params: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return mlp.predict(params, x, level.cost.shape[0], spec)


LEARNERS: dict[str, Learner] = {
    "mean": Learner(lambda t, spec: (), _predict_level, lambda spec: 1, keeps_level=True),
    "ridge": Learner(_fit_ridge, _predict_linear, lambda spec: len(spec.penalties)),
    "hierarchical": Learner(_fit_hierarchical, _predict_linear, lambda spec: len(spec.pooled_penalties)),
    "knn": Learner(_fit_knn, _predict_knn, lambda spec: len(spec.neighbours), keeps_level=True),
    "gp": Learner(_fit_gp, _predict_gp, lambda spec: len(spec.processes)),
    "mlp": Learner(_fit_mlp, _predict_mlp, lambda spec: spec.snapshots),
}
HOST_LEARNERS = ("trees", "xgboost")  # libraries that run outside JAX: nuisance.trees


def candidate_names(spec: NuisanceSpec) -> list[str]:
    """The learner behind every candidate, in the order of the candidate axis: compiled ones first, by name."""
    unknown = [m for m in spec.outcome_models if m not in (*LEARNERS, *HOST_LEARNERS)]
    if unknown or not spec.outcome_models:
        known = ", ".join((*LEARNERS, *HOST_LEARNERS))
        raise ValueError(f"unknown outcome models {unknown or '()'}: choose from {known}")
    wanted = sorted(set(spec.outcome_models))
    names = [name for name in wanted if name in LEARNERS for _ in range(LEARNERS[name].candidates(spec))]
    return names + [name for name in wanted if name in HOST_LEARNERS]
