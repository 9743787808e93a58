"""How long the models take: the 95th percentile of their latencies, as logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxroute.data.logs.table import LogTable
from jaxroute.system.wording import named

SHARE = 0.95
FEWEST = 59
"""Latencies of a model below which its 95th percentile is unknown: of fewer, not even the largest is an upper bound of
it with 95% confidence, as 0.95 ** 58 > 0.05 and 0.95 ** 59 < 0.05."""


def by_model(log: LogTable) -> dict[str, dict[str, Any]]:
    """The 95th percentile of every model's latencies, over the requests that it answered.

    A row counts as often as it stands for (``weight``); it is the least latency that 95% of the requests stay within.

    Args:
        log: N rows.

    Returns:
        {model: rows (with a latency), p95 (seconds, NaN where fewer than 59 rows have one)}; empty without latencies.

    Example:
        >>> from jaxroute.data.logs import load
        >>> row = {"prompt": "hi", "quality": 1, "cost": 1}
        >>> rows = [row | {"model": "ab"[i % 2], "latency": i if i < 190 else None} for i in range(200)]
        >>> by_model(load(rows[:191]))
        {'a': {'rows': 95, 'p95': 180.0}, 'b': {'rows': 95, 'p95': 181.0}}
    """
    if log.latency is None:
        return {}
    times = np.ones(len(log)) if log.weight is None else log.weight
    found = {}
    for k, model in enumerate(log.models):
        rows = np.flatnonzero((log.action == k) & np.isfinite(log.latency))
        rows = rows[np.argsort(log.latency[rows], kind="stable")]
        p95 = float("nan")
        if len(rows) >= FEWEST:
            within = np.cumsum(times[rows])
            p95 = float(log.latency[rows[np.searchsorted(within, SHARE * within[-1] * (1 - 1e-9))]])
        found[model] = {"rows": len(rows), "p95": p95}
    return found


def unknown(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is said of models with too few latencies.

    Example:
        >>> unknown({"a": {"rows": 95, "p95": 1.5}, "b": {"rows": 8, "p95": float("nan")}})
        ['The log has 8 latencies of b, too few (of 59) for its p95: with max_latency it is no candidate.']
    """
    return [
        f"The log has {one['rows']} latencies of {model}, too few (of {FEWEST}) for its p95: with "
        f"{named('max_latency')} it is no candidate."
        for model, one in found.items()
        if one["p95"] != one["p95"]
    ]
