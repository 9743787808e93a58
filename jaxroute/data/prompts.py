"""Prompts to be routed, read by the same rules as logs: the same files, the same chats, errors by row.

In a plain table every row has a prompt (a text or a chat) or messages, or features for a router that takes features.
Records of a gateway or tracer hold their prompts where they hold them in a log; those of other calls than for text are
skipped, and every request in a record counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from jaxroute.data import context as contexts
from jaxroute.data import messages, records, values
from jaxroute.data.logs import fielding, formats
from jaxroute.data.logs.entries import FAILED, Asked
from jaxroute.types import InputError

STDIN = "-"


def read(
    source: Any, *, chat: str = messages.CHAT, width: int | None = None, column: str | None = None, rows: int = 4096
) -> Iterator[Any]:
    """The prompts of a table, in blocks.

    Args:
        source: "-" for JSON lines on the standard input, or what ``records.sources`` accepts.
        chat: which part of a chat is the prompt; see ``messages``.
        width: read features with this many numbers instead of prompts.
        column: what a plain table calls the prompt (or the features), where it has such a column.
        rows: largest number of rows in a block.

    Returns:
        Blocks: lists of texts, or float32 [n, width].

    Raises:
        InputError: a row has no prompt or cannot be read; names table, row and column.

    Example:
        >>> chat = [{"role": "user", "content": "one"}]
        >>> list(read([{"prompt": "zero"}, {"prompt": chat}]))
        [['zero', 'one']]
    """
    given = isinstance(source, str) and source == STDIN
    if given and sys.stdin is None:
        raise InputError("the standard input is closed; give a file of prompts, or write prompts to it")
    tables = [records.Stream("the standard input", sys.stdin.buffer)] if given else records.sources(source)
    prompts = (cell for table in tables for cell in _cells(table, chat, width, column))
    while block := list(islice(prompts, rows)):
        yield block if width is None else np.stack(block)


def context(
    source: Any, names: Sequence[str], *, numbers: Sequence[str] = (), rows: int = 4096
) -> Iterator[dict[str, list[Any]]]:
    """The context columns of the rows of ``read``, in its blocks: {name: values}, None where a cell is empty.

    Args:
        source, rows: as for ``read``. names: of the columns. numbers: those of them that hold numbers, which a CSV file
            writes as texts.

    Raises:
        InputError: a column is missing.

    Example:
        >>> list(context([{"prompt": "zero", "tier": "gold"}, {"prompt": "one"}], ["tier"]))
        [{'tier': ['gold', None]}]
    """
    found: dict[str, list[Any]] = {name: [] for name in names}
    for table in records.sources(source):
        for chunk in records.read(table):
            if not chunk.names:
                continue
            form = formats.format_of(chunk.names)
            kept = (
                range(len(chunk.row)) if form.entries is None else [i for i, _ in _of_tool(chunk, form, messages.CHAT)]
            )
            for name in names:
                if records.outermost(name, chunk.names) is None:
                    raise InputError(
                        f"{table}: the router was fitted with the context column {name!r}, which is missing; add it, "
                        "empty where it is unknown"
                    )
                every = records.column(chunk, name)
                column = [len(c) if isinstance(c, list | dict) else c for c in (every[i] for i in kept)]
                if name in numbers and records.untyped(table):
                    column = [contexts.typed([cell])[0] for cell in column]
                found[name] += column
            while len(found[names[0]]) >= rows:
                yield {name: column[:rows] for name, column in found.items()}
                found = {name: column[rows:] for name, column in found.items()}
    if found[names[0]]:
        yield found


def _cells(table: records.Source, chat: str, width: int | None, column: str | None) -> Iterator[Any]:
    field = "prompt" if width is None else "features"
    reader = partial(values.prompt, chat=chat) if width is None else values.vector
    for chunk in records.read(table):
        if chunk.broken:
            row, why = chunk.broken[0]
            raise InputError(f"{table}, row {row}: {why}")
        if not chunk.names:
            continue
        form = formats.format_of(chunk.names)
        name = fielding.chats(chunk.names, {}).get(field, field)
        name = column if column is not None and records.outermost(column, chunk.names) else name
        plain = form.entries is None
        found = enumerate(records.column(chunk, name)) if plain else _of_tool(chunk, form, chat)
        for place, cell in found:
            row = chunk.row[place]
            try:
                value = reader(cell)
            except (ValueError, TypeError, OverflowError):
                value = None
            if value is None:
                kind = "missing or not text" if width is None else f"not {width} finite numbers"
                raise InputError(f"{table}, row {row}, column {name!r}: {kind}")
            if width is not None and len(value) != width:
                raise InputError(f"{table}, row {row}, column {name!r}: not {width} finite numbers")
            yield value


def _of_tool(chunk: records.Chunk, form: Any, chat: str) -> Iterator[tuple[int, Any]]:
    """(place in the chunk, prompt) of every request in records of a gateway or tracer; None: it has no prompt."""
    data = chunk.data
    if isinstance(data, dict):
        data = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    for place, record in enumerate(data):
        for entry in form.entries(record, Asked({}, chat)):
            text = entry.fields.get("prompt")
            if (entry.left == "" and entry.said is None and entry.judged is None) or (entry.left == FAILED and text):
                yield place, text
