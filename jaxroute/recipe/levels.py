"""Mean quality of every model: doubly robust means, shrunk towards what the share of the log and the price predict.

    y = m + e,   m ~ N(b0 + t + Z b, tau^2 I),   b ~ N(0, s^2 I),   t_k = BY_PRICE standardised(log c_k)

y are doubly robust means with their sampling variances. Z has two columns: how often the log chose each model, and
what the model costs. The mean of a model with few rows, or with large weights, is thus shrunk towards what these two
predict: a model that a good logging policy rarely chose is probably worse, and one that a cost-saving policy rarely
chose is more expensive and probably better. The slopes and both variances are estimated from the log (empirical Bayes);
t is what prices say of quality in general, before this log said anything.
A plug-in takes a maximum over the models, so errors in uncertain levels cost it most; see `caution`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxroute import counterfactual
from jaxroute.nuisance import as_cells
from jaxroute.numerics import relative, safe_divide, weighted_mean
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float

CLIP = 0.1
SPREADS = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2)
"""tau: standard deviations of the levels about the regression, quality units."""
SLOPES = (0.0, 0.02, 0.05, 0.1, 0.2)
"""s: standard deviations of a slope per standard deviation of its column, quality units."""
GRID = tuple((spread, slope) for spread in SPREADS for slope in SLOPES)
"""(tau, s): all pairs, which the log weighs."""
BY_PRICE = 0.05
"""Quality that a model is expected to have more of, where the log says nothing, whose cost is a standard deviation of
the models' logarithmic costs higher: 0.04 to 0.11 on the five real tables (experiments/results/caution.md)."""
NARROWEST, CHEAPEST = 0.5, 1e-3
"""That deviation is at least so many powers of ten, so that nearly equal prices say little. A model counts as no
cheaper than this part of the dearest: a free one's logarithm has no end."""
PRIOR_DEVIATION = 1.0
"""Standard deviation of b0 about 1/2, and of a model's mean where nothing was observed of it."""

POOLED_ANSWERS = 5
"""So many answers does the variance pooled over models count for, beside a model's own in a shadow sample."""
NOISE = 0.25
"""Variance of an answer before any was seen, which counts for one: that of a fair coin."""


class Sample(NamedTuple):
    """Noisy means of all models: [K] and the covariance of their errors [K, K]."""

    mean: Float[Array, " K"]
    covariance: Float[Array, "K K"]


class Level(NamedTuple):
    """Posterior means and standard deviations [K], quality units."""

    mean: Float[Array, " K"]
    deviation: Float[Array, " K"]


