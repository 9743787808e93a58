"""The rows of logs in chunks: Parquet, CSV, JSON lines (text also gzipped), tables in memory or in a database.

This module checks only whether rows can be read. A row that cannot be read (a line that is not a JSON object, or has
too few cells) is reported with its reason, and reading continues; a file that cannot be read is an InputError. Rows are
counted from 0, without the header. In JSON lines they are lines, including empty ones; an object printed over several
lines has the number of its first line, and all elements of an array on one line have the number of that line.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from jaxroute.data import files as doors
from jaxroute.data import json_lines, memory, postgres
from jaxroute.data.sources import JSON as JSON
from jaxroute.data.sources import RATING as RATING
from jaxroute.data.sources import SUFFIXES as SUFFIXES
from jaxroute.data.sources import Source as Source
from jaxroute.data.sources import Stream as Stream
from jaxroute.data.sources import files as files
from jaxroute.data.sources import sources as sources
from jaxroute.types import InputError

ROWS = 20_000
BYTES = 16_000_000
BROKEN = 1_000_000
"""So many rows that cannot be read are no log; each is kept with what is wrong about it."""
PRINTED = ("{'", "['", "[{'")
"""How dictionaries and lists begin as Python prints them, where a text stands first."""

Wanted = Callable[[Sequence[str]], Iterable[str]]
"""All column names of a file -> the columns to read."""


class Chunk(NamedTuple):
    """Some rows of a file: their numbers, their cells by column or as records, and the rows that cannot be read.

    data: {column: cells, None where empty}, or one dictionary per row. names: all columns or keys.
    """

    row: list[int]
    data: dict[str, list[Any]] | list[dict[str, Any]]
    names: list[str]
    broken: list[tuple[int, str]]


def read(path: Source, wanted: Wanted = lambda names: names) -> Iterator[Chunk]:
    """The rows of a table, in chunks.

    Args:
        path: one of ``sources``.
        wanted: chooses the columns to read; JSON records come with all their keys.

    Returns:
        Chunks of at most ``ROWS`` rows; the first chunk of a table has no rows, only the names.

    Raises:
        InputError: the file is damaged, or a column occurs twice.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = file.write_text("prompt,model\\nhi,small\\nho\\n")
        >>> list(read(file))[1]
        Chunk(row=[0], data={'prompt': ['hi'], 'model': ['small']}, names=['prompt', 'model'],
              broken=[(1, '1 cell(s) under 2 columns')])
    """
    broken = 0
    try:
        for chunk in _read(path, wanted):
            broken += len(chunk.broken)
            if broken > BROKEN:
                raise InputError(f"{path}: more than {BROKEN:,} rows cannot be read; check that this is a log")
            yield chunk
    except InputError:
        raise
    except Exception as error:  # of files, gzip, zlib, csv, JSON, Arrow and, as KeyError, of unknown time zones
        raise doors.damaged(path, error) from error


def untyped(path: Source) -> bool:
    """Whether the table is a CSV file, whose cells are texts whatever they say."""
    return isinstance(path, Path) and path.name.lower().removesuffix(".gz").endswith(".csv")


def _read(path: Source, wanted: Wanted) -> Iterator[Chunk]:
    if isinstance(path, Stream):
        return _chunks(json_lines.objects(doors.lines(path.file, path)))
    if not isinstance(path, Path):
        return _table(path, wanted)
    name = path.name.lower().removesuffix(".gz")
    reader = _parquet if name.endswith(".parquet") else _csv if untyped(path) else _json
    return reader(path, wanted)


def column(chunk: Chunk, name: str) -> list[Any]:
    """Cells of a column, or of a field inside a column if no column has that name: ``metadata.feedback.score``.

    Texts on the path are read as JSON, which is how tables hold nested values.

    Example:
        >>> cells = {"metadata": ['{"score": 1}', None]}
        >>> column(Chunk([0, 1], cells, ["metadata"], []), "metadata.score")
        [1, None]
    """
    if isinstance(chunk.data, list):
        plain = name in chunk.names
        return [record.get(name) if plain else at(record, name) for record in chunk.data]
    if name in chunk.data:
        return chunk.data[name]
    outer = outermost(name, chunk.data)
    return [at({outer: cell}, name) for cell in chunk.data[outer]] if outer else [None] * len(chunk.row)


def at(record: dict[str, Any], name: str) -> Any:
    """A record's field by name or by dotted path; None if there is none."""
    if name in record:
        return record[name]
    outer = outermost(name, record)
    inner = parsed(record[outer]) if outer else None
    return at(inner, name[len(outer or "") + 1 :]) if isinstance(inner, dict) else None


def outermost(name: str, names: Iterable[str]) -> str | None:
    """The column in which a dotted path starts: the longest one that exists."""
    parts = name.split(".")
    starts = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((start for start in starts if start in names), None)


def first_of(names: Sequence[str], there: Iterable[str]) -> str | None:
    """The first name that is a column, or a path into one; None where none is.

    Example:
        >>> first_of(["score", "metadata.rating"], ["metadata", "model"])
        'metadata.rating'
    """
    return next((name for name in names if outermost(name, there)), None)


