"""Cells of people's logs, table after table, as columns of one kind each, and which cells are none of that kind.

A cell becomes the value it says (see ``values``), is missing, or is named with what is wrong about it.
"""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxroute.data import context as contexts
from jaxroute.data import records, values
from jaxroute.data.logs import convert, formats
from jaxroute.data.logs.entries import FAILED, FIELDS, LOST, NUMBERS, Asked, Format, Judgement, Row
from jaxroute.system.wording import here, mapped
from jaxroute.types import InputError

SHOWN = 10
BESIDE = {"spare_id": "response_id", "currency": "currency"}
"""What our own tables may have beside ``FIELDS``: the identifier of the answer, where request_id is the call's, and the
currency of the cost, which must be one."""


@dataclass
class Columns:
    """All rows [N] of a log, failed requests among them; a column that no table has is absent.

    source, row: where each is. names: what a table calls its fields. column: arrays by field; codes are -1 and ids of
    spans 0 where there is none. codes: what they mean, by field; the models' under "model", candidate sets under
    "available". odd: bad rows by (field, what is wrong). broken: rows that could not be read, and why. raw: some of
    the bad cells. left: how many records were no answered request, by (reason, model, endpoint). counts: of other
    things. scores: {evaluation: {row: value}}. judged, said: what was recorded apart from its request. around: key
    and parent of spans that are no request. gone: rows that are not to be used. forms: format by table.
    chats: whether prompts are parts of chats.
    """

    source: np.ndarray
    row: np.ndarray
    names: list[dict[str, str]]
    column: dict[str, np.ndarray]
    codes: dict[str, list[Any]]
    odd: dict[tuple[str, str], np.ndarray]
    broken: dict[int, str]
    raw: dict[tuple[str, int], str]
    left: Counter[tuple[str, str, str]]
    counts: Counter[str]
    scores: dict[str, dict[int, Any]]
    judged: list[Judgement]
    said: dict[int, list[Row]]
    around: np.ndarray
    forms: list[Format]
    chats: bool = False
    gone: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.row)

    def number(self, name: str) -> np.ndarray:
        """A column of numbers [N], NaN where the log has none."""
        return self.column[name] if name in self.column else np.full(len(self), np.nan)

    def code(self, name: str) -> np.ndarray:
        """A column of codes [N], -1 where the log has none."""
        return self.column[name] if name in self.column else np.full(len(self), -1, np.int64)

    def flag(self, name: str) -> np.ndarray:
        """A column of truth values [N]."""
        return self.column[name] if name in self.column else np.zeros(len(self), bool)

    def shown(self, name: str, i: int) -> str:
        """What a bad cell holds, after a colon, for a message; nothing where it is empty or not worth showing."""
        if (name, i) in self.raw:
            return ": " + self.raw[name, i]
        if name in NUMBERS and not np.isnan(value := self.number(name)[i]):
            return f": {value:g}"
        model = self.code("model")[i]
        return f": {self.codes['model'][model]!r}" if name in ("model", "available", "cost") and model >= 0 else ""


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
                    {}, np.zeros((0, 2), np.int64), [])  # fmt: skip
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    around: list[np.ndarray] = []
    done = width = 0
    for number, table in enumerate(tables):
        called: dict[str, str] = {}
        for chunk in _uncollected(_fielded(table, asked, form, needed, found, called, around, done)):
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
    for name, called_so in asked.columns.items():
        said = any(rows for (field, _), rows in odd.items() if field == name)
        if name not in pieces or ("." in called_so and not said and all(_blank(part) for _, part in pieces[name])):
            raise InputError(f"{tables[0]}: no record has {called_so!r}, which is mapped to {name}; check the mapping")
    unneeded = ("prompt", "empty") if "features" in pieces else ("features", convert.UNFIT)
    odd.pop(unneeded, None)
    odd.pop(("currency", "not a text"), None)  # then it says no currency
    found.chats = found.chats or any(one.entries is not None for one in found.forms)
    found.source, found.row = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    for name in FIELDS:
        if (
            name in pieces
            and name not in ("features", "prompt", "model")
            and all(_blank(part) for _, part in pieces[name])
        ):
            found.counts[f"rows, in none of which {name} has a value"] = done
    found.column = {name: convert.whole(name, parts, done, width) for name, parts in pieces.items()}
    untyped = np.array([records.untyped(table) for table in tables])[found.source]
    for name in found.column:
        if name.startswith(convert.CONTEXT) and untyped.any():
            found.column[name][untyped] = np.array([*contexts.typed(found.column[name][untyped]), None], object)[:-1]
    if "group" in found.column:  # a row without a group stands alone
        group = found.column["group"]
        found.column["group"] = np.where(group < 0, len(codes["group"]) + np.arange(done), group)
    if "model" not in pieces and "asked" not in pieces and "answered" not in pieces:
        found.column["model"] = np.full(done, -1, np.int64)
    found.codes = {name: list(known) for name, known in codes.items()}
    found.odd = {kind: marked(rows, done) for kind, rows in odd.items()}
    found.around = np.concatenate(around) if around else found.around
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


