"""Hidden confounding: bounds on a policy's value, and the strength at which a comparison could reverse.

In the marginal sensitivity model the true probability q of the chosen model, given also everything that is not in the
log, differs from the propensity p by a bounded odds ratio:

    1 / strength <= [q / (1 - q)] / [p / (1 - p)] <= strength

so the importance weight of a row is only known to lie between two numbers,

    target (1 + (1/p - 1) / strength) <= w <= target (1 + (1/p - 1) strength)

With ``nuisances.response``, the probability of feedback h, both are divided by h, and the log's own value is the mean
weighted by 1 / h: h is taken to be correct, and confounding is in the choice of the model only.

A strength of 1 means no hidden confounder. A propensity of 1 allows none, so the model does not apply to deterministic
logs (see ``estimators.support``).

Reference for all of it: A Distributional Approach for Causal Inference Using Propensity Scores, by Tan,
2006 (the model); Sensitivity analysis for inverse probability weighting estimators via the percentile
bootstrap, by Zhao, Small and Bhattacharya (https://arxiv.org/abs/1711.11286), 2019 (bounds, bootstrap).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute import metrics
from jaxroute.arguments import checked
from jaxroute.counterfactual import at_action, propensity_of_action
from jaxroute.estimators.influence import example as example
from jaxroute.estimators.influence import not_empty, outcomes_of
from jaxroute.numerics import at_least_single, nan_is_unknown, relative, safe_divide
from jaxroute.types import InputError, Key, Logs, Nuisances, Outcomes

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


class _Sorted(NamedTuple):
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


@checked
def bounds(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    strength: Scalar,
    clip: Scalar = 0.0,
    outcome_model: bool = False,
) -> Bounds:
    """Range of the self-normalised estimate over all weights that a hidden confounder allows; exact.

        lower, upper = mean d + min, max over low <= w <= high of  sum w e / sum w

    At the extremum, rows with e above a threshold have one end of their range and all others the other end, so the rows
    are sorted once and all N + 1 thresholds are evaluated by cumulative sums. Without outcome model d = 0 and e = r.
    The bounds do not include sampling noise; see ``bounds_interval``.

    Args:
        logs: N rows; those without feedback are left out of the weighted mean.
        target: [N, K] the policy to value, stochastic or greedy.
        cost_weight: quality per unit of cost.
        nuisances: where given, their propensities and response; else ``logs.propensity``.
        strength: odds ratio of the hidden confounder, at least 1; traced.
        clip: smaller propensities are raised to it.
        outcome_model: bound the error of the nuisances' outcomes instead of the reward (doubly robust).

    Returns:
        Bounds; at strength 1 both are ``snipw`` (or ``self_normalised_doubly_robust``). NaN if the target
        never picks a logged model.

    Raises:
        InputError: a log without rows; a strength below 1 or NaN, a propensity NaN (outside jit).
        ValueError: an outcome model is asked for without nuisances.

    Example:
        >>> print(*bounds(*example(), cost_weight=0.5, strength=3.0))
        0.5625 0.6875

    Reference: see the module.
    """
    check_strength(strength)
    table = _sort(logs, target, cost_weight, nuisances, clip, outcome_model)
    return _bounds(table, strength, table.times)


@checked
def bounds_interval(
    key: Key,
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    strength: Scalar,
    clip: Scalar = 0.0,
    outcome_model: bool = False,
    level: float = 0.95,
    replicates: int = 1000,
) -> Bounds:
    """Percentile bootstrap around ``bounds``: a hidden confounder and sampling noise together.

        lower = quantile((1 - level) / 2) of the lower bounds, upper = quantile((1 + level) / 2) of the upper

    Each replicate draws groups (or rows, if there are none) with replacement and computes its own extremum, including
    the normaliser. The nuisances are held fixed. The rows are sorted once. Replicates in which the target never chooses
    a logged model are left out.

    Args:
        key: JAX random key.
        logs, target, cost_weight, nuisances, strength, clip, outcome_model: as in ``bounds``.
        level: coverage aimed at, between 0 and 1.
        replicates: R, number of resamples; static.

    Returns:
        Bounds, wider than those of ``bounds``.

    Raises:
        InputError: a log without rows, a level outside (0, 1); a strength below 1 or NaN, a propensity NaN (outside
            jit).

    Example:
        >>> wide = bounds_interval(jax.random.key(0), *example(), cost_weight=0.5, strength=3.0)
        >>> print(bool(wide.lower < 0.5625), bool(wide.upper > 0.6875))
        True True

    Reference: see the module.
    """
    check_strength(strength)
    if not 0 < level < 1:
        raise InputError(f"level is {level}; it must be between 0 and 1, as in 0.95")
    table = _sort(logs, target, cost_weight, nuisances, clip, outcome_model)
    N = table.error.shape[0]
    label, groups = jnp.arange(N), jnp.asarray(N)
    if logs.group is not None:
        label = jnp.unique(logs.group, return_inverse=True, size=N)[1].reshape(N)
        groups = label.max() + 1
    with nan_is_unknown():  # the replicates that are left out
        found = _resampled(jax.random.split(key, replicates), table, strength, label, groups)
    lower = jnp.nanquantile(found.lower, (1 - level) / 2)
    return Bounds(lower, jnp.nanquantile(found.upper, (1 + level) / 2))


@checked
def tipping_point(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    outcome_model: bool = False,
    largest: float = LARGEST,
) -> TippingPoint:
    """The strength at which "the target is better than the logging policy" (or worse) may be false.

        advantage = V(target) - mean r;   strength = min {G >= 1 : the bounds at G contain mean r}

    The logging policy's own value needs no weights, as its choices are in the log. Bounds widen with the strength, so
    bisection on its logarithm finds the point. It does not include sampling noise: an advantage within its standard
    error of 0 has a strength near 1 in any case.

    Args:
        logs, target, cost_weight, nuisances, clip, outcome_model: as in ``bounds``.
        largest: strength up to which to look.

    Returns:
        TippingPoint; strength 1 at an advantage of exactly 0, NaN where the advantage is.

    Raises:
        InputError: a log without rows; ``largest`` is below 1 or NaN, a propensity NaN (outside jit).

    Example:
        >>> point = tipping_point(*example(), cost_weight=0.5)
        >>> print(*point)  # the target's worst logged row beats the mean of the log: no strength undoes that
        0.1875 inf

    Reference: see the module; the tipping point is Sensitivity Analysis in Observational Research, by
    VanderWeele and Ding, 2017, in this model's terms.
    """
    check_strength(largest)
    table = _sort(logs, target, cost_weight, nuisances, clip, outcome_model)
    return _tip(table, largest)


@partial(jax.jit, static_argnames="outcome_model")
def of_policies(
    logs: Logs,
    target: Float[Array, "L N K"],
    cost_weight: Float[Array, " L"],
    nuisances: Nuisances | None = None,
    *,
    strength: Scalar,
    clip: Scalar = 0.0,
    outcome_model: bool = False,
) -> tuple[Bounds, TippingPoint]:
    """``bounds`` and ``tipping_point`` of L policies, each at its cost weight, in one program.

    Args:
        target: a policy per cost weight. The others: as in ``bounds``; their values are not checked.

    Returns:
        (Bounds, TippingPoint) of [L].

    Example:
        >>> logs, target = example()
        >>> both, tip = of_policies(logs, target[None], jnp.array([0.5]), strength=3.0)
        >>> print(*both, *tip)
        [0.5625] [0.6875] [0.1875] [inf]

    Reference: see the module.
    """

    def at(policy: Float[Array, "N K"], weight: Scalar) -> tuple[Bounds, TippingPoint]:
        table = _sort(logs, policy, weight, nuisances, clip, outcome_model)
        found, tip = _at_strengths(table, jnp.asarray([strength]), LARGEST)
        return jax.tree.map(lambda bound: bound[0], found), tip

    return jax.vmap(at)(target, cost_weight)


def _sort(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None,
    clip: Scalar,
    outcome_model: bool,
) -> _Sorted:
    not_empty(logs)
    chex.assert_shape(target, logs.available.shape)
    logs, target, nuisances = at_least_single((logs._replace(features=logs.features[:, :0]), target, nuisances))
    propensity = propensity_of_action(logs, nuisances, clip=clip)
    response = None if nuisances is None else nuisances.response
    if response is not None:
        chex.assert_shape(response, logs.quality.shape)
    predicted = outcomes_of(nuisances) if outcome_model else None
    answers, times = (logs.action, logs.quality, logs.cost), relative(logs.weight)
    return _sorted(*answers, target, cost_weight, predicted, propensity, response, times)


@jax.jit
def _sorted(
    action: Int[Array, " N"],
    quality: Float[Array, " N"],
    cost: Float[Array, " N"],
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    predicted: Outcomes | None,
    propensity: Float[Array, " N"],
    response: Float[Array, " N"] | None,
    times: Float[Array, " N"] | None,
) -> _Sorted:
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
    return _Sorted(error[order], picked[order], odds[order], order, direct, counted, reward, heard, times)


@jax.jit
def _bounds(table: _Sorted, strength: Scalar, times: Float[Array, " N"]) -> Bounds:
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
def _resampled(keys: Key, table: _Sorted, strength: Scalar, label: Int[Array, " N"], groups: Int[Array, ""]) -> Bounds:
    """Bounds of one resample of whole groups per key."""
    N = table.error.shape[0]

    def replicate(key: Key) -> Bounds:
        drawn = jax.random.randint(key, (N,), 0, groups)
        # As many draws as there are groups; the rest of the N are not counted.
        times = jax.ops.segment_sum((jnp.arange(N) < groups).astype(table.error.dtype), drawn, N)
        return _bounds(table, strength, table.times * times[label])

    return jax.lax.map(replicate, keys, batch_size=min(REPLICATES_AT_ONCE, keys.shape[0]))


@jax.jit
def _tip(table: _Sorted, largest: Scalar) -> TippingPoint:
    return _at_strengths(table, jnp.zeros(0, table.error.dtype), largest)[1]


def _at_strengths(table: _Sorted, strengths: Float[Array, " S"], largest: Scalar) -> tuple[Bounds, TippingPoint]:
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
        here = _bounds(table, jnp.where(i < count, fixed[jnp.minimum(i, count - 1)], jnp.exp(middle)), table.times)
        found = jax.tree.map(lambda y, bound: y.at[i].set(bound, mode="drop"), found, here)
        halves, still = i >= count, beyond(here, found.lower[count - 1] - logged)
        return found, jnp.where(halves & still, middle, low), jnp.where(halves & ~still, middle, high)

    def beyond(bounds: Bounds, advantage: Float[Array, ""]) -> Bool[Array, ""]:
        return jnp.where(advantage > 0, bounds.lower > logged, bounds.upper < logged)

    like, log = jax.eval_shape(_bounds, table, fixed[0], table.times), jnp.log(fixed[count - 2])
    empty = jax.tree.map(lambda y: jnp.zeros(count, y.dtype), like)
    found, _, high = jax.lax.fori_loop(0, count + BISECTIONS, visit, (empty, jnp.zeros_like(log), log))
    at_largest, advantage = jax.tree.map(lambda y: y[count - 2], found), found.lower[count - 1] - logged
    strength = jnp.where(advantage == 0, 1.0, jnp.exp(high))
    strength = jnp.where(beyond(at_largest, advantage), jnp.inf, strength)
    tip = TippingPoint(advantage, jnp.where(jnp.isnan(advantage), jnp.nan, strength))
    return jax.tree.map(lambda y: y[: count - 2], found), tip


def check_strength(strength: Scalar) -> None:
    if not isinstance(strength, jax.core.Tracer) and not np.all(np.asarray(strength) >= 1):
        raise InputError(
            f"strength is {strength}; it must be an odds ratio of at least 1 (1 means no hidden confounder)"
        )
