"""Which models a shadow sample should ask, and how many prompts each, for the same money.

    value(n) = E max_k u_k(x; m') - max_k u_k(x; m),    m'_k ~ N(m_k, s_k^2 - s_k(n)^2)
    u_k(x; m) = m_k + SHARE (r_k(x) - mean r_k) - w c_k(x)

averaged over the log's prompts x and the cost weights w. s_k is the standard deviation of the level m_k that the log
leaves, s_k(n) the one that is left once every model k has answered n_k further prompts. So m' is what will be believed
then, as it looks now. The money is spent greedily: the next answers are those of the model that raises the value most
for what they cost. A model that is surely worse, or whose answers cost more than they can gain, is not asked; a cheap
one in contention answers many prompts. The prompts come in random order and model k answers the first n_k of them, so
that answers to the same prompt can be compared. Rules that prefer some prompts were no better
(experiments/results/shadow.md).

References: Applied Statistical Decision Theory, by Raiffa and Schlaifer (1961), preposterior analysis; A
Knowledge-Gradient Policy for Sequential Information Collection, by Frazier, Powell and Dayanik
(https://doi.org/10.1137/070693424), 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.estimators import pessimism
from jaxroute.numerics import relative, weighted_mean
from jaxroute.recipe import contrasts, levels, means
from jaxroute.recipe.recommended import shrink_contrasts
from jaxroute.types import Key, Logs, Nuisances

DRAWS = 100
PROMPTS = 200
"""Of the log, over which values are averaged."""
GROWTH = 4
"""A model that is asked more is asked a block more, or a quarter of what it is asked already."""
UNASKED = 1e4
"""Variance of a mean that a sample does not hold: it says nothing."""
ROUNDING = 1e-7
"""Of values: no smaller gain is told from none."""

Worth = Callable[[np.ndarray], np.ndarray]
"""Of plans [P, K], how many prompts every model answers: what each is expected to be worth [P], quality units."""


def worth(
    key: Key, logs: Logs, nuisances: Nuisances, level: Float[Array, " K"], cost_weights: Sequence[float]
) -> Worth:
    """The value of plans to ask, given a log.

    Args:
        key: of the draws. logs, nuisances: the log, fitted. level: [K] its levels (``recipe.estimate_levels``).
        cost_weights: per unit of the log's cost, at which the router will be used.

    Example:
        Two models are about as good, the third is known to be bad:

        >>> from jaxroute.types import Outcomes
        >>> turn, half = jnp.arange(90), jnp.full((90, 3), 0.5)
        >>> logs = Logs(half[:, :1], turn % 3, (turn % 3 < 2) * (turn // 3 % 2.0), half[:, 0], half[:, 0] / 1.5,
        ...             jnp.ones((90, 3), bool))
        >>> known = Nuisances(half / 1.5, Outcomes(half, half))
        >>> of = worth(jax.random.key(0), logs, known, jnp.array([0.5, 0.5, 0.0]), [0.0])
        >>> nothing, two, all_three = of(np.array([[0, 0, 0], [150, 150, 0], [100, 100, 100]]))
        >>> bool(nothing == 0), bool(two > all_three > 0)
        (True, True)
        >>> plan = spend(of, np.ones(3), 300.0, block=25, most=500)
        >>> (plan > 100).tolist(), int(plan.sum())
        ([True, True, False], 300)
    """
    utility = _utilities(logs, nuisances, level, cost_weights)
    known = _known(logs, nuisances)
    now = _left(*known, jnp.zeros((1, len(level))))

    def values(plans: np.ndarray) -> np.ndarray:
        moved = jnp.sqrt(jnp.maximum(now**2 - _left(*known, jnp.asarray(plans, jnp.float32)) ** 2, 0.0))
        return np.asarray(_values(key, utility, moved), float)

    return values


def errors(logs: Logs, nuisances: Nuisances, plan: np.ndarray | int) -> Float[Array, " K"]:
    """Standard deviations of the models' levels that are left once model k has answered plan_k further prompts.

    The posterior is given the log and a second sample of variance sigma_k^2 / n_k, where sigma_k is the standard
    deviation of quality around the outcome model (`pessimism.noise`). The answers to one prompt are taken to be
    independent; if they are positively correlated, differences between models will be known better than this.

    Args:
        logs: N rows. nuisances: cross-fitted for them. plan: [K], or one number for all; 0 is the log alone.

    Returns:
        [K] quality units.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> half, turn = jnp.full((40, 2), 0.5), jnp.arange(40)
        >>> logs = Logs(half[:, :1], turn % 2, turn // 2 % 2 * 1.0, half[:, 0], half[:, 0], jnp.ones((40, 2), bool))
        >>> print(*(f"{errors(logs, Nuisances(half, Outcomes(half, half)), n)[0]:.2f}" for n in (0, 99, 999)))
        0.09 0.04 0.01
    """
    each = np.broadcast_to(plan, logs.available.shape[1])
    return _left(*_known(logs, nuisances), jnp.asarray(each, jnp.float32)[None])[0]


def spend(of: Worth, price: np.ndarray, money: float, *, block: int, most: int) -> np.ndarray:
    """How many prompts every model is asked [K], for at most ``money``: greedily, by gain in value for the money.

    Args:
        of: the value of plans. price: [K] of an answer. money: in the same unit. block: prompts that are added at once.
        most: prompts that there are.

    Returns:
        [K] integers; all 0 if no answer is expected to change a decision.
    """
    plan, value, price = np.zeros(len(price), int), 0.0, np.asarray(price, float)
    while True:
        affordable = np.divide(money, price, out=np.full(len(price), np.inf), where=price > 0)
        more = np.minimum(np.minimum(np.maximum(block, plan // GROWTH), most - plan), affordable).astype(int)
        more[(plan == 0) & (more < block)] = 0  # a few answers of one more model say little
        values = of(plan + np.diag(more))
        gain = np.where(more > 0, values - value, 0.0)
        gain[~(gain > ROUNDING)] = 0.0
        if not gain.any():
            return plan
        best = int(np.argmax(gain / np.maximum(more * price, 1e-100)))
        plan[best] += more[best]
        money -= more[best] * price[best]
        value = values[best]


def nested(plan: np.ndarray) -> np.ndarray:
    """Who answers which of the prompts, in the order they were drawn: [max n, K], the first n_k for model k.

    Example:
        >>> nested(np.array([2, 0, 1])).tolist()
        [[True, False, True], [True, False, False]]
    """
    return np.arange(int(plan.max()))[:, None] < plan[None]


def _known(
    logs: Logs, nuisances: Nuisances
) -> tuple[list[means.Sample], Float[Array, "K 2"], Float[Array, " K"], Float[Array, " K"]]:
    """What levels are conditioned on (``levels.samples_of``), and the noise of one answer of each model."""
    return *levels.samples_of(logs, nuisances), pessimism.noise(logs, nuisances)


@jax.jit
def _left(
    samples: list[means.Sample],
    about: Float[Array, "K 2"],
    expected: Float[Array, " K"],
    noise: Float[Array, " K"],
    plans: Float[Array, "P K"],
) -> Float[Array, "P K"]:
    mean = levels.posterior(samples, about, expected).mean

    def after(plan: Float[Array, " K"]) -> Float[Array, " K"]:
        variance = jnp.where(plan > 0, noise**2 / jnp.maximum(plan, 1.0), UNASKED)
        return levels.posterior([*samples, means.Sample(mean, jnp.diag(variance))], about, expected).deviation

    return jax.lax.map(after, plans)


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
def _values(key: Key, utility: Float[Array, "L n K"], moved: Float[Array, "P K"]) -> Float[Array, " P"]:
    """The same draws for every plan, each with its opposite: what is known better is never worth less."""
    half = jax.random.normal(key, (DRAWS // 2, utility.shape[-1]))
    draws = jnp.concatenate([half, -half])

    def best(shift: Float[Array, " K"]) -> Array:
        return jnp.mean(jnp.max(utility + shift[None, None], -1))

    def value(deviation: Float[Array, " K"]) -> Array:
        return jnp.mean(jax.lax.map(lambda noise: best(deviation * noise), draws))

    return jax.lax.map(value, moved) - value(jnp.zeros(utility.shape[-1]))
