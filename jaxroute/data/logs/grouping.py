"""Whether the groups of a log (conversations, users) leave it enough independent draws to judge by."""

from __future__ import annotations

import numpy as np

from jaxroute.data.logs.table import LogTable, folding
from jaxroute.types import NuisanceSpec

ENOUGH = 200
"""Independent draws that an ok takes, of rows or of groups (``estimators.verdict``)."""
LARGE = 0.05
"""Share of the requests from which one group is named."""


def crowded(log: LogTable) -> str:
    """What is said where a log has rows enough and groups too few, or one that holds most; "" otherwise.

        draws = (sum_g s_g)^2 / sum_g s_g^2,   s_g requests with feedback of group g

    A group counts as one draw, so no further row of it helps, and no other policy either: advice to log more rows, or
    to draw models at random, is of no use there.

    Example:
        >>> from jaxroute.data.logs import load
        >>> row = {"prompt": "hi", "quality": 1, "cost": 1}
        >>> rows = [row | {"model": "ab"[i % 2], "group": f"u{i}" if i % 4 else "default"} for i in range(400)]
        >>> print(crowded(load(rows)))
        The 400 rated rows count as 16 independent ones, because the rows of a group count as one draw and the largest
        of 301 groups has 100. More rows of it prove nothing; log other groups. If it stands for nobody (a default
        user), leave its cells empty: rows without a group stand alone.

    Reference: Survey Sampling, by Kish (1965), on the effective number of draws.
    """
    if log.group is None or folding(log, NuisanceSpec().folds):
        return ""
    rated = np.isfinite(np.asarray(log.quality, float))
    times = np.ones(len(log)) if log.weight is None else np.asarray(log.weight, float)
    _, own = np.unique(log.group[rated], return_inverse=True)
    rows, sizes = np.bincount(own), np.bincount(own, times[rated])
    draws = _effective(sizes)
    if not _effective(times[rated]) >= ENOUGH > draws:
        return ""
    largest = int(np.argmax(sizes))
    named = bool(sizes[largest] > LARGE * sizes.sum())
    said = (
        f"The {len(own):,} rated rows count as {draws:.0f} independent ones, because the rows of a group count as one "
        "draw and "
    )
    if not named:
        return f"{said}there are {len(sizes):,} groups. More rows of them prove little; log other groups."
    return (
        f"{said}the largest of {len(sizes):,} groups has {rows[largest]:,}. More rows of it prove nothing; log other "
        "groups. If it stands for nobody (a default user), leave its cells empty: rows without a group stand alone."
    )


def _effective(size: np.ndarray) -> float:
    """Effective number of draws of these sizes; 0 without any."""
    return float(size.sum() ** 2 / (size**2).sum()) if len(size) else 0.0
