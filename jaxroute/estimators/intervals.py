"""Confidence intervals of estimates, and what they are widened by where several are looked at. Host side."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array

from jaxroute.types import Estimate


def interval(of: Estimate, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of one estimate, host side.

        value -+ half_width(level) * standard_error

    It covers the truth as often as ``level`` says where the estimate is unbiased. Those of ``direct_method``,
    ``switch_doubly_robust`` and ``shrinkage_doubly_robust`` carry the outcome model's bias, which no interval shows.

    Args:
        of: an Estimate of scalars. level: coverage aimed at, between 0 and 1.

    Returns:
        (low, high).

    Example:
        >>> low, high = interval(Estimate(np.float32(0.5), np.float32(0.1), np.float32(11.0)))
        >>> print(round(low, 3), round(high, 3))
        0.277 0.723
    """
    half = float(half_width(of.effective_sample_size, level)) * float(of.standard_error)
    return float(of.value) - half, float(of.value) + half


def half_width(effective_sample_size: Array | np.ndarray | float, level: float = 0.95) -> np.ndarray:
    """Half of a confidence interval's width, in standard errors.

        t_{m - 1},   m = effective sample size, at least 2

    A weighted correction is based on m effective rows, so its error is known as if from m rows and not from N: hence
    Student's t. The small-sample factor of a variance is in the standard error (`estimate`); if m is far below N it is
    that of N, which is too small by 1 / (2 m). Without weights (m NaN) it is the quantile of the normal.

    Args:
        effective_sample_size: of one or many estimates. level: coverage aimed at.

    Returns:
        The multiple, shaped as the sizes.

    Example:
        >>> print(half_width(np.array([10.0, 100.0, np.nan])).round(3))
        [2.262 1.984 1.96 ]
    """
    from scipy.special import stdtrit

    size = np.maximum(np.asarray(effective_sample_size, float), 2.0)
    return stdtrit(np.where(np.isnan(size), np.inf, size - 1), (1 + level) / 2)


def wider(looks: int, level: float = 0.95) -> float:
    """How much wider intervals are that all hold together, or that hold for whichever of them is picked (Bonferroni).

        z_{1 - a / looks} / z_{1 - a},   a = (1 - level) / 2

    Args:
        looks: how many. level: coverage aimed at.

    Example:
        >>> wider(1), round(wider(6), 3)
        (1.0, 1.346)
    """
    from scipy.special import ndtri

    return float(ndtri(1 - (1 - level) / 2 / looks) / ndtri(1 - (1 - level) / 2))
