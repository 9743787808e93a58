"""One influence value per row of a log: their mean is an estimate, their spread gives its standard error.

With

    r = quality - cost_weight * cost          reward of the row
    w = target_a / max(propensity_a, clip)    importance weight of the chosen model a
    d = sum_k target_k r^_k                   value of the target under the outcome model
    e = r - r^_a                              the outcome model's error

every estimator of `values` is one choice of (d, w, e) and of the normaliser. The outcome model counts as fixed
in every standard error (it is cross-fitted); the normaliser's noise is included (delta method). The difference of two
policies' rows gives the paired difference, and rows over a grid of cost weights (vmap) give simultaneous intervals.
With ``logs.group`` the error is clustered: the rows of one conversation or user count as one draw.

Rows without feedback (quality NaN) are left out of the correction and, without an outcome model, of the mean; both are
then means over the rows with feedback. This is unbiased if feedback is missing completely at random. With a correct
outcome model it may also depend on the prompt and the chosen model, but not on the quality itself. With
``nuisances.response`` (probability of feedback h, `nuisance.fit_response`) w is also divided by h and every mean is
over all rows, which is unbiased if feedback is missing at random given prompt and model and either h or the outcome
model is correct. A NaN anywhere else gives NaN.

With ``logs.human_quality`` the qualities are a judge's scores, and every weighted estimator is corrected by people's
ratings (`prediction_powered`).

In a log with ``logs.weight`` s (rows that stand for s requests each) every mean and sum over rows is weighted, and

    z_i = V + s_i / mean(s) (z_i - V),   V = sum s z / sum s

stands in the place of z_i, so that the plain mean of the rows is the weighted one and their spread gives its error.
"""

from __future__ import annotations

from collections.abc import Callable
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
from jaxroute.estimators import prediction_powered
from jaxroute.numerics import at_least_single, masked_sum, relative, safe_divide
from jaxroute.types import Estimate, InputError, Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float
Weights = Float[Array, " N"]


class Rows(NamedTuple):
    """One estimate, row by row.

    influence: its mean over the counted rows is the value. counted: rows that take part. weight: the
    importance weight w, as it is before any cap, switch or shrinkage; 0 without feedback (without a person's rating,
    where there are any), NaN where no weights are used, times ``logs.weight``. group: label of the independent unit,
    None: each row is one.
    """

    influence: Float[Array, " N"]
    counted: Bool[Array, " N"]
    weight: Weights
    group: Int[Array, " N"] | None = None


