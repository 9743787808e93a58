"""How fast a log grows old: weights that halve with every so many days, chosen by forward validation. Host side.

    w_i = 2^(-(T - t_i) / h),   T the last time, h the half-life

Models, prices and judges change, and where they did (`drift`), the last weeks say more than the whole log. The weights
multiply ``logs.weight``, which every learner and estimator honours, so that what is learnt and what is said of it
describe the requests of about the last half-life.

Forward validation: in each of the last blocks of the log in order of time, the residuals of every model's quality and
(log) cost are predicted by their weighted mean over the rows before the block. The half-life with the least squared
error is taken if it beats no weights at all by more than one standard error, else none. Of 200 simulated logs without a
change 2% got a half-life, and all of 60 in which two of three models changed places did (`tests/test_recency.py`
repeats both).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxroute import nuisance
from jaxroute.estimators.drift import residuals
from jaxroute.estimators.influence import not_empty
from jaxroute.system.wording import here, mapped, named
from jaxroute.types import InputError, Logs, Nuisances, NuisanceSpec

DAY = 86400.0
HALVES = (0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Half-lives that are tried, as shares of the log's time."""
BLOCKS, FIRST = 16, 6
"""The log is cut into 16 blocks of equally many rows; those from the seventh on are predicted."""
ERRORS = 1.0
LEAST = 1e-6
"""Smallest weight, so that no row counts for nothing."""
QUICK = NuisanceSpec(("mean", "ridge"), folds=3)


class Choice(NamedTuple):
    """half_life: in days, inf for none. tried: days. gains: of each, the mean squared error saved per row against no
    weights, in variances of the residuals, and errors: its standard errors."""

    half_life: float
    tried: tuple[float, ...]
    gains: tuple[float, ...]
    errors: tuple[float, ...]


def choose(logs: Logs, nuisances: Nuisances, timestamp: Float[np.ndarray, " N"]) -> Choice:
    """The half-life that predicts the log's later rows best from its earlier ones; inf where none does clearly.

    Args:
        logs: N rows. nuisances: cross-fitted on them, without knowledge of the time. timestamp: [N] seconds.

    Raises:
        InputError: a log without rows, another number of times than of rows, a row without one, or all at the same
            time.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> n = 800
        >>> draws = np.random.default_rng(0)
        >>> action, quality = draws.integers(0, 2, n), 0.5 + 0.1 * draws.normal(size=n)
        >>> quality[n // 2 :] -= 0.3                                          # both models got worse half-way
        >>> half, every = np.full((n, 2), 0.5), np.ones((n, 2), bool)
        >>> logs = Logs(np.zeros((n, 1)), action, quality, np.ones(n), half[:, 0], every)
        >>> choose(logs, Nuisances(half, Outcomes(half, np.ones((n, 2)))), 3600.0 * np.arange(n)).half_life < 5
        True
    """
    time = _times(logs, timestamp)
    order = np.argsort(time, kind="stable")
    block = np.empty(len(time), int)
    block[order] = np.arange(len(time)) * BLOCKS // len(time)
    tried = tuple(share * float(np.ptp(time)) for share in HALVES)
    stands = np.ones(len(time)) if logs.weight is None else np.asarray(logs.weight, float)
    saved = np.zeros((len(tried), len(time)))
    for _, what, _, residual in residuals(logs, nuisances):
        rows = np.flatnonzero(np.isfinite(residual))
        spread = 0.0 if not len(rows) else float(np.var(residual[rows]))
        if what == "share" or spread < 1e-12:
            continue
        for later in range(FIRST, BLOCKS):
            past, own = rows[block[rows] < later], rows[block[rows] == later]
            if not len(past) or not len(own):
                continue
            age = time[own].min() - time[past]
            plain = (residual[own] - np.average(residual[past], weights=stands[past])) ** 2
            for number, half_life in enumerate(tried):
                weight = stands[past] * np.maximum(0.5 ** (age / half_life), LEAST)
                error = (residual[own] - np.average(residual[past], weights=weight)) ** 2
                saved[number, own] += (plain - error) / spread
    group = np.arange(len(time)) if logs.group is None else np.asarray(logs.group)
    later_rows = block >= FIRST
    gains, errors = zip(*(_mean(one[later_rows], stands[later_rows], group[later_rows]) for one in saved), strict=True)
    best = int(np.argmax(gains))
    clear = gains[best] > ERRORS * errors[best] and gains[best] > 0
    days = tuple(seconds / DAY for seconds in tried)
    return Choice(float(days[best]) if clear else float("inf"), days, gains, errors)


def weigh(logs: Logs, timestamp: Float[np.ndarray, " N"], half_life: float) -> Logs:
    """The log with weights that halve every ``half_life`` days before its last row; inf: as it is.

    Example:
        >>> ones = np.ones(3)
        >>> logs = Logs(ones[:, None], ones.astype(int), ones, ones, ones, np.ones((3, 2), bool))
        >>> print(weigh(logs, DAY * np.array([0.0, 1.0, 2.0]), 1.0).weight)
        [0.25 0.5  1.  ]
    """
    if not half_life > 0:
        raise InputError(f"{named('recency')} is {half_life}; give days above 0, or auto")
    time = _times(logs, timestamp)
    if np.isinf(half_life):
        return logs
    weight = np.maximum(0.5 ** ((time.max() - time) / (half_life * DAY)), LEAST)
    return logs._replace(weight=weight if logs.weight is None else np.asarray(logs.weight, float) * weight)


def apply(logs: Logs, timestamp: Float[np.ndarray, " N"] | None, recency: str | float) -> tuple[Logs, float]:
    """The log weighed by ``recency``: days, or "auto" for `choose` with quick nuisances; and the half-life in days."""
    if timestamp is None:
        how = mapped({"timestamp": "NAME"})
        raise InputError(f"{named('recency')}: the log has no times; map the column, {how}")
    try:
        half_life = None if isinstance(recency, str) and recency == "auto" else float(recency)
    except (TypeError, ValueError):
        raise InputError(f"{named('recency')} is {recency!r}; give days above 0, or auto") from None
    if half_life is None:
        nuisances, _ = nuisance.fit(jax.random.key(0), logs, QUICK)
        half_life = choose(logs, jax.tree.map(np.asarray, nuisances), timestamp).half_life
    return weigh(logs, timestamp, half_life), half_life


def _times(logs: Logs, timestamp: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    time = np.asarray(timestamp, float)
    if time.shape != np.shape(logs.action):
        raise InputError(f"timestamp has shape {time.shape}, and the log {len(logs.action)} rows; give one for each")
    not_empty(logs)
    if missing := int(np.isnan(time).sum()):
        since = here("read_log(since=...)", "--since")
        raise InputError(f"{named('recency')}: {missing} rows have no time; leave them out ({since}) or add it")
    if not np.ptp(time) > 0:
        raise InputError(f"{named('recency')}: all rows have the same time")
    return time


def _mean(y: np.ndarray, times: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its standard error, clustered by group."""
    mean = float(np.average(y, weights=times))
    labels = np.unique(group, return_inverse=True)[1]
    deviation = np.bincount(labels, times * (y - mean)) / times.sum()
    return mean, float(np.sqrt((deviation**2).sum()))
