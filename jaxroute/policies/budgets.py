"""From a budget, or a quality to reach, to a cost weight: exactly, on prompts whose outcomes are known or estimated.

What is asked is looked up in a ``Curve``, which holds what every cost weight spends and gains; see
``policies.curves``. It needs no JAX.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from jaxroute.policies.curves import Curve as Curve
from jaxroute.policies.curves import curve as curve
from jaxroute.policies.curves import curve_of_policies as curve_of_policies
from jaxroute.policies.curves import thinned as thinned
from jaxroute.types import InputError
from jaxroute.types import Outcomes as Outcomes


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


def at(pieces: Curve, cost_weight: float, *, level: float = 0.95) -> Choice:
    """What a cost weight spends and gains.

    Args:
        pieces: of ``curve``. cost_weight: at least 0. level: coverage of the intervals.

    Raises:
        InputError: a negative or NaN cost weight, a level outside (0, 1).
    """
    if not cost_weight >= 0:
        raise InputError(f"cost weight {cost_weight}: it must be a number of at least 0")
    return _choice(pieces, int(np.searchsorted(pieces.cost_weight, cost_weight, side="right")) - 1, level, cost_weight)


def for_budget(pieces: Curve, budget: float, *, level: float = 0.95) -> Choice:
    """The smallest cost weight whose mean cost is within the budget.

        min w  such that  mean cost(w) <= budget

    Of policies of their own (``curve_of_policies``), which need not get cheaper as the cost weight grows, it is the
    one of best quality within the budget.

    Args:
        pieces: of ``curve``. budget: cost units a prompt on average. level: coverage of the intervals.

    Returns:
        Choice; its cost interval says what the spend may turn out to be.

    Raises:
        InputError: no cost weight spends that little; the message says how little can be spent.

    Example:
        >>> predicted = Outcomes(np.array([[0.5, 1.0], [0.5, 0.75]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(for_budget(curve(predicted, predicted), 0.6).cost_weight)
        0.25
    """
    within = _within(pieces, budget)
    first = within if pieces.decided_at is None else np.where(within, pieces.quality, -np.inf)
    return _choice(pieces, int(np.argmax(first)), level)


def mixture(pieces: Curve, budget: float, *, level: float = 0.95) -> Mixture:
    """Two pieces around a budget, mixed so that the mean cost is the budget itself.

        share = (cost(dear) - budget) / (cost(dear) - cost(cheap))

    Of one policy's curve they are neighbours, and where even its first piece is within the budget, that is taken
    alone (share 0). Policies of their own (``curve_of_policies``) need not get cheaper as the cost weight grows. Of
    them the two are neighbours on the upper hull of (cost, quality), which runs from the cheapest policy to the one
    of best quality: no mixture of the policies has more quality at this mean cost. A budget that the policy of best
    quality is within takes that one alone.

    Args:
        pieces: of ``curve``. budget: cost units a prompt on average. level: coverage of the intervals.

    Raises:
        InputError: no cost weight spends that little.

    Example:
        >>> predicted = Outcomes(np.array([[0.5, 1.0], [0.5, 0.75]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(mixture(curve(predicted, predicted), 0.6).share)
        0.8
    """
    _within(pieces, budget)
    order = np.arange(len(pieces.cost)) if pieces.decided_at is None else _hull(pieces.cost, pieces.quality)
    first = int(np.argmax(pieces.cost[order] <= budget))
    cheap = _choice(pieces, order[first], level)
    if first == 0:
        return Mixture(cheap, cheap, 0.0, cheap.cost, cheap.quality)
    dear = _choice(pieces, order[first - 1], level)
    share = round((dear.cost - budget) / (dear.cost - cheap.cost), 12)
    return Mixture(dear, cheap, share, budget, (1 - share) * dear.quality + share * cheap.quality)


def for_quality(pieces: Curve, target: float, *, level: float = 0.95) -> Choice:
    """The cost weight that spends least among those whose mean quality reaches the target.

        argmin_w cost(w)  such that  mean quality(w) >= target

    All pieces are compared, so cost and quality may rise and fall with the cost weight.

    Args:
        pieces: of ``curve``. target: in [0, 1]. level: coverage of the intervals.

    Raises:
        InputError: no cost weight reaches it; the message says what can be reached.

    Example:
        >>> predicted = Outcomes(np.array([[0.5, 1.0], [0.5, 0.75]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> print(for_quality(curve(predicted, predicted), 0.7).cost_weight)
        0.25
    """
    reached = pieces.quality >= target
    if not reached.any():
        raise InputError(
            f"quality target {target:g} cannot be reached; the highest mean quality is {pieces.quality.max():.4g}"
        )
    return _choice(pieces, int(np.argmin(np.where(reached, pieces.cost, np.inf))), level)


def _within(pieces: Curve, budget: float) -> np.ndarray:
    within = pieces.cost <= budget
    if not within.any():
        raise InputError(f"budget {budget:g} cannot be met; the lowest mean cost per prompt is {pieces.cost.min():.4g}")
    return within


def _hull(cost: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Pieces on the upper hull of (cost, quality), from the best quality down to the least cost."""
    kept: list[int] = []
    for j in np.lexsort((-quality, cost)):
        if kept and quality[j] <= quality[kept[-1]]:
            continue  # costs as much or more, and gains nothing
        while len(kept) > 1:
            before, last = kept[-2:]
            rise, run = quality[last] - quality[before], cost[last] - cost[before]
            if rise * (cost[j] - cost[last]) > (quality[j] - quality[last]) * run:
                break
            kept.pop()  # below the line from the one before it to this one
        kept.append(int(j))
    return np.array(kept[::-1])


def _choice(pieces: Curve, index: int, level: float, cost_weight: float | None = None) -> Choice:
    if not 0 < level < 1:
        raise InputError(f"level is {level}; it must be between 0 and 1, as in 0.95")
    z = NormalDist().inv_cdf((1 + level) / 2)
    cost, quality = float(pieces.cost[index]), float(pieces.quality[index])
    spend, gain = z * float(pieces.cost_error[index]), z * float(pieces.quality_error[index])
    decided_at = pieces.cost_weight if pieces.decided_at is None else pieces.decided_at
    weight = float(decided_at[index]) if cost_weight is None else float(cost_weight)
    # Doubly robust means and their intervals may leave the ranges that costs and qualities have.
    paid = np.maximum((cost, cost - spend, cost + spend), 0.0).tolist()
    worth = np.clip((quality, quality - gain, quality + gain), 0.0, 1.0).tolist()
    return Choice(weight, paid[0], worth[0], (paid[1], paid[2]), (worth[1], worth[2]))
