"""Whether the answers that were rated cost what all answers cost: values are estimated from rated ones."""

from __future__ import annotations

import numpy as np

from jaxroute.data.logs.table import LogTable

LEAST = 0.05
"""Relative difference of mean costs from which it is said."""
ERRORS = 4.0
"""Standard errors that the difference must exceed; rows of a group count together."""
FEWEST = 30
"""Rated answers of a model, and unrated ones, below which nothing is said of it."""


def rated_costs(log: LogTable) -> str:
    """What is said where rated answers are dearer or cheaper than all of a model; "" where they are not.

    Mean costs are estimated from all answers, values from rated answers alone. Where people rate long answers more
    often, values at cost weights above 0 are those of long answers.

    Example:
        >>> from jaxroute.data.logs import load
        >>> rows = [{"prompt": "hi", "model": "ab"[i % 2], "quality": 1 if i % 4 < 2 else None,
        ...     "cost": 3 + i % 3 if i % 4 < 2 else 1} for i in range(400)]
        >>> print(rated_costs(load(rows)))
        Rated answers cost more or less than all answers do: a 60% more, b 60% more. Mean costs are estimated from all
        answers, and values from rated ones; if it was the answer (its length, say) and not the prompt that decided
        whether it was rated, values at cost weights above 0 are off by that much of the cost. Have answers rated that
        are drawn at random.
    """
    rated, known = np.isfinite(np.asarray(log.quality, float)), np.isfinite(log.cost)
    times = np.ones(len(log)) if log.weight is None else np.asarray(log.weight, float)
    group = np.arange(len(log)) if log.group is None else np.unique(np.asarray(log.group), return_inverse=True)[1]
    found = []
    for k, name in enumerate(log.models):
        own = known & (log.action == k)
        parts = [own & rated, own & ~rated]
        if min(part.sum() for part in parts) < FEWEST or not (
            all_of_it := np.average(log.cost[own], weights=times[own])
        ):
            continue
        judged, error = _above(log.cost, times, group, parts)
        more = np.average(log.cost[parts[0]], weights=times[parts[0]]) / all_of_it - 1
        if abs(judged) > ERRORS * error and abs(more) > LEAST:
            found.append(f"{name} {abs(more):.0%} {'more' if more > 0 else 'less'}")
    if not found:
        return ""
    return (
        f"Rated answers cost more or less than all answers do: {', '.join(found)}. Mean costs are estimated from all "
        "answers, and values from rated ones; if it was the answer (its length, say) and not the prompt that decided "
        "whether it was rated, values at cost weights above 0 are off by that much of the cost. Have answers rated "
        "that are drawn at random."
    )


def _above(cost: np.ndarray, times: np.ndarray, group: np.ndarray, parts: list[np.ndarray]) -> tuple[float, float]:
    """By how much the mean cost of the first rows exceeds that of the others, and its standard error by group."""
    first, other = (np.average(cost[part], weights=times[part]) for part in parts)
    spread = np.zeros(len(cost))
    for part, mean, sign in zip(parts, (first, other), (1, -1), strict=True):
        spread[part] = sign * times[part] * (cost[part] - mean) / times[part].sum()
    return float(first - other), float(np.sqrt((np.bincount(group, spread) ** 2).sum()))
