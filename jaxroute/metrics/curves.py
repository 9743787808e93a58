"""Areas and read-outs of cost-quality curves. A point is (mean cost, mean quality), in any order.

Everything of static shape is compiled jnp, so that curve metrics also run under vmap (bootstraps). One NaN
point makes a metric NaN: a missing outcome must not quietly drop a point.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute.numerics import masked_argmax, masked_max, safe_divide
from jaxroute.types import Outcomes

Number = Float[Array, ""] | float

ROUNDING = 8
"""Units in the last place within which two means count as equal: the same policy's mean may be summed in
another order, and must not miss a bound or a reference that it equals."""


def loud(points: Float[Array, "L 2"], result: Array) -> Array:
    return jnp.where(jnp.any(jnp.isnan(points)), jnp.nan, result)


@jax.jit
def hull(points: Float[Array, "L 2"], costs: Float[Array, " C"]) -> Float[Array, " C"]:
    """Least concave non-decreasing function above the points, at the costs asked for.

        h(x) = max over i with c_i <= x of  max(q_i, chord from i to any j with c_j > x, at x)

    This is what mixing the curve's policies at random can reach. It counts 0 below the smallest cost of
    the points. Time and memory grow with L^2 per cost: meant for L up to some hundred.

    Args:
        points: [L, 2] (cost, quality).
        costs: [C] where to evaluate.

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
    # Nothing is counted below the points' own smallest cost, where the hull jumps up from 0.
    start = jnp.minimum(jnp.maximum(low, jnp.min(points[:, 0])), high)
    inside = jnp.clip(jnp.sort(points[:, 0]), start, high)
    nodes = jnp.concatenate([start[None], inside, high[None]])
    return jnp.trapezoid(hull(points, nodes), nodes)


@jax.jit
def aiq(points: Float[Array, "L 2"], *, max_cost: Number | None = None) -> Float[Array, ""]:
    """Average improvement in quality: area under the hull, divided by ``max_cost``.

        AIQ = 1/max_cost * integral of hull(x) dx from the points' smallest cost to max_cost

    Cost below the router's own smallest counts 0. To compare routers pass one ``max_cost`` for all:
    the own largest cost rewards a router that never spends.

    Args:
        points: [L, 2] (cost, quality).
        max_cost: upper bound of the integral; None: the points' own largest cost.

    Returns:
        Quality units; NaN if max_cost is 0.

    Example:
        >>> print(aiq(jnp.array([[0.0, 0.5], [1.0, 1.0]]), max_cost=2.0).round(4))
        0.875

    Reference:
        RouterBench: A Benchmark for Multi-LLM Routing System, by Hu et al.
        (https://arxiv.org/abs/2403.12031), 2024. Its code normalises by the last cost of the hull, its
        formula by the range (``aiq_range``).
    """
    chex.assert_shape(points, (None, 2))
    high = jnp.asarray(jnp.max(points[:, 0]) if max_cost is None else max_cost, points.dtype)
    return safe_divide(_hull_area(points, jnp.min(points[:, 0]), high), high)


@jax.jit
def aiq_range(
    points: Float[Array, "L 2"], *, min_cost: Number | None = None, max_cost: Number | None = None
) -> Float[Array, ""]:
    """Area under the hull over [min_cost, max_cost], divided by the length of that range.

    Args:
        points: [L, 2] (cost, quality).
        min_cost: lower bound; None: the points' own smallest cost. Below that the hull counts 0.
        max_cost: upper bound; None: the points' own largest cost. Pass shared bounds to compare routers.

    Returns:
        Quality units; the hull's height if the range is a single cost; NaN if it is reversed.

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


@jax.jit
def nauc(
    points: Float[Array, "L 2"], outcomes: Outcomes, *, available: Bool[Array, "N K"] | None = None
) -> Float[Array, ""]:
    """Normalised area under the Pareto points, between bounds that every router on a table shares.

    Bounds: mean over prompts of the cheapest available model's cost, and of the dearest's. The policy
    "cheapest model per prompt" is added to the points as the left anchor. See ``nauc_between``.

    Args:
        points: [L, 2] (cost, quality) of the router on this table.
        outcomes: [N, K] the full table behind the points.
        available: [N, K]; None means all.

    Returns:
        Quality units.

    Example:
        >>> outcomes = Outcomes(jnp.array([[0.5, 1.0]]), jnp.array([[0.0, 1.0]]))
        >>> print(nauc(jnp.array([[0.5, 1.0]]), outcomes))
        0.875

    Reference:
        The later of ORBIT's two definitions (its code), which shares its bounds among all routers.
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


