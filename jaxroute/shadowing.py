"""Which models a shadow sample should ask: those that may turn out best, for the money of asking all.

A shadow sample has prompts answered by several models beside the log. Its price is the sum of those models' costs,
and most of it goes to models that the log already rules out. Levels are normal about the log's posterior (`levels`);
a model's chance is how often it would be chosen if one draw of the levels were the truth:

    chance_k = P(k = argmax_j m_j + share (r_j(x) - mean r_j) - w c_j(x)),   m ~ N(level, deviation^2)

over the log's prompts, the grid of cost weights and the draws (probability matching). Models are chosen by the log,
before any answer, so means over the shadow stay unbiased; prompts are to be drawn at random from the traffic.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute import counterfactual, levels, pessimism, recipe
from jaxroute.numerics import masked_argmax
from jaxroute.types import Key, Logs, Nuisances

KEEP = 0.95
"""Chance that the models asked have together."""
DRAWS = 100


def chances(
    key: Key,
    logs: Logs,
    nuisances: Nuisances,
    model: recipe.Recommended,
    *,
    cost_scale: Float[Array, ""] | float = 1.0,
    draws: int = DRAWS,
) -> Float[Array, " K"]:
    """How often each model would be chosen if the levels were a draw from what the log leaves possible.

    Args:
        key: of the draws. logs: N rows. nuisances, model: of ``recipe.fit`` on them.
        cost_scale: cost units per normalised unit. draws: static.

    Returns:
        [K], summing to 1.

    Reference:
        On the Likelihood that One Unknown Probability Exceeds Another, by Thompson (1933).
    """
    logs = jax.tree.map(jnp.asarray, logs)
    about = model.level, model.centre, model.share
    return _chances(key, logs, nuisances, *about, jnp.asarray(cost_scale), draws)


@partial(jax.jit, static_argnames="draws")
def _chances(
    key: Key, logs: Logs, nuisances: Nuisances, level: Array, centre: Array, share: Array, scale: Array, draws: int
) -> Array:
    deviation = levels.fit(logs, nuisances).deviation

    def choices(noise: Array) -> Array:
        tempered = recipe.temper(nuisances.outcomes, level + deviation * noise, centre, share=share)

        def at(normalised: Array) -> Array:
            chosen = masked_argmax(counterfactual.utility(tempered, normalised / scale), logs.available)
            return jnp.mean(jax.nn.one_hot(chosen, len(level)), 0)

        return jnp.mean(jax.lax.map(at, jnp.asarray(recipe.GRID)), 0)

    return jnp.mean(jax.lax.map(choices, jax.random.normal(key, (draws, len(level)))), 0)


def contenders(chance: Float[Array, " K"] | np.ndarray, keep: float = KEEP) -> Bool[np.ndarray, " K"]:
    """The fewest models whose chances sum to ``keep``, never less than two.

    Example:
        >>> print(contenders(np.array([0.01, 0.6, 0.04, 0.35])))
        [False  True False  True]
    """
    chance = np.asarray(chance, float)
    order = np.argsort(-chance, kind="stable")
    before = np.cumsum(chance[order]) - chance[order]
    asked = np.zeros(len(chance), bool)
    asked[order[(before < keep - 1e-9) | (np.arange(len(chance)) < 2)]] = True
    return asked


def errors(logs: Logs, nuisances: Nuisances, prompts: int) -> Float[Array, " K"]:
    """Standard errors of the models' levels if every model answered so many more prompts, [K].

    The posterior's deviation (`levels`) with a sample of variance sigma_k^2 / prompts beside the log's, sigma_k the
    noise of quality about the outcome model (`pessimism.noise`). Answers to one prompt are taken as independent,
    which the log cannot tell: differences between models will be known better than this says.

    Args:
        logs: N rows. nuisances: cross-fitted for them. prompts: 0 is the log alone.

    Returns:
        [K] quality units.
    """
    now = levels.fit(logs, nuisances)
    if prompts == 0:
        return now.deviation
    variance = pessimism.noise(logs, nuisances) ** 2 / prompts
    count = jnp.zeros(logs.available.shape[1]).at[logs.action].add(1.0)
    about = levels.columns(count, jnp.mean(nuisances.outcomes.cost, 0))
    imagined = levels.Sample(now.mean, jnp.diag(variance))
    return levels.posterior([levels.of_log(logs, nuisances), imagined], about).deviation
