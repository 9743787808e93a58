"""Cross-fitting: every row is predicted by a fit that never saw its answers. One compile for all folds.

The geometry (centring, principal components, typical distances) is that of all rows, because no answer enters it; given
the features, a fold's fit is independent of what its own rows were answered.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute import projection
from jaxroute.nuisance import folding, propensity, targets
from jaxroute.nuisance.learners import LEARNERS, Training
from jaxroute.numerics import map_blocks
from jaxroute.types import Key, NuisanceSpec, Outcomes, Params

ROWS_PER_BLOCK = 512


class OutcomeFold(NamedTuple):
    """Outcome candidates fitted on every fold's training rows: leading axes [F] where `fold_axes` says.

    Under ``vmap`` with those axes, the candidates of one fold.
    """

    projection: projection.Projection
    level: targets.Levels
    params: dict[str, Params]
    correction: Float[Array, "C K"]


class PropensityFold(NamedTuple):
    """Propensity candidates fitted on every fold's training rows; ``params`` have a leading axis [F]."""

    projection: projection.Projection
    params: dict[str, Params]


def fold_axes(fits: Any) -> Any:
    """The fits' axes of folds, as ``vmap`` takes them."""
    if isinstance(fits, PropensityFold):
        return PropensityFold(None, 0)  # type: ignore[arg-type]
    return OutcomeFold(None, 0, {name: LEARNERS[name].axes for name in fits.params}, 0)  # type: ignore[arg-type]


def _outcome_candidates(fold: OutcomeFold, x: Array, spec: NuisanceSpec) -> Outcomes:
    """Every compiled candidate's quality and RELATIVE cost [C, K] for one projected prompt."""
    predicted = [
        LEARNERS[name].predict(params, x, fold.level, fold.projection, spec)
        for name, params in sorted(fold.params.items())  # the order in which JAX keeps dicts
    ]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *predicted)


def fit_outcomes(
    key: Key,
    features: Float[Array, "N D"],
    outcomes: Outcomes,
    observed: Bool[Array, "N K"] | np.ndarray,
    fold: Int[Array, " N"] | np.ndarray,
    spec: NuisanceSpec,
    times: Float[Array, " N"] | None = None,
    paid: Bool[Array, "N K"] | np.ndarray | None = None,
) -> tuple[OutcomeFold, Outcomes]:
    """Fit every outcome candidate on every fold's complement.

    One compiled program per learner, one after another: a learner compiles once whichever others are fitted and however
    they are combined, and no two of them share the CPU's thread pool (``ridge.inverse`` says why).

    Args:
        features: [N, D]. outcomes: [N, K], anything where not observed.
        observed: [N, K]; one model a row for a log, all of them for a full table or a shadow sample.
        fold: [N] in 0..F-1.
        times: [N] how often every row counts; None: once.
        paid: [N, K] whose cost is known: predicted costs average to theirs. None: those observed.

    Returns:
        (fits of all folds, out-of-fold predictions of every candidate [C, N, K]).
    """
    names = [name for name in sorted(LEARNERS) if name in spec.outcome_models]
    own = folding.rows_of_folds(fold, spec.folds)
    given = features, outcomes, observed, jnp.asarray(fold), times, paid
    shared = jax.block_until_ready(_prepare(*given, spec.folds, spec.dimensions))
    params, corrections, predicted = {}, [], []
    for name in names:
        plan = LEARNERS[name].plan(np.asarray(observed), own, features)
        own_key = jax.random.fold_in(key, zlib.crc32(name.encode()) >> 1)  # its draws depend on no other learner
        fitted = jax.block_until_ready(_fit_learner(own_key, shared, *given, own, plan, name, _read_by(name, spec)))
        params[name], correction, candidates = fitted
        corrections.append(correction)
        predicted.append(candidates)
    axes, level = shared
    if len(names) == 1:
        return OutcomeFold(axes, level, params, corrections[0]), predicted[0]
    fits = OutcomeFold(axes, level, params, jnp.concatenate(corrections, 1))
    return fits, jax.tree.map(lambda *parts: jnp.concatenate(parts), *predicted)


