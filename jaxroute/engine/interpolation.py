"""Between cost weights: where one lies, and what scores become of those at the ends of its interval.

``ends`` are ascending cost weights that cut the range into intervals; w lies at position alpha in [0, 1] of one of
them. What is learnt on top is `conditional`'s.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxroute.counterfactual import utility
from jaxroute.types import Outcomes

# A power of two: dividing by it rounds nothing, so an affine router at its start ties where the plug-in ties.
ETA = 0.125

Weights = Float[Array, "*batch"]


def position(ends: Float[Array, " J"], cost_weight: Weights) -> tuple[Int[Array, "*batch"], Weights]:
    """The interval that a cost weight lies in, and where.

        alpha = (w - lo) / (hi - lo)

    Args:
        ends: [J], strictly ascending.
        cost_weight: [...]; beyond the first or last end it counts as that end.

    Returns:
        (interval [...] in 0..J-2, alpha [...] in [0, 1]); exactly at an end alpha is exactly 0 or 1.

    Example:
        >>> interval, alpha = position(jnp.array([0.0, 1.0, 3.0]), jnp.array([0.25, 1.0, 3.0, 9.0]))
        >>> print(interval, alpha)
        [0 1 1 1] [0.25 0.   1.   1.  ]
    """
    interval = jnp.clip(jnp.searchsorted(ends, cost_weight, side="right") - 1, 0, ends.shape[0] - 2)
    low, high = ends[interval], ends[interval + 1]
    return interval, jnp.clip((cost_weight - low) / (high - low), 0.0, 1.0)


def end_scores(scores: Float[Array, "*batch J K"], interval: Int[Array, "*batch"]) -> tuple[Array, Array]:
    """Scores of the routers at both ends of each prompt's interval, ([..., K], [..., K])."""
    index = interval[..., None, None]
    low, high = (jnp.take_along_axis(scores, index + side, axis=-2)[..., 0, :] for side in (0, 1))
    return low, high


def interpolate(
    low: Float[Array, "*batch K"],
    high: Float[Array, "*batch K"],
    alpha: Weights,
    residual: Float[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch K"]:
    """Scores inside an interval from those at its ends, and a residual that vanishes at both.

        (1 - alpha) z_lo + alpha z_hi + alpha (1 - alpha) h

    Utilities are affine in the cost weight: where end scores are utilities up to one COMMON positive scale and
    a per-prompt shift, the interpolation chooses exactly right inside, also models that win at neither end.

    Args:
        low, high: [..., K], scores at alpha = 0 and 1.
        alpha: [...], in [0, 1].
        residual: h [..., K]; None: pure interpolation.

    Returns:
        [..., K]; exactly ``low`` at 0 and ``high`` at 1.

    Example:
        >>> print(interpolate(jnp.array([0.0, 4.0]), jnp.array([2.0, 0.0]), jnp.array(0.5), jnp.array([0.0, 4.0])))
        [1. 3.]

    Reference: "exact interpolation under affine utility" and RM-Interval of Causal LLM Routing: End-to-End
    Regret Minimization from Observational Data, by Tsiourvas, Sun and Perakis,
    https://arxiv.org/abs/2505.16037 (2025); the form is our reconstruction.
    """
    alpha = jnp.asarray(alpha)[..., None]
    between = (1 - alpha) * low + alpha * high
    return between if residual is None else between + alpha * (1 - alpha) * residual


def interpolate_probabilities(
    low: Float[Array, "*batch K"], high: Float[Array, "*batch K"], alpha: Weights, *, temperature: Array | float = 1.0
) -> Float[Array, "*batch K"]:
    """Interpolation of tempered policies instead of scores: no common scale needed, nor exactness to be had.

        (1 - alpha) softmax(z_lo / temperature) + alpha softmax(z_hi / temperature)

    Masked models must have been given -inf, or be masked when choosing.
    """
    alpha = jnp.asarray(alpha)[..., None]
    return (1 - alpha) * jax.nn.softmax(low / temperature, -1) + alpha * jax.nn.softmax(high / temperature, -1)


def nearest(low: Float[Array, "*batch K"], high: Float[Array, "*batch K"], alpha: Weights) -> Float[Array, "*batch K"]:
    """Scores of the nearer end, the lower one at alpha = 1/2."""
    return jnp.where(jnp.asarray(alpha)[..., None] <= 0.5, low, high)


def affine_scores(
    outcomes: Outcomes,
    cost_weight: Weights,
    residual: Float[Array, "*batch K"],
    log_factor: Weights,
    *,
    eta: float = ETA,
) -> Float[Array, "*batch K"]:
    """Scores linear in the cost weight, the plug-in's with a correction to each side of the trade.

        (A - w B) / eta,   A = quality + residual,   B = cost * exp(log_factor)

    The factor is one positive number a prompt, so of two models the one with the higher PREDICTED cost loses
    ground as w grows: the chosen predicted cost never rises with w, whatever the residual. (Realised cost
    then falls only on average.) With residual and log_factor 0 the choice is the plug-in's.

    Args:
        outcomes: predicted quality and cost [..., K].
        cost_weight: [...], >= 0, quality per unit of the cost array.
        residual: [..., K], quality units.
        log_factor: [...].
        eta: scale of the scores, > 0, quality units; a power of two keeps the plug-in's ties.

    Returns:
        [..., K].

    Example:
        >>> outcomes = Outcomes(jnp.array([0.5, 1.0]), jnp.array([0.0, 1.0]))
        >>> print(affine_scores(outcomes, jnp.array(0.25), jnp.zeros(2), jnp.zeros(()), eta=0.5))
        [1.  1.5]
    """
    kept = Outcomes(outcomes.quality + residual, outcomes.cost * jnp.exp(log_factor)[..., None])
    return utility(kept, cost_weight) / eta
