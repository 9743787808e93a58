"""The outcome model of the loop: Bayesian linear regressions, one for each model, that share what they can.

    y_ik = x_i . theta_k + noise s,    theta_k ~ N(g, s^2 / own),    g ~ N(0, s^2 / shared)

It is kept as sums over rows (``Statistics``), so that a round costs K factorisations of D x D, whatever the log's
length, and every seed is a slice of one vmap. The recommended recipe takes seconds a fit, and the loop refits tens of
thousands of times; the tables in docs/loop.md therefore compare explorations around this model, not around the recipe.
Quality and cost (relative to the model's list price) are two regressions on the same rows, slices 0 and 1. The
ratios of prior to noise are chosen by marginal likelihood on a grid.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

SHARED, LEVEL, OWN = (3.0, 30.0), (10.0, 50.0), (10.0, 50.0, 250.0, 2000.0)
GRID = np.array(list(product(SHARED, LEVEL, OWN)), np.float32)
"""[G, 3] ratios: precision of the shared slopes, of a model's own intercept, of its own slopes, in units of 1/s^2."""
COMMON_LEVEL = 1e-2
"""Precision of the shared intercept: any level of quality is as likely as another."""
DISJOINT = 1e6
"""A shared precision that leaves nothing shared: one regression for each model, as in LinUCB."""


class Statistics(NamedTuple):
    """Sums over the rows of a log. gram [K, D, D], moment [2, K, D], square [2], rows [K]."""

    gram: Float[Array, "K D D"]
    moment: Float[Array, "2 K D"]
    square: Float[Array, 2]
    rows: Float[Array, " K"]


class Posterior(NamedTuple):
    """Of theta, for quality and cost, in units of noise^2 where it is a covariance.

    mean [2, K, D]; own [2, K, D, D] the covariance given g; pull [2, K, D, D] how theta moves with g, and shared
    [2, D, D] the covariance of g; noise [2].
    """

    mean: Float[Array, "2 K D"]
    own: Float[Array, "2 K D D"]
    pull: Float[Array, "2 K D D"]
    shared: Float[Array, "2 D D"]
    noise: Float[Array, 2]


def summed(
    x: Float[Array, "N D"],
    action: Int[Array, " N"],
    outcome: Float[Array, "2 N"],
    weight: Float[Array, " N"],
    models: int,
) -> Statistics:
    """The statistics of rows, each counted ``weight`` times (0: not at all)."""
    chosen = weight[:, None] * jax.nn.one_hot(action, models)
    gram = jax.vmap(lambda w: (x * w[:, None]).T @ x, 1)(chosen)
    moment = jnp.einsum("nk,on,nd->okd", chosen, outcome, x)
    return Statistics(gram, moment, (outcome**2) @ weight, chosen.sum(0))


def summed_all(x: Float[Array, "N D"], outcome: Float[Array, "2 N K"], there: Float[Array, "N K"]) -> Statistics:
    """The statistics of prompts that several models answered: those where ``there`` is 1."""
    gram = jnp.einsum("nk,nd,ne->kde", there, x, x)
    moment = jnp.einsum("nk,onk,nd->okd", there, outcome, x)
    return Statistics(gram, moment, jnp.sum(there[None] * outcome**2, (1, 2)), there.sum(0))


def choose(statistics: Statistics) -> Float[Array, "2 3"]:
    """The ratios of the largest marginal likelihood, for quality and for cost."""

    def of(moment: Array, square: Array) -> Array:
        likelihood = jax.lax.map(lambda ratios: _solve(statistics, moment, square, ratios)[1], GRID)
        return jnp.asarray(GRID)[jnp.argmax(likelihood)]

    return jax.vmap(of)(statistics.moment, statistics.square)


def fit(statistics: Statistics, ratios: Float[Array, "2 3"]) -> Posterior:
    """The posterior at given ratios."""
    return jax.vmap(lambda m, s, r: _solve(statistics, m, s, r)[0])(statistics.moment, statistics.square, ratios)


