"""Noisy means of all models' qualities: from a log, and from prompts that several models answered."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute import counterfactual
from jaxroute.estimators.influence import labels
from jaxroute.nuisance import as_cells
from jaxroute.numerics import relative, safe_divide, weighted_mean
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

CLIP = 0.1
UNKNOWN = 1.0
"""Standard deviation of a model's mean where nothing was observed of it."""
POOLED_ANSWERS = 5
"""So many answers does the variance pooled over models count for, beside a model's own in a shadow sample."""
NOISE = 0.25
"""Variance of an answer before any was seen, which counts for one: that of a fair coin."""


class Sample(NamedTuple):
    """Noisy means of all models: [K] and the covariance of their errors [K, K]."""

    mean: Float[Array, " K"]
    covariance: Float[Array, "K K"]


def doubly_robust(
    quality: Float[Array, "N K"],
    observed: Bool[Array, "N K"],
    weight: Float[Array, "N K"],
    predicted: Float[Array, "N K"],
    times: Float[Array, " N"] | None = None,
) -> Float[Array, " K"]:
    """Mean quality of every model over the rows, self-normalised doubly robust.

        m_k = mean_i r_ik + sum_i o_ik w_ik (q_ik - r_ik) / sum_i o_ik w_ik

    A row counts ``times`` times in the mean; the weights have that in them.

    Args:
        quality: [N, K], anything where not observed.
        observed: [N, K]; one model a row for a log, all of them for a full table.
        weight: [N, K] one over the probability of being observed, anything where not observed.
        predicted: [N, K], cross-fitted for these rows.
        times: [N]; None: once.

    Returns:
        [K]; the mean prediction for a model without an observed answer.

    Example:
        >>> seen = jnp.array([[True, False], [True, True]])
        >>> half, one = jnp.full((2, 2), 0.5), jnp.ones((2, 2))
        >>> print(doubly_robust(jnp.array([[1.0, jnp.nan], [0.5, 0.0]]), seen, one, half))
        [0.75 0.  ]

    Reference:
        Data-Efficient Off-Policy Policy Evaluation for Reinforcement Learning, by Thomas and Brunskill
        (https://arxiv.org/abs/1604.00923), 2016 (weighted doubly robust, horizon one, one model a policy).
    """
    weight = jnp.where(observed, weight, 0.0)
    error = jnp.where(observed, quality - predicted, 0.0)
    return weighted_mean(predicted, times) + safe_divide(jnp.sum(weight * error, 0), jnp.sum(weight, 0), 0.0)


def of_log(logs: Logs, nuisances: Nuisances, *, clip: float = CLIP) -> Sample:
    """``doubly_robust`` means of a log and the covariance of their errors, w = s / (max(p, clip) h).

        cov m_kl = (1{k = l} sigma^2 sum_i w_ik^2 + c sum_{i != j in one group} w_ik w_jl) / (sum_i w_ik sum_i w_il)

    s is how often the row counts (``logs.weight``), h the response propensity if there is one. The residual variance
    sigma^2 is pooled over models: that of a model with five rows is not known. So is c, the covariance of residuals of
    one group (a conversation, a user), at least 0; without groups there is none.

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        nuisances: cross-fitted for these rows.
        clip: smaller propensities are raised to it.

    Returns:
        Sample; a model without rows has the variance UNKNOWN^2.

    Raises:
        InputError: a propensity is NaN.

    Reference: Sampling Techniques, by Cochran (1977), chapter 9 (means of clusters of unequal size).
    """
    weight = 1 / counterfactual.propensity_of_action(logs, nuisances, clip=clip)
    if nuisances.response is not None:
        weight = weight / nuisances.response
    return _of_log(apart(logs), nuisances, weight)


def apart(logs: Logs) -> Logs:
    """The log without its groups if each is one row."""
    if logs.group is None or isinstance(logs.group, jax.core.Tracer):
        return logs
    every = np.unique(np.asarray(logs.group)).size == len(logs.action)
    return logs._replace(group=None) if every else logs


