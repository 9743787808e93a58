"""Value of a target policy, estimated from the logs of another one.

Every estimator is one sentence with another prediction, weight or normaliser. With

    r = quality - cost_weight * cost          reward of the row
    w = target_a / max(propensity_a, clip)    importance weight of the chosen model a
    d = sum_k target_k r^_k                   value of the target under the outcome model
    e = r - r^_a                              the outcome model's error

    direct method                   mean d
    ipw                             mean w r                 snipw    sum w r / sum w
    doubly robust                   mean d + mean w e        sndr     mean d + sum w e / sum w

``weight_clip`` caps w, switch drops it above a threshold, shrinkage pulls it down. The outcome model
counts as fixed in every standard error (it is cross-fitted).

``rows`` turns a log into one influence value per row: their mean is the value, their spread its standard
error (normaliser included, delta method). The difference of two policies' rows gives the paired
difference, rows over a grid of cost weights (vmap) give simultaneous intervals. With ``logs.group`` the
error is clustered: rows of one conversation or user count as one draw.

Missing feedback (quality NaN): such rows are left out of the correction and, where there is no outcome
model, of the mean; both become means over the rows with feedback. That is unbiased if feedback is missing
completely at random; with a right outcome model it may also depend on the prompt and the chosen model,
never on the quality itself. With ``nuisances.response`` (probability of feedback h, `nuisance.fit_response`)
w is divided by h too and every mean is over all rows: unbiased under feedback missing at random given
prompt and model, if h is right or the outcome model is. A NaN anywhere else gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxroute import metrics
from jaxroute.counterfactual import propensity_of_action, shrink, switch
from jaxroute.numerics import masked_sum, safe_divide
from jaxroute.types import Estimate, Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float
Weights = Float[Array, " N"]


class Rows(NamedTuple):
    """One estimate, row by row.

    influence: its mean over the counted rows is the value. counted: rows that take part. weight: the
    importance weight w, as it is before any cap, switch or shrinkage; 0 without feedback, NaN where no
    weights are used. group: label of the independent unit, None: each row is one.
    """

    influence: Float[Array, " N"]
    counted: Bool[Array, " N"]
    weight: Weights
    group: Int[Array, " N"] | None = None


def rows(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    transform: Callable[[Weights], Weights] | None = None,
    outcome_model: bool = True,
    self_normalised: bool = False,
) -> Rows:
    """Influence value of every row, for any of the weighted estimators.

        z_i = d_i + C + n_i/mean(n) (x_i - C),   C = sum n x / sum n

    with (n, x) = (o, w e) or, self-normalised, (o w, e); o = 1 with feedback. Without outcome model d = 0,
    e = r, and rows without feedback are not counted. With ``nuisances.response`` h: w = o target_a / (p_a h),
    n = 1 where it was o, and every row counts.

    Args:
        logs: N rows; quality in [0, 1] or NaN, cost in the data's unit.
        target: [N, K] the policy to value; used as given, never re-normalised.
        cost_weight: quality per unit of cost.
        nuisances: cross-fitted for these rows; None (without outcome model only): ``logs.propensity``.
        clip: smaller propensities are raised to it.
        transform: what is done to the weights: a cap, a switch, a shrinkage.
        outcome_model: use the nuisances' outcomes.
        self_normalised: divide by the sum of the weights instead of the number of rows.

    Returns:
        Rows of [N]; ``estimate`` turns them into a value with its error.

    Raises:
        ValueError: an outcome model is asked for without nuisances.
        InputError: a propensity is NaN (outside jit; inside, the result is NaN).

    Example:
        >>> logs, target = _example()
        >>> a = rows(logs, target, 0.5, outcome_model=False)
        >>> b = rows(logs, 1 - target, 0.5, outcome_model=False)
        >>> print(estimate(a._replace(influence=a.influence - b.influence)).value)  # paired difference
        0.375
    """
    N, K = logs.available.shape
    chex.assert_shape(target, (N, K))
    observed = ~jnp.isnan(logs.quality)
    chosen = jnp.asarray(logs.action)[:, None]

    def at_action(table: Float[Array, "N K"]) -> Float[Array, " N"]:
        return jnp.take_along_axis(jnp.asarray(table), chosen, -1)[:, 0]

    propensity = jnp.maximum(propensity_of_action(logs, nuisances), clip)
    response = None if nuisances is None else nuisances.response
    if response is not None:
        chex.assert_shape(response, (N,))
        propensity = propensity * response
    importance = jnp.where(observed, at_action(target) / propensity, 0.0)
    weight = importance if transform is None else transform(importance)

    error = logs.quality - cost_weight * logs.cost
    direct = jnp.zeros_like(error)
    if outcome_model:
        predicted = _outcomes(nuisances)
        direct = metrics.value(target, predicted, cost_weight)
        error = error - (at_action(predicted.quality) - cost_weight * at_action(predicted.cost))
    error = jnp.where(observed, error, 0.0)

    stands = observed if response is None else jnp.ones_like(observed)
    counted = jnp.ones_like(observed) if outcome_model else stands
    normaliser = weight if self_normalised else stands.astype(error.dtype)
    correction = safe_divide(jnp.sum(weight * error), jnp.sum(normaliser))
    deviation = weight * error - normaliser * correction
    scale = safe_divide(jnp.sum(counted.astype(error.dtype)), jnp.sum(normaliser))
    return Rows(direct + correction + scale * deviation, counted, importance, logs.group)


def estimate(of: Rows) -> Estimate:
    """Value, standard error and effective sample size of influence rows.

        value = mean z
        standard_error^2 = G/(G-1) sum_g (sum_{i in g} (z_i - value))^2 / N^2
        effective_sample_size = (sum w)^2 / sum w^2

    over the N counted rows in G groups; each row its own group gives the usual variance / N, with N-1.

    Args:
        of: influence rows, their weights and groups.

    Returns:
        Estimate of scalars. The error is NaN with one row or group; the effective sample size is 0 if the
        target never picks a logged model, and NaN where no weights are used.

    Example:
        >>> z = jnp.array([1.0, 3.0])
        >>> print(*estimate(Rows(z, jnp.array([True, True]), jnp.array([1.0, 1.0]))))
        2.0 1.0 2.0
    """
    count = jnp.sum(of.counted.astype(of.influence.dtype))
    value = safe_divide(masked_sum(of.influence, of.counted), count)
    deviation = jnp.where(of.counted, of.influence - value, 0.0)
    groups = count
    if of.group is not None:
        N = deviation.shape[0]
        label = jnp.unique(of.group, return_inverse=True, size=N)[1].reshape(N)
        deviation = jax.ops.segment_sum(deviation, label, N)
        filled = jax.ops.segment_max(of.counted.astype(jnp.int32), label, N) > 0
        groups = jnp.sum(filled.astype(deviation.dtype))
    variance = safe_divide(jnp.sum(deviation**2) * groups, (groups - 1) * count**2)
    effective = safe_divide(jnp.sum(of.weight) ** 2, jnp.sum(of.weight**2), 0.0)
    return Estimate(value, jnp.sqrt(variance), effective)


def direct_method(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances | None = None,
    *,
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """The outcome model's own opinion of the target policy; no weights, so any log will do.

        V = mean_i sum_k target_ik r^_ik

    The standard error is that of the prompts alone. It ignores the model's bias, which no log can show:
    never call value -+ 2 errors a confidence interval.

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

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> logs, target = _example()
        >>> print(direct_method(logs, target, 0.5, Nuisances(half, Outcomes(half, half))).value)
        0.25

    Reference:
        Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li
        (https://arxiv.org/abs/1103.4601), 2011.
    """
    chex.assert_shape(target, logs.available.shape)
    direct = metrics.value(target, _outcomes(nuisances), cost_weight)
    return estimate(Rows(direct, jnp.ones(direct.shape, bool), direct * jnp.nan, logs.group))


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
        logs: N rows; those without feedback are left out.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: where given, their propensities; else ``logs.propensity``.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN without any feedback.

    Raises:
        InputError: a propensity is NaN.

    Example:
        >>> print(ipw(*_example(), cost_weight=0.5).value)
        0.625

    Reference:
        A Generalization of Sampling Without Replacement From a Finite Universe, by Horvitz and Thompson,
        1952.
    """
    cap = _cap(weight_clip)
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=cap, outcome_model=False))


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
        logs: N rows; those without feedback are left out.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: where given, their propensities; else ``logs.propensity``.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN if the weights sum to 0.

    Raises:
        InputError: a propensity is NaN.

    Example:
        >>> print(snipw(*_example(), cost_weight=0.5).value)
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
        logs: N rows; those without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN without any feedback.

    Raises:
        ValueError: without nuisances.
        InputError: a propensity is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> print(doubly_robust(*_example(), 0.5, Nuisances(half, Outcomes(half, half))).value)
        0.625

    Reference:
        Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li
        (https://arxiv.org/abs/1103.4601), 2011.
    """
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=_cap(weight_clip)))


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
        logs: N rows; those without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN if the weights sum to 0.

    Raises:
        ValueError: without nuisances.
        InputError: a propensity is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> nuisances = Nuisances(half, Outcomes(half, half))
        >>> print(self_normalised_doubly_robust(*_example(), 0.5, nuisances).value)
        0.625

    Reference:
        Data-Efficient Off-Policy Policy Evaluation for Reinforcement Learning, by Thomas and Brunskill
        (https://arxiv.org/abs/1604.00923), 2016 (their weighted doubly robust estimator, horizon one).
    """
    cap = _cap(weight_clip)
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=cap, self_normalised=True))


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

    Args:
        logs: N rows; those without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        threshold: largest importance weight target/propensity that corrects; equality is kept.

    Returns:
        Estimate; the effective sample size is that of all weights, dropped ones included.

    Raises:
        ValueError: without nuisances.
        InputError: a propensity is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> nuisances = Nuisances(half, Outcomes(half, half))
        >>> print(switch_doubly_robust(*_example(), 0.5, nuisances, threshold=1.0).value)
        0.25

    Reference:
        Optimal and Adaptive Off-policy Evaluation in Contextual Bandits, by Wang, Agarwal and Dudík
        (https://arxiv.org/abs/1612.01205), 2017.
    """
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=lambda w: switch(w, threshold)))


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

    Args:
        logs: N rows; those without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: needed; cross-fitted for these rows.
        clip: smaller propensities are raised to it.
        shrinkage: s; 0 is the direct method, inf is ``doubly_robust``.

    Returns:
        Estimate; the effective sample size is that of the weights before shrinkage.

    Raises:
        ValueError: without nuisances.
        InputError: a propensity is NaN.

    Example:
        >>> half = jnp.full((4, 2), 0.5)
        >>> nuisances = Nuisances(half, Outcomes(half, half))
        >>> print(shrinkage_doubly_robust(*_example(), 0.5, nuisances, shrinkage=4.0).value)
        0.4375

    Reference:
        Doubly robust off-policy evaluation with shrinkage, by Su, Dimakopoulou, Krishnamurthy and Dudík
        (https://arxiv.org/abs/1907.09623), 2020.
    """
    return estimate(rows(logs, target, cost_weight, nuisances, clip=clip, transform=lambda w: shrink(w, shrinkage)))


def _cap(weight_clip: Scalar) -> Callable[[Weights], Weights]:
    return lambda weight: jnp.minimum(weight, weight_clip)


def _outcomes(nuisances: Nuisances | None) -> Outcomes:
    if nuisances is None:
        raise ValueError("this estimator needs nuisances (an outcome model): see nuisance.fit")
    return nuisances.outcomes


def _example() -> tuple[Logs, Float[Array, "N K"]]:
    """Four prompts logged at a coin's toss between two models; the target always takes the first."""
    logs = Logs(
        features=jnp.zeros((4, 1)),
        action=jnp.array([0, 0, 1, 1]),
        quality=jnp.array([1.0, 0.75, 0.25, 0.5]),
        cost=jnp.array([0.5, 0.5, 0.25, 0.25]),
        propensity=jnp.full(4, 0.5),
        available=jnp.ones((4, 2), bool),
    )
    return logs, jax.nn.one_hot(jnp.zeros(4, int), 2)