def _read_by(name: str, spec: NuisanceSpec) -> NuisanceSpec:
    """The settings that a learner's compiled program depends on; all others at their defaults."""
    fields = ("folds", "dimensions", *LEARNERS[name].settings)
    return NuisanceSpec((name,), **{field: getattr(spec, field) for field in fields})


def _keep(fold: Int[Array, " N"], folds: int) -> Bool[Array, "F N"]:
    return fold[None, :] != jnp.arange(folds)[:, None]


def _cells(observed: Array, fold: Array, folds: int, times: Array | None, dtype: Any) -> Float[Array, "F N K"]:
    """Weight of every cell in the fit of every fold: of an observed one how often its row counts, else 0."""
    weight = (observed[None] & _keep(fold, folds)[..., None]).astype(dtype)
    return weight if times is None else weight * times[None, :, None]


@partial(jax.jit, static_argnames=("folds", "dimensions"))
def _prepare(
    features: Array,
    outcomes: Outcomes,
    observed: Array,
    fold: Array,
    times: Array | None,
    paid: Array | None,
    folds: int,
    dimensions: int,
) -> tuple[projection.Projection, targets.Levels]:
    """The projection of all rows, and each fold's levels from its training rows."""
    axes = projection.fit(features, jnp.ones(len(features), features.dtype), dimensions)
    weight = _cells(observed, fold, folds, times, features.dtype)
    if paid is None:
        outcomes = jax.tree.map(lambda y: jnp.where(observed, y, 0.0), outcomes)
        return axes, jax.vmap(targets.levels, (None, 0))(outcomes, weight)
    outcomes = Outcomes(jnp.where(observed, outcomes.quality, 0.0), jnp.where(paid, outcomes.cost, 0.0))
    costs = _cells(paid, fold, folds, times, features.dtype)
    return axes, jax.vmap(targets.levels, (None, 0, 0))(outcomes, weight, costs)


@partial(jax.jit, static_argnames=("name", "spec"))
def _fit_learner(
    key: Key,
    shared: tuple[projection.Projection, targets.Levels],
    features: Array,
    outcomes: Outcomes,
    observed: Array,
    fold: Array,
    times: Array | None,
    paid: Array | None,
    own: Array,
    plan: Any,
    name: str,
    spec: NuisanceSpec,
) -> tuple[Params, Float[Array, "F C K"], Outcomes]:
    """One learner on every fold: parameters, cost corrections, out-of-fold candidates [C, N, K]."""
    learner, (axes, level) = LEARNERS[name], shared
    outcomes = jax.tree.map(lambda y: jnp.where(observed, y, 0.0), outcomes)
    weight = _cells(observed, fold, spec.folds, times, features.dtype)
    x = projection.project(axes, features)
    target = jax.vmap(targets.relative, (None, 0))(outcomes, level)
    params = learner.fit(Training(jax.random.split(key, spec.folds), x, target, weight, level, axes, plan), spec)
    ones = jnp.ones((spec.folds, learner.candidates(spec), weight.shape[-1]), x.dtype)
    fits = OutcomeFold(axes, level, {name: params}, ones)
    if learner.keeps_level:
        return params, ones, out_of_fold(partial(predict_outcomes, spec=spec), fits, features, own)

    def every_fold(row: tuple[Array, Array]) -> tuple[Outcomes, Array]:
        """A row's predictions by its own fold's fit [C, K], and the relative costs of all fits [F, C, K]."""
        at, own = row
        candidates = jax.vmap(partial(_outcome_candidates, x=at, spec=spec), (fold_axes(fits),))(fits)
        return jax.tree.map(lambda y: y[own], candidates), candidates.cost

    predicted, cost = map_blocks(every_fold, (x, fold), ROWS_PER_BLOCK)
    costs = weight if paid is None else _cells(paid, fold, spec.folds, times, features.dtype)
    correction = jax.vmap(targets.cost_correction, (1, 0))(cost, costs)
    level = jax.tree.map(lambda y: y[fold][:, None], level)
    restored = targets.restore(predicted, level, correction[fold])
    return params, correction, jax.tree.map(lambda y: jnp.moveaxis(y, 1, 0), restored)


