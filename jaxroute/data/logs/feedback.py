"""Qualities that came after the answers: a table of request_id and quality beside a log, and evaluations in it.

People rate an answer when they have read it, and a judge grades at night; a gateway's log has no quality then. What
came last for a request counts, as people change their minds: by timestamp where there are any, else in the order of
the table. A tool's own records of evaluations are read as they are: OpenTelemetry's events, Phoenix's annotations,
Langfuse's scores.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data import records, values
from jaxroute.data.logs import convert, layouts, spans
from jaxroute.data.logs.entries import Asked, Judgement
from jaxroute.system.wording import here
from jaxroute.types import InputError

EXAMPLES = 10
UNKNOWN = "feedback on no request of the log"
SHARED = "feedback on identifiers that several requests share"
WORDS = "feedback that is a category and no number"
UNREAD = "feedback that cannot be read"
UNTIMED = "feedback without a time: the last in order counts"
IDS = {
    "request": ("request_id", "response_id", "gen_ai.response.id", "litellm_call_id"),
    "span": ("span_id", "observationId", "observation_id", "context.span_id"),
    "trace": ("trace_id", "traceId", "context.trace_id"),
}
QUALITY = ("quality", "score", "value", "result.score")
NAME = ("name", "annotation_name", "evaluation", "metadata.name")
KIND, WORD = ("dataType", "data_type"), ("stringValue", "string_value")
TIME = ("timestamp", "updated_at", "updatedAt", "created_at", "createdAt")


class Joined(NamedTuple):
    """quality: [N], the feedback where there is one, else what the log had. counts: what could not be joined, and how
    the last was told."""

    quality: np.ndarray
    counts: dict[str, int]


def apart(tables: Sequence[records.Source], given: Any) -> list[records.Source]:
    """The tables of a log, without those of ratings alone that are given as its feedback.

    A gateway keeps its ratings in a folder within the log's.
    """
    if not isinstance(given, str | os.PathLike):
        return list(tables)
    own = {table.resolve() for table in records.sources(given) if isinstance(table, Path)}
    return [
        table
        for table in tables
        if not (isinstance(table, Path) and table.resolve() in own and ratings_alone(_names(table)))
    ]


def first_log(tables: Sequence[records.Source]) -> records.Source:
    """The first table that holds more than ratings; the first one if none does."""
    several = len(tables) > 1
    return next((one for one in tables if several and (found := _names(one)) and not ratings_alone(found)), tables[0])


def _names(table: records.Source) -> Sequence[str]:
    first = next(records.read(table), None)
    return () if first is None else first.names


def ratings_alone(names: Sequence[str]) -> bool:
    """Whether a table of these columns holds ratings, and no requests."""
    return {"request_id", "quality"} <= set(names) <= set(records.RATING)


def read(source: Any, *, drop_bad: bool = False) -> tuple[list[Judgement], int]:
    """The judgements of a table, and how many of its rows were dropped.

    Args:
        source: as ``records.sources`` takes; columns request_id and quality, optionally timestamp and name.
        drop_bad: drop rows that cannot be read, as a killed gateway may leave one.

    Raises:
        InputError: a column is missing, or rows without id or number (every one of them bad: ten examples); names
            table, row and column.
    """
    found: list[Judgement] = []
    bad: list[str] = []
    dropped = 0
    for table in records.sources(source):
        for chunk in records.read(table):
            bad += [f"  {table}, row {row}: {why}" for row, why in chunk.broken]
            dropped += len(chunk.broken)
            if layouts.detect(chunk.names) and isinstance(chunk.data, list):
                for record in chunk.data:
                    for one in layouts.spans_of(record):
                        entries = spans.entries_of(one, (), Asked({}))
                        found += [entry.judged for entry in entries if entry.judged is not None]
                continue
            dropped += _judgements(chunk, table, found, bad)
    if bad and not drop_bad:
        head = f"{UNREAD}: {len(bad)} cell(s) or row(s); correct or drop them ({here('drop_bad=True', '--drop-bad')})"
        raise InputError("\n".join([head, *bad[:EXAMPLES]]))
    return found, dropped


def _judgements(chunk: records.Chunk, table: records.Source, found: list[Judgement], bad: list[str]) -> int:
    """Gather the judgements of rows that can be read; how many others there are."""
    if not chunk.names:
        return 0
    wrong: set[int] = set()
    named = {kind: name for kind, names in IDS.items() if (name := records.first_of(names, chunk.names))}
    quality = records.first_of(QUALITY, chunk.names)
    if not named or not quality:
        missing = "quality" if named else "request_id"
        raise InputError(
            f"{table}: column {missing!r} is missing; add or rename it (there are: {', '.join(chunk.names)})"
        )

    def column(name: str, reader: Any, may_be_empty: bool = True) -> list[Any]:
        cells = records.column(chunk, name)
        read, odd = values.each(reader, cells, None)
        empty = [i for i, cell in enumerate(read) if cell is None and not may_be_empty]
        wrong.update(odd, empty)
        for i in sorted({*odd, *empty}):
            bad.append(f"  {table}, row {chunk.row[i]}, column {name!r}: {values.short(cells[i])}")
        return read

    ids = {kind: column(name, values.identity, len(named) > 1) for kind, name in named.items()}
    score = column(quality, values.number)
    name, time = records.first_of(NAME, chunk.names), records.first_of(TIME, chunk.names)
    names = column(name, values.label) if name else [None] * len(chunk.row)
    times = column(time, values.moment) if time else [None] * len(chunk.row)
    kind, word = records.first_of(KIND, chunk.names), records.first_of(WORD, chunk.names)
    if kind is not None:
        words = records.column(chunk, word) if word else [None] * len(chunk.row)
        score = [said(*cells) for cells in zip(score, records.column(chunk, kind), words, strict=True)]
    for i in sorted(set(range(len(chunk.row))) - wrong):
        known = {kind: cells[i] for kind, cells in ids.items() if cells[i] is not None}
        found.append(Judgement(known, names[i] or "", score[i], times[i]))
    return len(wrong)


def said(value: Any, kind: Any, word: Any) -> Any:
    """The value of a score of Langfuse's: that of a category is its number in a list, or 0, so its word counts.

    Example:
        >>> said(0.0, "CATEGORICAL", "good"), said(1.0, "BOOLEAN", "True"), said(0.0, "CATEGORICAL", "0.5")
        ('good', 1.0, '0.5')
    """
    return word if kind == "CATEGORICAL" else value


def join(
    judgements: Sequence[Judgement],
    ids: dict[str, np.ndarray],
    quality: np.ndarray,
    shared: set[str] = frozenset(),  # type: ignore[assignment]
    rows: np.ndarray | None = None,
) -> Joined:
    """Fill in the qualities of a log's rows by their identifiers.

    Args:
        judgements: in order.
        ids: {"request", "call" or "span": [N], None where a row has none; "trace": hashes [N], 0 for none}.
        quality: [N] as in the log, NaN where missing.
        shared: identifiers that several requests have had, by which nothing is joined.
        rows: [N] the row that each row's identifiers are of; None: itself.

    Returns:
        Joined, on the scale that the judgements are written in.

    Example:
        >>> said = [Judgement({"request": "a"}, "", 0.0), Judgement({"request": "z"}, "", 1.0),
        ...     Judgement({"request": "a"}, "", 1.0)]
        >>> join(said, {"request": np.array(["a", "b"], object)}, np.array([np.nan, 0.5])).quality.tolist()
        [1.0, 0.5]
    """
    place: dict[str, dict[str, int]] = {}
    for kind, column in ids.items():
        known: dict[str, int] = {}
        for i, name in zip(range(len(column)) if rows is None else rows.tolist(), column.tolist(), strict=True):
            if name is not None and name != 0:
                name = plain_id(name) if kind == "span" else name
                known[name] = i if known.get(name, i) == i else -1  # -1: of several requests
        place[kind] = known
    counts = {UNKNOWN: 0, SHARED: 0}
    last: dict[int, tuple[float, int, float]] = {}
    untimed = 0
    words = 0
    lost: dict[str, set[Any]] = {UNKNOWN: set(), SHARED: set()}
    for order, one in enumerate(judgements):
        found = _place(one.ids, place)
        if found is None or found < 0:
            several = found == -1 or not shared.isdisjoint(one.ids.values())
            lost[SHARED if several else UNKNOWN].add(tuple(one.ids.values()))
            continue
        time = _moment(one.time)
        untimed += time == -math.inf
        new = (time, order, convert.number_or_nan(one.value))
        words += isinstance(one.value, str) and math.isnan(new[2])
        if not math.isnan(new[2]) and (found not in last or new[:2] > last[found][:2]):
            last[found] = new
    filled = quality.copy()
    for i, (_, _, value) in last.items():
        filled[i] = value
    counts = {why: len(several) for why, several in lost.items() if several or why == UNKNOWN}
    if words:
        counts[WORDS] = words
    if untimed and untimed > len(last):
        counts[UNTIMED] = untimed
    return Joined(filled, counts)


def _place(said: Any, place: dict[str, dict[str, int]]) -> int | None:
    """The row of a judgement: by the response, the gateway's call or the span, else by a trace of one request."""
    for kind in ("request", "span", "trace"):
        if (name := said.get(kind)) is None:
            continue
        if kind != "request":
            name = plain_id(name) if kind == "span" else hash(plain_id(name))
        for known in ("request", "call") if kind == "request" else (kind,):
            if (found := place.get(known, {}).get(name)) is not None:
                return found
    return None


def plain_id(name: str) -> str:
    """An identifier of a span or trace without what only some exporters write before it."""
    return name.removeprefix("0x").lower()


def _moment(value: Any) -> float:
    try:
        found = values.moment(value)
    except (ValueError, TypeError, OverflowError):
        return -math.inf
    return -math.inf if math.isnan(found) else found
