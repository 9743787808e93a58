"""The exploration policies in NumPy, for a process that decides without JAX.

The formulas, arguments and results are those of ``policies.exploration``, in float64 for [..., K] arrays of one prompt
or many; ``thompson`` takes a generator in the place of a key. The caller draws from the probabilities, so the
propensity that is logged is exact. What is not available has no column.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxroute.types import InputError

SIMULATIONS = 256
LEVEL = 0.1
"""As in ``policies.exploration``."""
POSTERIOR = frozenset({"thompson", "contenders"})
"""Policies that read how uncertain the router is."""

Array = Float[np.ndarray, "*batch K"]


def uniform(greedy: Array, *, epsilon: float) -> Array:
    """The router's probabilities, with a share ``epsilon`` spread evenly.

    Example:
        >>> uniform(np.array([1.0, 0.0]), epsilon=0.5).tolist()
        [0.75, 0.25]
    """
    return (1 - epsilon) * greedy + epsilon / greedy.shape[-1]


def softmax(utility: Array, *, temperature: float, floor: float = 0.0) -> Array:
    """Mass that grows with the utility, in units of which the temperature is.

    Example:
        >>> softmax(np.array([0.5, 0.5]), temperature=0.1).tolist()
        [0.5, 0.5]
    """
    z = np.exp((utility - utility.max(-1, keepdims=True)) / temperature)
    return uniform(z / z.sum(-1, keepdims=True), epsilon=floor)


def thompson(
    rng: np.random.Generator, mean: Array, sd: Array, *, simulations: int = SIMULATIONS, floor: float = 0.0
) -> tuple[Array, Array]:
    """(probabilities, standard error of each): each model as often as it is the best one in draws of the posterior.

    Example:
        >>> probabilities, _ = thompson(np.random.default_rng(0), np.array([0.5, 0.5, 0.0]), np.array([0.1, 0.1, 0.01]))
        >>> probabilities.round(1).tolist()
        [0.5, 0.5, 0.0]
    """
    if simulations < 1:
        raise InputError(f"simulations is {simulations}; it must be at least 1")
    draws = mean + sd * rng.standard_normal((simulations, *mean.shape))
    wins = (draws.argmax(-1)[..., None] == np.arange(mean.shape[-1])).sum(0)
    guarded = (wins + 1) / (simulations + 2)
    error = (1 - floor) * np.sqrt(guarded * (1 - guarded) / simulations)
    return uniform(wins / simulations, epsilon=floor), error


def contenders(mean: Array, sd: Array, *, epsilon: float, floor: float = 0.0, level: float = LEVEL) -> Array:
    """Greedy, with a share ``epsilon`` spread evenly over the models that may be better, and the choice.

    Example:
        >>> contenders(np.array([0.5, 0.45, 0.0]), np.array([0.1, 0.1, 0.1]), epsilon=0.5).tolist()
        [0.75, 0.25, 0.0]
    """
    from math import erf

    best = mean.argmax(-1)[..., None]
    behind = mean - np.take_along_axis(mean, best, -1)
    spread = np.hypot(sd, np.take_along_axis(sd, best, -1))
    ratio = np.divide(behind, spread, out=np.full(np.shape(mean), -np.inf), where=spread > 0)
    beats = (1 + np.vectorize(erf, otypes=[float])(ratio / np.sqrt(2))) / 2
    choice = best == np.arange(mean.shape[-1])
    among = (beats >= level) | choice
    mass = (1 - epsilon) * choice + epsilon * among / among.sum(-1, keepdims=True)
    return uniform(mass, epsilon=floor)


def for_evaluation(target: Array, deviation: Array, *, floor: float, baseline: Array | None = None) -> Array:
    """The logging policy whose log values a named router, or its difference to another, with the smallest variance.

    Example:
        >>> target, baseline = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
        >>> for_evaluation(target, np.array([0.25, 0.75, 0.5]), floor=0.0, baseline=baseline).tolist()
        [0.25, 0.75, 0.0]
    """
    wanted = np.abs(target - (0.0 if baseline is None else baseline)) * deviation
    models = wanted.shape[-1]
    least = floor / models
    descending = -np.sort(-wanted, -1)
    total = np.cumsum(descending, -1)
    room = 1 - least * (models - np.arange(1, models + 1))
    scale = np.divide(room, total, out=np.zeros(np.shape(total)), where=total > 0)
    holds = (descending > 0) & (scale * descending >= least)
    last = np.maximum(holds.sum(-1, keepdims=True) - 1, 0)
    best = np.maximum(least, np.take_along_axis(scale, last, -1) * wanted)
    return np.where(holds.any(-1, keepdims=True), best, uniform(target, epsilon=floor))


def limited(
    probabilities: Array,
    greedy: Array,
    *,
    cost: Array,
    utility: Array,
    spend: float = np.inf,
    loss: float = np.inf,
) -> Array:
    """The largest step from the router towards an exploring policy that keeps to a limit on cost and one on loss.

    Example:
        >>> router, explore = np.array([1.0, 0.0]), np.array([0.6, 0.4])
        >>> cost, utility = np.array([1.0, 3.0]), np.array([0.5, 0.25])
        >>> limited(explore, router, cost=cost, utility=utility, spend=0.2).round(3).tolist()
        [0.9, 0.1]
    """
    moved = probabilities - greedy
    step = np.ones(np.shape(moved)[:-1])
    for limit, whole in ((spend, (moved * cost).sum(-1)), (loss, -(moved * utility).sum(-1))):
        step = np.minimum(step, np.divide(limit, whole, out=np.ones_like(step), where=whole > limit))
    return greedy + step[..., None] * moved
