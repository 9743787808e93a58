"""How many rows prove a gain: before they are logged.

A log's estimate of a gain errs by (standard deviation of one row) / sqrt(rows). ``row_deviation`` has the standard
deviation of one row of a doubly robust difference under an exploration that is planned (``split_deviation`` before
there is a log), and ``rows_needed`` the rows from which a gain shows: looked at once, or at any time (``sequential``);
``simulated_power`` looks at that promise. Host side, NumPy.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from jaxroute.estimators.sequential import START, confidence_sequence, half_width
from jaxroute.system.wording import named
from jaxroute.types import InputError

Looks = Literal["once", "always"]
LEAST = 30
"""Rows that are planned at least, as intervals are a normal's; with a confidence sequence ``sequential.START``."""
MOST = 10**12
"""Rows beyond which a gain counts as beyond proof: inf is returned."""


def row_deviation(
    target: Float[np.ndarray, "N K"],
    baseline: Float[np.ndarray, "N K"],
    propensity: Float[np.ndarray, "N K"],
    error: Float[np.ndarray, "N K"],
    utility: Float[np.ndarray, "N K"],
) -> float:
    """Standard deviation of one row of the doubly robust difference of two routers, under a planned logging policy.

        sqrt(mean_i sum_k d_ik^2 error_ik^2 / p_ik + var_i(sum_k d_ik utility_ik)),   d = target - baseline

    The first part is what an answer's noise and the outcome model's error cost, inflated by the inverse propensity;
    the second is the spread of the gain over prompts, which no exploration removes.

    Args:
        target, baseline: [N, K] probabilities of the two routers on a sample of prompts.
        propensity: [N, K] probabilities of the logging policy that is planned.
        error: [N, K] root mean squared error of the outcome model's utility: answers' noise included.
        utility: [N, K] the outcome model's.

    Returns:
        The standard deviation, in units of quality; inf where a model on which the routers differ is never tried.

    Raises:
        InputError: arrays of different shapes, or fewer than two rows.

    Example:
        >>> target, baseline = np.eye(2)[[1, 0]], np.eye(2)[[0, 0]]  # the routers differ on the first prompt
        >>> print(row_deviation(target, baseline, np.full((2, 2), 0.5), np.full((2, 2), 0.4), np.zeros((2, 2))))
        0.5656854249492381
    """
    d = np.asarray(target, float) - np.asarray(baseline, float)
    shapes = {np.shape(x) for x in (target, baseline, propensity, error, utility)}
    if len(shapes) > 1 or d.ndim != 2 or len(d) < 2:
        raise InputError(f"the arrays have shapes {sorted(shapes)}; all must be [N, K] with two rows or more")
    differs = d != 0
    with np.errstate(divide="ignore"):
        inflated = np.divide((d * error) ** 2, propensity, out=np.zeros_like(d), where=differs)
    direct = np.sum(np.where(differs, d * np.asarray(utility), 0.0), 1)
    return float(np.sqrt(inflated.sum(1).mean() + direct.var()))


def split_deviation(differ: float, new: float, old: float, error: float, *, gain: float = 0.0) -> float:
    """The same before there is a log: the routers differ on some requests, and there their choices are logged so often.

        sqrt(differ error^2 (1 / new + 1 / old) + gain^2 (1 / differ - 1))

    The second part is the spread of the gain itself: gain / differ where the routers differ, and 0 elsewhere.

    Args:
        differ: share of the requests on which the routers choose differently, in (0, 1].
        new, old: probabilities with which the log has the one and the other choice there, above 0, at most 1 together.
        error: root mean squared error of the outcome model's utility; 0.5 for ratings of yes or no without a model.
        gain: of one router over the other, as in ``rows_needed``; 0 leaves its spread out, which then has to be small.

    Raises:
        InputError: a share or probability that is none, an error below 0, or a gain that is not finite.

    Example:
        >>> print([round(split_deviation(0.3, 0.1, 0.9, 0.45, gain=gain), 4) for gain in (0.0, 0.2)])
        [0.8216, 0.8765]
    """
    for name, value in (("differ", differ), ("new", new), ("old", old)):
        if not 0 < value <= 1:
            raise InputError(f"{named(name)} is {value}; it must be above 0 and at most 1")
    if new + old > 1 + 1e-9:
        raise InputError(f"{named('new')} and {named('old')} are {new} and {old}; they cannot be more than 1 together")
    if not 0 <= error < np.inf:
        raise InputError(f"{named('error')} is {error}; it must be at least 0 and finite")
    if not np.isfinite(gain):
        raise InputError(f"{named('gain')} is {gain}; it must be finite")
    return float(np.hypot(error * np.sqrt(differ * (1 / new + 1 / old)), gain * np.sqrt(1 / differ - 1)))