@checked
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
        target: [N, K] the policy to value; every row sums to 1, or to 0 where no model is available.
        cost_weight: quality per unit of cost.
        nuisances: cross-fitted for these rows; None (without outcome model only): ``logs.propensity``.
        clip: smaller propensities are raised to it.
        transform: of the weights: a cap, a switch or a shrinkage.
        outcome_model: use the nuisances' outcomes.
        self_normalised: divide by the sum of the weights instead of the number of rows.

    Returns:
        Rows of [N]; ``estimate`` turns them into a value with its error.

    Raises:
        ValueError: an outcome model is asked for without nuisances.
        InputError: a log without rows, or a propensity that is NaN (outside jit; inside, the result is NaN).

    Example:
        >>> logs, target = example()
        >>> a = rows(logs, target, 0.5, outcome_model=False)
        >>> b = rows(logs, 1 - target, 0.5, outcome_model=False)
        >>> print(estimate(a._replace(influence=a.influence - b.influence)).value)  # paired difference
        0.375
    """
    not_empty(logs)
    N, K = logs.available.shape
    chex.assert_shape(target, (N, K))
    target, nuisances = at_least_single((target, nuisances))
    logs = at_least_single(logs._replace(features=logs.features[:, :0]))
    propensity = propensity_of_action(logs, nuisances, clip=clip)
    response = None if nuisances is None else nuisances.response
    if response is not None:
        chex.assert_shape(response, (N,))
    predicted = outcomes_of(nuisances) if outcome_model else None
    times = relative(logs.weight)

    def of(logs: Logs, cost_weight: Scalar, response: Weights | None) -> Rows:
        importance = _importance(target, logs.action, logs.quality, propensity, response)
        weight = importance if transform is None else transform(importance)
        answers = logs.action, logs.quality, logs.cost
        found = _influence(*answers, target, cost_weight, predicted, response, weight, times, self_normalised)
        return standing(Rows(found[0], found[1], importance, logs.group), logs)

    if logs.human_quality is None:
        return of(logs, cost_weight, response)
    by_people, by_judge, rate = prediction_powered.by_people(logs)
    both = rate if response is None else rate * response
    own = of(logs, cost_weight, response), of(logs, 0.0, response)
    return prediction_powered.corrected(*own, of(by_people, 0.0, rate), of(by_judge, 0.0, both))


@jax.jit
def _importance(target: Array, action: Array, quality: Array, propensity: Array, response: Array | None) -> Weights:
    propensity = propensity if response is None else propensity * response
    return jnp.where(jnp.isnan(quality), 0.0, at_action(target, action) / propensity)


@partial(jax.jit, static_argnames="self_normalised")
def _influence(
    action: Int[Array, " N"],
    quality: Float[Array, " N"],
    cost: Float[Array, " N"],
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    predicted: Outcomes | None,
    response: Float[Array, " N"] | None,
    weight: Weights,
    times: Weights | None,
    self_normalised: bool,
) -> tuple[Float[Array, " N"], Bool[Array, " N"]]:
    """z and the counted rows; ``predicted`` None: without outcome model."""
    observed = ~jnp.isnan(quality)
    error = quality - cost_weight * cost
    direct = jnp.zeros_like(error)
    if predicted is not None:
        direct = metrics.value(target, predicted, cost_weight)
        error = error - (at_action(predicted.quality, action) - cost_weight * at_action(predicted.cost, action))
    error = jnp.where(observed, error, 0.0)

    stands = observed if response is None else jnp.ones_like(observed)
    counted = stands if predicted is None else jnp.ones_like(observed)
    normaliser = weight if self_normalised else stands.astype(error.dtype)
    times = jnp.ones_like(error) if times is None else times
    correction = safe_divide(jnp.sum(times * weight * error), jnp.sum(times * normaliser))
    deviation = weight * error - normaliser * correction
    scale = safe_divide(jnp.sum(times * counted), jnp.sum(times * normaliser))
    return direct + correction + scale * deviation, counted


def standing(of: Rows, logs: Logs) -> Rows:
    """Rows whose plain mean, and whose spread, are those of rows that stand for ``logs.weight`` requests each.

    Example:
        >>> logs, _ = example()
        >>> z, every = jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.ones(4, bool)
        >>> print(estimate(standing(Rows(z, every, z), logs._replace(weight=jnp.array([1.0, 1.0, 1.0, 3.0])))).value)
        0.5
    """
    times = relative(logs.weight)
    return of if times is None else _standing(of, times)


@jax.jit
def _standing(of: Rows, times: Weights) -> Rows:
    counted = jnp.where(of.counted, times, 0.0)
    value = safe_divide(masked_sum(times * of.influence, of.counted), jnp.sum(counted))
    share = safe_divide(times * jnp.sum(of.counted), jnp.sum(counted))
    return of._replace(influence=value + share * (of.influence - value), weight=times * of.weight)


@jax.jit
def estimate(of: Rows) -> Estimate:
    """Value, standard error and effective sample size of influence rows.

        value = mean z
        standard_error^2 = G/(G-1) sum_g (sum_{i in g} (z_i - value))^2 / N^2
        effective_sample_size = (sum_g w_g)^2 / sum_g w_g^2,   w_g = sum_{i in g} w_i

    over the N counted rows in G groups; each row its own group gives the usual variance / N, with N-1. The effective
    size counts independent draws: an interval from a few conversations of many requests each is as wide as a few
    draws allow.

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
    of = at_least_single(of)
    count = jnp.sum(of.counted.astype(of.influence.dtype))
    value = safe_divide(masked_sum(of.influence, of.counted), count)
    deviation = jnp.where(of.counted, of.influence - value, 0.0)
    weight = of.weight
    if of.group is not None:
        label = labels(of.group)
        deviation, weight = (jax.ops.segment_sum(x, label, len(x)) for x in (deviation, weight))
    groups = units(of)
    variance = safe_divide(jnp.sum(deviation**2) * groups, (groups - 1) * count**2)
    effective = safe_divide(jnp.sum(weight) ** 2, jnp.sum(weight**2), 0.0)
    return Estimate(value, jnp.sqrt(variance), effective)


@jax.jit
def units(of: Rows) -> Float[Array, ""]:
    """Number of independent draws among the counted rows: the groups if there are any, else the rows.

    Example:
        >>> z = jnp.zeros(3)
        >>> print(units(Rows(z, jnp.array([True, True, False]), z, jnp.array([7, 7, 9]))))
        1.0
    """
    counted = of.counted.astype(of.influence.dtype)
    if of.group is None:
        return jnp.sum(counted)
    filled = jax.ops.segment_max(of.counted.astype(jnp.int32), labels(of.group), len(counted)) > 0
    return jnp.sum(filled.astype(counted.dtype))


def labels(group: Int[Array, " N"]) -> Int[Array, " N"]:
    """A number in 0 to N - 1 for each group, not one after another: `jnp.unique` takes twice as long to compile.

    >>> print(labels(jnp.array([7, 7, 9])))
    [0 0 2]
    """
    return jnp.searchsorted(jnp.sort(group), group)


def utility_range(logs: Logs, cost_weight: Array | np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most that the value of any policy can be, as qualities are in [0, 1]; host side.

        -w max cost  to  1 - w min cost,   over the log's known costs

    A weighted correction may carry an estimate, or an end of its interval, beyond; what is reported is cut there.

    Example:
        >>> print(*utility_range(example()[0], 0.5))
        -0.25 0.875
    """
    cost, weight = np.asarray(logs.cost, float), np.asarray(cost_weight, float)
    known = cost[np.isfinite(cost)]
    least, most = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    return np.where(weight > 0, -weight * most, 0.0), 1 - weight * least


def not_empty(logs: Logs) -> None:
    """InputError for a log without rows: nothing can be estimated of it."""
    if not len(logs.action):
        raise InputError("logs has no rows; an estimate needs at least one")


def outcomes_of(nuisances: Nuisances | None) -> Outcomes:
    if nuisances is None:
        raise ValueError("this estimator needs nuisances with an outcome model; fit them with nuisance.fit")
    return nuisances.outcomes


def example() -> tuple[Logs, Float[Array, "N K"]]:
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
