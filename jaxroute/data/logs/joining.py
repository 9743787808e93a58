"""One request, one row: what several records say of one request is put together, and what was merged is counted.

the same span twice (a span and its details record, a file exported twice)     one row, gaps filled
messages and evaluations in log records of their own                           joined by span
a stream's start and its end                                                   one row
a span around a span of a call (framework and provider, an agent's run)        the inner one, gaps filled
the same identifier on different requests                                      the call's or the span's instead
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from jaxroute.data import messages
from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.convert import EMPTY, NAMED

MERGED = "records merged into another of the same request"
AROUND = "spans around another span of the same call"
STREAMS = "ends of streams joined to their starts"
AGAIN = "records that are there twice"
SHARED = "rows without an identifier of their own"
STRAYS = "messages of no request"
FILLED = ("prompt", "quality", "cost", "input_tokens", "output_tokens", "total_tokens", "cached_tokens",
          "cache_write_tokens", "reasoning_tokens", "propensity", "weight", "human_quality", "human_rate", "latency",
          "timestamp", "group", "available", *NAMED)  # fmt: skip
DEPTH = 1000


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
        _around(log)
        _same_response(log)
    if "group" in log.column:  # a row without a group stands alone
        group = log.column["group"]
        log.column["group"] = np.where(group < 0, group.max() + 1 + np.arange(len(log)), group)
    return _identifiers(log)


def repeated(ids: np.ndarray) -> np.ndarray:
    """Where an id [N] occurs more than once; None is no id.

    Example:
        >>> repeated(np.array(["a", None, "a", None, "b"], object)).tolist()
        [True, False, True, False, False]
    """
    seen: set[str] = set()
    twice = {i for i in ids if i is not None and (i in seen or seen.add(i))}  # type: ignore[func-returns-value]
    return np.array([i in twice for i in ids], bool) if twice else np.zeros(len(ids), bool)


def fill(log: Columns, into: np.ndarray, of: np.ndarray) -> None:
    """Fill what rows ``into`` [M] miss with what rows ``of`` [M] have."""
    for name in FILLED:
        if (column := log.column.get(name)) is None:
            continue
        empty = _empty(name, column[into])
        column[into] = np.where(empty, column[of], column[into])
        if name == "prompt" and "lost" in log.column:
            found = np.array([text is not None for text in column[into]], bool)
            log.column["lost"][into] = np.where(empty & found, -1, log.column["lost"][into])
    place = dict(zip(of.tolist(), into.tolist(), strict=True))
    for scores in log.scores.values():
        for row in place.keys() & scores.keys():
            scores.setdefault(place[row], scores[row])


def _empty(name: str, cells: np.ndarray) -> np.ndarray:
    if cells.dtype == object:
        return np.array([cell is None for cell in cells], bool)
    return np.isnan(cells) if cells.dtype.kind == "f" else cells == EMPTY[name]


def _runs(key: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(first rows, later rows) with equal keys, all second ones, then all third ones, ..."""
    order = rows[np.argsort(key[rows], kind="stable")]
    sorted_key = key[order]
    start = np.flatnonzero(np.r_[True, sorted_key[1:] != sorted_key[:-1]]) if len(order) else np.zeros(0, int)
    length = np.diff(np.r_[start, len(order)])
    for nth in range(1, int(length.max(initial=0))):
        many = length > nth
        yield order[start[many]], order[start[many] + nth]


