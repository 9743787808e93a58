"""The records of JSON: of lines, of objects printed over several lines, of arrays and of pages of records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from jaxroute.data import files as doors

PAGE = {"data", "object", "meta", "total", "count", "limit", "offset", "page", "has_more", "next", "next_page_token",
        "previous", "results", "links", "events", "cursor", "schema", "realtime_state", "freshness_state"}  # fmt: skip
"""Keys of an object that only wraps a page of records, as the APIs of services return it."""

PAGED = ("data", "results", "events")
"""By which of them the records are named."""

PRINTED = re.compile(r"\{\s*[A-Za-z_$]\w*:")
"""How an object begins that JavaScript printed, as the exporter of spans to its console does."""


def objects(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; an indented object, from "{" to "}", is one item."""
    begun: list[bytes] = []
    start = 0
    for number, line in lines:
        if begun and line[:1].isspace() and line.strip():
            begun.append(line)
        elif begun and line[:1] == b"}":
            yield start, b"".join([*begun, b"}"])
            begun = []
        else:
            if begun:
                yield start, b"".join(begun)
                begun = []
            if len(line) < 4 and line.strip() == b"{":
                begun, start = [line], number
            else:
                yield number, line
    if begun:
        yield start, b"".join(begun)


def records(item: Any) -> Sequence[dict[str, Any]]:
    """The records of a line or of an item: an object or an array of objects; an empty line has none.

    An object that only wraps a page of records, ``{"data": [...]}`` or ``{"results": [...]}``, counts as that page; so
    does a table of cells under names, ``{"columns": [...], "results": [[...]]}``, as queries are answered.

    Example:
        >>> records({"results": [{"a": 1}], "next": None}), records({"columns": ["a", "b"], "results": [[1, 2]]})
        ([{'a': 1}], [{'a': 1, 'b': 2}])
    """
    if isinstance(item, bytes):
        text = item.decode("utf-8-sig").strip()
        if not text:
            return ()
        try:
            item = doors.parse(text)
        except json.JSONDecodeError as error:
            raise _told(error, text) from None
    if isinstance(item, dict):
        page = next((item[name] for name in PAGED if name in item), None) if PAGE.issuperset(item) else _table(item)
        return page if isinstance(page, list) and all(isinstance(record, dict) for record in page) else (item,)
    if not isinstance(item, list) or not all(isinstance(record, dict) for record in item):
        raise ValueError(f"found {type(item).__name__}")
    return item


def _table(item: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of a table of cells under names, where an object is one."""
    match item:
        case {"columns": [str(), *_] as names, "results": list(cells)} if all(
            isinstance(row, list) and len(row) == len(names) for row in cells
        ):
            return [dict(zip(names, row, strict=True)) for row in cells]
    return None


def items(file: BinaryIO) -> list[Any]:
    """The contents of a .json file: the entries of its array, its one object, or several objects in a row."""
    text = file.read().decode("utf-8-sig")
    try:
        whole = doors.parse(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise _told(error, text) from None
        return [line for _, line in objects(enumerate(text.encode().splitlines()))]
    return whole if isinstance(whole, list) else [whole]


def _told(error: json.JSONDecodeError, text: str) -> ValueError:
    """What is wrong with a text, in words that help where JavaScript printed it."""
    if PRINTED.match(text) is None:
        return error
    return ValueError("an object as JavaScript prints it: write JSON.stringify(object); spans with an OTLP exporter")
