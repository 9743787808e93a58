"""How far a judge's scores are from people's ratings, by model: its bias, where people rated a part of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxroute.estimators.intervals import half_width
from jaxroute.types import InputError, Logs

LEVEL = 0.95
FEWEST = 10
"""Ratings of a model below which nothing is said of the judge's bias for it."""


class Bias(NamedTuple):
    """The judge's mean score minus people's mean rating of the same answers of one model.

    ratings: answers of the model that have both. bias, low, high: quality units, the interval for all models together
    (Bonferroni); NaN with fewer than ten ratings. spread: standard deviation of the judge's error on one answer.
    """

    model: int
    ratings: int
    bias: float
    low: float
    high: float
    spread: float


def biases(logs: Logs, level: float = LEVEL) -> list[Bias]:
    """The bias of a judge by model, over the requests that the model answered.

        b = sum v (judge - person) / sum v,   v = weight / human_rate over the model's rated rows

    The error is clustered by ``logs.group``; a rated row without ``human_rate`` counts once.

    Args:
        logs: N rows with ``human_quality``. level: of all intervals together.

    Returns:
        One Bias a model, K.

    Raises:
        InputError: a log without people's ratings.

    Example:
        >>> n, ones = 80, np.ones(80)
        >>> score = np.where(np.arange(n) % 4 < 2, 0.8, 0.6)
        >>> logs = Logs(ones[:, None], np.arange(n) % 2, score, ones, ones / 2, np.ones((n, 2), bool),
        ...     human_quality=np.where(np.arange(n) < 60, score - 0.1 * (np.arange(n) % 2), np.nan))
        >>> [(one.ratings, round(one.bias, 3)) for one in biases(logs)]
        [(30, 0.0), (30, 0.1)]
    """
    if logs.human_quality is None:
        raise InputError("logs.human_quality is None; a judge is compared with people's ratings")
    error = np.asarray(logs.quality, float) - np.asarray(logs.human_quality, float)
    rated = np.isfinite(error)
    stands = np.ones(len(error)) if logs.weight is None else np.asarray(logs.weight, float)
    rate = np.ones(len(error)) if logs.human_rate is None else np.asarray(logs.human_rate, float)
    group = np.arange(len(error)) if logs.group is None else np.asarray(logs.group)
    models = logs.available.shape[1]
    found = []
    for k in range(models):
        rows = rated & (np.asarray(logs.action) == k)
        count, nan = int(rows.sum()), float("nan")
        labels = np.unique(group[rows], return_inverse=True)[1]
        units = 0 if not count else labels.max() + 1
        if count < FEWEST or units < 2:
            found.append(Bias(k, count, nan, nan, nan, nan))
            continue
        v = stands[rows] / rate[rows]
        bias = float(np.average(error[rows], weights=v))
        deviation = np.bincount(labels, v * (error[rows] - bias)) / v.sum()
        standard_error = float(np.sqrt((deviation**2).sum() * units / (units - 1)))
        half = float(half_width(v.sum() ** 2 / (v**2).sum(), 1 - (1 - level) / models)) * standard_error
        spread = float(np.sqrt(np.average((error[rows] - bias) ** 2, weights=v)))
        found.append(Bias(k, count, bias, bias - half, bias + half, spread))
    return found


def said(found: Sequence[Bias], names: Sequence[str]) -> list[str]:
    """What a person has to know of the judge, in plain words.

    Example:
        >>> for line in said([Bias(0, 90, 0.08, 0.03, 0.13, 0.2), Bias(1, 80, 0.01, -0.03, 0.05, 0.2)], ["a", "b"]):
        ...     print(line)
        The judge rates a 0.08 higher than people do (0.03 to 0.13, 90 answers rated by both).
        No bias of the judge is measurable for b (+0.01, -0.03 to 0.05).
    """
    lines = []
    for one in found:
        if one.low > 0 or one.high < 0:
            low, high = sorted((abs(one.low), abs(one.high)))
            lines.append(
                f"The judge rates {names[one.model]} {abs(one.bias):.2g} {'higher' if one.bias > 0 else 'lower'} than "
                f"people do ({low:.2g} to {high:.2g}, {one.ratings} answers rated by both)."
            )
    fine = [one for one in found if one.low <= 0 <= one.high]
    if fine:
        each = ", ".join(f"{names[one.model]} ({one.bias:+.2g}, {one.low:.2g} to {one.high:.2g})" for one in fine)
        lines.append(f"No bias of the judge is measurable for {each}.")
    few = [f"{names[one.model]} ({one.ratings})" for one in found if np.isnan(one.bias)]
    if few:
        lines.append(f"People rated too few answers to tell the judge's bias for {', '.join(few)}.")
    return lines