def parsed(value: Any) -> Any:
    """The value of a text that holds an object or an array, as JSON or as Python prints it; anything else unchanged.

    pandas writes dictionaries and lists to CSV files as Python prints them, and NumPy's arrays of dictionaries with a
    line break for each comma.

    Example:
        >>> parsed('{"a": null}'), parsed("{'a': None}"), parsed("{'a': None} is a dictionary")
        ({'a': None}, {'a': None}, "{'a': None} is a dictionary")
    """
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return _printed(value)
    return value


def _printed(text: str) -> Any:
    """Literals alone: nothing is looked up or called because of a text."""
    if text.startswith(PRINTED) and text.endswith(("}", "]")):
        try:
            return ast.literal_eval(re.sub(r"\}\n *\{", "}, {", text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text
    return text


def _table(table: memory.Held | postgres.Table, wanted: Wanted) -> Iterator[Chunk]:
    names = _once(table.names, table)
    picked = [name for name in dict.fromkeys(wanted(names)) if name in names]
    yield Chunk([], {name: [] for name in picked}, names, [])
    done = 0
    for cells, count in table.blocks(picked, ROWS):
        yield Chunk(list(range(done, done + count)), cells, names, [])
        done += count


def _parquet(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    with doors.parquet(path) as file:
        names = _once(file.schema_arrow.names, path)
        picked = [name for name in wanted(names) if name in names]
        yield Chunk([], {name: [] for name in picked}, names, [])
        done = 0
        for batch in file.iter_batches(ROWS, columns=picked):
            cells = {name: memory.cells(batch.column(batch.schema.get_field_index(name))) for name in picked}
            yield Chunk(list(range(done, done + len(batch))), cells, names, [])
            done += len(batch)


def _csv(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    with doors.opened(path) as binary, _long_cells():
        doors.check_text(binary, path)
        # Bytes that are not UTF-8 become lone surrogates, so that the row they are in can be named.
        content = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
        rows = csv.reader(content, strict=True)
        names = _once(next(rows, []), path)
        if why := _undecoded(names):
            raise InputError(f"{path}, header: {why}; save the file as UTF-8")
        picked = [(name, names.index(name)) for name in wanted(names) if name in names]
        number = enumerate(row for row in rows if row)
        yield Chunk([], {name: [] for name, _ in picked}, names, [])
        while some := list(islice(number, ROWS)):
            broken = [(i, why) for i, row in some if (why := _unfit(row, len(names)))]
            bad = {i for i, _ in broken}
            whole = [(i, row) for i, row in some if i not in bad] if bad else some
            yield Chunk(
                [i for i, _ in whole],
                {name: [row[place] or None for _, row in whole] for name, place in picked},
                names,
                broken,
            )


def _unfit(row: list[str], width: int) -> str:
    """Why a row of a CSV file cannot be read; "" if it can."""
    return f"{len(row)} cell(s) under {width} columns" if len(row) != width else _undecoded(row)


def _undecoded(row: Sequence[str]) -> str:
    """What is not UTF-8 in a row; "" if all of it is."""
    whole = "".join(row)
    if whole.isascii():
        return ""
    try:
        whole.encode()
    except UnicodeEncodeError as error:
        return f"not UTF-8 (byte 0x{ord(whole[error.start]) - 0xDC00:02x}, as in a file saved as Latin-1)"
    return ""


def _json(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    with doors.opened(path) as file:
        doors.check_text(file, path)
        whole = path.name.lower().endswith(JSON)
        yield from _chunks(enumerate(json_lines.items(file)) if whole else json_lines.objects(doors.lines(file, path)))


def _chunks(number: Iterator[tuple[int, Any]]) -> Iterator[Chunk]:
    """Chunks of records, from lines or objects with their numbers."""
    row, data, broken, names, size = [], [], [], dict[str, Any](), 0
    for i, item in number:
        try:
            found = json_lines.records(item)
        except (ValueError, RecursionError) as error:
            kind = "not JSON" if isinstance(error, json.JSONDecodeError) else "not a JSON object"
            why = doors.reason(error)
            broken.append((i, why if isinstance(error, doors.GivenTwiceError) else f"{kind} ({why})"))
            found = ()
        for record in found:
            row.append(i)
            data.append(record)
            names.update(record)
        size += len(item) if isinstance(item, bytes) else 1000
        if len(row) >= ROWS or size > BYTES:  # a line may hold thousands of spans
            yield Chunk(row, data, list(names), broken)
            row, data, broken, names, size = [], [], [], {}, 0
    if row or broken:
        yield Chunk(row, data, list(names), broken)


def _once(names: Sequence[str], path: Source) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: column {name!r} occurs more than once; keep one")
    return list(names)


@contextmanager
def _long_cells() -> Iterator[None]:
    """Raise the csv module's limit of 131,072 characters per cell, because prompts may be longer."""
    before = csv.field_size_limit(doors.LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)