def marked(rows: Iterable[int], count: int) -> np.ndarray:
    """bool [count], True at the rows."""
    found = np.zeros(count, bool)
    found[list(rows)] = True
    return found


def _blank(part: np.ndarray) -> bool:
    """Whether a piece of a column has no value at all."""
    if part.dtype == object:
        return all(cell is None for cell in part)
    return bool(np.isnan(part).all() if part.dtype.kind == "f" else (part <= 0).all())


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


def _fielded(
    table: records.Source,
    asked: Asked,
    form: str,
    needed: Sequence[Sequence[str]],
    log: Columns,
    called: dict[str, str],
    around: list[np.ndarray],
    done: int,
) -> Iterator[records.Chunk]:
    """Chunks of a table whose columns are fields; fills in ``called`` and what of ``log`` is known as it reads."""
    known = None if form == "auto" else formats.named(form)
    mapping = dict(asked.columns)

    def wanted(names: Sequence[str]) -> Iterable[str]:
        nonlocal known
        known = known or formats.format_of(names)
        if known.entries is None:
            mapping.update(chats(names, mapping))
        starts = {start for name in mapping.values() if (start := records.outermost(name, names))}
        if known.entries is None:
            starts |= {s for name in FIELDS if name not in mapping and (s := records.outermost(name, names))}
            return [name for name in names if name in starts or name in BESIDE.values()]
        return [name for name in names if name in starts or name in FIELDS or known.reads(name)]

    names: dict[str, None] = {}
    for chunk in records.read(table, wanted):
        if known is None and chunk.names:
            known = formats.format_of(chunk.names)
        names |= dict.fromkeys(chunk.names)
        if known is not None and known.entries is not None:
            fields = _exported(chunk, known, asked, log, around, done)
        else:
            mapping.update(chats(chunk.names, mapping))
            called_so = {name: mapping.get(name, name) for name in FIELDS} | BESIDE | mapping
            cells = {
                name: records.column(chunk, column)
                for name, column in called_so.items()
                if records.outermost(column, chunk.names)
            }
            fields = chunk._replace(data=cells)
        fields = fields._replace(data=_padded(fields))
        done += len(fields.row) + len(fields.broken)
        yield fields
    log.forms.append(known or formats.PLAIN)
    called |= {name: mapping.get(name, name) for name in FIELDS}
    if known is formats.PLAIN and names:
        _need(table, mapping, list(names), needed)


