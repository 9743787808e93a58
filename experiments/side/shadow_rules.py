"""Rules for a shadow sample: prompts drawn with known probabilities, levels that weigh by their inverse, whom to ask.

Compared in `experiments.side.shadow`; drawing at random did as well as any, so the library has none of these.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from jaxroute import counterfactual, nuisance, projection, recipe
from jaxroute.estimators import pessimism
from jaxroute.numerics import masked_argmax
from jaxroute.recipe import contrasts, levels
from jaxroute.types import Examples, Key, Logs, Nuisances, Outcomes

DIMENSIONS = 32
EXPERIENCE = 100.0
"""Log rows that one prediction is taken to rest on."""
KEEP = 0.95
"""Chance of being best that the models in contention have together."""
DRAWS = 100


def inclusion(size: np.ndarray, count: int) -> np.ndarray:
    """Probabilities [N] proportional to ``size``, at most 1, that sum to ``count``."""
    certain = np.zeros(len(size), bool)
    while True:
        left = np.where(certain, 0.0, size)
        probability = np.where(certain, 1.0, (count - certain.sum()) * left / left.sum())
        if not (probability > 1).any():
            return probability
        certain |= probability > 1


def draw_spread(rng: np.random.Generator, probability: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Local pivotal method: prompt i is drawn with probability_i, and neighbours seldom together.

    An undecided prompt and its nearest undecided neighbour fight for their probability mass until one of them is
    out or in; the expectation of either stays what it was.

    Args:
        rng: draws. probability: [N], with an integer sum. place: [N, d].

    Returns:
        Ascending row numbers, as many as the probabilities sum to.

    Reference:
        Spatially Balanced Sampling through the Pivotal Method, by Grafström, Lundström and Schelin (2012).
    """
    p, square = probability.astype(float), np.sum(place**2, 1)
    undecided = (p > 1e-9) & (p < 1 - 1e-9)
    while undecided.sum() > 1:
        rows = np.flatnonzero(undecided)
        i = int(rng.choice(rows))
        distance = square[rows] - 2 * place[rows] @ place[i]
        j = int(rows[np.argmin(np.where(rows == i, np.inf, distance))])
        total = p[i] + p[j]
        wins = p[i] / total if total < 1 else (1 - p[j]) / (2 - total)
        winner, loser = (i, j) if rng.random() < wins else (j, i)
        p[winner], p[loser] = (total, 0.0) if total < 1 else (1.0, total - 1)
        for k in (i, j):
            undecided[k] = 1e-9 < p[k] < 1 - 1e-9
    last = np.flatnonzero(undecided)
    p[last] = rng.random(len(last)) < p[last]
    return np.flatnonzero(p > 0.5)


def doubt(quality: np.ndarray, cost: np.ndarray, deviation: np.ndarray, available: np.ndarray) -> np.ndarray:
    """What knowing the best challenger of each prompt would be worth, mean over the cost weights, [N].

        max_k sigma_k (phi(z_k) - z_k Phi(-z_k)),   z_k = (u_best - u_k) / sigma_k,   sigma_k^2 = d_best^2 + d_k^2

    the expected gain of perfect information about one normal difference.

    Args:
        quality, cost: [N, K] as the recipe sees them. deviation: [N, K] of quality. available: [N, K].
    """
    worth = np.zeros(len(quality))
    rows = np.arange(len(quality))
    for weight in recipe.GRID:
        utility = np.where(available, quality - weight * cost, -np.inf)
        best = utility.argmax(1)
        spread = np.hypot(deviation[rows, best][:, None], deviation)
        z = np.where(available, utility[rows, best][:, None] - utility, 0.0) / spread
        gain = spread * (norm.pdf(z) - z * norm.sf(z))
        gain[rows, best] = 0.0
        worth += np.where(available, gain, 0.0).max(1)
    return worth / len(recipe.GRID)


