"""Mean quality of every model: doubly robust means, shrunk towards what the share of the log and the price predict.

    y = m + e,   m ~ N(b0 + t + Z b, tau^2 I),   b ~ N(0, s^2 I),   t_k = BY_PRICE standardised(log c_k)

y are doubly robust means with their sampling variances (`means`). Z has two columns: how often the log chose each
model, and what the model costs (`attributes`). The mean of a model with few rows, or with large weights, is thus shrunk
towards what these two predict: a model that a good logging policy rarely chose is probably worse, and one that a cost-
saving policy rarely chose is more expensive and probably better. The slopes and both variances are estimated from the
log (empirical Bayes); t is what prices say of quality in general, before this log said anything. A plug-in takes a
maximum over the models, so errors in uncertain levels cost it most; see `caution`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute import counterfactual
from jaxroute.numerics import relative, weighted_mean
from jaxroute.recipe.attributes import columns, from_prices, requests
from jaxroute.recipe.means import CLIP, Sample, apart, of_log, of_shadow
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float

SPREADS = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2)
"""tau: standard deviations of the levels about the regression, quality units."""
SLOPES = (0.0, 0.02, 0.05, 0.1, 0.2)
"""s: standard deviations of a slope per standard deviation of its column, quality units."""
GRID = tuple((spread, slope) for spread in SPREADS for slope in SLOPES)
"""(tau, s): all pairs, which the log weighs."""
PRIOR_DEVIATION = 1.0
"""Standard deviation of b0 about 1/2."""


class Level(NamedTuple):
    """Posterior means and standard deviations [K], quality units."""

    mean: Float[Array, " K"]
    deviation: Float[Array, " K"]


@jax.jit
def posterior(samples: list[Sample], about: Float[Array, "K C"], expected: Scalar | Float[Array, " K"] = 0.5) -> Level:
    """Levels given all samples, averaged over the grid of tau and s by marginal likelihood.

        P = tau^2 I + s^2 Z Z' + PRIOR_DEVIATION^2 11',   m | y, tau, s = t + P H' (H P H' + V)^-1 (y - H t)

    y stacks the samples, H repeats the models for each, V holds their covariances, and t is ``expected``.

    Args:
        samples: at least one, of K models each.
        about: [K, C] standardised columns, see ``attributes.columns``.
        expected: before any sample, quality units, see ``attributes.from_prices``.

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
        clip: of the log's propensities, see ``means.of_log``.

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
    return _samples_of(apart(logs), nuisances, shadow, predicted, clip)


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
