"""Rows that say the same request: filling one with what another one has, and telling that two are none of one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.convert import EMPTY, NAMED
from jaxroute.data.logs.entries import LOST, TOOLS

FILLED = ("prompt", "quality", "cost", "input_tokens", "output_tokens", "total_tokens", "cached_tokens",
          "cache_write_tokens", "reasoning_tokens", "propensity", "weight", "human_quality", "human_rate", "latency",
          "timestamp", "group", "available", *NAMED)  # fmt: skip


def fill(log: Columns, into: np.ndarray, of: np.ndarray) -> None:
    """Fill what rows ``into`` [M] miss with what rows ``of`` [M] have; a span's own id gives way to a response's."""
    ids, spare = log.column.get("request_id"), log.column.get("spare_id")
    if ids is not None and spare is not None:
        ids[into] = np.where((ids[into] == spare[into]) & (ids[of] != spare[of]), ids[of], ids[into])
    for name in FILLED:
        if (column := log.column.get(name)) is None:
            continue
        lacking = empty(name, column[into])
        column[into] = np.where(lacking, column[of], column[into])
        if name == "prompt" and "lost" in log.column:
            found = np.array([text is not None for text in column[into]], bool)
            lost = log.column["lost"]
            lost[into] = np.where(lacking & found, found_again(log, lost[into]), lost[into])
    place = dict(zip(of.tolist(), into.tolist(), strict=True))
    log.into |= place
    for scores in log.scores.values():
        for row in place.keys() & scores.keys():
            scores.setdefault(place[row], scores[row])


def found_again(log: Columns, lost: np.ndarray) -> np.ndarray:
    """Why rows [M] are left out whose prompts were found: -1 where it was that they were missing."""
    missing = [code for code, why in enumerate(log.codes["lost"]) if why in (LOST, TOOLS)]
    return np.where(np.isin(lost, missing), -1, lost)


def empty(name: str, cells: np.ndarray) -> np.ndarray:
    if cells.dtype == object:
        return np.array([cell is None for cell in cells], bool)
    return np.isnan(cells) if cells.dtype.kind == "f" else cells == EMPTY[name]


def runs(key: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(first rows, later rows) with equal keys, all second ones, then all third ones, ..."""
    order = rows[np.argsort(key[rows], kind="stable")]
    sorted_key = key[order]
    start = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]]) if len(order) else np.zeros(0, int)
    length = np.diff(np.r_[start, len(order)])
    for nth in range(1, int(length.max(initial=0))):
        many = length > nth
        yield order[start[many]], order[start[many] + nth]


def at_odds(log: Columns, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two rows [M] cannot be of one request: they name different responses, or only one of them failed."""
    differ = [
        x is not None and y is not None and x != y for x, y in zip(responses(log, a), responses(log, b), strict=True)
    ]
    return np.array(differ, bool) | (log.flag("failed")[a] != log.flag("failed")[b])


def responses(log: Columns, rows: np.ndarray) -> np.ndarray:
    """Identifiers [M] of the answers of rows; None where a row has only that of its span or call."""
    ids = log.column.get("request_id", np.full(len(log), None))[rows]
    if "spare_id" in log.column and "request_id" in log.column:
        ids[ids == log.column["spare_id"][rows]] = None
    return ids


def repeated(ids: np.ndarray) -> np.ndarray:
    """Where an id [N] occurs more than once; None is no id.

    Example:
        >>> repeated(np.array(["a", None, "a", None, "b"], object)).tolist()
        [True, False, True, False, False]
    """
    seen: set[str] = set()
    twice = {i for i in ids if i is not None and (i in seen or seen.add(i))}  # type: ignore[func-returns-value]
    return np.array([i in twice for i in ids], bool) if twice else np.zeros(len(ids), bool)
