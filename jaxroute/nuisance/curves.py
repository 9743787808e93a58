"""Binned calibration curves of predictions, and the expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 10


class Curve(NamedTuple):
    """Mean prediction and mean outcome per bin of the prediction; NaN in an empty bin."""

    predicted: np.ndarray  # [BINS] mean prediction
    observed: np.ndarray  # [BINS] mean outcome
    rows: np.ndarray  # [BINS]


def calibration_curve(
    predicted: np.ndarray, observed: np.ndarray, bins: int = BINS, times: np.ndarray | None = None
) -> Curve:
    """Mean prediction and mean outcome in bins of equal width on [0, 1].

    Args:
        predicted: [n] in [0, 1]. observed: [n] in [0, 1].
        bins: number of bins. times: [n] how often every row counts; None: once.

    Returns:
        Curve of [bins].

    Example:
        >>> print(calibration_curve(np.array([0.1, 0.3, 0.9]), np.array([0.0, 1.0, 1.0]), 2).observed)
        [0.5 1. ]

    Reference: On Calibration of Modern Neural Networks, by Guo, Pleiss, Sun and Weinberger,
    https://arxiv.org/abs/1706.04599 (2017).
    """
    place = np.clip((np.asarray(predicted, float) * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, times, bins)
    times = np.ones(len(place)) if times is None else times
    with np.errstate(invalid="ignore"):
        sums = (np.bincount(place, times * np.asarray(y, float), bins) for y in (predicted, observed))
        means = [s / np.where(count > 0, count, np.nan) for s in sums]
    return Curve(means[0], means[1], count)


def calibration_error(curve: Curve) -> float:
    """Expected calibration error: sum_b rows_b / n |observed_b - predicted_b|; NaN without a row.

    >>> print(calibration_error(Curve(np.array([0.25, 0.75]), np.array([0.5, 0.75]), np.array([2, 2]))))
    0.125
    """
    total = curve.rows.sum()
    if not total:
        return float("nan")
    return float(np.nansum(curve.rows * np.abs(curve.observed - curve.predicted)) / total)
