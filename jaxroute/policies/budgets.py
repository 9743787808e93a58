"""From a budget, or a quality to reach, to a cost weight: exactly, on prompts whose outcomes are known or estimated.

A policy that is greedy on predicted outcomes changes at finitely many cost weights: the breakpoints of its
prompts' envelopes. ``curve`` walks through all of them and keeps mean cost and quality of every piece, so a
budget is met by the exact smallest cost weight rather than by the nearest point of a grid.

    curve(predicted, outcomes)     predicted decides, outcomes (a full table or doubly robust ones) are spent
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxroute import policies
from jaxroute.types import InputError, Outcomes


@dataclass(frozen=True)
class Curve:
    """What every cost weight spends and gains. All [P], NumPy; piece j holds from cost_weight[j] to the next.

    cost, quality: means over the prompts. cost_error, quality_error: standard errors of the means.
    """

    cost_weight: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    cost_error: np.ndarray
    quality_error: np.ndarray


@dataclass(frozen=True)
class Choice:
    """A cost weight, what it spends and gains a prompt on average, and 95% intervals of both."""

    cost_weight: float
    cost: float
    quality: float
    cost_interval: tuple[float, float]
    quality_interval: tuple[float, float]


@dataclass(frozen=True)
class Mixture:
    """Two cost weights; each prompt takes the cheaper policy's with probability ``share``."""

    dear: Choice
    cheap: Choice
    share: float
    cost: float
    quality: float


