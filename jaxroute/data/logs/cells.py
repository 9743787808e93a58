"""Cells of people's logs, file after file, as columns of one kind each, and which cells are none of that kind.

A cell becomes the value it says (see ``values``), is missing, or is named with what is wrong about it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data import records, values
from jaxroute.data.logs import formats
from jaxroute.types import InputError

NUMBERS = ("quality", "cost", "input_tokens", "output_tokens", "propensity")
FIELDS = ("prompt", "model", *NUMBERS, "timestamp", "group", "request_id", "available", "features")
SHOWN = 10
UNFIT = "not a list of finite numbers"
Bad = tuple[int, str, Any]
"""Place in a list of cells, what is wrong there, and the cell."""


class Columns(NamedTuple):
    """All rows [N] of a log. Optional columns are None where no file has them.

    file, row: where each is. names: what a file calls its fields. numbers: float64 by field. models, sets: what the
    codes in model (-1: none) and available mean. odd: bad rows by (field, what is wrong). broken: rows that could
    not be read, and why. raw: some of the bad cells. skipped: how many records were no answered request, by reason.
    """

    file: np.ndarray
    row: np.ndarray
    names: list[dict[str, str]]
    numbers: dict[str, np.ndarray]
    models: list[str]
    model: np.ndarray
    sets: list[tuple[str, ...]]
    available: np.ndarray
    prompt: np.ndarray | None
    timestamp: np.ndarray | None
    group: np.ndarray | None
    request_id: np.ndarray | None
    features: np.ndarray | None
    odd: dict[tuple[str, str], np.ndarray]
    broken: dict[int, str]
    raw: dict[tuple[str, int], str]
    skipped: dict[str, int]

    def shown(self, field: str, i: int) -> str:
        """What a bad cell holds, after a colon, for a message; nothing where it is empty or not worth showing."""
        if (field, i) in self.raw:
            return ": " + self.raw[field, i]
        if field in self.numbers and not np.isnan(self.numbers[field][i]):
            return f": {self.numbers[field][i]:g}"
        if field == "request_id" and self.request_id is not None:
            return f": {self.request_id[i]!r}"
        return f": {self.models[self.model[i]]!r}" if field in ("model", "available") and self.model[i] >= 0 else ""


def gather(files: Sequence[Path], mapping: Mapping[str, str], form: str, needed: Sequence[str]) -> Columns:
    """Read all files; a row is a record, or a request within one.

    Args:
        files: see ``records.files``.
        mapping: {field: name in the files}.
        form: one of ``formats.FORMATS``, or "auto".
        needed: the fields that a table must have, beside prompt or features.

    Raises:
        InputError: a file that cannot be read, or lacks a column that is needed.
    """
    kept: dict[str, list[Any]] = defaultdict(list)
    odd: dict[tuple[str, str], list[int]] = {(name, "not a number"): [] for name in NUMBERS}
    codes: dict[str, dict[Any, int]] = {"model": {}, "available": {(): 0}, "group": {}}
    raw: dict[tuple[str, int], str] = {}
    broken: dict[int, str] = {}
    skipped: Counter[str] = Counter()
    names: list[dict[str, str]] = []
    done = width = 0
    present: set[str] = set()
    for number, file in enumerate(files):
        called: dict[str, str] = {}
        for chunk in _fielded(file, mapping, form, needed, skipped, called):
            total = len(chunk.row) + len(chunk.broken)
            broken |= {done + len(chunk.row) + i: why for i, (_, why) in enumerate(chunk.broken)}
            kept["file"].append(np.full(total, number, np.int32))
            kept["row"].append(np.array([*chunk.row, *(row for row, _ in chunk.broken)], np.int64))
            assert isinstance(chunk.data, dict)
            present |= chunk.data.keys()
            for field in FIELDS:
                cells = [*chunk.data.get(field, [None] * len(chunk.row)), *([None] * len(chunk.broken))]
                if field == "features":
                    width = width or _width(cells)
                column, bad = _convert(field, cells, codes, width)
                kept[field].append(column)
                for i, what, cell in bad:
                    odd.setdefault((field, what), []).append(done + i)
                    if len(odd[field, what]) <= SHOWN and cell is not None:
                        raw[field, done + i] = values.short(cell)
            done += total
        names.append(called)
    if not done:
        apart = "".join(f"; {count} {why}" for why, count in skipped.items())
        raise InputError(f"{', '.join(map(str, files[:3]))}: no rows; at least one is needed{apart}")
    if lost := [field for field in mapping if field not in present]:
        raise InputError(f"{files[0]}: no record has {mapping[lost[0]]!r}, which columns names as {lost[0]}")
    # Where no vector had come yet, its width was not known.
    kept["features"] = [
        p if p.shape[1] == width else np.full((len(p), width), np.nan, np.float32) for p in kept["features"]
    ]
    whole = {field: np.concatenate(parts) for field, parts in kept.items()}
    unneeded = ("prompt", "empty") if "features" in present else ("features", UNFIT)
    odd.pop(unneeded, None)
    group = whole["group"]
    group = np.where(group < 0, len(codes["group"]) + np.arange(done), group)

    def given(field: str, values: np.ndarray) -> np.ndarray | None:
        return values if field in present else None

    return Columns(
        file=whole["file"],
        row=whole["row"],
        names=names,
        numbers={field: whole[field] for field in NUMBERS},
        models=list(codes["model"]),
        model=whole["model"],
        sets=list(codes["available"]),
        available=whole["available"],
        prompt=given("prompt", whole["prompt"]),
        timestamp=given("timestamp", whole["timestamp"]),
        group=given("group", group),
        request_id=given("request_id", whole["request_id"]),
        features=given("features", whole["features"]),
        odd={kind: marked(rows, done) for kind, rows in odd.items()},
        broken=broken,
        raw=raw,
        skipped=dict(skipped),
    )


def marked(rows: Iterable[int], count: int) -> np.ndarray:
    """bool [count], True at the rows."""
    found = np.zeros(count, bool)
    found[list(rows)] = True
    return found


def repeated(ids: np.ndarray) -> np.ndarray:
    """Where an id [N] occurred before; None is no id.

    Example:
        >>> repeated(np.array(["a", None, "a", None], object)).tolist()
        [False, False, True, False]
    """
    seen: set[Any] = set()

    def again(value: Any) -> bool:
        before = value in seen
        if value is not None:
            seen.add(value)
        return before

    return np.array([again(value) for value in ids], bool)


def _fielded(
    file: Path,
    mapping: Mapping[str, str],
    form: str,
    needed: Sequence[str],
    skipped: Counter[str],
    called: dict[str, str],
) -> Iterator[records.Chunk]:
    """Chunks of a file whose columns are fields; fills in ``called`` and counts what is ``skipped``."""
    known = form

    def wanted(names: Sequence[str]) -> Iterable[str]:
        nonlocal known
        known = formats.format_of(names) if form == "auto" else form
        if known != "plain":
            return formats.wanted(names, mapping.values())
        return {start: None for name in FIELDS if (start := records.outermost(mapping.get(name, name), names))}

    names: dict[str, None] = {}
    for chunk in records.read(file, wanted):
        if known == "auto" and chunk.names:
            known = formats.format_of(chunk.names)
        names |= dict.fromkeys(chunk.names)
        if known not in ("auto", "plain"):
            yield _exported(chunk, known, mapping, skipped)
            continue
        found = {
            field: records.column(chunk, name)
            for field in FIELDS
            if records.outermost(name := mapping.get(field, field), chunk.names)
        }
        yield chunk._replace(data=found)
    called |= {field: mapping.get(field, field) for field in FIELDS}
    if known == "plain" and names:
        _need(file, mapping, list(names), needed)


def _need(file: Path, mapping: Mapping[str, str], names: Sequence[str], needed: Sequence[str]) -> None:
    def there(field: str) -> bool:
        return records.outermost(mapping.get(field, field), names) is not None

    described = "features" if there("features") and "prompt" not in mapping else "prompt"
    for field in (described, *needed, *mapping):
        if not there(field):
            more = "; with token counts, give a price table" if field == "cost" else ""
            raise InputError(
                f"{file}: column {mapping.get(field, field)!r} is missing; add or rename it{more} "
                f"(there are: {', '.join(map(str, names))})"
            )


def _exported(chunk: records.Chunk, form: str, mapping: Mapping[str, str], skipped: Counter[str]) -> records.Chunk:
    """A chunk of a gateway's or tracer's records, as fields."""
    if isinstance(chunk.data, dict):
        columns = list(chunk.data)
        data = [dict(zip(columns, values, strict=True)) for values in zip(*chunk.data.values(), strict=True)]
    else:
        data = chunk.data
    row, found = [], []
    for place, record in zip(chunk.row, data, strict=True):
        for request, why in formats.rows(record, form, mapping):
            if request is None:
                skipped[why] += 1
            else:
                row.append(place)
                found.append(request)
    fields = {field for request in found for field, value in request.items() if value is not None}
    fields |= {"prompt"} - mapping.keys()
    return records.Chunk(
        row, {field: [request.get(field) for request in found] for field in fields}, chunk.names, chunk.broken
    )


def _convert(
    field: str, cells: list[Any], codes: dict[str, dict[Any, int]], width: int
) -> tuple[np.ndarray, list[Bad]]:
    """Cells as the column of a field, and those that are bad."""
    if field in NUMBERS or field == "timestamp":
        reader, what = (values.moment, "not a time") if field == "timestamp" else (values.number, "not a number")
        found, bad = _each(reader, cells, math.nan, what)
        return np.array(found, float), bad
    if field == "available":
        found, bad = _each(values.candidates, cells, (), "not a list of names")
        known = codes[field]
        return np.array([known.setdefault(value, len(known)) for value in found], np.int64), bad
    if field == "features":
        vectors = [None if cell is None else values.vector(cell) for cell in cells]
        unfit: list[Bad] = [(i, UNFIT, cells[i]) for i, vector in enumerate(vectors) if vector is None]
        what = f"not of the first row's width, {width}"
        unfit += [(i, what, len(v)) for i, v in enumerate(vectors) if v is not None and len(v) != width]
        fits = [v if v is not None and len(v) == width else np.full(width, np.nan, np.float32) for v in vectors]
        return np.array(fits, np.float32).reshape(len(cells), width), unfit
    found, bad = _each(values.prompt if field == "prompt" else values.label, cells, None, "not a text")
    if field in ("prompt", "model"):
        odd = {i for i, _, _ in bad}
        bad += [(i, "empty", None) for i, value in enumerate(found) if value is None and i not in odd]
    if field in ("model", "group"):
        known = codes[field]
        coded = [-1 if value is None else known.setdefault(value, len(known)) for value in found]
        return np.array(coded, np.int64), bad
    texts = np.empty(len(found), object)
    texts[:] = found
    return texts, bad


def _each(reader: Callable[[Any], Any], cells: list[Any], otherwise: Any, what: str) -> tuple[list[Any], list[Bad]]:
    found, odd = values.each(reader, cells, otherwise)
    return found, [(i, what, cells[i]) for i in odd]


def _width(cells: Sequence[Any]) -> int:
    given = (values.vector(cell) for cell in cells if cell is not None)
    return next((len(vector) for vector in given if vector is not None), 0)
