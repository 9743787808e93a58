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

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.arguments import checked
from jaxroute.estimators import odds
from jaxroute.estimators.influence import example as example
from jaxroute.estimators.odds import LARGEST, Bounds, TippingPoint
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import InputError, Key, Logs, Nuisances

Scalar = Float[Array, ""] | float


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
    table = odds.in_order(logs, target, cost_weight, nuisances, clip, outcome_model)
    return odds.bounds(table, strength, table.times)


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
    table = odds.in_order(logs, target, cost_weight, nuisances, clip, outcome_model)
    N = table.error.shape[0]
    label, groups = jnp.arange(N), jnp.asarray(N)
    if logs.group is not None:
        label = jnp.unique(logs.group, return_inverse=True, size=N)[1].reshape(N)
        groups = label.max() + 1
    with nan_is_unknown():  # the replicates that are left out
        found = odds.resampled(jax.random.split(key, replicates), table, strength, label, groups)
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
    table = odds.in_order(logs, target, cost_weight, nuisances, clip, outcome_model)
    return odds.tip(table, largest)


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
        table = odds.in_order(logs, policy, weight, nuisances, clip, outcome_model)
        found, tip = odds.at_strengths(table, jnp.asarray([strength]), LARGEST)
        return jax.tree.map(lambda bound: bound[0], found), tip

    return jax.vmap(at)(target, cost_weight)


def check_strength(strength: Scalar) -> None:
    if not isinstance(strength, jax.core.Tracer) and not np.all(np.asarray(strength) >= 1):
        raise InputError(
            f"strength is {strength}; it must be an odds ratio of at least 1 (1 means no hidden confounder)"
        )
