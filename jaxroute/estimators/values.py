"""Value of a target policy, estimated from the log of another policy.

The estimators differ in prediction, weight and normaliser (r, w, d, e: see `influence`):

    direct method                   mean d
    ipw                             mean w r                 snipw    sum w r / sum w
    doubly robust                   mean d + mean w e        sndr     mean d + sum w e / sum w

``weight_clip`` caps w; switch sets it to 0 above a threshold; shrinkage reduces it. Each trades bias of the outcome
model for less noise.
"""

from __future__ import annotations

from collections.abc import Callable

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute import metrics
from jaxroute.arguments import checked
from jaxroute.counterfactual import shrink, switch
from jaxroute.estimators.influence import Rows, Scalar, Weights, estimate, not_empty, outcomes_of, rows, standing
from jaxroute.estimators.influence import example as example
from jaxroute.numerics import at_least_single, nan_is_unknown
from jaxroute.types import Estimate, Logs, Nuisances
from jaxroute.types import Outcomes as Outcomes


@checked
def direct_method(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """The outcome model's prediction of the value; it uses no weights.

        V = mean_i sum_k target_ik r^_ik

    The standard error is that of the sample of prompts. It ignores the model's bias, which a log cannot show, so
    value -+ 2 errors is not a confidence interval.

    Args:
        logs: N rows.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip, weight_clip: without effect; they keep the estimators interchangeable.

    Returns:
        Estimate; the effective sample size is NaN.

    Raises:
        ValueError: without nuisances.
        InputError: a log without rows.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> logs, target = example()
        >>> print(direct_method(logs, target, 0.5, Nuisances(half, Outcomes(half, half))).value)
        0.25

    Reference:
        Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li
        (https://arxiv.org/abs/1103.4601), 2011.
    """
    not_empty(logs)
    chex.assert_shape(target, logs.available.shape)
    target, nuisances = at_least_single((target, nuisances))
    direct = metrics.value(target, outcomes_of(nuisances), cost_weight)
    with nan_is_unknown():  # the weights that it does not use
        return estimate(standing(Rows(direct, jnp.ones(direct.shape, bool), direct * jnp.nan, logs.group), logs))


@checked
def ipw(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """Inverse propensity weighting: unbiased with the right propensities, and noisy.

        V = mean min(w, weight_clip) r,   w = target_a / max(propensity_a, clip)

    Args:
        logs: N rows; rows without feedback are left out.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: where given, their propensities; else ``logs.propensity``.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN without any feedback.

    Raises:
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> print(ipw(*example(), cost_weight=0.5).value)
        0.625

    Reference:
        A Generalization of Sampling Without Replacement From a Finite Universe, by Horvitz and Thompson,
        1952.
    """
    cap = _cap(weight_clip)
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=cap, outcome_model=False))


@checked
def snipw(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """Self-normalised inverse propensity weighting: a weighted mean, hence within the range of rewards.

        V = sum w r / sum w

    The standard error carries the noise of the normaliser, too (delta method).

    Args:
        logs: N rows; rows without feedback are left out.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: where given, their propensities; else ``logs.propensity``.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN if the weights sum to 0.

    Raises:
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> print(snipw(*example(), cost_weight=0.5).value)
        0.625

    Reference:
        The Self-Normalized Estimator for Counterfactual Learning, by Swaminathan and Joachims, 2015.
    """
    cap = _cap(weight_clip)
    return estimate(
        rows(
            logs,
            target,
            cost_weight,
            nuisances,
            clip=clip,
            transform=cap,
            outcome_model=False,
            self_normalised=True,
        )
    )


@checked
def doubly_robust(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """The direct method plus the weighted mean error of its outcome model.

        V = mean d + mean min(w, weight_clip) e

    Unbiased if either the propensities or the outcome model are right, as long as nothing is clipped.

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN without any feedback.

    Raises:
        ValueError: without nuisances.
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> print(doubly_robust(*example(), 0.5, Nuisances(half, Outcomes(half, half))).value)
        0.625

    Reference:
        Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li
        (https://arxiv.org/abs/1103.4601), 2011.
    """
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=_cap(weight_clip)))


@checked
def self_normalised_doubly_robust(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """Doubly robust with the correction divided by the sum of the weights.

        V = mean d + sum w e / sum w

    The standard error carries the noise of the normaliser, too (delta method).

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN if the weights sum to 0.

    Raises:
        ValueError: without nuisances.
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> nuisances = Nuisances(half, Outcomes(half, half))
        >>> print(self_normalised_doubly_robust(*example(), 0.5, nuisances).value)
        0.625

    Reference:
        Data-Efficient Off-Policy Policy Evaluation for Reinforcement Learning, by Thomas and Brunskill
        (https://arxiv.org/abs/1604.00923), 2016 (their weighted doubly robust estimator, horizon one).
    """
    cap = _cap(weight_clip)
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=cap, self_normalised=True))


@checked
def switch_doubly_robust(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    threshold: Scalar,
) -> Estimate:
    """Doubly robust where the weight is at most the threshold, direct method elsewhere.

        V = mean d + mean w 1{w <= threshold} e

    Rows above the threshold are the outcome model's opinion. Where that is wrong the estimate is biased like the
    direct method, and intervals miss the truth (``make ope-study``): its use is a small squared error, for choosing.

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        threshold: largest importance weight target/propensity that corrects; equality is kept.

    Returns:
        Estimate; the effective sample size is that of all weights, dropped ones included.

    Raises:
        ValueError: without nuisances.
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> nuisances = Nuisances(half, Outcomes(half, half))
        >>> print(switch_doubly_robust(*example(), 0.5, nuisances, threshold=1.0).value)
        0.25

    Reference:
        Optimal and Adaptive Off-policy Evaluation in Contextual Bandits, by Wang, Agarwal and Dudík
        (https://arxiv.org/abs/1612.01205), 2017.
    """
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=lambda w: switch(w, threshold)))


@checked
def shrinkage_doubly_robust(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    shrinkage: Scalar,
) -> Estimate:
    """Doubly robust with optimistically shrunk weights.

        V = mean d + mean s w / (w^2 + s) e,   s = shrinkage

    Shrunk weights leave a part of the outcome model's bias in. Where that is wrong the estimate is biased like the
    direct method, and intervals miss the truth (``make ope-study``): its use is a small squared error, for choosing.

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        shrinkage: s; 0 is the direct method, inf is ``doubly_robust``.

    Returns:
        Estimate; the effective sample size is that of the weights before shrinkage.

    Raises:
        ValueError: without nuisances.
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> nuisances = Nuisances(half, Outcomes(half, half))
        >>> print(shrinkage_doubly_robust(*example(), 0.5, nuisances, shrinkage=4.0).value)
        0.4375

    Reference:
        Doubly robust off-policy evaluation with shrinkage, by Su, Dimakopoulou, Krishnamurthy and Dudík
        (https://arxiv.org/abs/1907.09623), 2020.
    """
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=lambda w: shrink(w, shrinkage)))


def _cap(weight_clip: Scalar) -> Callable[[Weights], Weights]:
    return lambda weight: jnp.minimum(weight, weight_clip)