def _at_odds(log: Columns, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two rows [M] cannot be of one request: they name different responses, or only one of them failed."""
    spare = log.column.get("spare_id")
    ids = log.column["request_id"]
    own = [np.where(ids[i] == spare[i], None, ids[i]) if spare is not None else ids[i] for i in (a, b)]
    differ = np.array([x is not None and y is not None and x != y for x, y in zip(*own, strict=True)], bool)
    return differ | (log.flag("failed")[a] != log.flag("failed")[b])


def _same_span(log: Columns) -> None:
    key = log.column["key"]
    for base, other in _runs(key, np.flatnonzero((key != 0) & ~log.gone)):
        fits = ~_at_odds(log, base, other)
        base, other = base[fits], other[fits]
        ids, spare = log.column["request_id"], log.column.get("spare_id")
        if spare is not None:  # a span's own id gives way to the response's
            ids[base] = np.where(ids[base] == spare[base], ids[other], ids[base])
        fill(log, base, other)
        log.gone[other] = True
        log.counts[MERGED] += len(other)


def _messages(log: Columns, chat: str) -> None:
    if not log.said:
        return
    key, prompt = log.column["key"], log.column["prompt"]
    rows = np.flatnonzero(np.isin(key, np.fromiter(log.said, np.int64, len(log.said))) & ~log.gone)
    for i in rows.tolist():
        said = log.said[int(key[i])]
        if prompt[i] is None and (text := messages.text_of(said, chat)) is not None:
            prompt[i] = text
            log.column["lost"][i] = -1
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
                if name in log.column and not _empty(name, log.column[name][end])[0]:
                    log.column[name][start] = log.column[name][end]
            if latency is not None and time is not None and time[i] > time[start[0]]:
                latency[start] = time[i] - time[start]
            fill(log, start, end)
            log.gone[end] = True
            log.counts[STREAMS] += 1


def _around(log: Columns) -> None:
    """Of a span around a span of a call, only the inner one is a request; it is of the group of the nearest span
    around it that has one, if it has none itself.

    A span that answered although the calls inside it failed stays: it knows an answer that they do not.
    """
    if "parent" not in log.column or not log.column["parent"].any():
        return
    key, parent, failed = log.column["key"], log.column["parent"], log.flag("failed")
    rows = np.flatnonzero((key != 0) & ~log.gone)
    keys = np.concatenate([key[rows], log.around[:, 0]])
    above = np.concatenate([parent[rows], log.around[:, 1]])
    owner = np.concatenate([rows, np.full(len(log.around), -1)])
    group = log.code("group").copy()
    groups = np.concatenate([group[rows], _group_codes(log)])
    order = np.argsort(keys, kind="stable")
    keys, above, owner, groups = keys[order], above[order], owner[order], groups[order]

    child, current = rows[parent[rows] != 0], parent[rows][parent[rows] != 0]
    nearest = np.full(len(log), -1)
    answered, failing = np.zeros(len(log), bool), np.zeros(len(log), bool)
    for _ in range(DEPTH):
        if not len(child):
            break
        place = np.minimum(np.searchsorted(keys, current), len(keys) - 1)
        there = keys[place] == current
        child, place = child[there], place[there]
        group[child] = np.where(group[child] < 0, groups[place], group[child])
        call = owner[place]
        found = (call >= 0) & (call != child)
        nearest[child[found & (nearest[child] < 0)]] = call[found & (nearest[child] < 0)]
        answered[call[found & ~failed[child]]] = True
        failing[call[found & failed[child]]] = True
        current = above[place]
        child, current = child[current != 0], current[current != 0]
    outer = answered | (failed & failing)
    inner = np.flatnonzero((nearest >= 0) & ~outer & ~log.gone)
    calls = np.bincount(nearest[inner], minlength=len(log))
    only = inner[(calls[nearest[inner]] == 1) & outer[nearest[inner]]]
    fill(log, only, nearest[only])
    if (group >= 0).any():
        log.column["group"] = group
    log.counts[AROUND] += int((outer & ~log.gone).sum())
    log.gone |= outer


def _group_codes(log: Columns) -> np.ndarray:
    """Codes of the groups of spans that are no request, -1 where there is none; beyond those of rows where no row
    has the group."""
    known = {hash(name): code for code, name in enumerate(log.codes["group"])} | {0: -1}
    return np.array([known.setdefault(name, len(known)) for name in log.around[:, 2].tolist()], np.int64)


def _same_response(log: Columns) -> None:
    """Spans that name the same response and ask the same are one call, where they are of one trace, or where two
    instrumentations saw it within a minute: they follow different conventions, or call their spans of the same model
    differently."""
    if "trace" not in log.column or "spare_id" not in log.column:
        return
    ids, trace, prompt = (log.column[name] for name in ("request_id", "trace", "prompt"))
    told, called = (log.column.get(name, np.zeros(len(log), np.int64)) for name in ("told", "called"))
    answered = log.code("answered")
    rows = np.flatnonzero(~log.gone & (ids != log.column["spare_id"]))
    rows = rows[repeated(ids[rows])]
    time = np.nan_to_num(log.number("timestamp"))
    key = np.array([hash(ids[i]) for i in rows.tolist()], np.int64)
    for base, other in _runs(key, np.arange(len(rows))):
        a, b = rows[base], rows[other]
        fits = np.array([p is None or q is None or p == q for p, q in zip(prompt[a], prompt[b], strict=True)], bool)
        others = (told[a] != told[b]) | (called[a] != called[b]) & (answered[a] == answered[b]) & (answered[a] >= 0)
        fits &= (trace[a] == trace[b]) & (trace[a] != 0) | others & (np.abs(time[a] - time[b]) < 60)
        fill(log, a[fits], b[fits])
        log.gone[b[fits]] = True
        log.counts[MERGED] += int(fits.sum())


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
