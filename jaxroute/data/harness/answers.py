"""What every reader of evaluation results makes: answers of models to prompts, with what was written about them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jaxroute.data import files, records, values
from jaxroute.data.logs import usages
from jaxroute.data.prices.billing import APART
from jaxroute.types import InputError


class Tokens(NamedTuple):
    """Token counts of an answer, NaN where unknown, named as ``prices.bill`` takes them."""

    input_tokens: float = math.nan
    output_tokens: float = math.nan
    total: float = math.nan
    cached: float = math.nan
    written: float = math.nan
    reasoning: float = math.nan


UNKNOWN = Tokens()
COUNTS = {"input_tokens": "input_tokens", "output_tokens": "output_tokens", **APART}
"""The names in ``usages.usage`` of the fields of ``Tokens``."""
NO_ERROR = ("", "none", "null", "nan", "<na>", "false", "0", "0.0")
"""What tools write of an answer without an error."""
KIND = re.compile(r"[^():\s][^():\n]*((?<=code): \d{3})?")
"""What stands before the details of an error: a bracket, a colon, the end of the line."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a model to a prompt.

    model: None where the file names none. key: the same for one prompt in every run of a task; the prompt itself
    unless the tool has something better. id: what the tool calls the prompt, for people. scores: as written, by
    name; main: the one that the tool means if asked for none. lower: names of scores of which less is better.
    cost: NaN where unknown; in US dollars, or in what currency names. failed: why there is no answer. at: file and row,
    for messages.
    """

    at: str
    model: str | None
    prompt: str | None
    task: str = "all"
    id: str = ""
    key: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)
    main: str = ""
    lower: frozenset[str] = frozenset()
    cost: float = math.nan
    currency: str = ""
    tokens: Tokens = UNKNOWN
    failed: str = ""


class LeftOut(NamedTuple):
    """A record of a run that is no answer to a prompt: whose, and what such records are called."""

    model: str | None
    kind: str


class Run(NamedTuple):
    """What one file holds: its name, the tool that wrote it, and its answers.

    left_out: its records that are no answers to a prompt. beside: files of the same folder that are not read, and why;
    the first run of a folder has them.
    """

    source: str
    tool: str
    answers: list[Answer]
    left_out: Sequence[LeftOut] = ()
    beside: Mapping[str, str] = {}


class File:
    """A file that may hold results: what a reader needs to know whether it is its own, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suffix = path.suffix.lower()

    @cached_property
    def document(self) -> Any:
        """What a .json file holds, an array of records where these are lines; None for any other."""
        if self.suffix != ".json":
            return None
        try:
            text = files.text(self.path)
            try:
                return files.parse(text)
            except json.JSONDecodeError as error:
                if not error.msg.startswith("Extra data"):
                    raise
                return [files.parse(line) for line in text.split("\n") if line.strip()]
        except InputError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise files.damaged(self.path, error) from error

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first record of JSON lines, or of a .json that is an array of records; empty for any other."""
        if isinstance(self.document, list):
            return self.document[0] if self.document and isinstance(self.document[0], dict) else {}
        return next(self.lines(), ("", {}))[1] if self.suffix in (".jsonl", ".ndjson") else {}

    @cached_property
    def header(self) -> list[str]:
        """Names of the columns of a .csv file, repeats included; empty for any other."""
        return self.rows(1)[0] if self.suffix == ".csv" else []

    def lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where each record of JSON lines is, and the record; lines that are none are an error."""
        for chunk in records.read(self.path):
            if chunk.broken:
                row, why = chunk.broken[0]
                raise InputError(f"{self.path}, row {row}: {why}; correct the line or leave it out")
            for row, record in zip(chunk.row, chunk.data, strict=True):
                yield f"{self.path}, row {row}", record  # type: ignore[misc]

    def rows(self, count: int | None = None) -> list[list[str]]:
        """The first rows of a .csv file (None: all), header first: what every cell says."""
        import pandas as pd

        try:
            with files.opened(self.path) as content:
                frame = pd.read_csv(content, header=None, dtype=str, keep_default_na=False, nrows=count)
        except InputError:
            raise
        except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
            raise files.damaged(self.path, error) from error
        return frame.to_numpy().tolist()

    def table(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where each row of a .csv or .parquet file or of records is, and its cells by column."""
        if isinstance(self.document, list):
            for row, record in enumerate(self.document):
                if not isinstance(record, dict):
                    raise InputError(f"{self.path}, row {row}: a {type(record).__name__}, expected a record")
                yield f"{self.path}, row {row}", record
            return
        if self.suffix in (".jsonl", ".ndjson"):
            yield from self.lines()
            return
        for chunk in itertools.islice(records.read(self.path), 1, None):
            if chunk.broken:
                row, why = chunk.broken[0]
                raise InputError(f"{self.path}, row {row}: {why}; correct the row or leave it out")
            assert isinstance(chunk.data, dict)
            for row, *cells in zip(chunk.row, *chunk.data.values(), strict=True):
                yield f"{self.path}, row {row}", dict(zip(chunk.data, cells, strict=True))


def amount(value: Any, at: str, what: str) -> float:
    """A count or a cost as written: NaN where there is none.

    Raises:
        InputError: not a number of at least 0.

    Example:
        >>> amount("0.5", "run.csv, row 1", "cost"), amount(None, "run.csv, row 1", "cost")
        (0.5, nan)
    """
    try:
        found = values.number(value)
    except (ValueError, TypeError, OverflowError):
        found = -1.0
    if found < 0 or math.isinf(found):
        raise InputError(f"{at}: {what} is {values.short(value)}, expected a number of at least 0; correct it")
    return found


def counted(usage: Any, at: str) -> Tokens:
    """The counts of a usage object, whoever's names it has (see ``logs.usages.usage``).

    Raises:
        InputError: a count that is none.

    Example:
        >>> counted({"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2}, "batch.jsonl, row 1").cached
        4.0
    """
    found = usages.usage(usage)
    return Tokens(**{field: amount(found.get(name), at, name) for field, name in COUNTS.items()})


def kind(error: Any) -> str:
    """What kind of failure an error's text tells, "" where there is none.

    Example:
        >>> kind("BadRequestError('code: 400 - broken')"), kind("(404) not found"), kind({"code": 429}), kind(None)
        ('BadRequestError', '404', '429', '')
    """
    if isinstance(error, Mapping):
        error = next((error[name] for name in ("code", "type", "message") if error.get(name)), "error" if error else "")
    text = str(error).strip()
    if text.casefold() in NO_ERROR:
        return ""
    found = KIND.search(text)
    return found[0].strip()[:60] if found else "error"


def inner(record: Any, *keys: str | int) -> Any:
    """What is under these keys, one inside the other; None where there is nothing.

    Example:
        >>> inner({"response": {"body": {"model": "m"}}}, "response", "body", "model")
        'm'
    """
    for key in keys:
        if isinstance(record, list) and isinstance(key, int):
            record = record[key] if key < len(record) else None
        else:
            record = record.get(key) if isinstance(record, dict) else None
    return record
