"""All tables of a log as columns of one kind each, and which cells are none of that kind.

A cell becomes the value it says (see ``values``), is missing, or is named with what is wrong about it.
"""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxroute.data import context as contexts
from jaxroute.data import records, values
from jaxroute.data.logs import convert
from jaxroute.data.logs.columns import Columns, marked
from jaxroute.data.logs.entries import FIELDS, LOST, NUMBERS, Asked
from jaxroute.data.logs.fielding import fielded
from jaxroute.types import InputError

SHOWN = 20


def gather(tables: Sequence[records.Source], asked: Asked, form: str, needed: Sequence[Sequence[str]]) -> Columns:
    """Read all tables; a row is a record, or a request within one.

    Args:
        tables: see ``records.sources``.
        asked: {field: name in the tables}, and the rule for chats.
        form: a format's name, or "auto".
        needed: fields of which a table of our own columns must have one each, beside prompt or features.

    Raises:
        InputError: a table that cannot be read, or lacks a column that is needed.
    """
    pieces: dict[str, list[tuple[int, np.ndarray]]] = defaultdict(list)
    odd: dict[tuple[str, str], list[int]] = {(name, "not a number"): [] for name in NUMBERS}
    codes: dict[str, dict[Any, int]] = {name: {} for name in convert.CODED} | {"available": {(): 0}}
    found = Columns(np.zeros(0, np.int32), np.zeros(0, np.int64), [], {}, {}, {}, {}, {}, Counter(), Counter(), {}, [],
                    {}, np.zeros((0, 3), np.int64), [])  # fmt: skip
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    around: list[np.ndarray] = []
    done = width = 0
    for number, table in enumerate(tables):
        called: dict[str, str] = {}
        for chunk in _uncollected(fielded(table, asked, form, needed, found, called, around, done)):
            total = len(chunk.row) + len(chunk.broken)
            found.broken |= {done + len(chunk.row) + i: why for i, (_, why) in enumerate(chunk.broken)}
            rows = np.array([*chunk.row, *(row for row, _ in chunk.broken)], np.int64)
            placed.append((np.full(total, number, np.int32), rows))
            assert isinstance(chunk.data, dict)
            for name, cells in chunk.data.items():
                found.chats = found.chats or (name == "prompt" and any(map(values.is_chat, cells)))
                if name == "features":
                    width = width or convert.width_of(cells)
                column, bad = convert.column(name, cells, codes, width, asked)
                pieces[name].append((done, column))
                for i, what, cell in bad:
                    odd.setdefault((name, what), []).append(done + i)
                    if len(odd[name, what]) <= SHOWN and cell is not None:
                        found.raw[name, done + i] = values.short(cell)
            done += total
        found.names.append(called)
    if not done:
        raise InputError(_nothing(tables, found))
    blank = {name for name, parts in pieces.items() if all(_blank(name, part) for _, part in parts)}
    found.around = np.concatenate([found.around, *around])
    outside = {"group"} if found.around[:, 2].any() else set()
    blank -= outside
    for name, called_so in asked.columns.items():
        said = any(rows for (field, _), rows in odd.items() if field == name)
        if name not in pieces.keys() | outside or ("." in called_so and not said and name in blank):
            raise InputError(f"{tables[0]}: no record has {called_so!r}, which is mapped to {name}; check the mapping")
    unneeded = ("prompt", "empty") if "features" in pieces else ("features", convert.UNFIT)
    odd.pop(unneeded, None)
    odd.pop(("currency", "not a text"), None)  # then it says no currency
    found.chats = found.chats or any(one.entries is not None for one in found.forms)
    found.source, found.row = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    for name in FIELDS:
        if name in blank and name not in ("features", "prompt", "model"):
            found.counts[f"rows, in none of which {name} has a value"] = done
    found.column = {name: convert.whole(name, parts, done, width) for name, parts in pieces.items()}
    untyped = np.array([records.untyped(table) for table in tables])[found.source]
    for name in found.column:
        if name.startswith(convert.CONTEXT) and untyped.any():
            found.column[name][untyped] = np.array([*contexts.typed(found.column[name][untyped]), None], object)[:-1]
    if "model" not in pieces and "asked" not in pieces and "answered" not in pieces:
        found.column["model"] = np.full(done, -1, np.int64)
    found.codes = {name: list(known) for name, known in codes.items()}
    found.odd = {kind: marked(rows, done) for kind, rows in odd.items()}
    found.gone = np.zeros(done, bool)
    return found


def _uncollected(chunks: Iterator[records.Chunk]) -> Iterator[records.Chunk]:
    """The chunks, made while the search for cyclic garbage rests: records have no cycles, and a third of the time."""
    resting = gc.isenabled()
    try:
        gc.disable()
        yield from chunks
    finally:
        if resting:
            gc.enable()


def _blank(name: str, part: np.ndarray) -> bool:
    """Whether a piece of a column has no value at all; of codes, 0 is the first value."""
    if part.dtype == object:
        return all(cell is None for cell in part)
    return bool(np.isnan(part).all() if part.dtype.kind == "f" else (part <= convert.EMPTY[name]).all())


def _nothing(tables: Sequence[records.Source], found: Columns) -> str:
    """What is said of tables without a request."""
    apart: Counter[str] = Counter()
    for (why, _, _), count in found.left.items():
        apart[why] += count
    kinds = dict.fromkeys(form.title for form in found.forms if form.name != "plain")
    hints = list(dict.fromkeys(form.hint for form in found.forms if form.hint and LOST in apart))
    parts = [f"{', '.join(map(str, tables[:3]))}: no rows; at least one is needed"]
    parts += [f"read as {' and '.join(kinds)}"] if kinds else []
    parts += [f"{count} {why}" for why, count in apart.items()] + hints
    if said := sum(map(len, found.said.values())):
        parts.append(f"{said} messages of requests whose spans are elsewhere; give both, in one folder")
    return "; ".join(parts)
