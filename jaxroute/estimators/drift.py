"""Whether quality, price or logging policy changed while a log was written.

A log is taken for one world: if a model got better, or dearer, or the logging policy changed, what is learnt is an
average of before and after. ``changes`` looks at every model's residuals from the cross-fitted nuisances in order of
time, so that other prompts than before are no change. With S_j the sum of the first j centred groups' residuals,

    D = max_j |S_j| / sqrt(sum_g r_g^2),    P(D > d) -> P(sup |Brownian bridge| > d)       (Kolmogorov's distribution)

Rows of a group count as one, as everywhere, and a row as often as ``logs.weight`` says. Host side, NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxroute.types import InputError, Logs, Nuisances

LEVEL = 0.01
"""Of all tests of a log together (Holm)."""
FEWEST = 50
"""Groups of rows below which a series is not tested."""
What = Literal["quality", "cost", "share"]


class Change(NamedTuple):
    """One series of one model, in order of time.

    model: its index. what: "quality", "cost", or "share" of the rows for which it was chosen. at: the time from which
    the change shows, in the units of the timestamps. before, after: means of what was logged (of what is known), of
    the requests for which the rows stand.
    shift: after minus before of the residuals' means: what other prompts do not explain; of cost, in logarithms.
    p_value: of this test alone. changed: whether it stands among all tests of the log.
    """

    model: int
    what: What
    at: float
    before: float
    after: float
    shift: float
    p_value: float
    changed: bool = False


def bridge(
    residual: Float[np.ndarray, " N"],
    timestamp: Float[np.ndarray, " N"],
    group: Int[np.ndarray, " N"] | None = None,
    weight: Float[np.ndarray, " N"] | None = None,
) -> tuple[float, float]:
    """The test of one series: (p value, time from which it changed, as far as it did).

    Args:
        residual: [N]; its mean over time is what may change.
        timestamp: [N], in any unit. A group stands at the mean of its rows' times.
        group: [N] numbers of groups, whose rows hang together; None: every row alone.
        weight: [N] requests for which every row stands; None: one each. Where they change over time, so does the
            walk's variance, and D is divided by what its largest deviation exceeds a bridge's by.

    Returns:
        (p value, the first time after the largest |S_j|); (1, NaN) if residuals do not vary or are fewer than 2 groups.

    Example:
        >>> p, at = bridge(np.repeat([0.0, 1.0], 50) + np.tile([0.5, -0.5], 50), np.arange(100.0))
        >>> p < 1e-6, at
        (True, 50.0)

    Reference: The CUSUM test with OLS residuals, by Ploberger and Kramer, https://doi.org/10.2307/2951597 (1992).
    """
    from scipy.special import kolmogorov

    place = np.arange(len(residual)) if group is None else np.unique(group, return_inverse=True)[1]
    times = np.ones(len(residual)) if weight is None else np.asarray(weight, float) / np.mean(weight)
    total = np.bincount(place, times * (residual - np.average(residual, weights=times)))
    moment = np.bincount(place, timestamp) / np.bincount(place)
    order = np.argsort(moment, kind="stable")
    spread = np.sqrt((total**2).sum())
    if len(order) < 2 or not spread > 1e-9 * np.abs(residual).sum():  # what is left is rounding
        return 1.0, float("nan")
    if weight is not None:  # var S_j / var S = v_j - 2 v_j m_j + m_j^2; of a bridge v (1 - v), at most 1/4
        v, m = (np.cumsum(part[order]) / part.sum() for part in (total**2, np.bincount(place, times)))
        spread *= max(1.0, 2 * np.sqrt((v - 2 * v * m + m**2).max()))
    walk = np.abs(np.cumsum(total[order]))[:-1]
    last = int(np.argmax(walk))
    return float(kolmogorov(walk[last] / spread)), float(moment[order[last + 1]])


def changes(logs: Logs, nuisances: Nuisances, timestamp: Float[np.ndarray, " N"]) -> list[Change]:
    """Every model's quality, cost and share in order of time, the clearest change first.

        quality   q_i - q_k(x_i)          cost   log c_i - log c_k(x_i)          over the rows that model k answered
        share     1{k chosen} - p_k(x_i)                                         over all rows

    Args:
        logs: N rows. nuisances: cross-fitted on them, without knowledge of the time.
        timestamp: [N]; rows without one (NaN) are left out.

    Returns:
        A Change for each series of at least 50 groups. ``changed`` is True where the p value stands at 1% among all of
        them (Holm): of logs in which nothing changes, one in a hundred names a change.

    Raises:
        InputError: another number of timestamps than of rows.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> n = 400
        >>> draws = np.random.default_rng(0)
        >>> action, quality = draws.integers(0, 2, n), (draws.random(n) < 0.9).astype(float)
        >>> quality[n // 2 :] *= draws.random(n // 2) < 0.4                  # both models got worse half-way
        >>> half, every = np.full((n, 2), 0.5), np.ones((n, 2), bool)
        >>> logs = Logs(np.zeros((n, 1)), action, quality, np.ones(n), half[:, 0], every)
        >>> found = changes(logs, Nuisances(half, Outcomes(half, half)), np.arange(float(n)))
        >>> sorted((one.model, one.what, bool(one.before > one.after)) for one in found if one.changed)
        [(0, 'quality', True), (1, 'quality', True)]
    """
    time = np.asarray(timestamp, float)
    if time.shape != np.shape(logs.action):
        raise InputError(f"timestamp has shape {time.shape}, and the log {len(logs.action)} rows; give one for each")
    group = np.arange(len(time)) if logs.group is None else np.asarray(logs.group)
    weight = None if logs.weight is None else np.asarray(logs.weight, float)
    tested = []
    for model, what, value, residual in residuals(logs, nuisances):
        rows = np.isfinite(residual) & np.isfinite(time)
        if len(np.unique(group[rows])) < FEWEST:
            continue
        p_value, at = bridge(residual[rows], time[rows], group[rows], None if weight is None else weight[rows])
        early, late = rows & (time < at), rows & (time >= at)
        if early.any() and late.any():
            (before, was), (after, now) = (_means(weight, part, value, residual) for part in (early, late))
            tested.append(Change(model, what, at, before, after, now - was, p_value))
    tested.sort(key=lambda one: one.p_value)
    stands = np.logical_and.accumulate(
        [one.p_value < LEVEL / (len(tested) - rank) for rank, one in enumerate(tested)] or [False]
    )
    return [one._replace(changed=bool(yes)) for one, yes in zip(tested, stands.tolist(), strict=False)]


def _means(weight: np.ndarray | None, rows: np.ndarray, *columns: np.ndarray) -> list[float]:
    """Means over some rows, each counted as often as it stands for."""
    return [float(np.average(y[rows], weights=None if weight is None else weight[rows])) for y in columns]


def residuals(logs: Logs, nuisances: Nuisances) -> Iterator[tuple[int, What, np.ndarray, np.ndarray]]:
    """(model, what, values [N], residuals [N]), NaN where a row says nothing."""
    action, quality, cost = (np.asarray(y) for y in (logs.action, logs.quality, logs.cost))
    believed = [np.asarray(y) for y in nuisances.outcomes]
    for k in range(np.shape(logs.available)[1]):
        own = action == k
        yield k, "quality", quality, np.where(own, quality - believed[0][:, k], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            dearer = np.log(cost) - np.log(believed[1][:, k])
        yield k, "cost", cost, np.where(own & (cost > 0) & (believed[1][:, k] > 0), dearer, np.nan)
        chosen = own.astype(float)
        choosable = np.asarray(logs.available)[:, k]
        yield k, "share", chosen, np.where(choosable, chosen - np.asarray(nuisances.propensity)[:, k], np.nan)


def said(found: Sequence[Change], names: Sequence[str], when: Any, *, known: bool) -> list[str]:
    """What a person has to know of the changes that stand.

    Args:
        found: of ``changes``. names: of the models. when: of a time, how it is written.
        known: whether the log says the probability of every choice.

    Example:
        >>> one = Change(0, "quality", 3.0, 0.7, 0.5, -0.2, 1e-9, True)
        >>> print(said([one], ["a"], "day {:.0f}".format, known=True)[0])
        The quality of a changed about day 3: 0.7 before, 0.5 after (p = 1e-09), and other prompts do not explain it.
    """
    lines = []
    for one in found:
        if one.changed:
            what = {"quality": "quality", "cost": "cost", "share": "share of the choices"}[one.what]
            line = f"The {what} of {names[one.model]} changed about {when(one.at)}: {one.before:.3g} before, "
            line += f"{one.after:.3g} after (p = {one.p_value:.1g}), and other prompts do not explain it."
            if one.what == "share":
                line += (
                    " The propensities of the log account for it."
                    if known
                    else " The estimated propensities are an average of both policies; log the probability of every "
                    "choice, or learn from the rows since then."
                )
            lines.append(line)
    return lines
