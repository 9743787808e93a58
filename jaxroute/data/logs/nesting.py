"""Spans that see one request: a span around the span of a call, and what two instrumentations wrote of one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.merging import fill, repeated, responses, runs
from jaxroute.data.logs.naming import bare

MERGED = "records merged into another of the same request"
AROUND = "spans around another span of the same call"
DEPTH = 1000
LATE = 0.1
"""Share of a span's time for which it may outlast the one that it is within."""


def around(log: Columns) -> None:
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


def same_response(log: Columns) -> None:
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
    for base, other in runs(key, np.arange(len(rows))):
        a, b = rows[base], rows[other]
        fits = np.array([p is None or q is None or p == q for p, q in zip(prompt[a], prompt[b], strict=True)], bool)
        others = (told[a] != told[b]) | (called[a] != called[b]) & (answered[a] == answered[b]) & (answered[a] >= 0)
        fits &= (trace[a] == trace[b]) & (trace[a] != 0) | others & (np.abs(time[a] - time[b]) < 60)
        fill(log, a[fits], b[fits])
        log.gone[b[fits]] = True
        log.counts[MERGED] += int(fits.sum())


def same_time(log: Columns) -> None:
    """Of two spans that different instrumentations wrote of one call, side by side, the inner one by time is the
    request: a framework's span need not be around its client's, and of a failed call or a stream it knows no response.

    They are of the same model and the same prompt, unless one does not say it. Where the inner one begins a trace of
    its own, both say it. Each goes with one of every other instrumentation.
    """
    if "trace" not in log.column or "told" not in log.column:
        return
    trace, prompt = log.column["trace"], log.column["prompt"]
    text = np.array([0 if said is None else hash(said) for said in prompt], np.int64)
    begins = log.column["parent"] == 0 if "parent" in log.column else np.ones(len(log), bool)
    seen: dict[int, set[int]] = {}
    _within(log, trace, np.ones(len(log), bool), seen)
    _within(log, text, begins, seen)


def _within(log: Columns, key: np.ndarray, inside: np.ndarray, seen: dict[int, set[int]]) -> None:
    """Join rows of equal keys [N], 0 being none, of which the later one is within the other's time and ``inside``.

    Args:
        seen: {row: which instrumentations saw its request}; filled in.
    """
    start, writer = log.number("timestamp"), log.column["told"] ^ log.column["called"]
    end = start + log.number("latency")
    rows = np.flatnonzero(~log.gone & (key != 0) & np.isfinite(end))
    rows = rows[np.lexsort((-end[rows], start[rows], key[rows]))]
    mixed = writer[rows] != writer[rows][np.searchsorted(key[rows], key[rows])]  # than the first of its key
    rows = rows[np.isin(key[rows], key[rows][mixed])]
    codes = np.stack([log.code(name)[rows] for name in ("model", "asked", "answered")], axis=1).tolist()
    models = [{bare(log.codes["model"][code]) for code in several if code >= 0} for several in codes]
    columns = (rows, key[rows], start[rows], end[rows], inside[rows], writer[rows], log.flag("failed")[rows],
               log.column["prompt"][rows], responses(log, rows))  # fmt: skip
    pairs: dict[int, list[tuple[int, int]]] = {}
    open_: list[Call] = []
    for told in zip(*(column.tolist() for column in columns), models, strict=True):
        one = Call(*told)
        by = seen.setdefault(one.row, {one.writer})
        open_ = [other for other in open_ if other.key == one.key and other.end >= one.start]
        fits = (o for o in reversed(open_ if one.inside else []) if by.isdisjoint(seen[o.row]) and one.within(o))
        if outer := next(fits, None):
            by |= seen[outer.row]
            pairs.setdefault(len(by), []).append((one.row, outer.row))
            open_.remove(outer)
            one = one._replace(prompt=one.prompt or outer.prompt, response=one.response or outer.response)
        open_.append(one)
    for _, found in sorted(pairs.items()):  # what was filled in fills in
        inner, outer_ = np.array(found).T
        fill(log, inner, outer_)
        log.gone[outer_] = True
        log.counts[MERGED] += len(found)


class Call(NamedTuple):
    """What of a row says whether it is of the same request as another one: prompt and response None where unknown."""

    row: int
    key: int
    start: float
    end: float
    inside: bool
    writer: int
    failed: bool
    prompt: str | None
    response: str | None
    models: set[str]

    def within(self, other: Call) -> bool:
        late = self.end - other.end  # a little, where each was told of the call in turn
        if late > LATE * (self.end - self.start) or other.failed != self.failed or self.models.isdisjoint(other.models):
            return False
        pairs = ((self.prompt, other.prompt), (self.response, other.response))
        return all(a is None or b is None or a == b for a, b in pairs)
