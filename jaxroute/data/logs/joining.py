"""One request, one row: what several records say of one request is put together, and what was merged is counted.

the same span twice (a span and its details record, a file exported twice)     one row, gaps filled
messages and evaluations in log records of their own                           joined by span,
                                                                               or by the turn they begin
a stream's start and its end                                                   one row
a span around a span of a call (framework and provider, an agent's run)        the inner one, gaps filled
what two instrumentations wrote of one call, by its response or by its time     one row, gaps filled
the same identifier on different requests                                      the call's or the span's instead
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from jaxroute.data.logs import nesting
from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.entries import text_of
from jaxroute.data.logs.merging import at_odds, empty, fill, found_again, repeated, runs

STREAMS = "ends of streams joined to their starts"
AGAIN = "records that are there twice"
SHARED = "rows without an identifier of their own"
STRAYS = "messages of no request"


def join(log: Columns, chat: str) -> set[str]:
    """Make one row of what is said of one request; the others are ``gone``.

    Args:
        log: changed in place.
        chat: which part of a chat counts, for messages that were records of their own.

    Returns:
        The identifiers that several requests share, so that nothing can be joined by them.
    """
    if "key" in log.column:
        _same_span(log)
        _messages(log, chat)
        _streams(log)
        nesting.around(log)
        nesting.same_response(log)
        nesting.same_time(log)
    if "group" in log.column:  # a row without a group stands alone
        group = log.column["group"]
        log.column["group"] = np.where(group < 0, group.max() + 1 + np.arange(len(log)), group)
    return _identifiers(log)


def _same_span(log: Columns) -> None:
    key = log.column["key"]
    for base, other in runs(key, np.flatnonzero((key != 0) & ~log.gone)):
        fits = ~at_odds(log, base, other)
        base, other = base[fits], other[fits]
        fill(log, base, other)
        log.gone[other] = True
        log.counts[nesting.MERGED] += len(other)


def _messages(log: Columns, chat: str) -> None:
    if not log.said:
        return
    prompt, turn = log.column["prompt"], log.column.get("turn", np.zeros(len(log), np.int64))
    key = np.where(turn != 0, turn, log.column["key"])
    rows = np.flatnonzero(np.isin(key, np.fromiter(log.said, np.int64, len(log.said))) & ~log.gone)
    for i in rows.tolist():
        said = log.said[int(key[i])]
        if prompt[i] is None and (text := text_of(said, chat)) is not None:
            prompt[i] = text
            log.column["lost"][i] = found_again(log, log.column["lost"][i])
    strays = log.said.keys() - set(key[rows].tolist())
    if strays:
        log.counts[STRAYS] += sum(len(log.said[one]) for one in strays)


def _streams(log: Columns) -> None:
    if (stream := log.column.get("stream")) is None:
        return
    open_: dict[int, list[int]] = defaultdict(list)
    latency, time = (log.column.get(name) for name in ("latency", "timestamp"))
    for i in np.flatnonzero((stream != 0) & ~log.gone).tolist():
        which = int(stream[i])
        if which > 0:
            open_[which].append(i)
        elif open_[-which]:
            start, end = np.array([open_[-which].pop(0)]), np.array([i])
            # The end knows the answer: its identifier and its model count.
            for name in ("request_id", "answered"):
                if name in log.column and not empty(name, log.column[name][end])[0]:
                    log.column[name][start] = log.column[name][end]
            if latency is not None and time is not None and time[i] > time[start[0]]:
                latency[start] = time[i] - time[start]
            fill(log, start, end)
            log.gone[end] = True
            log.counts[STREAMS] += 1


def _identifiers(log: Columns) -> set[str]:
    """Give every row an identifier of its own, or none; what is there twice goes."""
    ids = log.column.get("request_id")
    if ids is None:
        return set()
    failed = np.flatnonzero(log.flag("failed") & ~log.gone)
    answered = set(ids[~log.flag("failed") & ~log.gone].tolist())
    ids[failed] = [None if name in answered else name for name in ids[failed]]
    rows = np.flatnonzero(~log.gone)
    rows = rows[repeated(ids[rows])]
    if not len(rows):
        return set()
    names = ("prompt", "model", "asked", "answered", "timestamp", "cost", "quality", "input_tokens", "output_tokens")
    columns = [log.column[name] for name in (*names, "spare_id") if name in log.column]
    seen: dict[tuple[str, ...], int] = {}
    for i in rows.tolist():
        said = (ids[i], *(str(column[i]) for column in columns))
        if seen.setdefault(said, i) != i:
            log.gone[i] = True
            log.counts[AGAIN] += 1
    rows = rows[~log.gone[rows]]
    rows = rows[repeated(ids[rows])]
    shared = set(ids[rows].tolist())
    spare = log.column.get("spare_id")
    ids[rows] = None if spare is None else spare[rows]
    again = rows[repeated(ids[rows])]
    ids[again] = None
    if lacking := int(sum(ids[i] is None for i in rows.tolist())):
        log.counts[SHARED] += lacking
    return shared
