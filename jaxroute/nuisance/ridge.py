"""Per-model ridge regression, closed form, every penalty at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.nuisance.targets import HUBER_DELTA, PRIOR_ROWS, Levels
from jaxroute.types import Outcomes

HUBER_ITERATIONS = 4


def with_intercept(features: Float[Array, "*batch d"]) -> Float[Array, "*batch d+1"]:
    return jnp.concatenate([features, jnp.ones_like(features[..., :1])], -1)


def fit(
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "N K"],
    level: Levels,
    penalties: tuple[float, ...],
) -> Outcomes:
    """Coefficients [C, K, d + 1] of quality and relative cost, one candidate per penalty.

        b_k = argmin sum_n w_nk loss(y_nk - m_k - x_n b) + penalty |b|^2

    around the model's level m_k, so that a model with few rows falls back to it; the intercept has its own
    small penalty (PRIOR_ROWS). Quality has squared loss. Cost has Huber loss, by Huber's modified
    residuals: winsorise the residuals around the current fit and solve again with the same factor.

    Reference: Hoerl and Kennard, "Ridge Regression" (1970); Huber and Dutter, "Numerical solutions of robust
    regression problems" (1974).
    """
    x = with_intercept(features)
    gram = jax.lax.map(lambda w: (x * w[:, None]).T @ x, weight.T)  # [K, d+1, d+1]

    def residual(target: Array, centre: Array) -> Array:
        return target - jnp.broadcast_to(centre, target.shape)

    quality = residual(targets.quality, level.quality)
    cost = residual(targets.cost, jnp.ones_like(level.cost))

    def one_penalty(penalty: Array) -> Outcomes:
        ridge = jnp.full(x.shape[1], penalty).at[-1].set(PRIOR_ROWS)
        factor = jnp.linalg.cholesky(gram + jnp.diag(ridge)[None])

        def solve(y: Array) -> Array:  # [N, K] -> [K, d+1]
            moment = jnp.einsum("nd,nk->kd", x, weight * y)
            return jax.vmap(lambda c, m: jax.scipy.linalg.cho_solve((c, True), m))(factor, moment)

        def winsorise(_: int, b: Array) -> Array:
            fitted = jnp.einsum("nd,kd->nk", x, b)
            return solve(fitted + jnp.clip(cost - fitted, -HUBER_DELTA, HUBER_DELTA))

        return Outcomes(solve(quality), jax.lax.fori_loop(0, HUBER_ITERATIONS, winsorise, solve(cost)))

    return jax.lax.map(one_penalty, jnp.asarray(penalties, x.dtype))


def predict(coefficients: Outcomes, features: Float[Array, " d"], level: Levels) -> Outcomes:
    """Quality and relative cost [C, K] for one prompt."""
    x = with_intercept(features)
    quality = coefficients.quality @ x
    cost = coefficients.cost @ x
    return Outcomes(quality + jnp.broadcast_to(level.quality, quality.shape), 1.0 + cost)