def simulated_power(
    rng: np.random.Generator,
    gain: float,
    rows: int,
    *,
    differ: float,
    new: float,
    old: float,
    error: float,
    level: float = 0.95,
    looks: Looks = "once",
    draws: int = 1000,
) -> float:
    """Share of simulated logs in which the gain is proven: what ``rows_needed`` promises, looked at.

    A row is one doubly robust difference: gain / differ where the routers differ, and an outcome model's error of one
    size and either sign, over the probability of the choice, where one of the two choices was logged.

    Args:
        rng: of the simulation. gain, level, looks: as in ``rows_needed``. rows: of each log.
        differ, new, old, error: as in ``split_deviation``. draws: number of logs.

    Example:
        >>> plan = {"differ": 0.3, "new": 0.1, "old": 0.9, "error": 0.45}
        >>> rows = rows_needed(0.05, split_deviation(**plan, gain=0.05))
        >>> 0.75 < simulated_power(np.random.default_rng(0), 0.05, int(rows), **plan) < 0.86
        True
    """
    from scipy.special import ndtri

    proven = 0
    for _ in range(draws):
        differs = rng.random(rows) < differ
        drawn = rng.random(rows)
        inverse = np.where(drawn < new, 1 / new, np.where(drawn < new + old, -1 / old, 0.0))
        signs = error * (2 * rng.integers(0, 2, rows) - 1)
        values = np.where(differs, gain / differ + inverse * signs, 0.0)
        if looks == "always":
            proven += bool((confidence_sequence(values, alpha=1 - level, plan=rows).lower > 0).any())
        else:
            proven += bool(values.mean() > -ndtri((1 - level) / 2) * values.std(ddof=1) / np.sqrt(rows))
    return proven / draws


def rows_needed(
    gain: float, deviation: float, *, level: float = 0.95, power: float = 0.8, looks: Looks = "once"
) -> float:
    """Rows after which a gain is proven with probability ``power``: the interval at ``level`` is above 0.

        once      the smallest n with gain >= (z_level + z_power) deviation / sqrt n,   z_level two-sided
        always    the smallest n with gain >= deviation (half_width(n) + z_power / sqrt n), at most: the sequence may
                  show it earlier. It is planned for n itself (``half_width(n, plan=n)``).

    Args:
        gain: of one router over another, in units of quality; its sign does not matter.
        deviation: of one row (``row_deviation``, or the spread of the rows of a log that exists).
        level: of the interval. power: probability with which a gain of this size is to show.
        looks: "once", after the last row; "always": after every row, with a confidence sequence.

    Returns:
        A whole number of rows with feedback, at least 30, or 100 for looks="always": a confidence sequence says nothing
        before; inf for a gain of 0 or an infinite deviation.

    Raises:
        InputError: a gain that is NaN, a level or power outside (0, 1), a deviation below 0 or NaN, other ``looks``.

    Example:
        >>> rows_needed(0.02, 0.3), rows_needed(0.02, 0.3, looks="always")
        (1766.0, 3382.0)
    """
    _checked(deviation, level, power, looks)
    if np.isnan(gain):
        raise InputError(f"{named('gain')} is {gain}; it must be a number")
    if gain == 0 or not np.isfinite(deviation):
        return float("inf")
    low, high = START if looks == "always" else LEAST, MOST
    if detectable(high, deviation, level=level, power=power, looks=looks) > abs(gain):
        return float("inf")
    while low < high:
        middle = (low + high) // 2
        shows = detectable(middle, deviation, level=level, power=power, looks=looks) <= abs(gain)
        low, high = (low, middle) if shows else (middle + 1, high)
    return float(low)


def detectable(
    rows: float, deviation: float, *, level: float = 0.95, power: float = 0.8, looks: Looks = "once"
) -> float:
    """The smallest gain that so many rows prove with probability ``power``: what ``rows_needed`` inverts.

    Args and Raises: as in ``rows_needed``; rows, with feedback, are above 0.

    Returns:
        A gain in units of quality; inf for looks="always" and fewer rows than the 100 with which the sequence begins.

    Example:
        >>> print(round(detectable(1766, 0.3), 4))
        0.02
    """
    from scipy.special import ndtri

    _checked(deviation, level, power, looks)
    if not rows > 0:
        raise InputError(f"rows is {rows}; it must be above 0")
    alpha = 1 - level
    if looks == "always" and rows < START:
        return float("inf")
    width = -ndtri(alpha / 2) / np.sqrt(rows)
    if looks == "always":
        width = half_width(rows, alpha=alpha, plan=int(rows))
    return float(deviation * (width + ndtri(power) / np.sqrt(rows)))


def _checked(deviation: float, level: float, power: float, looks: str) -> None:
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise InputError(f"{named(name)} is {value}; it must be between 0 and 1")
    if not deviation >= 0:
        raise InputError(f"deviation is {deviation}; it must be at least 0")
    if looks not in ("once", "always"):
        raise InputError(f"looks is {looks!r}; it must be 'once' or 'always'")
