"""Bounds of a weighted mean when the odds of every choice may be wrong by a factor: the arrays of `sensitivity`.

At the extremum the rows whose error is above a threshold have one end of their range of weights, and all others the
other end. So the rows are sorted once, all N + 1 thresholds are evaluated by cumulative sums, and every strength and
every bootstrap replicate starts from the sorted rows.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxroute import metrics
from jaxroute.counterfactual import at_action, propensity_of_action
from jaxroute.estimators.influence import not_empty, outcomes_of
from jaxroute.numerics import at_least_single, relative, safe_divide
from jaxroute.types import Key, Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float

BISECTIONS = 40
"""Halvings of log(strength): the tipping point is exact to the last bit of float32."""
REPLICATES_AT_ONCE = 64
LARGEST = 100.0
"""Strength up to which a tipping point is looked for."""


class Bounds(NamedTuple):
    """The smallest and the largest value that a hidden confounder of the given strength allows."""

    lower: Float[Array, ""]
    upper: Float[Array, ""]


class TippingPoint(NamedTuple):
    """The strength of a hidden confounder at which the comparison with the logging policy could reverse.

    advantage: value of the target minus the logging policy's, no confounder assumed. strength: the
    smallest odds ratio at which an advantage of 0 is possible; inf if not up to the largest one tried.
    """

    advantage: Float[Array, ""]
    strength: Float[Array, ""]


class InOrder(NamedTuple):
    """Rows in ascending order of error: what every strength and every bootstrap replicate share."""

    error: Float[Array, " N"]
    target: Float[Array, " N"]
    odds: Float[Array, " N"]
    order: Int[Array, " N"]
    direct: Float[Array, " N"]
    counted: Bool[Array, " N"]
    reward: Float[Array, " N"]
    heard: Float[Array, " N"]  # 1 / h with feedback, 0 without
    times: Float[Array, " N"]  # how many requests the row stands for


def in_order(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None,
    clip: Scalar,
    outcome_model: bool,
) -> InOrder:
    not_empty(logs)
    chex.assert_shape(target, logs.available.shape)
    logs, target, nuisances = at_least_single((logs._replace(features=logs.features[:, :0]), target, nuisances))
    propensity = propensity_of_action(logs, nuisances, clip=clip)
    response = None if nuisances is None else nuisances.response
    if response is not None:
        chex.assert_shape(response, logs.quality.shape)
    predicted = outcomes_of(nuisances) if outcome_model else None
    answers, times = (logs.action, logs.quality, logs.cost), relative(logs.weight)
    return _arranged(*answers, target, cost_weight, predicted, propensity, response, times)


@jax.jit
def _arranged(
    action: Int[Array, " N"],
    quality: Float[Array, " N"],
    cost: Float[Array, " N"],
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    predicted: Outcomes | None,
    propensity: Float[Array, " N"],
    response: Float[Array, " N"] | None,
    times: Float[Array, " N"] | None,
) -> InOrder:
    observed = ~jnp.isnan(quality)
    reward = jnp.where(observed, quality - cost_weight * cost, 0.0)
    error, direct, counted = reward, jnp.zeros_like(reward), observed
    if predicted is not None:
        direct, counted = metrics.value(target, predicted, cost_weight), jnp.ones_like(observed)
        error = reward - at_action(predicted.quality - cost_weight * predicted.cost, action)
    error = jnp.where(observed, error, 0.0)
    heard = observed.astype(error.dtype)
    if response is not None:
        heard = heard / response
        counted = jnp.ones_like(observed)
    picked = heard * at_action(target, action)
    odds = 1 / propensity - 1
    order = jnp.argsort(error)
    times = jnp.ones_like(error) if times is None else times
    return InOrder(error[order], picked[order], odds[order], order, direct, counted, reward, heard, times)


@jax.jit
def bounds(table: InOrder, strength: Scalar, times: Float[Array, " N"]) -> Bounds:
    """Bounds with row i counted times_i times."""
    counted = jnp.where(table.counted, times, 0.0)
    direct = safe_divide(jnp.sum(counted * table.direct), jnp.sum(counted))
    weight = times[table.order] * table.target
    low, high = weight * (1 + table.odds / strength), weight * (1 + table.odds * strength)
    # Errors from their mean: the cumulative sums then stay small, and equal errors give exactly the mean.
    centre = safe_divide(jnp.sum(low * table.error), jnp.sum(low))
    error = table.error - centre

    # For each of the N + 1 thresholds, the sums of the rows below it with one weight and above it with the other.
    below = jnp.stack([high * error, high, low * error, low])
    above = jnp.stack([low * error, low, high * error, high])
    sums = jnp.cumsum(jnp.concatenate([below, above[:, ::-1]]), 1)  # one operation: it takes long to compile
    head, tail = jnp.pad(sums[:4], ((0, 0), (1, 0))), jnp.pad(sums[4:, ::-1], ((0, 0), (0, 1)))
    total = head + tail
    ratios, base = safe_divide(total[::2], total[1::2]), direct + centre
    return Bounds(base + jnp.min(ratios[0]), base + jnp.max(ratios[1]))


@jax.jit
def resampled(keys: Key, table: InOrder, strength: Scalar, label: Int[Array, " N"], groups: Int[Array, ""]) -> Bounds:
    """Bounds of one resample of whole groups per key."""
    N = table.error.shape[0]

    def replicate(key: Key) -> Bounds:
        drawn = jax.random.randint(key, (N,), 0, groups)
        # As many draws as there are groups; the rest of the N are not counted.
        times = jax.ops.segment_sum((jnp.arange(N) < groups).astype(table.error.dtype), drawn, N)
        return bounds(table, strength, table.times * times[label])

    return jax.lax.map(replicate, keys, batch_size=min(REPLICATES_AT_ONCE, keys.shape[0]))


@jax.jit
def tip(table: InOrder, largest: Scalar) -> TippingPoint:
    return at_strengths(table, jnp.zeros(0, table.error.dtype), largest)[1]


def at_strengths(table: InOrder, strengths: Float[Array, " S"], largest: Scalar) -> tuple[Bounds, TippingPoint]:
    """Bounds at S strengths and the tipping point, by one loop, because every copy of the bounds takes long to compile.

    It visits the strengths, then the largest and 1, and then it bisects.
    """
    heard = table.times * table.heard
    logged = safe_divide(jnp.sum(jnp.where(heard > 0, heard * table.reward, 0.0)), jnp.sum(heard))
    fixed = jnp.concatenate([strengths, jnp.stack([jnp.asarray(largest, strengths.dtype), jnp.ones_like(logged)])])
    count = len(fixed)

    def visit(i: Int[Array, ""], carry: tuple[Bounds, Array, Array]) -> tuple[Bounds, Array, Array]:
        found, low, high = carry
        middle = (low + high) / 2
        here = bounds(table, jnp.where(i < count, fixed[jnp.minimum(i, count - 1)], jnp.exp(middle)), table.times)
        found = jax.tree.map(lambda y, bound: y.at[i].set(bound, mode="drop"), found, here)
        halves, still = i >= count, beyond(here, found.lower[count - 1] - logged)
        return found, jnp.where(halves & still, middle, low), jnp.where(halves & ~still, middle, high)

    def beyond(bounds: Bounds, advantage: Float[Array, ""]) -> Bool[Array, ""]:
        return jnp.where(advantage > 0, bounds.lower > logged, bounds.upper < logged)

    like, log = jax.eval_shape(bounds, table, fixed[0], table.times), jnp.log(fixed[count - 2])
    empty = jax.tree.map(lambda y: jnp.zeros(count, y.dtype), like)
    found, _, high = jax.lax.fori_loop(0, count + BISECTIONS, visit, (empty, jnp.zeros_like(log), log))
    at_largest, advantage = jax.tree.map(lambda y: y[count - 2], found), found.lower[count - 1] - logged
    strength = jnp.where(advantage == 0, 1.0, jnp.exp(high))
    strength = jnp.where(beyond(at_largest, advantage), jnp.inf, strength)
    tip = TippingPoint(advantage, jnp.where(jnp.isnan(advantage), jnp.nan, strength))
    return jax.tree.map(lambda y: y[: count - 2], found), tip
