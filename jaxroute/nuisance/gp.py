"""A coregionalised Gaussian process over prompts and models: a shared smooth effect, and one per model.

It is solved by conjugate gradients, which need only products with the kernel, so any pattern of observed cells is
exact: one model per row, or all of them. With more than ROWS rows the kernel is approximated through CENTRES of them
(subset of regressors), so that time and memory grow linearly; with more than MOST rows, a random part of them is used.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from jaxroute.nuisance.targets import HUBER_DELTA, Levels
from jaxroute.types import Key, Outcomes

ROWS, MOST = 3000, 50_000
CENTRES = 512
JITTER = 1e-3
TOLERANCE, ITERATIONS = 1e-2, 100
HUBER_ITERATIONS = 2
SAMPLE = 512  # rows whose distances set the length scale


class Process(NamedTuple):
    """Posterior means as sums over kernel functions at ``centres``: f_k(x) = sum_m kernel(x, z_m) weights_mk."""

    centres: Float[Array, "m d"]
    length: Float[Array, " C"]
    weights: Outcomes  # [C, m, K]


def fit(
    key: Key,
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "N K"],
    level: Levels,
    processes: tuple[tuple[float, float, float], ...],
) -> Process:
    """Posterior means of quality and relative cost, one candidate a (length, shared, specific).

        y_nk = m_k + f(x_n) + f_k(x_n) + noise of variance 1 / weight_nk
        f ~ GP(0, shared kernel),   f_k ~ GP(0, specific kernel),   kernel(x, z) = exp(-|x - z|^2 / 2 h^2)

    around the models' levels m_k, which are also predicted far from all rows; h is ``length`` times the median
    distance between rows. Cost is fitted with a Huber loss by winsorised residuals, as in `ridge`.

    Args:
        key: draws the centres if there are more than ROWS rows, and the rows if there are more than MOST.
        features: [N, d] not whitened, because noise directions would then determine the distances.
        targets: [N, K] quality and relative cost. weight: [N, K], 0 where not observed.
        level: the models' levels.
        processes: C settings; variances are in units of the noise's.

    Returns:
        Process of C candidates.

    Example:
        >>> x = jnp.array([[0.0], [1.0]])
        >>> y = Outcomes(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.ones((2, 2)))
        >>> level = Levels(jnp.array([0.5, 0.5]), jnp.ones(2))
        >>> model = fit(jax.random.key(0), x, y, jnp.ones((2, 2)), level, ((1.0, 1.0, 1.0),))
        >>> first, second = predict(model, jnp.array([0.0]), level).quality[0]
        >>> print(f"{first:.3f} {second:.3f}")  # with e = exp(-1/2): 0.5 +- 0.5 (1 - e) / (2 - e)
        0.641 0.359

    Reference: Alvarez, Rosasco and Lawrence, "Kernels for vector-valued functions: a review",
    https://arxiv.org/abs/1106.6251 (2012); Quinonero-Candela and Rasmussen, "A unifying view of sparse approximate
    Gaussian process regression" (2005).
    """
    rows, exact = features.shape[0], features.shape[0] <= ROWS
    seen = jnp.any(weight > 0, -1)
    drawn = jnp.where(seen, jax.random.uniform(key, (rows,)), -1.0)
    order = jax.lax.top_k(drawn, min(rows, max(SAMPLE, CENTRES)))[1]
    typical = _median_distance(features[order[:SAMPLE]], seen[order[:SAMPLE]])
    centres = features if exact else features[order[:CENTRES]]
    if rows > MOST:
        answers = jnp.sum(weight > 0, -1) + drawn  # rows of a shadow sample, with most answers, come first
        kept = jax.lax.top_k(answers, MOST)[1]
        features, targets, weight = jax.tree.map(lambda y: y[kept], (features, targets, weight))
    root = jnp.sqrt(weight)
    quality = targets.quality - jnp.broadcast_to(level.quality, weight.shape)
    cost = targets.cost - 1.0

    def one(setting: Array) -> tuple[Array, Outcomes]:
        length, shared, specific = setting[0] * typical, setting[1], setting[2]
        across = kernel(features, centres, length)
        if not exact:  # kernel ~ across across', across = K_nm L^-T with K_mm = L L'
            factor = jnp.linalg.cholesky(kernel(centres, centres, length) + JITTER * jnp.eye(len(centres)))
            across = solve_triangular(factor, across.T, lower=True).T

        def project(dual: Array) -> Array:
            mixed = root * dual
            mixed = shared * jnp.sum(mixed, -1, keepdims=True) + specific * mixed
            return mixed if exact else across.T @ mixed

        def covariance(dual: Array) -> Array:
            return root * (across @ project(dual)) + dual

        def solve(y: Array, start: Array) -> Array:
            return cg(covariance, root * y, start, tol=TOLERANCE, maxiter=ITERATIONS)[0]

        def winsorise(_: int, dual: Array) -> Array:
            fitted = across @ project(dual)
            return solve(fitted + jnp.clip(cost - fitted, -HUBER_DELTA, HUBER_DELTA), dual)

        def weights(dual: Array) -> Array:
            return project(dual) if exact else solve_triangular(factor.T, project(dual), lower=False)

        nothing = jnp.zeros_like(weight)
        duals = jax.vmap(solve, (0, None))(jnp.stack([quality, cost]), nothing)
        robust = jax.lax.fori_loop(0, HUBER_ITERATIONS, winsorise, duals[1])
        both = jax.vmap(weights)(jnp.stack([duals[0], robust]))
        return length, Outcomes(both[0], both[1])

    length, found = jax.lax.map(one, jnp.asarray(processes, features.dtype))
    return Process(centres, length, found)


def predict(model: Process, features: Float[Array, " d"], level: Levels) -> Outcomes:
    """Quality and relative cost [C, K] for one prompt, features in the geometry of ``fit``."""

    def one(candidate: tuple[Array, Outcomes]) -> Outcomes:
        length, weights = candidate
        near = kernel(features[None], model.centres, length)[0]
        return Outcomes(level.quality + near @ weights.quality, 1.0 + near @ weights.cost)

    return jax.lax.map(one, (model.length, model.weights))


def kernel(x: Float[Array, "N d"], z: Float[Array, "M d"], length: Array | float) -> Float[Array, "N M"]:
    """exp(-|x - z|^2 / 2 length^2).

    >>> print(f"{kernel(jnp.zeros((1, 2)), jnp.array([[1.0, 1.0]]), 1.0)[0, 0]:.3f}")
    0.368
    """
    return jnp.exp(-_squared_distance(x, z) / (2.0 * length**2))


def _squared_distance(x: Array, z: Array) -> Float[Array, "N M"]:
    norms = jnp.sum(x**2, -1)[:, None] + jnp.sum(z**2, -1)[None, :]
    return jnp.maximum(norms - 2.0 * x @ z.T, 0.0)


def _median_distance(x: Float[Array, "n d"], seen: Array) -> Float[Array, ""]:
    """Median distance of different seen rows."""
    pairs = seen[:, None] & seen[None, :] & ~jnp.eye(len(x), dtype=bool)
    return jnp.sqrt(jnp.nanmedian(jnp.where(pairs, _squared_distance(x, x), jnp.nan)))
