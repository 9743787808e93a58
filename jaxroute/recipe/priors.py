"""What a team knows of the models beside its log: a leaderboard, an earlier evaluation, results of another task.

    m = b0 + Z b + c (p - mean p) + e,   c ~ N(1, 1),   e_k ~ N(0, tau^2 d_k^2 / w_k),   w_k ~ Gamma(2, 2)

p_k is the quality that is expected of model k, and d_k its standard deviation over the root mean square of all models'.
Another task is easier or harder for every model (b0) and separates the models more or less (c), so both are fitted.
The log decides how much the prior is trusted: tau has the weights of its marginal likelihood, and so has the
hypothesis that the prior says nothing, which is `levels.posterior` with what prices say. A model whose rows contradict
its prior gets a small w_k and leaves the prior; e is Student's t with four degrees of freedom. Z b is as in `levels`.
Of a model that the log never shows, b0 + c (p - mean p) is all that is known: ``Trusted.expected``.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.numerics import relative, safe_divide, weighted_mean
from jaxroute.recipe import caution, levels
from jaxroute.recipe.attributes import requests
from jaxroute.recipe.means import Sample
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

FREEDOM = 4.0
"""Degrees of freedom of a model's departure from its prior."""
ROUNDS = 6
"""Steps of expectation and maximisation in w."""


OF_ALL = ("slope", "shift", "scale", "informed")
"""The fields of ``Trusted`` that are numbers of all models together."""


class Prior(NamedTuple):
    """Expected quality of every model and its standard deviation, [K], quality units."""

    quality: Float[Array, " K"]
    deviation: Float[Array, " K"]


class Trusted(NamedTuple):
    """The levels given log and prior, and what the log says of the prior.

    level: see ``levels.Level``. slope: least-squares slope of the levels on the prior, 1 where they differ as much as
    it says and 0 where it says nothing of them. followed: [K] weights w of the likeliest tau and s: 1 for a model that
    follows its prior, near 0 for one that contradicts it. shift, scale: posterior means of b0, and of c or of 0 where
    the prior says nothing. informed: probability that it says something. log_alone: the levels if it says nothing.
    """

    level: levels.Level
    slope: Float[Array, ""]
    followed: Float[Array, " K"]
    shift: Float[Array, ""]
    scale: Float[Array, ""]
    informed: Float[Array, ""]
    log_alone: levels.Level

    def expected(self, gap: Float[Array, " U"]) -> Float[Array, " U"]:
        """Levels of models without a row, by how far their priors are above the mean prior of the log's models."""
        return self.shift + self.scale * gap


@jax.jit
def posterior(
    samples: list[Sample],
    about: Float[Array, "K C"],
    prior: Prior,
    without_prior: levels.Scalar | Float[Array, " K"] = 0.5,
) -> Trusted:
    """Levels given all samples and a prior, averaged over the grid of tau and s by marginal likelihood.

    Args:
        samples, about: see ``levels.posterior``.
        prior: finite; deviations above 0, of which only the ratios matter.
        without_prior: what is expected where the prior says nothing, see ``levels.posterior``.

    Returns:
        Trusted.

    Example:
        The last model has a few good answers, and the prior, which is right about the others, says that it is bad:

        >>> seen = jnp.array([0.6, 0.5, 0.55, 0.42, 0.7]), jnp.diag(jnp.array([1e-4, 1e-4, 1e-4, 1e-4, 2e-2]))
        >>> known = Prior(jnp.array([0.5, 0.4, 0.45, 0.32, 0.3]), jnp.full(5, 0.05))
        >>> found = posterior([Sample(*seen)], jnp.zeros((5, 0)), known)
        >>> print(round(float(found.level.mean[-1]), 2), round(float(found.slope), 2))
        0.43 0.89

    Reference:
        Empirical Bayes Methods for Combining Likelihoods, by Efron (1996); robust heterogeneity by a t distribution:
        Flexible parametric models for random-effects distributions, by Lee and Thompson (2008).
    """
    gap = prior.quality - jnp.mean(prior.quality)
    relative_deviation = prior.deviation / jnp.sqrt(jnp.mean(prior.deviation**2))
    expected, scale = 0.5 + gap, jnp.outer(gap, gap)

    def line(found: levels.Conditioned, scale: Array) -> Float[Array, " 2"]:
        """b0 and c."""
        return jnp.stack([0.5 + levels.PRIOR_DEVIATION**2 * jnp.sum(found.pull), scale])

    def without(point: Array) -> tuple[levels.Conditioned, Float[Array, " 2"]]:
        found = levels.conditioned(samples, without_prior, levels.covariance(point[0], point[1], about))
        return found, line(found, jnp.zeros_like(found.likelihood))

    def given(point: Array) -> tuple[levels.Conditioned, Float[Array, " 2"], Float[Array, " K"]]:
        spread, slope = point
        deviation = spread * relative_deviation

        def at(w: Float[Array, " K"]) -> levels.Conditioned:
            return levels.conditioned(
                samples, expected, levels.covariance(deviation / jnp.sqrt(w), slope, about) + scale
            )

        def step(_: int, w: Float[Array, " K"]) -> Float[Array, " K"]:
            away = at(w).mean - expected
            away = (away - w @ away / jnp.sum(w)) / deviation
            return jnp.minimum((FREEDOM + 1) / (FREEDOM + away**2), 1.0)

        w = jax.lax.fori_loop(0, ROUNDS, step, jnp.ones_like(gap))
        found, half = at(w), FREEDOM / 2
        density = jnp.sum(half * jnp.log(w) - half * (w - 1))  # of log w, whose mode the steps find (Laplace)
        return found._replace(likelihood=found.likelihood + density), line(found, 1 + gap @ found.pull), w

    grid = jnp.asarray(levels.GRID)
    alone, (*informed, w) = jax.lax.map(without, grid), jax.lax.map(given, grid)
    every, lines = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), alone, tuple(informed))
    level = levels.averaged(every)
    slope = safe_divide(gap @ level.mean, gap @ gap, 0.0)
    chance = jax.nn.softmax(every.likelihood)
    shift, scale = chance @ lines
    followed = w[jnp.argmax(informed[0].likelihood)]
    return Trusted(level, slope, followed, shift, scale, jnp.sum(chance[len(grid) :]), levels.averaged(alone[0]))


def fit(
    logs: Logs,
    nuisances: Nuisances,
    prior: Prior,
    shadow: Examples | None = None,
    predicted: Outcomes | None = None,
) -> Trusted:
    """Levels from a log and a prior, and a shadow sample where there is one; arguments as in ``levels.fit``.

    From a log alone, the mean is what ``caution.settled`` makes of it.
    """
    samples, about, without_prior = levels.samples_of(logs, nuisances, shadow, predicted)
    found = posterior(samples, about, prior, without_prior)
    if shadow is not None:
        return found
    of_predictions = weighted_mean(nuisances.outcomes.quality, relative(logs.weight))
    mean = caution.settled(found.level, of_predictions, requests(logs), found.informed, log_alone=found.log_alone)
    return found._replace(level=found.level._replace(mean=mean))
