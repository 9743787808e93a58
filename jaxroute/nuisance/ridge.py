"""Linear outcome models in closed form: per-model ridge, and ridge pooled over models (hierarchical)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.nuisance.targets import HUBER_DELTA, PRIOR_ROWS, Levels
from jaxroute.types import Outcomes

HUBER_ITERATIONS = 4
Solve = Callable[[Array], Array]  # targets [N, K] -> coefficients [K, d + 1]


def with_intercept(features: Float[Array, "*batch d"]) -> Float[Array, "*batch d+1"]:
    return jnp.concatenate([features, jnp.ones_like(features[..., :1])], -1)


def moments(features: Float[Array, "N d"], weight: Float[Array, "N K"]) -> Float[Array, "K d+1 d+1"]:
    """Each model's weighted second moments X' W_k X, intercept included."""
    x = with_intercept(features)
    return jax.lax.map(lambda w: (x * w[:, None]).T @ x, weight.T)


def fit(
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "N K"],
    level: Levels,
    penalties: tuple[float, ...],
) -> Outcomes:
    """Per-model ridge: coefficients [C, K, d + 1] of quality and relative cost, one candidate a penalty.

        b_k = argmin sum_n w_nk loss(y_nk - m_k - x_n b) + penalty |b|^2

    around the model's level m_k, which is what a model with few rows predicts; the intercept has a small penalty of its
    own (PRIOR_ROWS).

    Reference: Hoerl and Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems" (1970).
    """
    x, gram = with_intercept(features), moments(features, weight)

    def one(penalty: Array) -> Outcomes:
        inverted = inverse(gram + _diagonal(penalty, x)[None])

        def solve(y: Array) -> Array:
            return jnp.einsum("kde,ke->kd", inverted, jnp.einsum("nd,nk->kd", x, weight * y))

        return _both_targets(x, targets, level, solve)

    return jax.lax.map(one, jnp.asarray(penalties, x.dtype))


def fit_hierarchical(
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "N K"],
    level: Levels,
    penalties: tuple[tuple[float, float], ...],
) -> Outcomes:
    """Ridge pooled over models; penalties are (shared, deviation) pairs, one candidate each.

        y_nk = m_k + x_n g + x_n delta_k:   a shared prompt effect g and model-specific deviations delta_k
        min  sum_nk w_nk loss(residual) + shared |g|^2 + deviation sum_k |delta_k|^2

    With G_k = X' W_k X and r_k = X' W_k y_k, delta_k = (G_k + D)^-1 (r_k - G_k g) is eliminated and

        g = (S + sum_k G_k - G_k (G_k + D)^-1 G_k)^-1  sum_k r_k - G_k (G_k + D)^-1 r_k.

    Returns coefficients g + delta_k, [C, K, d + 1]. For a model with few rows they are close to the shared g.

    Reference: Evgeniou and Pontil, "Regularized multi-task learning" (2004); the settings are ours.
    """
    x, gram = with_intercept(features), moments(features, weight)

    def one(pair: Array) -> Outcomes:
        # No shared intercept: it would duplicate the models' levels.
        shared = _diagonal(pair[0], x).at[-1, -1].set(1e6)
        inner = inverse(gram + _diagonal(pair[1], x)[None])
        outer = inverse(shared + jnp.sum(gram - gram @ inner @ gram, 0))

        def solve(y: Array) -> Array:
            r = jnp.einsum("nd,nk->kd", x, weight * y)
            deviation = jnp.einsum("kde,ke->kd", inner, r)
            g = outer @ jnp.sum(r - jnp.einsum("kde,ke->kd", gram, deviation), 0)
            return g[None] + jnp.einsum("kde,ke->kd", inner, r - gram @ g)

        return _both_targets(x, targets, level, solve)

    return jax.lax.map(one, jnp.asarray(penalties, x.dtype))


def predict(coefficients: Outcomes, features: Float[Array, " d"], level: Levels) -> Outcomes:
    """Quality and relative cost [C, K] for one prompt."""
    x = with_intercept(features)
    quality = coefficients.quality @ x
    cost = coefficients.cost @ x
    return Outcomes(quality + jnp.broadcast_to(level.quality, quality.shape), 1.0 + cost)


def _both_targets(x: Array, targets: Outcomes, level: Levels, solve: Solve) -> Outcomes:
    """Quality by squared loss; cost by Huber loss through Huber's modified residuals.

    Winsorise the residuals around the current fit and solve again with the same factor.

    Reference: Huber and Dutter, "Numerical solutions of robust regression problems" (1974).
    """
    quality = targets.quality - jnp.broadcast_to(level.quality, targets.quality.shape)
    cost = targets.cost - 1.0

    def winsorise(_: int, b: Array) -> Array:
        fitted = jnp.einsum("nd,kd->nk", x, b)
        return solve(fitted + jnp.clip(cost - fitted, -HUBER_DELTA, HUBER_DELTA))

    return Outcomes(solve(quality), jax.lax.fori_loop(0, HUBER_ITERATIONS, winsorise, solve(cost)))


def _diagonal(penalty: Array, x: Array) -> Float[Array, "d+1 d+1"]:
    return jnp.diag(jnp.full(x.shape[1], penalty).at[-1].set(PRIOR_ROWS))


def inverse(matrix: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Inverse of penalised second moments, whose condition the penalty bounds.

    Solving separately for quality and for cost would put two independent batched triangular solves into one program.
    jaxlib 0.10.2 runs them in parallel on the CPU's thread pool, where each waits for the pool; on two cores this is a
    deadlock. One inverse avoids it, because everything after it is a matrix product.
    """
    factor = jnp.linalg.cholesky(matrix)
    identity = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    return jax.scipy.linalg.cho_solve((factor, True), identity)