def chats(names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Where a table of our own columns has its prompts, if they are not called so: in its messages."""
    return {"prompt": "messages"} if "messages" in names and not {"prompt"} & {*names, *mapping} else {}


def _padded(chunk: records.Chunk) -> dict[str, list[Any]]:
    """Cells by field, with an empty one for every row that could not be read."""
    assert isinstance(chunk.data, dict)
    empty = [None] * len(chunk.broken)
    return {name: [*cells, *empty] if empty else cells for name, cells in chunk.data.items()}


def _need(
    table: records.Source, mapping: Mapping[str, str], names: Sequence[str], needed: Sequence[Sequence[str]]
) -> None:
    def there(name: str) -> bool:
        return records.outermost(mapping.get(name, name), names) is not None

    described = ("features",) if there("features") and "prompt" not in mapping else ("prompt",)
    lacking = [
        several for several in (described, *needed, *((name,) for name in mapping)) if not any(map(there, several))
    ]
    if not lacking:
        return
    if (known := formats.unusable(names)) is not None:
        raise InputError(f"{table}: {known}")
    fields = list(dict.fromkeys(several[0] for several in lacking))
    missing = [repr(mapping.get(name, name)) for name in fields]
    which = f"column {missing[0]} is missing" if len(missing) == 1 else f"columns {', '.join(missing)} are missing"
    alike = {str(name).strip().casefold(): str(name) for name in names}
    unmapped = {name: alike.get(name, "NAME") for name in fields if name not in mapping}
    mend = mapped(unmapped) if unmapped else ""
    mend = f"add or rename {'it' if len(missing) == 1 else 'them'}" + (f", or name another one: {mend}" if mend else "")
    if len(names) == 1 and (between := next((mark for mark in (";", "\t", "|") if mark in str(names[0])), "")):
        mend = f"its columns are separated by {between!r}: save the file with commas"
    more = f"; with token counts, give a price table ({here('prices=', '--prices')})" if "cost" in fields else ""
    if "quality" in fields:
        more += f"; ratings that came later: {here('feedback=FILE', '--feedback FILE')}"
    raise InputError(f"{table}: {which}; {mend}{more} (there are: {', '.join(map(str, names))})")


def _exported(
    chunk: records.Chunk, form: Format, asked: Asked, log: Columns, around: list[np.ndarray], done: int
) -> records.Chunk:
    """A chunk of a tool's records, as fields; what is no request is counted, what belongs to one is kept for it."""
    if isinstance(chunk.data, dict):
        columns = list(chunk.data)
        data: Iterable[Row] = (
            {name: cell for name, cell in zip(columns, cells, strict=True) if cell is not None}
            for cells in zip(*chunk.data.values(), strict=True)
        )
    else:
        data = chunk.data
    assert form.entries is not None
    row: list[int] = []
    found: list[Row] = []
    edges: list[tuple[int, int]] = []
    for place, record in zip(chunk.row, data, strict=True):
        for entry in form.entries(record, asked):
            fields = entry.fields
            if entry.said is not None:
                log.said.setdefault(entry.key, []).extend(entry.said)
            elif entry.judged is not None:
                log.judged.append(entry.judged)
            elif entry.left and entry.left != FAILED:
                model = fields.get("model") or fields.get("answered") or fields.get("asked") or ""
                log.left[entry.left, str(model), str(fields.get("endpoint") or "")] += 1
                if entry.parent:
                    edges.append((entry.key, entry.parent))
            else:
                for name, value in fields.pop("scores", ()):
                    log.scores.setdefault(name, {})[done + len(found)] = value
                fields["key"], fields["parent"] = entry.key, entry.parent
                row.append(place)
                found.append(fields)
    for note in (note for note, name in form.notes.items() if name not in asked.columns):
        log.counts[note] += len(found)
    if edges:
        around.append(np.array(edges, np.int64))
    present = {name for fields in found for name, value in fields.items() if value is not None} | {"prompt"}
    if not any(name in present for name in convert.NAMED[:3]):
        present.add("model")
    present -= {"key"} if not any(fields["key"] for fields in found) else set()
    if "key" not in present:
        present -= {"parent"}
    return records.Chunk(
        row, {name: [fields.get(name) for fields in found] for name in present}, chunk.names, chunk.broken
    )
