"""Cells of logs as a column of one kind: what each says, which are missing, and which are none of that kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import NoneType
from typing import Any

import numpy as np

from jaxroute.data import values
from jaxroute.data.logs.entries import NUMBERS, Asked

UNFIT = "not a list of finite numbers"
NAMED = ("model", "asked", "answered", "paid")
"""Columns of models' names, which share their codes."""
CODED = (*NAMED, "group", "deployment", "endpoint", "lost", "currency")
KEYS = ("key", "parent", "trace", "chain", "stream", "told", "called", "turn")
CONTEXT = "context:"
"""Before the names of columns that are no field of a log, but said beside the text."""
Bad = tuple[int, str, Any]
"""Place in a list of cells, what is wrong there, and the cell."""
EMPTY: dict[str, Any] = dict.fromkeys(CODED, -1) | dict.fromkeys(KEYS, 0) | {"available": 0}
EMPTY |= dict.fromkeys(("prompt", "request_id", "spare_id", "sampled"))
EMPTY |= dict.fromkeys((*NUMBERS, "timestamp"), math.nan) | dict.fromkeys(("failed", "fallback"), False)


def column(
    name: str, cells: list[Any], codes: dict[str, dict[Any, int]], width: int, asked: Asked
) -> tuple[np.ndarray, list[Bad]]:
    """Cells as the column of a field, and those that are bad."""
    reader: Callable[[Any], Any]
    if name in NUMBERS or name == "timestamp":
        reader, what = (values.moment, "not a time") if name == "timestamp" else (values.number, "not a number")
        found, bad = _each(reader, cells, math.nan, what)
        return np.array(found, float), bad
    if name in KEYS:
        return np.array([cell or 0 for cell in cells], np.int64), []
    if name in ("failed", "fallback"):
        return np.array([cell is True for cell in cells], bool), []
    if name == "available":
        found, bad = _each(values.candidates, cells, (), "not a list of names")
        known = codes[name]
        return np.array([known.setdefault(value, len(known)) for value in found], np.int64), bad
    if name == "features":
        vectors = [None if cell is None else values.vector(cell) for cell in cells]
        unfit: list[Bad] = [(i, UNFIT, cells[i]) for i, vector in enumerate(vectors) if vector is None]
        what = f"not of the first row's width, {width}"
        unfit += [(i, what, len(v)) for i, v in enumerate(vectors) if v is not None and len(v) != width]
        fits = [v if v is not None and len(v) == width else np.full(width, np.nan, np.float32) for v in vectors]
        return np.array(fits, np.float32).reshape(len(cells), width), unfit
    if name == "sampled":
        return _objects(cells), []
    if name.startswith(CONTEXT):  # a list of tools, say, counts by its length
        return _objects([len(cell) if isinstance(cell, list | dict) else cell for cell in cells]), []
    reader = partial(values.prompt, chat=asked.chat) if name == "prompt" else values.label
    reader = values.identity if name in ("request_id", "spare_id", "group") else reader
    found, bad = (_repeated if name in CODED else _each)(reader, cells, None, "not a text")
    if name in CODED:
        known = codes["model" if name in NAMED else name]
        coded = [-1 if value is None else known.setdefault(value, len(known)) for value in found]
        return np.array(coded, np.int64), bad
    return _objects(found), bad


def _objects(cells: Sequence[Any]) -> np.ndarray:
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


def whole(name: str, parts: Sequence[tuple[int, np.ndarray]], count: int, width: int) -> np.ndarray:
    """A column of all rows, of what its chunks have of it."""
    found: np.ndarray
    if name == "features":  # where no vector had come yet, its width was not known
        parts = [(start, part) for start, part in parts if part.shape[1] == width]
        found = np.full((count, width), np.nan, np.float32)
    else:
        empty = EMPTY.get(name)
        found = np.full(count, empty, object if empty is None else parts[0][1].dtype)
    for start, part in parts:
        found[start : start + len(part)] = part
    return found


def _each(reader: Callable[[Any], Any], cells: list[Any], otherwise: Any, what: str) -> tuple[list[Any], list[Bad]]:
    found, odd = values.each(reader, cells, otherwise)
    return found, [(i, what, cells[i]) for i in odd]


def _repeated(reader: Callable[[Any], Any], cells: list[Any], otherwise: Any, what: str) -> tuple[list[Any], list[Bad]]:
    """As ``_each``, for texts that repeat: each is read once."""
    if not set(map(type, cells)) <= {str, NoneType}:  # 1, 1.0 and True are equal, and not the same name
        return _each(reader, cells, otherwise, what)
    distinct = list(dict.fromkeys(cells))
    found, odd = values.each(reader, distinct, otherwise)
    known, wrong = dict(zip(distinct, found, strict=True)), {distinct[i] for i in odd}
    return [known[cell] for cell in cells], [(i, what, cell) for i, cell in enumerate(cells) if cell in wrong]


def width_of(cells: Sequence[Any]) -> int:
    given = (values.vector(cell) for cell in cells if cell is not None)
    return next((len(vector) for vector in given if vector is not None), 0)


def number_or_nan(value: Any) -> float:
    """A value as a number, NaN where it says none."""
    return _each(values.number, [value], math.nan, "")[0][0]


def seconds(start: Any, end: Any) -> float | None:
    """From one time to another; None where one of them is missing or none.

    Example:
        >>> seconds("2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z"), seconds("2026-01-01", "later")
        (1.5, None)
    """
    (first, last), odd = values.each(values.moment, [start, end], math.nan)
    return None if odd or math.isnan(last - first) else last - first