def means(
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
        >>> print(means(jnp.array([[1.0, jnp.nan], [0.5, 0.0]]), seen, one, half))
        [0.75 0.  ]

    Reference:
        Data-Efficient Off-Policy Policy Evaluation for Reinforcement Learning, by Thomas and Brunskill
        (https://arxiv.org/abs/1604.00923), 2016 (weighted doubly robust, horizon one, one model a policy).
    """
    weight = jnp.where(observed, weight, 0.0)
    error = jnp.where(observed, quality - predicted, 0.0)
    return weighted_mean(predicted, times) + safe_divide(jnp.sum(weight * error, 0), jnp.sum(weight, 0), 0.0)


def of_log(logs: Logs, nuisances: Nuisances, *, clip: float = CLIP) -> Sample:
    """``means`` of a log and their variances, w = s / (max(p, clip) h), h the response propensity if there is one.

        var m_k = sigma^2 sum_i w_ik^2 / (sum_i w_ik)^2,   sigma^2 the mean squared residual of all rows

    s is how often the row counts (``logs.weight``). The residual variance is pooled over models: that of a model with
    five rows is not known.

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        nuisances: cross-fitted for these rows.
        clip: smaller propensities are raised to it.

    Returns:
        Sample with a diagonal covariance; PRIOR_DEVIATION^2 for a model without rows.

    Raises:
        InputError: a propensity is NaN.
    """
    weight = 1 / counterfactual.propensity_of_action(logs, nuisances, clip=clip)
    if nuisances.response is not None:
        weight = weight / nuisances.response
    return _of_log(logs, nuisances, weight)


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
    return Sample(
        means(outcomes.quality, seen, weight, predicted, times), jnp.diag(jnp.minimum(variance, PRIOR_DEVIATION**2))
    )


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
        Sample; ``centre`` with variance PRIOR_DEVIATION^2 for a model that was not asked.

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
    diagonal = safe_divide(variance, count, PRIOR_DEVIATION**2)
    return Sample(centre + mean, jnp.fill_diagonal(shrunk, jnp.maximum(diagonal, jnp.diag(shrunk)), inplace=False))


@jax.jit
def columns(count: Float[Array, " K"], cost: Float[Array, " K"]) -> Float[Array, "K 2"]:
    """log(1 + rows) and log(mean cost), each standardised over the models (all 0 where they are equal).

    A cost of 0 counts as 1e-9, and as a thousandth of the largest where that is less, as in a unit in which all are
    tiny.

    Example:
        >>> [round(float(x), 2) for x in columns(jnp.ones(3), jnp.array([1.0, 2.0, 8.0]))[:, 1]]
        [-1.07, -0.27, 1.34]
        >>> [round(float(x), 2) for x in columns(jnp.ones(3), jnp.array([1e-12, 2e-12, 8e-12]))[:, 1]]
        [-1.07, -0.27, 1.34]
    """
    least = jnp.minimum(1e-9, 1e-3 * jnp.max(cost))
    least = jnp.where(least > 0, least, 1e-9)
    return jnp.stack([standard(jnp.log1p(count)), standard(jnp.log(jnp.maximum(cost, least)))], 1)


@jax.jit
def from_prices(cost: Float[Array, " K"]) -> Float[Array, " K"]:
    """Quality that is expected of models by their costs alone: 1/2 on average, BY_PRICE more for each deviation.

    Args:
        cost: [K] mean cost of a request, at least 0, in any unit.

    Example:
        >>> print(*(f"{m:.2f}" for m in from_prices(jnp.array([1.0, 10.0, 100.0]))), from_prices(jnp.zeros(2)))
        0.44 0.50 0.56 [0.5 0.5]
    """
    decades = jnp.log10(jnp.maximum(safe_divide(cost, jnp.full_like(cost, jnp.max(cost)), 1.0), CHEAPEST))
    away = decades - jnp.mean(decades)
    return 0.5 + BY_PRICE * away / jnp.maximum(jnp.sqrt(jnp.mean(away**2)), NARROWEST)


def standard(x: Float[Array, " K"]) -> Float[Array, " K"]:
    """Of mean 0 and deviation 1 over the models; all 0 where they are equal."""
    x = x - jnp.mean(x)
    return safe_divide(x, jnp.full_like(x, jnp.sqrt(jnp.mean(x**2) + 1e-12)), 0.0)


@jax.jit
def posterior(samples: list[Sample], about: Float[Array, "K C"], expected: Scalar | Float[Array, " K"] = 0.5) -> Level:
    """Levels given all samples, averaged over the grid of tau and s by marginal likelihood.

        P = tau^2 I + s^2 Z Z' + PRIOR_DEVIATION^2 11',   m | y, tau, s = t + P H' (H P H' + V)^-1 (y - H t)

    y stacks the samples, H repeats the models for each, V holds their covariances, and t is ``expected``.

    Args:
        samples: at least one, of K models each.
        about: [K, C] standardised columns, see ``columns``.
        expected: before any sample, quality units, see ``from_prices``.

    Returns:
        Level; its deviations hold what is not known of tau and s.

    Example:
        A model with a few good answers is not the best one yet:

        >>> means = Sample(jnp.array([0.6, 0.5, 0.9]), jnp.diag(jnp.array([1e-4, 1e-4, 4e-2])))
        >>> [round(float(m), 2) for m in posterior([means], jnp.zeros((3, 0))).mean]
        [0.6, 0.5, 0.66]

    Reference:
        Parametric Empirical Bayes Inference: Theory and Applications, by Morris (1983); averaging over the variances:
        Bayes Empirical Bayes, by Deely and Lindley (1981).
    """
    about = jnp.asarray(about)

    def at(point: Array) -> Conditioned:
        return conditioned(samples, expected, covariance(point[0], point[1], about))

    return averaged(jax.lax.map(at, jnp.asarray(GRID)))


def averaged(every: Conditioned) -> Level:
    """The levels of all hypotheses (leaves [G, ...]), weighed by their marginal likelihoods."""
    chance = jax.nn.softmax(every.likelihood)
    mean = chance @ every.mean
    return Level(mean, jnp.sqrt(chance @ (every.deviation**2 + (every.mean - mean[None]) ** 2)))


def covariance(spread: Scalar | Float[Array, " K"], slope: Scalar, about: Float[Array, "K C"]) -> Float[Array, "K K"]:
    """P of ``posterior``, before any sample; ``spread`` may differ between models."""
    models = about.shape[0]
    return jnp.diag(jnp.broadcast_to(spread**2, models)) + slope**2 * about @ about.T + PRIOR_DEVIATION**2


class Conditioned(NamedTuple):
    """Log marginal likelihood of the samples up to a constant, and the levels given them.

    pull: [K], H' (H P H' + V)^-1 (y - expected): whatever has covariance c [K] with the levels before any sample is
    moved by c . pull.
    """

    likelihood: Float[Array, ""]
    mean: Float[Array, " K"]
    deviation: Float[Array, " K"]
    pull: Float[Array, " K"]


def conditioned(
    samples: list[Sample], expected: Scalar | Float[Array, " K"], prior: Float[Array, "K K"]
) -> Conditioned:
    """Levels that are N(expected, prior) before any sample, given all samples."""
    models = prior.shape[0]
    observed = jnp.concatenate([s.mean - expected for s in samples])
    noise = jax.scipy.linalg.block_diag(*(s.covariance for s in samples))
    repeat = jnp.tile(jnp.eye(models), (len(samples), 1))
    factor = jax.scipy.linalg.cho_factor(repeat @ prior @ repeat.T + noise, lower=True)
    solved = jax.scipy.linalg.cho_solve(factor, observed)
    likelihood = -0.5 * observed @ solved - jnp.sum(jnp.log(jnp.diag(factor[0])))
    gain, pull = prior @ repeat.T, repeat.T @ solved
    left = prior - gain @ jax.scipy.linalg.cho_solve(factor, gain.T)
    return Conditioned(likelihood, expected + prior @ pull, jnp.sqrt(jnp.maximum(jnp.diag(left), 0.0)), pull)


def fit(
    logs: Logs,
    nuisances: Nuisances,
    shadow: Examples | None = None,
    predicted: Outcomes | None = None,
    *,
    clip: float = CLIP,
) -> Level:
    """Levels of all models from a log, and from a shadow sample where there is one.

    Args:
        logs: N rows. nuisances: cross-fitted for them.
        shadow: S prompts that every model answered. predicted: [S, K], cross-fitted for them.
        clip: of the log's propensities, see ``of_log``.

    Returns:
        Level, of the log's prompts.

    Example:
        >>> from jaxroute import nuisance
        >>> from jaxroute.data import simulate, synthetic
        >>> from jaxroute.types import NuisanceSpec
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> nuisances, _ = nuisance.fit(jax.random.key(2), logs, NuisanceSpec(("mean",), folds=3))
        >>> fit(logs, nuisances).mean.shape
        (4,)
    """
    return posterior(*samples_of(logs, nuisances, shadow, predicted, clip=clip))


def samples_of(
    logs: Logs,
    nuisances: Nuisances,
    shadow: Examples | None = None,
    predicted: Outcomes | None = None,
    *,
    clip: float = CLIP,
) -> tuple[list[Sample], Float[Array, "K 2"], Float[Array, " K"]]:
    """What ``fit`` conditions on: noisy means, the columns that say what a rare model is like, and its expectation."""
    counterfactual.propensity_of_action(logs, nuisances, clip=clip)  # says which row is bad, which a program cannot
    return _samples_of(logs, nuisances, shadow, predicted, clip)


@jax.jit
def _samples_of(
    logs: Logs, nuisances: Nuisances, shadow: Examples | None, predicted: Outcomes | None, clip: float
) -> tuple[list[Sample], Float[Array, "K 2"], Float[Array, " K"]]:
    centre = jax.tree.map(lambda y: weighted_mean(y, relative(logs.weight)), nuisances.outcomes)
    samples = [of_log(logs, nuisances, clip=clip)]
    if shadow is not None:
        assert predicted is not None
        samples.append(of_shadow(shadow, predicted, centre.quality))
    return samples, columns(requests(logs), centre.cost), from_prices(centre.cost)


@jax.jit
def requests(logs: Logs) -> Float[Array, " K"]:
    """How many rows every model answered, each counted as often as it stands for."""
    times = relative(logs.weight)
    return jnp.zeros(logs.available.shape[1]).at[logs.action].add(1.0 if times is None else times)
