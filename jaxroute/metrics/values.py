"""The worth of a policy's choices: value, regret, mean cost and quality, shares, collapse.

A policy is a table of probabilities over models. A deterministic policy is one-hot, and a stochastic policy counts with
its expectation. Probability 0 times a missing outcome (NaN) is 0; a positive probability on a missing outcome gives
NaN, because missing is not zero.
"""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxroute.arguments import checked, indices
from jaxroute.numerics import expectation, masked_max
from jaxroute.types import Outcomes


@checked
@jax.jit
def value(
    probabilities: Float[Array, "*N K"], outcomes: Outcomes, cost_weight: Float[Array, ""] | float
) -> Float[Array, "*N"]:
    """Expected utility of a policy on each prompt.

        value_i = sum_k pi_ik (quality_ik - cost_weight cost_ik)

    Args:
        probabilities: [N, K] the policy, one-hot if deterministic; every row sums to 1, or to 0 where no
            model is available.
        outcomes: [N, K] quality in [0, 1] and cost in the data's unit; NaN where missing.
        cost_weight: quality per unit of cost.

    Returns:
        [N], quality units; NaN where the policy gives a positive probability to a missing outcome.

    Example:
        >>> outcomes = Outcomes(jnp.array([[0.9, 0.6, jnp.nan]]), jnp.array([[1.0, 0.1, jnp.nan]]))
        >>> print(value(jnp.array([[0.5, 0.5, 0.0]]), outcomes, 0.5).round(4))
        [0.475]
    """
    chex.assert_equal_shape([probabilities, outcomes.quality, outcomes.cost])
    chex.assert_rank(cost_weight, 0)  # one a model would be multiplied with the costs without a word
    return expectation(probabilities, outcomes.quality - cost_weight * outcomes.cost)


@checked
@jax.jit
def regret(
    probabilities: Float[Array, "*N K"],
    outcomes: Outcomes,
    cost_weight: Float[Array, ""] | float,
    *,
    available: Bool[Array, "*N K"] | None = None,
) -> Float[Array, "*N"]:
    """How much better the best available model would have been on each prompt.

        regret_i = max_{k available} u_ik - value_i,  u = quality - cost_weight cost

    With realised outcomes this is the regret to the realised oracle, which no policy reaches on 0/1 outcomes. With
    expected outcomes it is the regret to the conditional oracle. Reports name the oracle. With doubly robust
    pseudo-outcomes it is biased upwards, because it takes a maximum of noise: from logs, report values instead.

    Args:
        probabilities: [N, K] the policy.
        outcomes: [N, K] a full table; NaN where missing.
        cost_weight: quality per unit of cost.
        available: [N, K] models that could answer; None means all.

    Returns:
        [N], quality units; 0 for a row in which no model is available and none is chosen.

    Example:
        >>> outcomes = Outcomes(jnp.array([[0.75, 0.5]]), jnp.array([[1.0, 0.25]]))
        >>> print(regret(jnp.array([[1.0, 0.0]]), outcomes, 0.5))
        [0.125]

    Reference:
        Causal LLM Routing: End-to-End Regret Minimization from Observational Data, by Tsiourvas, Sun and
        Perakis (https://arxiv.org/abs/2505.16037), 2025: regret as in its problem statement.
    """
    expected = value(probabilities, outcomes, cost_weight)
    return masked_max(outcomes.quality - cost_weight * outcomes.cost, available) - expected


@checked
@jax.jit
def quality_cost_points(probabilities: Float[Array, "L N K"], outcomes: Outcomes) -> Float[Array, "L 2"]:
    """One point (mean cost, mean quality) per cost weight: the policy's cost-quality curve.

    Args:
        probabilities: [L, N, K] the policy at each of L cost weights.
        outcomes: [N, K] a full table; NaN where missing.

    Returns:
        [L, 2] with columns (mean cost, mean quality). Stochastic policies count with their expectation.

    Example:
        >>> outcomes = Outcomes(jnp.array([[0.9, 0.6]]), jnp.array([[1.0, 0.25]]))
        >>> print(quality_cost_points(jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]]), outcomes))
        [[1.   0.9 ]
         [0.25 0.6 ]]
    """
    chex.assert_rank(probabilities, 3)

    def point(policy: Array) -> Array:
        cost, quality = expectation(policy, outcomes.cost), expectation(policy, outcomes.quality)
        return jnp.stack([jnp.mean(cost), jnp.mean(quality)])

    return jax.vmap(point)(probabilities)


