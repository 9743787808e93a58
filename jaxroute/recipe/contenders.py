"""Which models a shadow sample should ask: those whose answers are expected to be worth most for the same money.

    value(S) = E max_k u_k(x; m') - max_k u_k(x; m),    m'_k ~ N(m_k, s_k^2 - s_k(S)^2)
    u_k(x; m) = m_k + SHARE (r_k(x) - mean r_k) - w c_k(x)

averaged over the log's prompts x and the cost weights w. s_k is the standard deviation of the level m_k that the log
leaves, s_k(S) the one that is left once the models S have answered as many prompts as the money pays for. So m' is what
will be believed then, as it looks now. Few models on many prompts are known well, and a model that nobody asks stays
as it is; the value says where to stop. The sets looked at are the n models that are likeliest to be chosen, for every
n. Beyond a few models the value hardly changes with n, and it leaves out what more prompts teach of the differences
between them, so the fewest models are asked whose answers are worth nearly as much as the best set's. Which prompts:
any, at random. Rules that prefer some of them were no better (experiments/results/shadow.md).

References: Applied Statistical Decision Theory, by Raiffa and Schlaifer (1961), preposterior analysis; On the
Likelihood that One Unknown Probability Exceeds Another, by Thompson (1933).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.numerics import relative, weighted_mean
from jaxroute.recipe import contrasts, levels
from jaxroute.recipe.recommended import shrink_contrasts
from jaxroute.types import Key, Logs, Nuisances

DRAWS = 100
PROMPTS = 500
"""Of the log, over which values are averaged."""
NEARLY = 0.95
"""Of the best set's value."""


class Ask(NamedTuple):
    """One way to spend the money: the models asked [K], on how many prompts, and what the answers are worth."""

    asked: np.ndarray
    prompts: int
    value: float


def ways(
    key: Key,
    logs: Logs,
    nuisances: Nuisances,
    level: Float[Array, " K"],
    cost_weights: Sequence[float],
    count: int,
    *,
    rounded: Callable[[float], int] = int,
) -> list[Ask]:
    """The sets of models that the money for ``count`` prompts, answered by every model, could ask; the last asks all.

    Args:
        key: of the draws. logs, nuisances: the log, fitted. level: [K] its levels (``recipe.estimate_levels``).
        cost_weights: per unit of the log's cost, at which the router will be used. count: prompts, 1 or more.
        rounded: of a number of prompts.

    Returns:
        K - 1 of them, from two models on; values in quality units.

    Example:
        Two models are about as good, the third is known to be bad:

        >>> from jaxroute.types import Outcomes
        >>> turn, half = jnp.arange(90), jnp.full((90, 3), 0.5)
        >>> logs = Logs(half[:, :1], turn % 3, (turn % 3 < 2) * (turn // 3 % 2.0), half[:, 0], half[:, 0] / 1.5,
        ...             jnp.ones((90, 3), bool))
        >>> found = ways(jax.random.key(0), logs, Nuisances(half / 1.5, Outcomes(half, half)),
        ...              jnp.array([0.5, 0.5, 0.0]), [0.0], 100)
        >>> print(*(f"{one.asked} {one.prompts}" for one in found), found[0].value > found[1].value)
        [ True  True False] 150 [ True  True  True] 100 True
    """
    cost = np.asarray(weighted_mean(nuisances.outcomes.cost, relative(logs.weight)), float)
    order = np.argsort(-np.asarray(chances(key, logs, nuisances, level, cost_weights)), kind="stable")
    sets = [np.isin(np.arange(len(order)), order[:n]) for n in range(2, len(order) + 1)]
    prompts = [count if asked.all() else rounded(count * cost.sum() / cost[asked].sum()) for asked in sets]
    now = levels.planned_errors(logs, nuisances, 0)
    each = zip(prompts, map(jnp.asarray, sets), strict=True)
    left = [levels.planned_errors(logs, nuisances, *one) for one in each]
    moved = jnp.sqrt(jnp.maximum(now[None] ** 2 - jnp.stack(left) ** 2, 0.0))
    values = _values(key, _utilities(logs, nuisances, level, cost_weights), moved)
    return [Ask(*one) for one in zip(sets, prompts, np.asarray(values, float).tolist(), strict=True)]


def fewest(found: Sequence[Ask]) -> Ask:
    """The way that asks the fewest models for nearly the best value.

    Example:
        >>> two, three, four = (Ask(np.arange(4) < n, 400 // n, v) for n, v in ((2, 0.5), (3, 0.96), (4, 1.0)))
        >>> fewest([two, three, four]) is three
        True
    """
    enough = NEARLY * max(one.value for one in found)
    return min((one for one in found if one.value >= enough), key=lambda one: one.asked.sum())


def chances(
    key: Key, logs: Logs, nuisances: Nuisances, level: Float[Array, " K"], cost_weights: Sequence[float]
) -> Float[Array, " K"]:
    """How often each model would be chosen if the levels were a draw from what the log leaves possible, [K].

        P(k = argmax_j u_j(x; m)),   m ~ N(level, s^2)

    Args:
        as for ``ways``.
    """
    utility = _utilities(logs, nuisances, level, cost_weights)
    return _chances(key, utility, levels.planned_errors(logs, nuisances, 0))


def _utilities(
    logs: Logs, nuisances: Nuisances, level: Float[Array, " K"], cost_weights: Sequence[float]
) -> Float[Array, "L n K"]:
    """At every cost weight, of some of the log's prompts, evenly spread over its rows; -inf where not available."""
    rows = np.linspace(0, len(logs.action) - 1, min(PROMPTS, len(logs.action))).astype(int)
    few = jax.tree.map(lambda y: jnp.asarray(y)[rows], nuisances.outcomes)
    centre = weighted_mean(nuisances.outcomes.quality, relative(logs.weight))
    seen = shrink_contrasts(few, level, centre, share=contrasts.SHARE)
    weights = jnp.asarray(cost_weights, jnp.float32)
    utility = seen.quality[None] - weights[:, None, None] * seen.cost[None]
    return jnp.where(jnp.asarray(logs.available)[rows][None], utility, -jnp.inf)


@jax.jit
def _chances(key: Key, utility: Float[Array, "L n K"], deviation: Float[Array, " K"]) -> Float[Array, " K"]:
    models = utility.shape[-1]

    def choices(noise: Float[Array, " K"]) -> Float[Array, " K"]:
        best = jnp.argmax(utility + (deviation * noise)[None, None], -1)
        return jnp.mean(jax.nn.one_hot(best, models), (0, 1))

    return jnp.mean(jax.lax.map(choices, jax.random.normal(key, (DRAWS, models))), 0)


@jax.jit
def _values(key: Key, utility: Float[Array, "L n K"], moved: Float[Array, "S K"]) -> Float[Array, " S"]:
    """The same draws for every set, each with its opposite."""
    half = jax.random.normal(key, (DRAWS // 2, utility.shape[-1]))
    draws = jnp.concatenate([half, -half])

    def best(shift: Float[Array, " K"]) -> Array:
        return jnp.mean(jnp.max(utility + shift[None, None], -1))

    def value(deviation: Float[Array, " K"]) -> Array:
        return jnp.mean(jax.lax.map(lambda noise: best(deviation * noise), draws))

    return jax.lax.map(value, moved) - best(jnp.zeros(utility.shape[-1]))
