"""Two policies, or a whole grid of cost weights, on one log: paired differences, simultaneous bands, bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.counterfactual import propensity_of_action
from jaxroute.estimators.influence import Rows, estimate, labels, not_empty, rows
from jaxroute.metrics import Interval, bootstrap_interval
from jaxroute.numerics import safe_divide
from jaxroute.types import Estimate, Key, Logs, Nuisances


class Band(NamedTuple):
    """Values [L] and bounds [L] that hold for all of them at once; critical: the multiple of the error used."""

    value: Float[Array, " L"]
    low: Float[Array, " L"]
    high: Float[Array, " L"]
    critical: Float[Array, ""]


@jax.jit
def difference(a: Rows, b: Rows) -> Estimate:
    """Value of policy a minus value of policy b on the same log, with the paired standard error.

        value = mean(z_a - z_b),   error from the spread of z_a - z_b (by group where there is one)

    Rows on which both policies choose alike cancel, so the error is usually far below that of either value.

    Args:
        a, b: influence rows of the two policies (``rows``), same log, same cost weight, same kind of estimator.

    Returns:
        Estimate of scalars; the effective sample size is the smaller of the two.

    Example:
        >>> from jaxroute.estimators.influence import example, rows
        >>> logs, target = example()
        >>> a, b = (rows(logs, t, 0.5, outcome_model=False) for t in (target, 1 - target))
        >>> print(difference(a, b).value)
        0.375

    Reference:
        Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li
        (https://arxiv.org/abs/1103.4601), 2011; the pairing is the textbook paired comparison.
    """
    return estimate(paired(a, b))


@jax.jit
def paired(a: Rows, b: Rows) -> Rows:
    """Rows of the difference of two policies on the same prompts: what ``difference`` estimates.

        z = z_a - z_b;   a row counts where both count it; the weights of the smaller effective sample size

    Args:
        a, b: influence rows of the two policies, same prompts, same cost weight.

    Returns:
        Rows of [N].

    Example:
        >>> from jaxroute.estimators.influence import example, rows
        >>> logs, target = example()
        >>> print(paired(*(rows(logs, t, 0.5, outcome_model=False) for t in (target, 1 - target))).influence)
        [ 1.5    1.    -0.25  -0.75]
    """
    chex.assert_equal_shape([a.influence, b.influence])
    first, second = (estimate(x).effective_sample_size for x in (a, b))
    weight = jnp.where(second < first, b.weight, a.weight)
    return a._replace(influence=a.influence - b.influence, counted=a.counted & b.counted, weight=weight)


@jax.jit
def at_weights(
    logs: Logs,
    policy: Float[Array, "L N K"],
    cost_weights: Float[Array, " L"],
    nuisances: Nuisances,
    clip: Float[Array, ""] | float,
) -> Rows:
    """Influence rows [L, N] of a policy that changes with the cost weight, self-normalised doubly robust.

    Args:
        logs, nuisances, clip: as for ``rows``. policy: its probabilities at every cost weight.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> from jaxroute.types import Outcomes
        >>> logs, target = example()
        >>> half = jnp.full((4, 2), 0.5)
        >>> at_weights(logs, target[None], jnp.array([0.5]), Nuisances(half, Outcomes(half, half)), 0.0).influence.shape
        (1, 4)
    """

    def at(one: Array, weight: Array) -> Rows:
        return rows(logs, one, weight, nuisances, clip=clip, self_normalised=True)

    return jax.vmap(at)(policy, cost_weights)


@partial(jax.jit, static_argnames="resamples")
def simultaneous(key: Key, of: Rows, *, level: float = 0.95, resamples: int = 2000) -> Band:
    """One band over L estimates of the same log that covers all L truths at once with probability ``level``.

        band = value_l -+ c error_l,   c = quantile of  max_l |sum_g xi_g D_gl| / error_l,   xi_g ~ N(0, 1)

    with D_gl the sum over group g of z - value, over N (Gaussian multiplier bootstrap of the largest
    t statistic). Over a grid of cost weights the estimates are strongly correlated, so c is well below
    Bonferroni's.

    Args:
        key: random key.
        of: influence rows with a leading axis [L] (vmap of ``rows`` over cost weights or policies).
        level: simultaneous coverage.
        resamples: draws of the multipliers.

    Returns:
        Band of [L]; an estimate without spread gets a band of width 0.

    Example:
        >>> z = jax.random.normal(jax.random.key(0), (3, 500))
        >>> band = simultaneous(jax.random.key(1), Rows(z, jnp.ones((3, 500), bool), jnp.ones((3, 500))))
        >>> print(bool(1.96 < band.critical < 2.7), band.low.shape)
        True (3,)

    Reference:
        Gaussian approximations and multiplier bootstrap for maxima of sums of high-dimensional random
        vectors, by Chernozhukov, Chetverikov and Kato (https://arxiv.org/abs/1212.6906), 2013.
    """
    chex.assert_rank(of.influence, 2)
    L, N = of.influence.shape
    group = None if of.group is None else jnp.broadcast_to(of.group, (L, N))
    of = of._replace(group=group)
    estimates = jax.vmap(estimate)(of)
    count = jnp.sum(of.counted, -1, keepdims=True)
    deviation = jnp.where(of.counted, of.influence - estimates.value[:, None], 0.0) / count
    if group is not None:
        label = labels(group[0])
        deviation = jax.vmap(lambda d: jax.ops.segment_sum(d, label, N))(deviation)
    error = jnp.sqrt(jnp.sum(deviation**2, -1))

    def largest(key: Key) -> Array:
        draw = deviation @ jax.random.normal(key, (N,), deviation.dtype)
        return jnp.max(jnp.abs(safe_divide(draw, error, 0.0)))

    # No draws are left over, because for those the program would hold a second copy of the computation.
    at_once = max(count for count in range(1, 65) if resamples % count == 0)
    peaks = jax.lax.map(largest, jax.random.split(key, resamples), batch_size=at_once)
    critical = jnp.quantile(peaks, level)
    half = critical * estimates.standard_error
    return Band(estimates.value, estimates.value - half, estimates.value + half, critical)


Estimator = Callable[..., Estimate]


def bootstrap(
    key: Key,
    estimator: Estimator,
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Float[Array, ""] | float,
    nuisances: Nuisances | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """Percentile bootstrap interval of any estimator, recomputed on every resample.

    Self-normalised estimators get a new normaliser in every resample. Nuisances are resampled with their rows and not
    refitted: like the standard errors, the interval takes them as given. If the log has groups, whole groups are drawn.

    Args:
        key: random key.
        estimator: one of this package's, or a partial of one; compiles once per function object.
        logs, target, cost_weight, nuisances: as for the estimators.
        level: of the interval.
        resamples: bootstrap replicates R.

    Returns:
        Interval(estimate, low, high) of scalars.

    Raises:
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> from jaxroute.estimators.values import example, snipw
        >>> interval = bootstrap(jax.random.key(0), snipw, *example(), 0.5, resamples=50)
        >>> print(interval.estimate)
        0.625

    Reference:
        An Introduction to the Bootstrap, by Efron and Tibshirani, 1993.
    """
    not_empty(logs)
    propensity_of_action(logs, nuisances)  # says which row is bad before anything is traced
    N = logs.action.shape[0]
    # Features are never looked at: without them a resample is a few columns.
    bare = logs._replace(features=jnp.zeros((N, 0)), group=None)
    values = (bare, target, jnp.full(N, cost_weight, jnp.asarray(target).dtype), nuisances)
    values = jax.tree.map(jnp.asarray, values)
    return bootstrap_interval(
        key, values, statistic=_value_of(estimator), level=level, resamples=resamples, group=logs.group
    )


@cache
def _value_of(estimator: Estimator) -> Callable[[Any], Array]:
    def statistic(values: Any) -> Array:
        logs, target, cost_weight, nuisances = values
        return estimator(logs, target, cost_weight[0], nuisances).value

    return statistic
