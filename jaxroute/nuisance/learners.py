"""The outcome learners: those that run compiled and vmapped over folds, behind one protocol, and those on the host.

A learner fits one fold's training rows and predicts, for one prompt, quality and RELATIVE cost of every
model by each of its candidates. To add one: a module with its maths, and a line in LEARNERS.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.nuisance import complete, gp, knn, own, ridge, trees
from jaxroute.nuisance.targets import Levels
from jaxroute.projection import Projection
from jaxroute.types import InputError, Key, NuisanceSpec, Outcomes, Params, Regressor


class Training(NamedTuple):
    """What a learner may see: rows in one projection, and each fold's relative targets and weights (0: not seen).

    plan: what ``Learner.plan`` made.
    """

    key: Key  # [F]
    features: Float[Array, "N d"]
    targets: Outcomes  # [F, N, K]
    weight: Float[Array, "F N K"]
    level: Levels  # [F, K]
    projection: Projection
    plan: Any = None


class Learner(NamedTuple):
    """fit(training, spec) -> params of all folds; predict(params of one fold, x [d], ...) -> Outcomes [C, K].

    settings: the fields of the spec that it reads. axes: of ``params``, as ``vmap`` takes it: which leaves have a
    leading axis of folds. plan(observed [N, K], own [F, R] as of `folding.rows_of_folds`, features [N, d]): host
    side, what decides the shapes of the compiled fit.
    """

    fit: Callable[[Training, NuisanceSpec], Params]
    predict: Callable[[Params, Array, Levels, Projection, NuisanceSpec], Outcomes]
    candidates: Callable[[NuisanceSpec], int]
    settings: tuple[str, ...] = ()
    keeps_level: bool = False  # averages of observed costs need no correction of their mean
    axes: Any = 0
    plan: Callable[[np.ndarray, np.ndarray, Array], Any] = lambda observed, own, features: None


def _predict_level(_: Any, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return Outcomes(level.quality[None], jnp.ones_like(level.cost)[None])


def _fit_ridge(t: Training, spec: NuisanceSpec) -> Params:
    return jax.vmap(partial(ridge.fit, t.features, penalties=spec.penalties))(t.targets, t.weight, t.level)


def _fit_hierarchical(t: Training, spec: NuisanceSpec) -> Params:
    fit = partial(ridge.fit_hierarchical, t.features, penalties=spec.pooled_penalties)
    return jax.vmap(fit)(t.targets, t.weight, t.level)


def _predict_linear(b: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return ridge.predict(b, x, level)


def _fit_knn(t: Training, spec: NuisanceSpec) -> Params:
    x = t.features * t.projection.deviation[None]
    return jax.vmap(partial(knn.fit, x))(t.targets, t.weight)


def _predict_knn(rows: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return knn.predict(rows, x * axes.deviation, level, spec.neighbours)


def _fit_gp(t: Training, spec: NuisanceSpec) -> Params:
    x = t.features * t.projection.deviation[None]
    return complete.fit(x, t.targets, t.weight, t.level, spec.processes, t.plan)


def _predict_gp(process: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    return gp.predict(process, x * axes.deviation, level)


def _fit_mlp(t: Training, spec: NuisanceSpec) -> Params:
    from jaxroute.nuisance import mlp  # Flax and Optax take half a second, and most fits need neither

    return jax.vmap(partial(mlp.fit, features=t.features, spec=spec))(
        t.key, targets=t.targets, weight=t.weight, level=t.level
    )


def _predict_mlp(params: Params, x: Array, level: Levels, axes: Projection, spec: NuisanceSpec) -> Outcomes:
    from jaxroute.nuisance import mlp

    return mlp.predict(params, x, level.cost.shape[0], spec)


NETWORK = ("hidden", "epochs", "snapshots", "batch_size", "learning_rate", "weight_decay", "dropout")
LEARNERS: dict[str, Learner] = {
    "mean": Learner(lambda t, spec: (), _predict_level, lambda spec: 1, keeps_level=True),
    "ridge": Learner(_fit_ridge, _predict_linear, lambda spec: len(spec.penalties), ("penalties",)),
    "hierarchical": Learner(
        _fit_hierarchical, _predict_linear, lambda spec: len(spec.pooled_penalties), ("pooled_penalties",)
    ),
    "knn": Learner(_fit_knn, _predict_knn, lambda spec: len(spec.neighbours), ("neighbours",), keeps_level=True),
    "gp": Learner(
        _fit_gp,
        _predict_gp,
        lambda spec: len(spec.processes),
        ("processes",),
        axes=gp.Process(None, None, 0),  # type: ignore[arg-type]
        plan=complete.plan,
    ),
    "mlp": Learner(_fit_mlp, _predict_mlp, lambda spec: spec.snapshots, NETWORK),
}
HOST_LEARNERS: dict[str, own.HostLearner] = {  # libraries that run outside JAX
    name: own.HostLearner(partial(trees.fit_outcome, name), trees.predict_outcome) for name in ("trees", "xgboost")
}


def on_host(spec: NuisanceSpec) -> dict[str, own.HostLearner]:
    """The spec's learners that run outside JAX, by label: named ones first, then people's own in the order given."""
    named = sorted({m for m in spec.outcome_models if isinstance(m, str) and m in HOST_LEARNERS})
    return {name: HOST_LEARNERS[name] for name in named} | {
        label: own.learner(label, regressor) for label, regressor in _own(spec).items()
    }


def candidate_names(spec: NuisanceSpec) -> list[str]:
    """The label of the learner behind every candidate, in the order of the candidate axis: compiled ones first.

    Raises:
        InputError: a name that is none, an object without fit and predict, or no learner at all.
    """
    wanted = {m for m in spec.outcome_models if isinstance(m, str)}
    unknown = sorted(wanted - {*LEARNERS, *HOST_LEARNERS})
    if unknown or not spec.outcome_models:
        known = ", ".join((*LEARNERS, *HOST_LEARNERS))
        raise InputError(
            f"unknown outcome model {unknown[0]!r}: choose from {known}, or pass an object with fit and predict"
            if unknown
            else f"no outcome model is named: choose from {known}"
        )
    compiled = [name for name in sorted(wanted & set(LEARNERS)) for _ in range(LEARNERS[name].candidates(spec))]
    return compiled + list(on_host(spec))


def learners_of(spec: NuisanceSpec) -> list[str | Regressor]:
    """The learner itself behind every candidate, in the order of ``candidate_names``."""
    regressors = _own(spec)
    return [regressors.get(name, name) for name in candidate_names(spec)]


def _own(spec: NuisanceSpec) -> dict[str, Regressor]:
    """People's own learners by label: their type's name, numbered from the second of a type on."""
    found: dict[str, Regressor] = {}
    for regressor in spec.outcome_models:
        if not isinstance(regressor, str):
            kind = type(regressor).__name__
            number = 1 + sum(type(other).__name__ == kind for other in found.values())
            found[kind if number == 1 else f"{kind}_{number}"] = own.checked(regressor)
    return found