def choose(
    rule: str,
    rng: np.random.Generator,
    count: int,
    logs: Logs,
    nuisances: Nuisances,
    features: np.ndarray,
    pool: Nuisances | None,
    available: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(rows drawn, their probabilities).

    Args:
        rule: "random"; "spread": evenly over the log's principal directions; "doubt": half of the mass evenly, half
            by ``doubt``.
        rng: draws. count: prompts. logs, nuisances: the log, fitted.
        features, pool, available: of the pool; its predictions are what "doubt" needs.
    """
    rows = len(features)
    if rule == "random":
        return np.sort(rng.permutation(rows)[:count]), np.full(count, count / rows)
    if rule == "spread":
        axes = projection.fit(logs.features, jnp.ones(len(logs.action)), DIMENSIONS)
        place = np.asarray(projection.project(axes, jnp.asarray(features)))
        probability = np.full(rows, count / rows)
    else:
        assert pool is not None
        centre = jnp.mean(nuisances.outcomes.quality, 0)
        level = (levels.fit(logs, nuisances).mean + centre) / 2
        error = pessimism.standard_error(pool.propensity, pessimism.noise(logs, nuisances), rows=EXPERIENCE)
        seen = recipe.shrink_contrasts(pool.outcomes, level, centre, share=contrasts.SHARE)
        worth = doubt(np.asarray(seen.quality), np.asarray(seen.cost), np.asarray(error), available)
        probability, place = inclusion(1 + worth / worth.mean(), count), rng.random((rows, 1))
    drawn = draw_spread(rng, probability, place)
    return drawn, probability[drawn]


def weighted(shadow: Examples, predicted: Outcomes, centre: np.ndarray, probability: np.ndarray) -> levels.Sample:
    """`levels.of_shadow` of prompts drawn with these probabilities [S]: self-normalised by their inverse.

        m_k = centre_k + sum_s w_s e_sk / sum_s w_s,   w = 1 / probability
        covariance_kl = sum_s w_s^2 (e_sk - mean e_k) (e_sl - mean e_l) / (sum_s w_s)^2

    Half of every covariance between models is taken, as there.

    Reference:
        Comment on "An essay on the logical foundations of survey sampling", by Hájek (1971).
    """
    seen = np.asarray(shadow.available) & np.isfinite(np.asarray(shadow.outcomes.quality))
    weight = seen / probability[:, None]
    error = np.where(seen, np.asarray(shadow.outcomes.quality) - np.asarray(predicted.quality), 0.0)
    total = weight.sum(0)
    mean = (weight * error).sum(0) / total
    deviation = weight * (error - mean)
    covariance = deviation.T @ deviation / np.outer(total, total)
    extra = 1e-4 * (weight**2).sum(0) / total**2
    half = 0.5 * covariance + 0.5 * np.diag(np.diag(covariance)) + np.diag(extra)
    return levels.Sample(jnp.asarray(centre + mean, jnp.float32), jnp.asarray(half, jnp.float32))


def weighted_levels(
    logs: Logs, nuisances: Nuisances, shadow: Examples, model: nuisance.NuisanceModel, probability: np.ndarray
) -> jax.Array:
    """`levels.fit` with ``weighted`` for the shadow's sample, [K]."""
    centre = jax.tree.map(lambda y: jnp.mean(y, 0), nuisances.outcomes)
    rest = jax.tree.map(lambda y: y[len(logs.action) :], nuisance.out_of_fold(model.outcomes))
    samples = [levels.of_log(logs, nuisances), weighted(shadow, rest, np.asarray(centre.quality), probability)]
    count = jnp.zeros(logs.available.shape[1]).at[logs.action].add(1.0)
    return levels.posterior(samples, levels.columns(count, centre.cost)).mean


def chances(key: Key, logs: Logs, nuisances: Nuisances, level: jax.Array, *, draws: int = DRAWS) -> jax.Array:
    """How often each model would be chosen if the levels were a draw from what the log leaves possible, [K].

        P(k = argmax_j m_j + SHARE (r_j(x) - mean r_j) - w c_j(x)),   m ~ N(level, deviation^2)

    over the log's prompts, the cost weights and the draws. Costs are normalised.

    Args:
        key: of the draws. logs, nuisances: the log, fitted. level: [K] its ``recipe.recommend(...).level``.

    Reference:
        On the Likelihood that One Unknown Probability Exceeds Another, by Thompson (1933).
    """
    return _chances(key, jax.tree.map(jnp.asarray, logs), nuisances, level, draws)


@partial(jax.jit, static_argnames="draws")
def _chances(key: Key, logs: Logs, nuisances: Nuisances, level: jax.Array, draws: int) -> jax.Array:
    deviation, centre = levels.fit(logs, nuisances).deviation, jnp.mean(nuisances.outcomes.quality, 0)

    def choices(noise: jax.Array) -> jax.Array:
        seen = recipe.shrink_contrasts(nuisances.outcomes, level + deviation * noise, centre, share=contrasts.SHARE)

        def at(weight: jax.Array) -> jax.Array:
            chosen = masked_argmax(counterfactual.utility(seen, weight), logs.available)
            return jnp.mean(jax.nn.one_hot(chosen, len(level)), 0)

        return jnp.mean(jax.lax.map(at, jnp.asarray(recipe.GRID)), 0)

    return jnp.mean(jax.lax.map(choices, jax.random.normal(key, (draws, len(level)))), 0)


def contenders(chance: np.ndarray | jax.Array, keep: float = KEEP) -> np.ndarray:
    """The fewest models [K] whose chances sum to ``keep``, never less than two. They are picked by the log, before any
    answer: means over the shadow stay unbiased."""
    chance = np.asarray(chance, float)
    order = np.argsort(-chance, kind="stable")
    before = np.cumsum(chance[order]) - chance[order]
    asked = np.zeros(len(chance), bool)
    asked[order[(before < keep - 1e-9) | (np.arange(len(chance)) < 2)]] = True
    return asked
