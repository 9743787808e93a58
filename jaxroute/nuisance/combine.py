"""Combining candidate predictions: the one of the smallest out-of-fold loss, or a convex stack (super learner)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.numerics import nesterov, onto_simplex
from jaxroute.types import Outcomes

ITERATIONS = 400


def candidate_loss(
    predictions: Float[Array, "C N K"], target: Float[Array, "N K"], weight: Float[Array, "N K"]
) -> Float[Array, " C"]:
    """Weighted mean squared error of each candidate."""
    error = jax.lax.map(lambda p: jnp.sum(weight * (p - target) ** 2), predictions)
    return error / jnp.sum(weight)


def select(
    predictions: Float[Array, "C N K"], target: Float[Array, "N K"], weight: Float[Array, "N K"]
) -> Float[Array, " C"]:
    """All weight on the candidate with the smallest out-of-fold squared error."""
    loss = candidate_loss(predictions, target, weight)
    return jax.nn.one_hot(jnp.argmin(loss), loss.shape[0], dtype=loss.dtype)


def stack(
    predictions: Float[Array, "C N K"], target: Float[Array, "N K"], weight: Float[Array, "N K"]
) -> Float[Array, " C"]:
    """Convex combination with the smallest out-of-fold squared error.

        min_w  sum_nk weight_nk (y_nk - sum_c w_c p_cnk)^2,   w on the simplex

    by accelerated projected gradient on the C x C normal equations of the errors (since w sums to one,
    the objective is w' E w with E the second moments of the candidates' errors).

    Reference: van der Laan, Polley and Hubbard, "Super Learner" (2007); Breiman, "Stacked regressions" (1996).
    """
    count = predictions.shape[0]
    errors = (predictions - target[None]) * jnp.sqrt(weight)[None]
    flat = errors.reshape(count, -1)
    moments = flat @ flat.T / jnp.sum(weight)
    step = 1.0 / jnp.maximum(jnp.linalg.eigvalsh(moments)[-1], 1e-12)

    def descend(i: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        w, previous = carry
        ahead = w + nesterov(i, w.dtype) * (w - previous)
        return onto_simplex(ahead - step * (moments @ ahead)), w

    uniform = jnp.full(count, 1.0 / count, moments.dtype)
    return jax.lax.fori_loop(0, ITERATIONS, descend, (uniform, uniform))[0]


@jax.jit
def mix(weights: Outcomes, candidates: Outcomes) -> Outcomes:
    """Candidates [C, ...] -> their combination [...]; quality and cost have weights of their own."""
    return Outcomes(*(jnp.tensordot(w, c, 1) for w, c in zip(weights, candidates, strict=True)))
