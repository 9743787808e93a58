"""From scores to decisions: action probabilities.

Unavailable models get probability 0, whatever their entries hold.
"""

from __future__ import annotations

from typing import Literal

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxroute.arguments import checked, row_weights
from jaxroute.counterfactual import utility
from jaxroute.numerics import at_least_single, masked_argmax, masked_softmax, masked_sum, safe_divide
from jaxroute.types import Outcomes

Scalar = Float[Array, ""] | float
Available = Bool[Array, "*batch K"] | None


@checked
@jax.jit
def greedy(scores: Float[Array, "*batch K"], *, available: Available = None) -> Float[Array, "*batch K"]:
    """All mass on the best available score, the lowest index on ties.

        pi_k = 1{k = argmax_j z_j}

    Args:
        scores: [..., K].
        available: [..., K], True where a model can be chosen.

    Returns:
        Probabilities [..., K]; all 0 in a row without an available model.

    Example:
        >>> print(greedy(jnp.array([1.0, 3.0, 3.0])))
        [0. 1. 0.]
    """
    scores, available = masked(scores, available)
    best = jax.nn.one_hot(masked_argmax(scores, available), scores.shape[-1], dtype=bool)
    return (best & available).astype(scores.dtype)


@checked
def softmax(
    scores: Float[Array, "*batch K"], *, temperature: Scalar = 1.0, available: Available = None
) -> Float[Array, "*batch K"]:
    """Mass that grows with the score.

        pi_k = exp(z_k / temperature) / sum_j exp(z_j / temperature)

    Args:
        scores: [..., K].
        temperature: > 0, in units of the scores; small is greedy, large is uniform; traced.
        available: [..., K], True where a model can be chosen.

    Returns:
        Probabilities [..., K]; all 0 in a row without an available model.

    Example:
        >>> print(softmax(jnp.array([0.0, 0.0, 5.0]), available=jnp.array([True, True, False])))
        [0.5 0.5 0. ]
    """
    scores, available = masked(scores, available)
    return masked_softmax(scores / temperature, available)


@checked
@jax.jit
def epsilon_greedy(
    scores: Float[Array, "*batch K"], *, epsilon: Scalar, available: Available = None
) -> Float[Array, "*batch K"]:
    """Greedy, with a share ``epsilon`` of the mass spread evenly, so that every model is still tried.

        pi_k = (1 - epsilon) 1{k = argmax_j z_j} + epsilon / (number available)

    Args:
        scores: [..., K].
        epsilon: share of mass in [0, 1]; traced. No propensity is below epsilon / K.
        available: [..., K], True where a model can be chosen.

    Returns:
        Probabilities [..., K]; all 0 in a row without an available model.

    Example:
        >>> print(epsilon_greedy(jnp.array([1.0, 3.0]), epsilon=0.5))
        [0.25 0.75]
    """
    scores, available = masked(scores, available)
    choosable = available.astype(scores.dtype)
    uniform = safe_divide(choosable, masked_sum(choosable)[..., None], default=0.0)
    return (1 - epsilon) * greedy(scores, available=available) + epsilon * uniform


@checked
def best_single(
    outcomes: Outcomes,
    cost_weight: Scalar | Float[Array, " L"],
    *,
    available: Available = None,
    prompts: Bool[Array, "P K"] | None = None,
    weight: Float[Array, " N"] | None = None,
) -> Float[Array, "*weights P K"]:
    """Always the model of the highest mean utility: the policy that every router has to beat.

        pi_ik = 1{k = argmax_j mean_n u_nj},   the mean over the rows, and the argmax over the models, available

    Args:
        outcomes: [N, K] that the model is chosen on: doubly robust ones of a log, or those of a full table.
        cost_weight: quality per unit of cost; a scalar, or [L].
        available: [N, K], False where an outcome is missing; None: none is.
        prompts: [P, K], the models that can be chosen for the prompts to be decided; None: ``available``.
        weight: [N], how often every row counts in the mean (``logs.weight``); None: once.

    Returns:
        Probabilities [P, K], or [L, P, K] for L cost weights. Where the best model cannot be chosen the next best is;
        a model without any outcome is chosen only where no other can be.

    Raises:
        InputError: a weight that is negative or not finite, or no weight above 0 (outside jit).

    Example:
        >>> outcomes = Outcomes(jnp.array([[0.5, 1.0], [0.5, 0.5]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(best_single(outcomes, jnp.array([0.0, 1.0]), prompts=jnp.array([[True, True]])))
        [[[0. 1.]]
        <BLANKLINE>
         [[1. 0.]]]
    """
    row_weights(weight)
    return _best_single(outcomes, cost_weight, available, prompts, weight)