@jax.jit
def nauc_between(points: Float[Array, "L 2"], lower: Number, upper: Number) -> Float[Array, ""]:
    """Normalised area under the Pareto points between two costs, no anchor added.

    Straight lines through the Pareto points (running maximum of quality over cost) strictly inside, from
    (lower, best quality at cost <= lower, 0 if none) to (upper, best quality at cost <= upper): the last
    policy is carried to the upper bound, points above it are dropped, not interpolated.

    Args:
        points: [L, 2] (cost, quality).
        lower: lower cost bound.
        upper: upper cost bound, at least ``lower``.

    Returns:
        Area / (upper - lower); with equal bounds the best quality at that cost, 0 if none.

    Example:
        >>> print(nauc_between(jnp.array([[0.2, 0.5], [0.8, 0.9]]), 0.0, 1.0).round(4))
        0.65
    """
    chex.assert_shape(points, (None, 2))
    lower, upper = jnp.asarray(lower, points.dtype), jnp.asarray(upper, points.dtype)
    # "Always the dearest model" costs exactly the bound: it must not be dropped for its last bits.
    rounding = ROUNDING * jnp.finfo(points.dtype).eps * jnp.abs(upper)
    cost = jnp.where(jnp.abs(points[:, 0] - upper) <= rounding, upper, points[:, 0])

    order = jnp.lexsort((-points[:, 1], cost))
    cost, quality = cost[order], points[order, 1]
    before = jnp.concatenate([jnp.full(1, -jnp.inf, points.dtype), jax.lax.cummax(quality)[:-1]])
    # Every other point is replaced by the last Pareto point before it: a segment of length 0.
    pareto = jax.lax.cummax(jnp.where(quality > before, jnp.arange(len(cost)), 0))
    cost, quality = cost[pareto], quality[pareto]

    first, last = masked_max(quality, cost <= lower), masked_max(quality, cost <= upper)
    height = jnp.where(cost <= lower, first, jnp.where(cost >= upper, last, quality))
    x = jnp.concatenate([lower[None], jnp.clip(cost, lower, upper), upper[None]])
    y = jnp.concatenate([first[None], height, last[None]])
    mean = safe_divide(jnp.trapezoid(y, x), upper - lower)
    return loud(points, jnp.where(upper == lower, last, mean))


def peak_quality(points: Float[Array, "L 2"]) -> Float[Array, ""]:
    """Best mean quality among the points.

    >>> print(peak_quality(jnp.array([[0.1, 0.5], [0.2, 0.75], [0.3, 0.7]])))
    0.75
    """
    chex.assert_shape(points, (None, 2))
    return jnp.max(points[:, 1])


def quality_neutral_cost(
    points: Float[Array, "L 2"], reference_quality: Number, reference_cost: Number
) -> float | None:
    """QNC: smallest mean cost of a point at least as good as the reference, as share of its cost.

    The reference is the best single model chosen on TRAINING data; choosing it on the test table is a
    leak. No interpolation, and no tolerance beyond rounding. Host side.

    Args:
        points: [L, 2] (cost, quality).
        reference_quality: mean quality to reach.
        reference_cost: mean cost of the reference.

    Returns:
        Cost ratio; None if no point reaches the quality; infinite if one does and the reference is free;
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
