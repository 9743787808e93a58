"""Intervals: percentile bootstrap over prompts or groups, and Student-t over paired seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxroute.arguments import floats
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Key

ELEMENTS_PER_BATCH = 2**22
"""Number of resampled values in memory at a time."""


class Interval(NamedTuple):
    """An estimate and its interval, in the shape of the statistic; the bounds are NaN with a single unit."""

    estimate: Float[Array, "*shape"]
    low: Float[Array, "*shape"]
    high: Float[Array, "*shape"]


def _resample_groups(key: Key, label: Int[Array, " N"], count: Int[Array, ""]) -> Int[Array, " N"]:
    N = label.shape[0]
    draw_key, offset_key = jax.random.split(key)
    drawn = jax.random.randint(draw_key, (N,), 0, count)
    times = jnp.zeros(N, jnp.int32).at[jnp.where(jnp.arange(N) < count, drawn, N)].add(1, mode="drop")
    ends = jnp.cumsum(times[label])
    # Groups of unequal size give more or fewer than N rows. Systematic sampling reduces or extends them to N rows
    # (static shapes) and keeps each row's expected weight; with equal sizes it takes every row exactly.
    places = (jnp.arange(N) + jax.random.uniform(offset_key)) * (ends[-1] / N)
    return jnp.minimum(jnp.searchsorted(ends, places, side="right"), N - 1)


_mean = partial(jnp.mean, axis=0)


@partial(jax.jit, static_argnames=("statistic", "resamples"))
def bootstrap_interval(
    key: Key,
    values: Any,
    *,
    statistic: Callable[[Any], Array] = _mean,
    level: float = 0.95,
    resamples: int = 1000,
    group: Int[Array, " N"] | None = None,
) -> Interval:
    """Percentile bootstrap interval of a statistic of rows.

    N rows are drawn with replacement; with ``group``, whole groups are drawn instead, because the rows of one
    conversation or user are not independent. A curve metric is a statistic of per-prompt costs and qualities, and a
    paired comparison a statistic of per-prompt differences. The statistic compiles once per function object.

    Args:
        key: random key.
        values: [N, ...] array, or a tuple or other tree of arrays that share the leading axis.
        statistic: resampled values [N, ...] -> array; by default the mean over rows.
        level: coverage of the interval.
        resamples: number of bootstrap replicates R.
        group: [N] integer label per row; None means that rows are independent.

    Returns:
        Interval(estimate on the original rows, low, high); the bounds are NaN with a single row or group.

    Example:
        >>> interval = bootstrap_interval(jax.random.key(0), jnp.arange(100.0))
        >>> print(interval.estimate, bool(interval.low < 49.5 < interval.high))
        49.5 True

    Reference:
        An Introduction to the Bootstrap, by Efron and Tibshirani, 1993 (percentile interval, section 13).
    """
    leaves = jax.tree.leaves(values)
    chex.assert_equal_shape_prefix(leaves, 1)
    N = leaves[0].shape[0]
    if group is None:
        units = jnp.asarray(N)
        resample = partial(jax.random.randint, shape=(N,), minval=0, maxval=N)
    else:
        chex.assert_shape(group, (N,))
        label = jnp.unique(group, return_inverse=True, size=N)[1].reshape(N)
        units = jnp.max(label) + 1
        resample = partial(_resample_groups, label=label, count=units)

    def replicate(key: Key) -> Array:
        index = resample(key)
        return statistic(jax.tree.map(lambda x: x[index], values))

    batch = max(1, min(resamples, ELEMENTS_PER_BATCH // max(1, sum(x.size for x in leaves))))
    replicates = jax.lax.map(replicate, jax.random.split(key, resamples), batch_size=batch)
    tail = (1 - level) / 2
    low, high = (jnp.quantile(replicates, q, axis=0) for q in (tail, 1 - tail))
    return Interval(statistic(values), jnp.where(units > 1, low, jnp.nan), jnp.where(units > 1, high, jnp.nan))


def paired_interval(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"], *, level: float = 0.95, axis: int = 0
) -> Interval:
    """Student-t interval of the mean difference a - b over paired seeds.

        mean(a - b) -+ t_{S-1} std(a - b) / sqrt(S)

    Args:
        a: [S, ...] a metric of one method, one entry per seed along ``axis``.
        b: [S, ...] the same metric of the other method, for the same seeds in the same order.
        level: coverage of the interval.
        axis: the paired axis.

    Returns:
        Interval(difference, low, high), each [...]; the bounds are NaN for a single seed.

    Example:
        >>> a, b = jnp.array([0.5, 0.75, 0.625]), jnp.array([0.5, 0.5, 0.5])
        >>> print(*(x.round(4) for x in paired_interval(a, b)))
        0.125 -0.1855 0.4355
    """
    from scipy.special import stdtrit

    a, b = jnp.asarray(floats(a, "a")), jnp.asarray(floats(b, "b"))
    chex.assert_equal_shape([a, b])
    S = a.shape[axis]
    difference = jnp.mean(a - b, axis)
    if S < 2:
        with nan_is_unknown():
            return Interval(difference, difference * jnp.nan, difference * jnp.nan)
    quantile = float(stdtrit(S - 1, (1 + level) / 2))
    half = quantile * jnp.std(a - b, axis, ddof=1) / S**0.5
    return Interval(difference, difference - half, difference + half)
