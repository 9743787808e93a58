"""Whether features and weights of rows are on a scale that arithmetic in 32 bits can use, asked where they enter.

`jaxroute.projection` squares features and drops every direction that varies 10,000 times less than the widest one, and
a mean over weighted rows is about the few rows that carry most of the weight. Both go without a word, so what would be
lost is said here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LARGEST, SMALLEST = 1e15, 1e-15
"""Features beyond, and features that vary less, have squares that overflow or are 0 in 32 bits."""
OFFSET = 3e6
"""Times the widest deviation; a mean beyond leaves not a digit of what varies."""
NEGLIGIBLE = 1e-4
"""Directions that vary less, beside the widest, are dropped (`jaxroute.projection.fit`)."""
SAMPLED, BLOCK = 2000, 10_000
"""Rows of which quantiles are taken, and rows of which squares are held at once."""
LARGEST_SHARE = 0.05
"""Of all requests, that one row may stand for without being named."""
NAMED = 5
DEAREST, CHEAPEST = 1e30, 1e-20
"""Costs of which the largest lies between leave 32 bits enough room for their products and quotients."""


def unpriceable(cost: np.ndarray) -> str:
    """Why costs [N] cannot be used; "" if they can.

    >>> unpriceable(np.array([0.0, 1.0])), unpriceable(np.array([0.0, 1e40]))
    ('', 'the cost of row 1 is 1e+40, and beyond 1e+30 costs overflow: use a larger unit')
    """
    cost = np.asarray(cost, float)
    known = cost[np.isfinite(cost)]
    most = float(known.max(initial=0.0))
    if most > DEAREST:
        row = int(np.nanargmax(cost))
        return f"the cost of row {row} is {most:.3g}, and beyond {DEAREST:g} costs overflow: use a larger unit"
    if 0 < most < CHEAPEST:
        return f"no cost is above {most:.3g}, and below {CHEAPEST:g} costs count as 0: use a smaller unit"
    return ""


class Spread(NamedTuple):
    """Of every feature, [D]: mean, standard deviation, and the same from quantiles, which single rows do not move."""

    mean: np.ndarray
    deviation: np.ndarray
    ordinary: np.ndarray


def spread(features: np.ndarray) -> Spread:
    """How much every feature varies over the rows [N, D].

    Example:
        >>> found = spread(np.array([[0.0, 0.0]] * 50 + [[1.0, 2e6]] * 50 + [[1e8, 1.0]]))
        >>> print(found.deviation.round(), found.ordinary.round(1))
        [9900990.  999951.] [3.000000e-01 6.079027e+05]
    """
    features = np.asarray(features)
    mean, squares = features.mean(0, dtype=np.float64), np.zeros(features.shape[1])
    for start in range(0, len(features), BLOCK):
        squares += ((features[start : start + BLOCK] - mean) ** 2).sum(0)
    deviation = np.sqrt(squares / len(features))
    some = features[:: -(-len(features) // SAMPLED)].astype(np.float64)
    low, high = np.quantile(some, (0.05, 0.95), axis=0)
    return Spread(mean, deviation, (high - low) / 3.29)  # of a normal distribution, 3.29 standard deviations


def unfit(features: np.ndarray) -> str:
    """Why nothing can be learnt from features [N, D], by feature and row; "" if something can.

    Example:
        >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0]])
        >>> unfit(x), unfit(1e-20 * x)
        ('', 'the features vary by 1.25e-20 at most, and below 1e-15 their squares count as 0: scale them up')
        >>> print(unfit(1e20 * x))
        feature 1 of row 2 is 3e+20, and beyond 1e+15 squares overflow: scale the features down
    """
    features = np.asarray(features)
    if features.size == 0:
        return ""
    largest = max(abs(float(features.max())), abs(float(features.min())))
    if not largest <= LARGEST:
        size = np.abs(features)
        row, column = divmod(int(np.argmax(np.where(np.isnan(size), np.inf, size))), size.shape[1])
        value = float(features[row, column])
        if not np.isfinite(value):
            return f"feature {column} of row {row} is {value}, which is no finite number"
        return (
            f"feature {column} of row {row} is {value:.3g}, and beyond {LARGEST:g} squares overflow: scale the "
            "features down"
        )
    mean, deviation, ordinary = spread(features)
    widest, far = float(deviation.max()), int(np.argmax(np.abs(mean)))
    if 0 < widest < SMALLEST:
        return (
            f"the features vary by {widest:.3g} at most, and below {SMALLEST:g} their squares count as 0: scale them up"
        )
    if widest > 0 and abs(mean[far]) > OFFSET * widest:
        return (
            f"feature {far} is {mean[far]:.3g} on average and no feature varies by more than {widest:.2g}, which 32 "
            "bits cannot tell apart: subtract the mean"
        )
    column = int(np.argmax(deviation))
    varying = ordinary > 0
    if varying.any() and (ordinary[varying] < NEGLIGIBLE * widest).all():
        row = _farthest(features[:, column])
        return (
            f"feature {column} of row {row} is {float(features[row, column]):.3g}, beside which all other rows look "
            "alike: correct it, or leave the row out"
        )
    return ""


def drowned(features: np.ndarray, beside: bool = False) -> str:
    """Which features count for nothing beside a wider one; "" if none does.

    Args:
        features: [N, D]. beside: columns that vary by about 1 stand beside them.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(99, 3))
        >>> drowned(x)
        ''
        >>> print(drowned(x * [1.0, 1e5, 1.0]))
        features 0, 2 vary less than 1/10000 as much as feature 1 (by 1e+05), and count for nothing beside it: bring
        all features to one scale
    """
    _, deviation, ordinary = spread(features)
    column, widest = int(np.argmax(deviation)), float(deviation.max())
    lost = np.flatnonzero((ordinary > 0) & (ordinary < NEGLIGIBLE * widest))
    if not len(lost) and not (beside and NEGLIGIBLE * widest > 1):
        return ""
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    names = f"feature{'s' if len(lost) > 1 else ''} {', '.join(map(str, lost[:NAMED]))}{more}"
    who = names if len(lost) else "the context columns"
    verbs = ("varies", "counts") if len(lost) == 1 else ("vary", "count")
    return (
        f"{who} {verbs[0]} less than 1/{1 / NEGLIGIBLE:.0f} as much as feature {column} (by {widest:.2g}), and "
        f"{verbs[1]} for nothing beside it: bring all features to one scale"
    )


def _farthest(column: np.ndarray) -> int:
    return int(np.argmax(np.abs(column.astype(np.float64) - np.median(column))))


def uneven(weight: np.ndarray | None, least: int, what: str = "rows") -> str:
    """Why rows of such weights [N] count as fewer than ``least``, though they are more; "" if they do not.

        (sum of the weights)^2 / sum of their squares < least,   over the rows whose weight is above 0

    Example:
        >>> print(uneven(np.array([1.0] * 99 + [1e30]), 50))
        100 rows count as 1 by their weights: row 99 weighs 1e+30, and half of them at most 1
        >>> uneven(np.array([1.0, 2.0] * 50), 50), uneven(None, 50)
        ('', '')
    """
    if weight is None or np.count_nonzero(weight) < least:
        return ""
    share = np.asarray(weight, np.float64) / np.max(weight)
    count = share.sum() ** 2 / (share**2).sum()
    if count >= least:
        return ""
    row, some = int(np.argmax(weight)), np.asarray(weight)[np.asarray(weight) > 0]
    return (
        f"{len(some)} {what} count as {count:.0f} by their weights: row {row} weighs {weight[row]:.3g}, and half of "
        f"them at most {np.median(some):.3g}"
    )


def heavy(weight: np.ndarray) -> np.ndarray:
    """Rows that stand alone for more than a twentieth of all requests (in a short log, ten times their part).

    >>> heavy(np.array([1.0] * 99 + [50.0])).tolist()
    [99]
    """
    share = np.asarray(weight, np.float64) / np.max(weight)
    return np.flatnonzero(share > max(LARGEST_SHARE, 10 / len(share)) * share.sum())
