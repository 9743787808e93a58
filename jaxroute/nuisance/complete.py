"""The Gaussian process of `gp` where rows have all their cells or none: one small factor in place of a solver.

Models then share their rows, and the prior covariance is a Kronecker product whose part over models, shared 11' +
specific I, has two eigenvalues: that of the mean over models, and that of the deviations from it. Each takes one
Cholesky factor of a fold's training rows, or of the centres where `gp` has them, which serves quality, cost and the
winsorised costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, Int

from jaxroute.nuisance import gp
from jaxroute.nuisance.targets import HUBER_DELTA, Levels
from jaxroute.numerics import of_one_type
from jaxroute.types import Outcomes

STIFFEST = 0.1  # rounding of the largest eigenvalue, in units of the noise: beyond it a factor may not exist


class Plan(NamedTuple):
    """rows: [F, n] training rows of every fold, filled up with N. other: of `gp`; its centres and sample are used here
    as well, and all of it where a factor would be inexact.
    """

    rows: Int[np.ndarray, "F n"]
    other: gp.Plan


def plan(observed: np.ndarray, own: np.ndarray, features: Float[Array, "N d"] | None = None) -> Plan | gp.Plan:
    """What ``fit`` is fitted to; `gp`'s plan where a row has some of its cells, where no row has any, and for more than
    ``gp.MOST`` rows.

    Args:
        observed: [N, K] bool. own: [F, R] every fold's rows, filled up with N. features: [N, d], see ``gp.plan``.

    Example:
        >>> plan(np.array([[True, True], [False, False], [True, True]]), np.array([[0, 1], [2, 3]])).rows
        array([[2],
               [0]], dtype=int32)
    """
    count, whole = len(observed), observed.all(1)
    other = gp.plan(observed, features=features)
    one_kind = whole.any() and (observed.any(1) == whole).all()
    if not one_kind or observed.shape[1] == 1 or count > gp.MOST:
        return other
    rows = [np.setdiff1d(np.flatnonzero(whole), fold) for fold in own]
    step = max(1, count // (8 * len(own)))  # as in `folding.rows_of_folds`: about the same sizes compile once
    width = min(-(-max(map(len, rows)) // step) * step, count)
    filled = [np.pad(r, (0, width - len(r)), constant_values=count) for r in rows]
    return Plan(np.stack(filled).astype(np.int32), other)


def fit(
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "F N K"],
    level: Levels,
    processes: tuple[tuple[float, float, float], ...],
    plan: Plan | gp.Plan,
) -> gp.Process:
    """What `gp.fit` returns, of the same arguments, up to its solver's tolerance.

        dual = (c0 near + W^-1)^-1 mean + (c1 near + W^-1)^-1 (y - mean),   c0 = K shared + specific, c1 = specific

    with the mean of the residuals y [n, K] over models, and W the rows' weights.

    Example:
        >>> x = jnp.array([[0.0], [1.0]])
        >>> y = Outcomes(jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.ones((1, 2, 2)))
        >>> given = x, y, jnp.ones((1, 2, 2)), Levels(jnp.array([[0.5, 0.5]]), jnp.ones((1, 2))), ((1.0, 1.0, 1.0),)
        >>> whole = gp.plan(np.ones((2, 2), bool))
        >>> ours, theirs = fit(*given, Plan(np.array([[0, 1]]), whole)), gp.fit(*given, whole)
        >>> bool(jnp.allclose(ours.weights.quality, theirs.weights.quality, atol=1e-3))
        True

    Reference: Bonilla, Chai and Williams, "Multi-task Gaussian Process Prediction" (2007).
    """
    if isinstance(plan, gp.Plan):
        return gp.fit(features, targets, weight, level, processes, plan)
    features, targets, weight, level = of_one_type((features, targets, weight, level))
    models = weight.shape[-1]
    largest = max(models * shared + specific for _, shared, specific in processes) * plan.rows.shape[1]
    if largest * float(jnp.finfo(features.dtype).eps) > STIFFEST:
        return gp.fit(features, targets, weight, level, processes, plan.other)
    residual = jnp.stack([targets.quality - level.quality[:, None], targets.cost - 1.0], -2)  # [F, N, 2, K]
    distance = gp._median_distance(features[plan.other.sample])
    settings = jnp.asarray(processes, features.dtype) * jnp.array([[distance, 1.0, 1.0]])
    centres = features[plan.other.centres] if plan.other.centres.size else None
    folds = jnp.asarray(plan.rows), residual, weight

    def of_setting(setting: Array) -> Outcomes:
        fold = _by_row(features, setting) if centres is None else _through_centres(features, centres, setting)
        return jax.lax.map(fold, folds)

    found = jax.tree.map(lambda w: jnp.moveaxis(w, 0, 1), jax.lax.map(of_setting, settings))
    return gp.Process(features if centres is None else centres, settings[:, 0], found)


Fold = Callable[[tuple[Array, Array, Array]], Outcomes]
"""Of a fold's rows [n], residuals [N, 2, K] and weights [N, K]: weights of the kernel functions."""