def predict_outcomes(fold: OutcomeFold, features: Float[Array, " D"], spec: NuisanceSpec) -> Outcomes:
    """One fold's candidates [C, K] for one prompt, quality in [0, 1] and cost in cost units."""
    x = projection.project(fold.projection, features)
    predicted = _outcome_candidates(fold, x, spec)
    return targets.restore(predicted, fold.level, fold.correction)


def fit_propensities(
    key: Key,
    axes: projection.Projection,
    features: Float[Array, "N D"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    fold: Int[Array, " N"] | np.ndarray,
    spec: NuisanceSpec,
    times: Float[Array, " N"] | None = None,
) -> tuple[PropensityFold, Float[Array, "C N K"]]:
    """Fit every propensity candidate on every fold's complement; (fits of all folds, out-of-fold logits).

    ``axes`` is the outcome models' projection, ``times`` [N] how often every row counts (None: once).
    Every program depends only on the settings that it reads.
    """
    fields = ["propensity_models", "folds"]
    fields += ["penalties"] if "logistic" in spec.propensity_models else []
    fields += LEARNERS["mlp"].settings if "mlp" in spec.propensity_models else []
    read = NuisanceSpec((), **{field: getattr(spec, field) for field in fields})
    own = folding.rows_of_folds(fold, spec.folds)
    return _fit_propensities(key, axes, features, action, available, jnp.asarray(fold), times, own, read)


@partial(jax.jit, static_argnames="spec")
def _fit_propensities(
    key: Key,
    axes: projection.Projection,
    features: Array,
    action: Array,
    available: Array,
    fold: Array,
    times: Array | None,
    own: Array,
    spec: NuisanceSpec,
) -> tuple[PropensityFold, Float[Array, "C N K"]]:
    x, keep = projection.project(axes, features), _keep(fold, spec.folds).astype(features.dtype)
    keep = keep if times is None else keep * times[None]
    params: dict[str, Any] = {}
    if "logistic" in spec.propensity_models:
        params["logistic"] = propensity.fit_logistic(x, action, available, keep, spec.penalties)
    if "mlp" in spec.propensity_models:
        fit = partial(propensity.fit_mlp, features=x, action=action, available=available, spec=spec)
        params["mlp"] = jax.vmap(fit)(jax.random.split(key, spec.folds), weight=keep)
    fits = PropensityFold(axes, params)
    predict = partial(predict_logits, num_models=available.shape[1], spec=spec)
    return fits, out_of_fold(predict, fits, features, own)


def predict_logits(
    fold: PropensityFold, features: Float[Array, " D"], num_models: int, spec: NuisanceSpec
) -> Float[Array, "C K"]:
    """One fold's candidate logits for one prompt."""
    x = projection.project(fold.projection, features)
    logits = []
    if "logistic" in fold.params:
        logits.append(propensity.predict_logistic(fold.params["logistic"], x))
    if "mlp" in fold.params:
        logits.append(propensity.predict_mlp(fold.params["mlp"], x, num_models, spec))
    return jnp.concatenate(logits)


def out_of_fold(predict: Callable[..., Any], fits: Any, features: Array, own: Int[Array, "F R"]) -> Any:
    """Each row's candidates [C, N, K] from the fit of its own fold; ``own`` as of `folding.rows_of_folds`."""

    def one_fold(fit: Any, rows: Array) -> Any:
        return map_blocks(partial(predict, fit), features.at[rows].get(mode="clip"), ROWS_PER_BLOCK)

    def in_place(y: Array) -> Array:
        whole = jnp.zeros((features.shape[0], *y.shape[2:]), y.dtype)
        return jnp.moveaxis(whole.at[own].set(y, mode="drop"), 0, 1)

    return jax.tree.map(in_place, jax.vmap(one_fold, (fold_axes(fits), 0))(fits, own))


def over_folds(predict: Callable[..., Any], fits: Any, features: Float[Array, "N D"]) -> Any:
    """New rows: the mean over folds of every candidate, [C, N, K]."""

    def one_row(x: Array) -> Any:
        every = jax.vmap(lambda fit: predict(fit, x), (fold_axes(fits),))(fits)
        return jax.tree.map(lambda y: jnp.mean(y, 0), every)

    return jax.vmap(one_row, out_axes=1)(features)