def log_likelihood(statistics: Statistics, ratios: Float[Array, 3], outcome: int) -> Float[Array, ""]:
    """Of one of the two outcomes, with the noise at its maximum, up to a constant of the number of rows."""
    return _solve(statistics, statistics.moment[outcome], statistics.square[outcome], ratios)[1]


def _solve(
    statistics: Statistics, moment: Float[Array, "K D"], square: Array, ratios: Float[Array, 3]
) -> tuple[Posterior, Float[Array, ""]]:
    """Given g the regressions part, P_k = gram_k + own; g has the precision shared + sum_k own - own P_k^-1 own."""
    models, dimensions = moment.shape
    first = jnp.arange(dimensions) == 0  # the intercept
    apart = ratios[0] >= DISJOINT
    shared = jnp.where(first & ~apart, COMMON_LEVEL, ratios[0])
    own = jnp.where(first, ratios[1], ratios[2])
    inverse, determinants = jax.vmap(inverted)(statistics.gram + jnp.diag(own)[None])
    alone = jnp.einsum("kde,ke->kd", inverse, moment)
    pull = inverse * own[None, None, :]  # P^-1 own
    covariance, determinant = inverted(jnp.diag(shared + models * own) - own[:, None] * pull.sum(0))
    right = jnp.einsum("kde,kd->e", pull, moment)
    common = covariance @ right
    mean = alone + jnp.einsum("kde,e->kd", pull, common)
    rows = jnp.sum(statistics.rows)
    noise2 = jnp.maximum(square - jnp.sum(moment * alone) - right @ common, 1e-6) / jnp.maximum(rows, 1.0)
    fitted = jnp.sum(determinants) - models * jnp.sum(jnp.log(own)) + determinant - jnp.sum(jnp.log(shared))
    return Posterior(mean, inverse, pull, covariance, jnp.sqrt(noise2)), -0.5 * (rows * jnp.log(noise2) + fitted)


def inverted(matrix: Float[Array, "D D"]) -> tuple[Float[Array, "D D"], Float[Array, ""]]:
    """Inverse and log determinant of a positive definite matrix, by Gauss-Jordan elimination without pivots.

    Under vmap this is D steps for all matrices at once. LAPACK's routines go through them one by one, and on two
    cores their calls of one program waited for each other for ever (jax 0.10.2).
    """

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, total = carry
        at = jnp.arange(len(matrix)) == k
        pivot = matrix[k, k]
        row = jnp.where(at, 1.0, matrix[k]) / pivot
        column = jnp.where(at, 0.0, matrix[:, k])
        rest = jnp.where(at[None], 0.0, matrix) - column[:, None] * row[None]
        return jnp.where(at[:, None], row[None], rest), total + jnp.log(pivot)

    return jax.lax.fori_loop(0, len(matrix), step, (matrix, jnp.zeros((), matrix.dtype)))


def means(posterior: Posterior, x: Float[Array, "N D"]) -> Float[Array, "2 N K"]:
    """Posterior means of quality and relative cost."""
    return jnp.einsum("nd,okd->onk", x, posterior.mean)


def deviations(
    posterior: Posterior, x: Float[Array, "N D"], against: Int[Array, " N"]
) -> tuple[Float[Array, "N K"], Float[Array, "N K"]]:
    """Of quality, in units of quality: [N, K] of each model's own mean, and of its difference to the model ``against``.

    The second leaves out what the models share, which no choice depends on.
    """
    own, noise = posterior.own[0], posterior.noise[0]
    alone = jnp.einsum("nke,ne->nk", jnp.einsum("nd,kde->nke", x, own), x)
    moved = jnp.einsum("nd,kde->nke", x, posterior.pull[0])
    apart = moved - jnp.take_along_axis(moved, against[:, None, None], 1)

    def of_shared(direction: Array) -> Array:
        return jnp.einsum("nkd,nkd->nk", direction @ posterior.shared[0], direction)

    base = jnp.take_along_axis(alone, against[:, None], 1)
    same = jax.nn.one_hot(against, own.shape[0], dtype=bool)
    contrast = jnp.where(same, 0.0, alone + base + of_shared(apart))
    return noise * jnp.sqrt(alone + of_shared(moved)), noise * jnp.sqrt(contrast)
