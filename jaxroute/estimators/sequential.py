"""Confidence sequences: intervals of a running mean that hold at every row at once, so that anyone may look every day.

A 95% interval is wrong one time in twenty when it is computed once; looked at every day until it excludes 0, it is
wrong far more often. A confidence sequence is a band around the running mean that leaves it with probability alpha in
all its life, so a roll-out may be stopped at any look. The price is half as much width again at the number of rows that
is planned for (``half_width``), and more away from it.

    asymptotic           of any values of finite variance; needs enough rows for the normal approximation
    empirical Bernstein  of values in known bounds; valid from the first row, and wider

Both hold for means that drift: the band is about the average of the expectations so far. Host side, NumPy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxroute.types import InputError

ALPHA = 0.05
START = 100
"""Rows before which the asymptotic band is infinite: the spread of fewer is too uncertain to be taken as known."""
PLAN = 1000
STITCH, POWER = 2.0, 1.4
"""eta and s of the stitched boundary: epochs double, and epoch k gets a share of alpha like (k + 1)^-1.4."""


class ConfidenceSequence(NamedTuple):
    """Bounds [n] of the mean after 1, 2, ..., n rows; -inf and inf where nothing can be said yet."""

    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]


def confidence_sequence(
    values: Float[np.ndarray, " n"],
    *,
    weight: Float[np.ndarray, " n"] | None = None,
    alpha: float = ALPHA,
    bounds: tuple[float, float] | None = None,
    plan: int = PLAN,
    start: int = START,
) -> ConfidenceSequence:
    """Lower and upper bounds of a mean after every row, all of them valid at once with probability 1 - alpha.

    Without bounds, the asymptotic sequence: m_t -+ s_t ``half_width(t)``, with m_t and s_t the mean and the standard
    deviation of the first t rows. With bounds, the empirical Bernstein sequence

        m_t -+ u(V_t) / t,   V_t = sum_{i <= t} (x_i - m_{i-1})^2,   u(v) = sqrt(k1^2 v l + k2^2 c^2 l^2) + k2 c l

    where c is the width of the bounds, v is at least m = c^2, l = s log(1 + log2(v / m)) + log(2 zeta(s) / alpha),
    k1 = (eta^1/4 + eta^-1/4) / sqrt 2, k2 = (sqrt eta + 1) / 2, and m_0 the middle of the bounds.

    Args:
        values: [n] in order of time, such as the influence rows of a difference (``estimators.paired``): each may be
            predicted from what came before, as long as its expectation given the past is what is to be known.
        weight: [n], how many requests each row stands for; None: one. Asymptotic sequence only.
        alpha: probability with which the truth is ever left out, in (0, 1).
        bounds: smallest and largest possible value. An inverse propensity of at most 1/p makes the difference of two
            routers' doubly robust rows at most 1 + 1/p in size, for utilities in a range of 1.
        plan: number of rows at which the asymptotic sequence is tightest; choose it before looking.
        start: rows before which the asymptotic sequence is infinite.

    Returns:
        ConfidenceSequence(lower [n], upper [n]).

    Raises:
        InputError: a value that is not finite or is outside the bounds, an alpha outside (0, 1), weights with bounds.

    Example:
        >>> values = np.tile([0.0, 1.0], 500)
        >>> lower, upper = confidence_sequence(values)
        >>> print(lower[[49, 999]].round(2), upper[[49, 999]].round(2))
        [-inf 0.45] [ inf 0.55]
        >>> lower, upper = confidence_sequence(values, bounds=(0, 1))
        >>> print(lower[[49, 999]].round(2), upper[[49, 999]].round(2))
        [0.   0.43] [1.   0.57]

    References:
        Time-uniform central limit theory and asymptotic confidence sequences, by Waudby-Smith, Arbour, Sinha, Kennedy
        and Ramdas, https://arxiv.org/abs/2103.06476 (2021); Anytime-valid off-policy inference for contextual bandits,
        by Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, https://arxiv.org/abs/2210.10768 (2022); Time-uniform,
        nonparametric, nonasymptotic confidence sequences, by Howard, Ramdas, McAuliffe and Sekhon,
        https://arxiv.org/abs/1810.08240 (2018), theorem 4 with the boundary of its theorem 1.
    """
    x = np.asarray(values, float)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise InputError("values must be one finite number a row; leave rows without feedback out")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; it must be between 0 and 1, as in 0.05")
    if bounds is None:
        return _asymptotic(x, weight, alpha, plan, start)
    if weight is not None:
        raise InputError("weight: rows in bounds count once each; leave bounds out to weigh them")
    return _bernstein(x, alpha, *bounds)


def half_width(
    rows: Float[np.ndarray, "*batch"] | float, *, alpha: float = ALPHA, plan: int = PLAN
) -> Float[np.ndarray, "*batch"]:
    """Half width of the asymptotic sequence after so many rows, for a standard deviation of 1.

        sqrt((t r + 1) / (t^2 r) log((t r + 1) / alpha^2)),   r = (-2 log alpha + log(1 - 2 log alpha)) / plan

    Example:
        >>> print((half_width(np.array([250, 1000, 4000])) * np.sqrt([250, 1000, 4000])).round(2))  # 1.96 for one look
        [3.26 3.04 3.13]
    """
    t = np.asarray(rows, float)
    rate = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / plan
    return np.sqrt((t * rate + 1) / (t**2 * rate) * np.log((t * rate + 1) / alpha**2))


def _asymptotic(x: np.ndarray, weight: np.ndarray | None, alpha: float, plan: int, start: int) -> ConfidenceSequence:
    times = np.ones(len(x)) if weight is None else np.asarray(weight, float)
    if times.shape != x.shape or not (times > 0).all():
        raise InputError("weight must be one number above 0 for each value")
    t = np.arange(1, len(x) + 1)
    total = np.cumsum(times)
    mean = np.cumsum(times * x) / total
    # Spread of times (x - mean), the influence of a row on the weighted mean, in units of the mean weight.
    squares, products = np.cumsum(times**2), np.cumsum(times**2 * x)
    spread = np.cumsum((times * x) ** 2) - 2 * mean * products + mean**2 * squares
    deviation = np.sqrt(np.maximum(spread, 0) * t / np.maximum(t - 1, 1)) / total * np.sqrt(t)
    half = np.where(t < max(start, 2), np.inf, deviation * half_width(t, alpha=alpha, plan=plan))
    return ConfidenceSequence(mean - half, mean + half)


def _bernstein(x: np.ndarray, alpha: float, low: float, high: float) -> ConfidenceSequence:
    from scipy.special import zeta

    if not ((x >= low) & (x <= high)).all():
        raise InputError(f"values: {x[(x < low) | (x > high)][0]} is outside the bounds ({low}, {high})")
    t, width = np.arange(1, len(x) + 1), high - low
    mean = np.cumsum(x) / t
    predicted = np.concatenate([[(low + high) / 2], mean[:-1]])
    variance = np.maximum(np.cumsum((x - predicted) ** 2), width**2)
    epochs = POWER * np.log(1 + np.log(variance / width**2) / math.log(STITCH)) + math.log(2 * zeta(POWER) / alpha)
    k1, k2 = (STITCH**0.25 + STITCH**-0.25) / math.sqrt(2), (math.sqrt(STITCH) + 1) / 2
    boundary = np.sqrt(k1**2 * variance * epochs + (k2 * width * epochs) ** 2) + k2 * width * epochs
    return ConfidenceSequence(np.maximum(mean - boundary / t, low), np.minimum(mean + boundary / t, high))