@checked
def routing_collapse(
    choice: Int[Array, " N"] | Float[Array, "N K"],
    outcomes: Outcomes,
    *,
    available: Bool[Array, "N K"] | None = None,
) -> Float[Array, ""]:
    """RCI: share of prompts sent to a worse model, or to a most expensive one although another is as good.

    A choice is good if it is among the row's best available models by quality, and is not a most expensive model
    unless only most expensive models are best. A most expensive model has the largest mean cost over all rows (with
    ties, all of them), whatever is available in the row. RCI = 1 - share of good choices. Report it at every cost
    weight.

    Args:
        choice: [N] chosen model; or [N, K] the probabilities of a policy that draws, whose expected share is returned.
        outcomes: [N, K] a full table; missing (NaN) entries must be unavailable and are left out of means.
        available: [N, K]; None means all.

    Returns:
        Share in [0, 1]; NaN if an available outcome is missing.

    Example:
        >>> outcomes = Outcomes(jnp.array([[1.0, 1.0], [0.0, 1.0]]), jnp.array([[0.1, 1.0], [0.1, 1.0]]))
        >>> print(routing_collapse(jnp.array([1, 1]), outcomes))  # the first could have been cheap
        0.5
        >>> print(routing_collapse(jnp.array([[0.0, 1.0], [0.5, 0.5]]), outcomes))  # so always, and half of the time
        0.75
    """
    chex.assert_equal_shape([outcomes.quality, outcomes.cost])
    N, K = outcomes.quality.shape
    if choice.ndim == 1:
        chex.assert_shape(choice, (N,))
        indices("choice", choice, K)
        policy = jax.nn.one_hot(choice, K)
    else:
        chex.assert_shape(choice, (N, K))
        policy = choice
    mask = jnp.ones(outcomes.quality.shape, bool) if available is None else available

    known = mask | ~jnp.isnan(outcomes.cost)
    mean_cost = jnp.mean(outcomes.cost, 0, where=known)
    mean_cost = jnp.where(jnp.any(known, 0), mean_cost, -jnp.inf)
    priciest = (mean_cost == jnp.max(mean_cost))[None, :]

    quality = masked_max(outcomes.quality, mask)
    best = mask & (outcomes.quality == quality[:, None])
    needed = jnp.all(priciest | ~best, -1, keepdims=True)
    fine = jnp.sum(policy, -1, where=best & (~priciest | needed))
    fine = jnp.where(jnp.any(mask, -1), fine, 1.0)

    undefined = jnp.isnan(quality) | jnp.isnan(jnp.max(mean_cost))
    return jnp.mean(jnp.where(undefined, jnp.nan, 1.0 - fine))


def routing_shares(choice: Int[Array, " N"], num_models: int) -> Float[Array, " K"]:
    """Share of prompts per model. For a stochastic policy use ``probabilities.mean(0)``.

    Args:
        choice: [N] chosen model.
        num_models: K, static.

    Returns:
        [K], sums to one.

    Example:
        >>> print(routing_shares(jnp.array([0, 2, 2, 2]), 3))
        [0.25 0.   0.75]
    """
    chex.assert_rank(choice, 1)
    indices("choice", choice, num_models)
    return jnp.mean(choice[:, None] == jnp.arange(num_models)[None, :], 0, dtype=float)


@checked
@partial(jax.jit, static_argnames="normalised")
def share_entropy(shares: Float[Array, "*batch K"], *, normalised: bool = False) -> Float[Array, "*batch"]:
    """Entropy of routing shares in nats, with 0 log 0 = 0 and gradient 0 there.

        H = -sum_k s_k log s_k

    Args:
        shares: [..., K] non-negative, summing to one.
        normalised: divide by log K, so that equal use of all models gives 1 (0 if K = 1).

    Example:
        >>> print(share_entropy(jnp.array([0.5, 0.5, 0.0])).round(4))
        0.6931
    """
    # The mask tests for equality, so that a NaN share stays NaN.
    none = shares == 0
    entropy = -jnp.sum(jnp.where(none, 0.0, shares * jnp.log(jnp.where(none, 1.0, shares))), -1)
    if not normalised:
        return entropy
    return entropy / jnp.log(jnp.asarray(shares.shape[-1], shares.dtype)) if shares.shape[-1] > 1 else 0 * entropy


def from_routerbench(willingness_to_pay: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """Our cost weight for RouterBench's utility w quality - cost: 1 / w.

    >>> print(from_routerbench(4.0))
    0.25

    Reference:
        RouterBench: A Benchmark for Multi-LLM Routing System, by Hu et al.
        (https://arxiv.org/abs/2403.12031), 2024.
    """
    return jnp.divide(1.0, willingness_to_pay)


def to_routerbench(cost_weight: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """RouterBench's w of our cost weight: 1 / cost_weight, infinite at 0.

    >>> print(to_routerbench(0.25))
    4.0
    """
    return jnp.divide(1.0, cost_weight)


def from_carrot(mu: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """Our cost weight for CARROT's utility (1 - mu) quality - mu cost: mu / (1 - mu).

    >>> print(from_carrot(0.75))
    3.0

    Reference:
        CARROT: A Cost Aware Rate Optimal Router, by Somerstep et al.
        (https://arxiv.org/abs/2502.03261), 2025.
    """
    return jnp.divide(mu, 1.0 - jnp.asarray(mu))


def to_carrot(cost_weight: Float[Array, "*shape"] | float) -> Float[Array, "*shape"]:
    """CARROT's mu of our cost weight: cost_weight / (1 + cost_weight), 1 at an infinite weight.

    >>> print(to_carrot(3.0))
    0.75
    """
    return 1.0 / (1.0 + jnp.divide(1.0, cost_weight))