def _by_row(features: Float[Array, "N d"], setting: Array) -> Fold:
    length, shared, specific = setting

    def of_fold(given: tuple[Array, Array, Array]) -> Outcomes:
        row, residual, weight = given
        rows, models = weight.shape
        x, aim = (y.at[row].get(mode="clip") for y in (features, residual))
        root = jnp.sqrt(weight.at[row, 0].get(mode="fill", fill_value=0.0))[:, None]
        near = root * gp.kernel(x, x, length) * root.T
        identity = jnp.eye(len(row), dtype=near.dtype)
        factors = [_factor(scale * near + identity) for scale in (models * shared + specific, specific)]

        def solve(y: Float[Array, "n T K"]) -> Float[Array, "n T K"]:
            mean = jnp.broadcast_to(jnp.mean(y, -1, keepdims=True), y.shape)
            parts = jax.lax.optimization_barrier(jnp.stack([mean, y - mean]).reshape(2, len(y), -1))
            of_mean, of_rest = (cho_solve((f, True), root * part) for f, part in zip(factors, parts, strict=True))
            return (of_mean + of_rest).reshape(y.shape)

        def fitted(y: Float[Array, "n 1 K"], dual: Float[Array, "n 1 K"]) -> Float[Array, "n 1 K"]:
            """The target less the noise that it leaves."""
            return y - jnp.where(root > 0, dual[:, 0] / root, 0.0)[:, None]

        def weights(dual: Float[Array, "n 1 K"]) -> Float[Array, "N K"]:
            v = jnp.zeros((rows, models), dual.dtype).at[row].set(root * dual[:, 0], mode="drop")
            return shared * jnp.sum(v, -1, keepdims=True) + specific * v

        return Outcomes(*map(weights, _solved(aim, solve, fitted)))

    return of_fold


def _through_centres(features: Float[Array, "N d"], centres: Float[Array, "m d"], setting: Array) -> Fold:
    """Ridge regression on x = kernel(rows, centres) L^-T, L L' the centres' own kernel, as in `gp`."""
    length, shared, specific = setting
    own = jnp.eye(len(centres), dtype=features.dtype)
    factor = jnp.linalg.cholesky(gp.kernel(centres, centres, length) + gp.JITTER * own)
    every = solve_triangular(factor, gp.kernel(centres, features, length), lower=True).T

    def of_fold(given: tuple[Array, Array, Array]) -> Outcomes:
        row, residual, weight = given
        x, aim = (y.at[row].get(mode="clip") for y in (every, residual))
        weighted = weight.at[row, 0].get(mode="fill", fill_value=0.0)[:, None] * x
        gram = weighted.T @ x
        scales = weight.shape[1] * shared + specific, specific
        factors = [_factor(scale * gram + own) for scale in scales]

        def solve(y: Float[Array, "n T K"]) -> Float[Array, "m T K"]:
            right = jnp.einsum("nm,ntk->mtk", weighted, y)
            mean = jnp.broadcast_to(jnp.mean(right, -1, keepdims=True), right.shape)
            parts = (part.reshape(len(centres), -1) for part in (mean, right - mean))
            found = [c * cho_solve((f, True), part) for c, f, part in zip(scales, factors, parts, strict=True)]
            return sum(found).reshape(right.shape)

        def fitted(_: Array, found: Float[Array, "m 1 K"]) -> Float[Array, "n 1 K"]:
            return jnp.einsum("nm,mtk->ntk", x, found)

        def weights(found: Float[Array, "m 1 K"]) -> Float[Array, "m K"]:
            return solve_triangular(factor.T, found[:, 0], lower=False)

        return Outcomes(*map(weights, _solved(aim, solve, fitted)))

    return of_fold


def _solved(
    aim: Float[Array, "n 2 K"], solve: Callable[[Array], Array], fitted: Callable[[Array, Array], Array]
) -> tuple[Array, Array]:
    """The solutions of quality and of cost, which is winsorised around its own."""

    def winsorised(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        y, found = carry
        around = fitted(y, found)
        y = around + jnp.clip(aim[:, 1:] - around, -HUBER_DELTA, HUBER_DELTA)
        return y, solve(y)

    quality, cost = jnp.split(solve(aim), 2, 1)
    return quality, jax.lax.fori_loop(0, gp.HUBER_ITERATIONS, winsorised, (aim[:, 1:], cost))[1]


def _factor(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The lower Cholesky factor of a matrix that is symmetric already: to make it so takes longer than to factor it."""
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