def curve(predicted: Outcomes, outcomes: Outcomes, *, available: Bool[Array, "N K"] | None = None) -> Curve:
    """Mean cost and quality of the greedy policy at every cost weight from 0 on.

        mean_i y_{i, k_i(w)},   k_i(w) = argmax_k predicted_quality_ik - w predicted_cost_ik

    Args:
        predicted: [N, K] what the policy decides on.
        outcomes: [N, K] what is spent and gained: a full table's, or doubly robust ones of a held-out log.
        available: [N, K], True where a model can be chosen; None: all of them.

    Returns:
        Curve with one piece per distinct breakpoint, and one before the first.

    Raises:
        InputError: fewer than two prompts, or an outcome of an available model that is not finite.

    Example:
        >>> predicted = Outcomes(jnp.array([[0.5, 1.0], [0.5, 0.75]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> pieces = curve(predicted, predicted)
        >>> print(pieces.cost_weight, pieces.cost, pieces.quality)
        [0.   0.25 0.5 ] [1.  0.5 0. ] [0.875 0.75  0.5  ]
    """
    quality, cost = (np.asarray(y, np.float64) for y in outcomes)
    rows = len(quality)
    if rows < 2:
        raise InputError(f"{rows} prompts: a mean and its error need at least two")
    usable = np.ones(quality.shape, bool) if available is None else np.asarray(available)
    if not (np.isfinite(quality) & np.isfinite(cost))[usable].all():
        row, model = np.argwhere(usable & ~(np.isfinite(quality) & np.isfinite(cost)))[0]
        raise InputError(f"outcomes, row {row}, model {model}: not finite; mask missing models with available=")
    pieces = jax.jit(policies.envelope)(jnp.asarray(predicted.quality), jnp.asarray(predicted.cost), usable)
    breaks, models = np.asarray(pieces.breakpoints, np.float64), np.asarray(pieces.models)
    real = np.isfinite(breaks)
    weights, place = np.unique(breaks[real], return_inverse=True)

    def means(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        walked = np.take_along_axis(y, models, 1)  # [N, K] in the order of the walk

        def along(z: np.ndarray) -> np.ndarray:
            steps = np.diff(z, axis=1)[real]
            jumps = np.bincount(place, steps, minlength=len(weights))
            return z[:, 0].sum() + np.concatenate([[0.0], np.cumsum(jumps)])

        centre = walked[:, 0].mean()  # squares around a common centre lose no digits
        mean = along(walked - centre) / rows
        spread = np.maximum(along((walked - centre) ** 2) / rows - mean**2, 0.0)
        return mean + centre, np.sqrt(spread / (rows - 1))

    parts = (np.concatenate([[0.0], weights]), *means(cost), *means(quality))
    first = int(len(weights) > 0 and weights[0] <= 0)  # a breakpoint at 0 leaves nothing before it
    grid, mean_cost, cost_error, mean_quality, quality_error = (part[first:] for part in parts)
    return Curve(grid, mean_cost, mean_quality, cost_error, quality_error)


def at(pieces: Curve, cost_weight: float, *, level: float = 0.95) -> Choice:
    """What a cost weight spends and gains.

    Args:
        pieces: of ``curve``. cost_weight: at least 0. level: coverage of the intervals.

    Raises:
        InputError: a negative or NaN cost weight, a level outside (0, 1).
    """
    if not cost_weight >= 0:
        raise InputError(f"cost weight {cost_weight}: give a number of at least 0")
    return _choice(pieces, int(np.searchsorted(pieces.cost_weight, cost_weight, side="right")) - 1, level, cost_weight)


def for_budget(pieces: Curve, budget: float, *, level: float = 0.95) -> Choice:
    """The smallest cost weight whose mean cost is within the budget.

        min w  such that  mean cost(w) <= budget

    Args:
        pieces: of ``curve``. budget: cost units a prompt on average. level: coverage of the intervals.

    Returns:
        Choice; its cost interval says what the spend may turn out to be.

    Raises:
        InputError: no cost weight spends that little; the message says how little can be spent.

    Example:
        >>> predicted = Outcomes(jnp.array([[0.5, 1.0], [0.5, 0.75]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(for_budget(curve(predicted, predicted), 0.6).cost_weight)
        0.25
    """
    return _choice(pieces, _first_within(pieces, budget), level)


def mixture(pieces: Curve, budget: float, *, level: float = 0.95) -> Mixture:
    """The two neighbouring pieces around a budget, mixed so that the mean cost is the budget itself.

        share = (cost(dear) - budget) / (cost(dear) - cost(cheap))

    Where even the dearest policy is within the budget, it is taken alone (share 0).

    Args:
        pieces: of ``curve``. budget: cost units a prompt on average. level: coverage of the intervals.

    Raises:
        InputError: no cost weight spends that little.

    Example:
        >>> predicted = Outcomes(jnp.array([[0.5, 1.0], [0.5, 0.75]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(mixture(curve(predicted, predicted), 0.6).share)
        0.8
    """
    index = _first_within(pieces, budget)
    cheap = _choice(pieces, index, level)
    if index == 0:
        return Mixture(cheap, cheap, 0.0, cheap.cost, cheap.quality)
    dear = _choice(pieces, index - 1, level)
    share = round((dear.cost - budget) / (dear.cost - cheap.cost), 12)
    return Mixture(dear, cheap, share, budget, (1 - share) * dear.quality + share * cheap.quality)


def for_quality(pieces: Curve, target: float, *, level: float = 0.95) -> Choice:
    """The cost weight that spends least among those whose mean quality reaches the target.

        argmin_w cost(w)  such that  mean quality(w) >= target

    Args:
        pieces: of ``curve``. target: in [0, 1]. level: coverage of the intervals.

    Raises:
        InputError: no cost weight reaches it; the message says what can be reached.

    Example:
        >>> predicted = Outcomes(jnp.array([[0.5, 1.0], [0.5, 0.75]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(for_quality(curve(predicted, predicted), 0.7).cost_weight)
        0.25
    """
    reached = pieces.quality >= target
    if not reached.any():
        raise InputError(f"quality target {target:g}: out of reach, at most {pieces.quality.max():.4g} can be had")
    return _choice(pieces, int(np.argmin(np.where(reached, pieces.cost, np.inf))), level)


def _first_within(pieces: Curve, budget: float) -> int:
    within = pieces.cost <= budget
    if not within.any():
        raise InputError(f"budget {budget:g}: at least {pieces.cost.min():.4g} a prompt is spent at any cost weight")
    return int(np.argmax(within))


def _choice(pieces: Curve, index: int, level: float, cost_weight: float | None = None) -> Choice:
    if not 0 < level < 1:
        raise InputError(f"level is {level}: a coverage lies between 0 and 1, as in 0.95")
    z = NormalDist().inv_cdf((1 + level) / 2)
    cost, quality = float(pieces.cost[index]), float(pieces.quality[index])
    spend, gain = z * float(pieces.cost_error[index]), z * float(pieces.quality_error[index])
    weight = float(pieces.cost_weight[index]) if cost_weight is None else float(cost_weight)
    return Choice(weight, cost, quality, (cost - spend, cost + spend), (quality - gain, quality + gain))