@jax.jit
def _of_log(logs: Logs, nuisances: Nuisances, weight: Float[Array, " N"]) -> Sample:
    outcomes, chosen = as_cells(logs)
    seen = chosen & ~jnp.isnan(outcomes.quality)
    times = relative(logs.weight)
    weight = jnp.where(seen, (weight if times is None else weight * times)[:, None], 0.0)
    predicted = nuisances.outcomes.quality
    residual = jnp.where(seen, outcomes.quality - predicted, 0.0)
    pooled = jnp.sum(residual**2) / jnp.sum(seen)
    variance = pooled * safe_divide(jnp.sum(weight**2, 0), jnp.sum(weight, 0) ** 2, jnp.inf)
    covariance = jnp.diag(jnp.minimum(variance, UNKNOWN**2))
    if logs.group is not None:
        label = labels(logs.group)
        covariance = covariance + _of_groups(label, weight, jnp.sum(residual, 1), jnp.any(seen, 1), pooled)
    return Sample(doubly_robust(outcomes.quality, seen, weight, predicted, times), covariance)


def _of_groups(
    label: Int[Array, " N"],
    weight: Float[Array, "N K"],
    residual: Float[Array, " N"],
    seen: Bool[Array, " N"],
    pooled: Float[Array, ""],
) -> Float[Array, "K K"]:
    """What pairs of rows of one group add to the covariance of the means."""
    total, count, by_group = (jax.ops.segment_sum(y, label, len(label)) for y in (residual, seen + 0.0, weight))
    pairs = jnp.sum(count**2) - jnp.sum(count)
    shared = safe_divide(jnp.sum(total**2) - jnp.sum(residual**2), pairs, 0.0)
    others = by_group.T @ by_group - jnp.diag(jnp.sum(weight**2, 0))
    rows = jnp.sum(weight, 0)
    return jnp.clip(shared, 0.0, pooled) * safe_divide(others, jnp.outer(rows, rows), 0.0)


@jax.jit
def of_shadow(shadow: Examples, predicted: Outcomes, centre: Float[Array, " K"]) -> Sample:
    """Means from prompts that several models answered: their errors are paired, and the covariance says so.

        m_k = centre_k + mean_{s in S_k} e_sk,   e = q - r
        covariance_kl = sum_{s in S_k and S_l} (e_sk - mean e_k) (e_sl - mean e_l) / (|S_k| |S_l|)
        variance_k = (sum_{s in S_k} (e_sk - mean e_k)^2 + v sigma^2) / ((|S_k| - 1 + v) |S_k|)

    sigma^2 is the variance of e pooled over the models, and v how many answers it counts for: a few answers of a model
    do not show how noisy they are, and a single one shows nothing. The covariances between models are halved, because S
    prompts cannot determine K (K - 1) / 2 of them.

    Args:
        shadow: S prompts; S_k are those where model k is available. Which models a prompt was given to may depend
            on the log, never on the answers.
        predicted: [S, K], cross-fitted.
        centre: [K] mean prediction on the prompts that the levels are the means of.

    Returns:
        Sample; ``centre`` with variance UNKNOWN^2 for a model that was not asked.

    Reference:
        Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray Experiments, by
        Smyth (https://doi.org/10.2202/1544-6115.1027), 2004 (moderated variances).
    """
    seen = shadow.available & jnp.isfinite(shadow.outcomes.quality)
    count = jnp.sum(seen, 0)
    error = jnp.where(seen, shadow.outcomes.quality - predicted.quality, 0.0)
    mean = safe_divide(jnp.sum(error, 0), count, 0.0)
    centred = jnp.where(seen, error - mean[None], 0.0)
    shrunk = 0.5 * centred.T @ centred / jnp.maximum(count[:, None] * count[None], 1)
    squares, free = jnp.sum(centred**2, 0), jnp.maximum(count - 1, 0)
    pooled = (jnp.sum(squares) + NOISE) / (jnp.sum(free) + 1)
    variance = (squares + POOLED_ANSWERS * pooled) / (free + POOLED_ANSWERS)
    diagonal = safe_divide(variance, count, UNKNOWN**2)
    return Sample(centre + mean, jnp.fill_diagonal(shrunk, jnp.maximum(diagonal, jnp.diag(shrunk)), inplace=False))