@jax.jit
def _best_single(
    outcomes: Outcomes, cost_weight: Scalar | Array, available: Available, prompts: Array | None, weight: Array | None
) -> Array:
    kind = jnp.result_type(outcomes.quality)
    outcomes, weight = at_least_single((outcomes, weight))
    quality, available = masked(outcomes.quality, available)
    cost, _ = masked(outcomes.cost, available)
    prompts = available if prompts is None else prompts
    cost_weight = jnp.asarray(cost_weight)
    there = available if weight is None else available * weight[:, None]
    total = jnp.sum(there, 0)

    def mean(y: Array) -> Array:
        summed = jnp.sum(y if weight is None else y * weight[:, None], 0)
        return jnp.broadcast_to(summed / jnp.where(total > 0, total, 1), (*cost_weight.shape, y.shape[1]))

    mean_utility = jnp.where(total > 0, utility(Outcomes(mean(quality), mean(cost)), cost_weight), -jnp.inf)
    shape = (*cost_weight.shape, *prompts.shape)
    chosen = greedy(jnp.broadcast_to(mean_utility[..., None, :], shape), available=jnp.broadcast_to(prompts, shape))
    return chosen.astype(kind)


@checked
def ensemble(
    scores: Float[Array, "S *batch K"],
    *,
    average: Literal["scores", "probabilities"] = "probabilities",
    temperature: Scalar = 1.0,
    available: Available = None,
) -> Float[Array, "*batch K"]:
    """One router from S seeds of it: the mean of their scores or of their softmax probabilities.

        mean_s z_sk    or    mean_s softmax(z_s / temperature)_k

    Averaged probabilities do not depend on each seed's scale and shift, so no seed outvotes the others. Averaged scores
    keep the common scale that entropic scores have, which interpolation between cost weights needs.

    Args:
        scores: [S, ..., K], one slice a seed.
        average: what is averaged. Static.
        temperature: of the softmax, > 0, in units of the scores; traced.
        available: [..., K], True where a model can be chosen.

    Returns:
        [..., K], to be used as scores: the argmax is the ensemble's choice.

    Raises:
        ValueError: unknown ``average``.

    Example:
        >>> scores = jnp.array([[0.0, 3.0], [1.0, 0.0], [1.0, 0.0]])
        >>> print(greedy(ensemble(scores, average="scores")), greedy(ensemble(scores, temperature=0.01)))
        [0. 1.] [1. 0.]

    Reference: Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, by Lakshminarayanan,
    Pritzel and Blundell, https://arxiv.org/abs/1612.01474 (2017).
    """
    scores = jnp.asarray(scores)
    if average == "scores":
        return jnp.mean(scores, 0)
    if average != "probabilities":
        raise ValueError(f"average must be 'scores' or 'probabilities', not {average!r}")
    if available is not None:
        available = jnp.broadcast_to(available, scores.shape)
    return jnp.mean(softmax(scores, temperature=temperature, available=available), 0)


def masked(x: Array, available: Available) -> tuple[Array, Array]:
    """Entries with zeros where they are masked (a NaN times 0 would stay a NaN), and the mask; shapes are checked."""
    x = jnp.asarray(x)
    if available is None:
        return x, jnp.ones(x.shape, bool)
    chex.assert_equal_shape([x, available])
    return jnp.where(available, x, 0), jnp.asarray(available)
