"""Where logs are: the files of a path or a folder, rows in memory, a table of a database, the standard input.

``sources`` says which tables an argument refers to; ``data.records`` reads them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from jaxroute.data import memory, postgres
from jaxroute.types import InputError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz",
            ".dsjson", ".dsjson.gz")  # fmt: skip
JSON = (".json", ".json.gz")
RATING = ("request_id", "quality", "name", "timestamp")
"""The fields of a rating that a gateway writes; a table that has none but these holds no requests."""


class Stream(NamedTuple):
    """JSON lines that arrive one after another, as on the standard input."""

    label: str
    file: BinaryIO

    def __str__(self) -> str:
        return self.label


Source = Path | Stream | memory.Held | postgres.Table
"""One table: a file, a stream, or rows in memory or in a database; ``str`` gives its name in messages."""


def sources(given: Any) -> list[Source]:
    """The tables that an argument refers to.

    Args:
        given: a path (see ``files``), a URL ``postgresql://...`` (see ``postgres.table``), a pandas, polars or pyarrow
            table, a ``datasets.Dataset``, or a list of dictionaries.

    Raises:
        InputError: it does not exist, or is of another kind.
    """
    if isinstance(given, str | os.PathLike):
        text = os.fspath(given)
        if text.startswith(postgres.SCHEMES):
            return [postgres.table(text)]
        return list(files(Path(text).expanduser()))
    return [memory.hold(given)]


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that compares numbers in names as numbers.

    Example:
        >>> sorted(["log-10.csv", "log-9.csv"], key=natural)
        ['log-9.csv', 'log-10.csv']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def files(path: Path) -> list[Path]:
    """The log files of a path: the file itself, or all files in the folder at any depth, in natural order of names.

    The .json files of a folder count only if it has no other log files: some gateways write one per request, but other
    programs leave settings beside a log.

    Raises:
        InputError: the path does not exist, or is a file of another kind.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if not path.is_dir():
        if not path.name.lower().endswith(SUFFIXES + JSON):
            raise InputError(
                f"{path}: cannot read {path.suffix or 'a file without suffix'}; give {', '.join(SUFFIXES)}"
            )
        return [path]
    inside = sorted(
        (
            file
            for file in path.rglob("*")
            if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
        ),
        key=lambda file: [natural(part) for part in file.relative_to(path).parts],
    )
    found = [f for f in inside if f.name.lower().endswith(SUFFIXES)]
    found = found or [f for f in inside if f.name.lower().endswith(JSON)]
    if not found:
        raise InputError(f"{path}: the folder has no log file ({', '.join(SUFFIXES)}); check the path")
    return found
