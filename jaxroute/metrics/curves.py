"""Areas and summary numbers of cost-quality curves. A point is (mean cost, mean quality); points may be in any order.

Functions of static shape are compiled, so curve metrics also run under vmap (bootstraps). One NaN point makes a metric
NaN, so that a missing outcome never silently drops a point.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute.arguments import checked
from jaxroute.numerics import masked_argmax, masked_max, safe_divide
from jaxroute.types import Outcomes

Number = Float[Array, ""] | float

ROUNDING = 8
"""Two means within this many units in the last place count as equal, because the mean of one policy may be summed in a
different order and must not miss a bound or a reference that it equals."""


def loud(points: Float[Array, "L 2"], result: Array) -> Array:
    return jnp.where(jnp.any(jnp.isnan(points)), jnp.nan, result)


@checked
@jax.jit
def hull(points: Float[Array, "L 2"], costs: Float[Array, " C"]) -> Float[Array, " C"]:
    """The least concave non-decreasing function above the points, evaluated at the given costs.

        h(x) = max over i with c_i <= x of  max(q_i, chord from i to any j with c_j > x, at x)

    This is what random mixtures of the curve's policies can reach. It is 0 below the smallest cost of the points. Time
    and memory grow with L^2 per cost, so it is meant for L up to a few hundred.

    Args:
        points: [L, 2] (cost, quality).
        costs: [C] at which to evaluate.

    Returns:
        [C], quality.

    Example:
        >>> points = jnp.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.5]])
        >>> print(hull(points, jnp.array([-1.0, 0.5, 1.0, 3.0])))
        [0.  0.5 1.  1. ]
    """
    chex.assert_shape(points, (None, 2))
    cost, quality = points[:, 0], points[:, 1]
    slope = safe_divide(quality[None, :] - quality[:, None], cost[None, :] - cost[:, None], 0.0)

    def at(x: Array) -> Array:
        reached = cost <= x
        chord = quality[:, None] + slope * (x - cost)[:, None]
        best = jnp.max(jnp.where(reached[None, :], quality[:, None], chord), -1)
        return masked_max(best, reached)

    return loud(points, jax.vmap(at)(costs))


def _hull_area(points: Float[Array, "L 2"], low: Array, high: Array) -> Array:
    # Nothing is counted below the smallest cost of the points, where the hull jumps up from 0.
    start = jnp.minimum(jnp.maximum(low, jnp.min(points[:, 0])), high)
    inside = jnp.clip(jnp.sort(points[:, 0]), start, high)
    nodes = jnp.concatenate([start[None], inside, high[None]])
    return jnp.trapezoid(hull(points, nodes), nodes)


@checked
@jax.jit
def aiq(points: Float[Array, "L 2"], *, max_cost: Number | None = None) -> Float[Array, ""]:
    """Average improvement in quality: area under the hull, divided by ``max_cost``.

        AIQ = 1/max_cost * integral of hull(x) dx from the points' smallest cost to max_cost

    The hull counts 0 below the router's own smallest cost. To compare routers pass the same ``max_cost`` for all of
    them: with its own largest cost, a router that never spends is rewarded.

    Args:
        points: [L, 2] (cost, quality).
        max_cost: upper bound of the integral; None takes the largest cost of the points.

    Returns:
        Quality units; NaN if max_cost is 0.

    Example:
        >>> print(aiq(jnp.array([[0.0, 0.5], [1.0, 1.0]]), max_cost=2.0).round(4))
        0.875

    Reference:
        RouterBench: A Benchmark for Multi-LLM Routing System, by Hu et al.
        (https://arxiv.org/abs/2403.12031), 2024. Its code divides by the last cost of the hull, its formula by the
        range (``aiq_range``).
    """
    chex.assert_shape(points, (None, 2))
    high = jnp.asarray(jnp.max(points[:, 0]) if max_cost is None else max_cost, points.dtype)
    return safe_divide(_hull_area(points, jnp.min(points[:, 0]), high), high)


@checked
@jax.jit
def aiq_range(
    points: Float[Array, "L 2"], *, min_cost: Number | None = None, max_cost: Number | None = None
) -> Float[Array, ""]:
    """Area under the hull over [min_cost, max_cost], divided by the length of that range.

    Args:
        points: [L, 2] (cost, quality).
        min_cost: lower bound; None takes the smallest cost of the points. Below it the hull counts 0.
        max_cost: upper bound; None takes the largest cost of the points. Pass shared bounds to compare routers.

    Returns:
        Quality units; the height of the hull if the range is a single cost; NaN if the range is reversed.

    Example:
        >>> print(aiq_range(jnp.array([[1.0, 0.5], [2.0, 1.0]])).round(4))
        0.75

    Reference:
        RouterBench: A Benchmark for Multi-LLM Routing System, by Hu et al.
        (https://arxiv.org/abs/2403.12031), 2024.
    """
    chex.assert_shape(points, (None, 2))
    low = jnp.asarray(jnp.min(points[:, 0]) if min_cost is None else min_cost, points.dtype)
    high = jnp.asarray(jnp.max(points[:, 0]) if max_cost is None else max_cost, points.dtype)
    mean = safe_divide(_hull_area(points, low, high), high - low)
    mean = jnp.where(high == low, hull(points, high[None])[0], mean)
    return jnp.where(high < low, jnp.nan, mean)


@checked
@jax.jit
def nauc(
    points: Float[Array, "L 2"], outcomes: Outcomes, *, available: Bool[Array, "N K"] | None = None
) -> Float[Array, ""]:
    """Normalised area under the Pareto points, between bounds that all routers on a table share.

    The bounds are the means over prompts of the cost of the cheapest and of the most expensive available model. The
    policy "cheapest model per prompt" is added to the points as the left anchor. See ``nauc_between``.

    Args:
        points: [L, 2] (cost, quality) of the router on this table.
        outcomes: [N, K] the full table that the points come from.
        available: [N, K]; None means all.

    Returns:
        Quality units.

    Example:
        >>> outcomes = Outcomes(jnp.array([[0.5, 1.0]]), jnp.array([[0.0, 1.0]]))
        >>> print(nauc(jnp.array([[0.5, 1.0]]), outcomes))
        0.875

    Reference:
        The later of ORBIT's two definitions (that of its code), whose bounds are shared by all routers.
    """
    chex.assert_equal_shape([outcomes.quality, outcomes.cost])
    cheapest = masked_argmax(-outcomes.cost, available)[:, None]
    lower = -jnp.mean(masked_max(-outcomes.cost, available))
    upper = jnp.mean(masked_max(outcomes.cost, available))
    quality = jnp.take_along_axis(outcomes.quality, cheapest, -1)[:, 0]
    if available is not None:
        quality = jnp.where(jnp.any(available, -1), quality, 0.0)
    anchor = jnp.stack([lower, jnp.mean(quality)]).astype(points.dtype)
    return nauc_between(jnp.concatenate([anchor[None], points]), lower, upper)


@checked
@jax.jit
def nauc_between(points: Float[Array, "L 2"], lower: Number, upper: Number) -> Float[Array, ""]:
    """Normalised area under the Pareto points between two costs, without an anchor.

    The curve joins the Pareto points strictly inside the bounds (running maximum of quality over cost) by straight
    lines. It starts at (lower, best quality at cost <= lower, or 0 if there is none) and ends at (upper, best quality
    at cost <= upper): the last policy is extended to the upper bound, and points above the bound are dropped.

    Args:
        points: [L, 2] (cost, quality).
        lower: lower cost bound.
        upper: upper cost bound, at least ``lower``.

    Returns:
        Area / (upper - lower); with equal bounds the best quality at that cost, or 0 if there is none.

    Example:
        >>> print(nauc_between(jnp.array([[0.2, 0.5], [0.8, 0.9]]), 0.0, 1.0).round(4))
        0.65
    """
    chex.assert_shape(points, (None, 2))
    lower, upper = jnp.asarray(lower, points.dtype), jnp.asarray(upper, points.dtype)
    # "Always the most expensive model" costs exactly the bound, and must not be dropped because of rounding.
    rounding = ROUNDING * jnp.finfo(points.dtype).eps * jnp.abs(upper)
    cost = jnp.where(jnp.abs(points[:, 0] - upper) <= rounding, upper, points[:, 0])

    order = jnp.lexsort((-points[:, 1], cost))
    cost, quality = cost[order], points[order, 1]
    before = jnp.concatenate([jnp.full(1, -jnp.inf, points.dtype), jax.lax.cummax(quality)[:-1]])
    # Every other point is replaced by the last Pareto point before it, which adds a segment of length 0.
    pareto = jax.lax.cummax(jnp.where(quality > before, jnp.arange(len(cost)), 0))
    cost, quality = cost[pareto], quality[pareto]

    first, last = masked_max(quality, cost <= lower), masked_max(quality, cost <= upper)
    height = jnp.where(cost <= lower, first, jnp.where(cost >= upper, last, quality))
    x = jnp.concatenate([lower[None], jnp.clip(cost, lower, upper), upper[None]])
    y = jnp.concatenate([first[None], height, last[None]])
    mean = safe_divide(jnp.trapezoid(y, x), upper - lower)
    return loud(points, jnp.where(upper == lower, last, mean))


@checked
def peak_quality(points: Float[Array, "L 2"]) -> Float[Array, ""]:
    """The best mean quality among the points.

    >>> print(peak_quality(jnp.array([[0.1, 0.5], [0.2, 0.75], [0.3, 0.7]])))
    0.75
    """
    chex.assert_shape(points, (None, 2))
    return jnp.max(points[:, 1])


def quality_neutral_cost(
    points: Float[Array, "L 2"], reference_quality: Number, reference_cost: Number
) -> float | None:
    """QNC: the smallest mean cost of a point at least as good as the reference, divided by the cost of the reference.

    The reference is the best single model chosen on TRAINING data; choosing it on the test table would be a leak.
    There is no interpolation and no tolerance beyond rounding. Host side.

    Args:
        points: [L, 2] (cost, quality).
        reference_quality: mean quality to reach.
        reference_cost: mean cost of the reference.

    Returns:
        The ratio of costs; None if no point reaches the quality; infinite if one does and the reference is free;
        NaN if a point is NaN.

    Example:
        >>> print(quality_neutral_cost(jnp.array([[0.25, 0.75], [0.5, 0.875]]), 0.75, 1.0))
        0.25
    """
    curve = np.asarray(points)
    if np.isnan(curve).any():
        return float("nan")
    reached = curve[reaches(curve[:, 1], reference_quality)]
    if not len(reached):
        return None
    return float(reached[:, 0].min()) / float(reference_cost) if reference_cost else float("inf")


def reaches(quality: np.ndarray, reference: Number) -> np.ndarray:
    goal = float(reference)
    return quality.astype(np.float64) >= goal - ROUNDING * np.finfo(quality.dtype).eps * abs(goal)
