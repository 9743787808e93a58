"""Arrays and data frames, rebuilt by our own code from what a pickle says of them.

A ``Thing`` is a name with the arguments and the state that a pickle gives it: never called, never looked up. What is
known of each name is how NumPy, pandas 1.5 to 3 and Arrow write arrays, indexes and frames of strings and numbers.
Bytes become arrays with a dtype from a short list, where shape and length agree.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

DEPTH = 50
NUMERIC = {
    kind + size for kind, sizes in {"b": "1", "iu": "1248", "f": "248"}.items() for kind in kind for size in sizes
}
TEXT = re.compile(r"U([1-9]\d{0,5})")
ORDERS = {"<": "<", ">": ">", "=": "=", "|": "="}
BYTES = ("builtins.bytes", "builtins.bytearray")
OFFSETS = {"string": "<i4", "large_string": "<i8"}


class RefusedError(Exception):
    """The pickle asks for something that no frame of strings and numbers needs."""


class DamagedError(Exception):
    """What the pickle says does not fit together."""


@dataclass(slots=True, eq=False, repr=False)  # equality and repr could take for ever on a crafted one
class Thing:
    """``name(*args)`` with a state, as written; args None: the bare name."""

    name: str
    args: Any = None
    state: Any = None


def check(holds: bool, what: str) -> None:
    """Raise DamagedError about ``what`` unless it holds."""
    if not holds:
        raise DamagedError(what)


class Rebuilder:
    """Turns what a pickle says into strings, numbers, lists, dictionaries, arrays and frames.

    Args:
        budget: how many values, and bytes of arrays and texts, may come out in all. A pickle can name one list in
            many places, so that a few bytes stand for more than any memory holds.
    """

    def __init__(self, budget: int) -> None:
        self.left = budget

    def plain(self, value: Any, depth: int = 0) -> Any:
        """The value, every container copied and every Thing rebuilt."""
        self._spend(1)
        if value is None or isinstance(value, str | bytes | int | float):
            return value
        check(depth < DEPTH, f"nested more than {DEPTH} deep")
        if isinstance(value, list | tuple):
            return type(value)([self.plain(item, depth + 1) for item in value])
        if isinstance(value, dict):
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        check(isinstance(value, Thing) and value.args is not None, "a name where there should be a value")
        if value.name == "pandas.DataFrame":
            return self._frame(value, depth + 1)
        if value.name == "numpy.scalar":
            dtype, content = _arguments(value, value.name, 2)
            found = self._array(content, dtype, (), "C", depth)
            check(found.dtype.kind != "O", "a scalar of objects")
            return found.item()
        if value.name in (*BYTES, "_codecs.encode"):
            return self._copied(_bytes(value))
        return self._values(value, depth + 1)

    def _spend(self, count: int) -> None:
        self.left -= count
        check(self.left >= 0, "it stands for far more values than its size allows")

    def _copied(self, content: bytes) -> bytes:
        self._spend(len(content))
        return content

    def _values(self, thing: Any, depth: int) -> Any:
        """An array of NumPy's [...], or the list of one of pandas' arrays."""
        check(isinstance(thing, Thing) and depth < DEPTH, "no array where there should be one")
        name = thing.name.partition(".")[2]
        if name == "_reconstruct":
            kind, _, _ = _arguments(thing, thing.name, 3)
            check(_is_name(kind, "numpy.ndarray"), "an array of another class")
            check(isinstance(thing.state, tuple) and len(thing.state) == 5, "an array without content")
            _, shape, dtype, fortran, content = thing.state
            return self._array(content, dtype, shape, "F" if fortran is True else "C", depth)
        if name == "_frombuffer":
            content, dtype, shape, order = _arguments(thing, thing.name, 4)
            return self._array(content, dtype, shape, order, depth)
        if name == "__pyx_unpickle_NDArrayBacked":
            check(isinstance(thing.state, tuple), "an array without content")
            inner = [part for part in thing.state if isinstance(part, Thing) and part.name.startswith("numpy._")]
            check(len(inner) == 1, "an array without content")
            return self._column(self._values(inner[0], depth + 1))
        state = thing.state if isinstance(thing.state, dict) else {}
        if name in ("FloatingArray", "IntegerArray", "BooleanArray"):
            data, mask = (self._values(state.get(part), depth + 1) for part in ("_data", "_mask"))
            check(data.shape == mask.shape and data.ndim == 1 and mask.dtype == bool, "a mask that does not fit")
            return [None if hidden else cell for cell, hidden in zip(data.tolist(), mask.tolist(), strict=True)]
        check(name in ("ArrowStringArray", "StringArray"), f"{thing.name} where there should be an array")
        stored = state.get("_pa_array", state.get("_data"))
        return [text for chunk in _chunks(stored) for text in self._texts(chunk)]

    def _array(self, content: Any, dtype: Any, shape: Any, order: Any, depth: int) -> np.ndarray:
        kind = _dtype(dtype)
        check(isinstance(shape, tuple) and len(shape) <= 3 and all(map(_is_count, shape)), "a shape that is none")
        check(order in ("C", "F"), "an array in no order")
        count = math.prod(shape)
        self._spend(count + sum(shape))
        if kind.kind == "O":
            check(isinstance(content, list) and len(content) == count, "an array of another length than its shape")
            cells = [self.plain(cell, depth + 1) for cell in content]
            return np.fromiter(cells, object, count).reshape(shape, order=order)
        found = self._copied(_bytes(content))
        check(len(found) == count * kind.itemsize, "an array of another length than its shape")
        if kind.kind == "b":  # bytes of other values than 0 and 1 are no truth values
            return (np.frombuffer(found, np.uint8) != 0).reshape(shape, order=order)
        array = np.frombuffer(found, kind).reshape(shape, order=order)
        if kind.kind == "U":  # NumPy makes texts of numbers that are no letters
            letters = array.reshape(-1, 1).view(kind.byteorder + "u4")
            check(bool((letters <= sys.maxunicode).all()), "letters that are none")
        return array.astype(kind.newbyteorder("="))

    def _texts(self, chunk: Any) -> Iterator[str | None]:
        """The texts of an Arrow array of strings: validity bits, offsets and UTF-8, each from its buffer."""
        (parts,) = _arguments(chunk, "pyarrow._restore_array", 1)
        check(isinstance(parts, tuple) and len(parts) >= 5, "an Arrow array without its parts")
        kind, length, _, start, buffers = parts[:5]
        (alias,) = _arguments(kind, "pyarrow.type_for_alias", 1)
        check(alias in OFFSETS, "an Arrow array of other things than texts")
        check(_is_count(length) and _is_count(start), "an Arrow array of no length")
        check(isinstance(buffers, list) and len(buffers) == 3, "an Arrow array without its buffers")
        self._spend(length)
        valid, offsets, data = (b"" if buffer is None else self._copied(_buffer(buffer)) for buffer in buffers)
        width = np.dtype(OFFSETS[alias]).itemsize
        check(len(offsets) >= (start + length + 1) * width, "an Arrow array cut short")
        ends = np.frombuffer(offsets, OFFSETS[alias], length + 1, start * width).tolist()
        known = [True] * length
        if buffers[0] is not None:
            bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[start : start + length]
            check(len(bits) == length, "an Arrow array cut short")
            known = bits.astype(bool).tolist()
        check(ends[0] >= 0 and ends[-1] <= len(data), "texts beyond their buffer")
        check(all(a <= b for a, b in pairwise(ends)), "texts that end before they start")
        return (data[a:b].decode() if there else None for (a, b), there in zip(pairwise(ends), known, strict=True))

    def _column(self, values: np.ndarray) -> list[Any]:
        check(values.ndim == 1, "a column of two axes")
        return values.tolist()

    def _index(self, thing: Any, depth: int) -> range | list[Any]:
        """Labels of one axis of a frame."""
        kind, said = _arguments(thing, "pandas._new_Index", 2)
        check(isinstance(kind, Thing) and isinstance(said, dict), "an index without content")
        if kind.name == "pandas.RangeIndex":
            bounds: list[Any] = [said.get(part) for part in ("start", "stop", "step")]
            check(all(type(bound) is int for bound in bounds) and bounds[2] != 0, "an index that is no range")
            return range(*bounds)
        values = self._values(said.get("data"), depth)
        return values if isinstance(values, list) else self._column(values)

    def _frame(self, thing: Thing, depth: int) -> Any:
        """The frame of a BlockManager: blocks of columns of one kind [columns, rows], and which columns they are."""
        import pandas as pd

        manager = thing.state.get("_mgr") if isinstance(thing.state, dict) else None
        blocks, axes = _arguments(manager, "pandas.BlockManager", 2)
        check(isinstance(blocks, tuple) and isinstance(axes, list) and len(axes) == 2, "a frame without its columns")
        labels, index = (self._index(axis, depth) for axis in axes)
        check(len(labels) <= self.left, "it stands for far more values than its size allows")
        names, rows = [str(label) for label in labels], len(index)
        check(len(set(names)) == len(names), "two columns of one name")
        columns: dict[int, Any] = {}
        for block in blocks:
            values, placement, _ = _arguments(block, "pandas._unpickle_block", 3)
            found = self._values(values, depth)
            several = found if isinstance(found, np.ndarray) and found.ndim == 2 else [found]
            places = self._places(placement, len(names), depth)
            check(len(places) == len(several) and columns.keys().isdisjoint(places), "blocks that do not fit")
            columns |= zip(places, several, strict=True)
        check(columns.keys() == set(range(len(names))), "columns without content")
        check(all(len(column) == rows for column in columns.values()), "columns of another length than the index")
        self._spend(rows * len(names))
        # Lists, so that pandas says what the texts are; numbers as they are.
        kept = (columns[place] for place in range(len(names)))
        return pd.DataFrame(
            {
                name: column.tolist() if isinstance(column, np.ndarray) and column.dtype == object else column
                for name, column in zip(names, kept, strict=True)
            }
        )

    def _places(self, placement: Any, count: int, depth: int) -> list[int]:
        """Which columns a block holds: a slice or an array of whole numbers."""
        if isinstance(placement, Thing) and placement.name == "builtins.slice":
            bounds = _arguments(placement, placement.name, 3)
            check(all(bound is None or type(bound) is int for bound in bounds), "a slice of no numbers")
            check(bounds[2] != 0, "a slice without a step")
            return list(range(count)[slice(*bounds)])
        found = self._values(placement, depth)
        check(isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind in "iu", "a block without places")
        return found.tolist()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _arguments(thing: Any, name: str, count: int) -> tuple[Any, ...]:
    """The arguments that a pickle gives ``name``; ``thing`` must be that."""
    check(isinstance(thing, Thing) and thing.name == name, f"no {name} where there should be one")
    check(thing.args is not None and len(thing.args) == count, f"{name} with other arguments than {count}")
    return thing.args


def _is_name(thing: Any, name: str) -> bool:
    return isinstance(thing, Thing) and thing.name == name and thing.args is None


def _dtype(thing: Any) -> np.dtype:
    """A dtype from the short list; nothing of the state that a pickle gives it but the byte order is used."""
    check(isinstance(thing, Thing) and thing.name == "numpy.dtype" and bool(thing.args), "an array without a dtype")
    code = thing.args[0].decode("ascii") if isinstance(thing.args[0], bytes) else thing.args[0]
    check(isinstance(code, str), "a dtype that is no text")
    if code in ("O", "O4", "O8"):
        return np.dtype(object)
    if code not in NUMERIC and not TEXT.fullmatch(code):
        raise RefusedError(f"numpy.dtype {code!r}")
    state = thing.state if isinstance(thing.state, tuple) and len(thing.state) >= 5 else (3, "=", None, None, None)
    order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
    check(order in ORDERS and all(part is None for part in state[2:5]), "a dtype of parts")
    return np.dtype(ORDERS[order] + code)


def _bytes(value: Any) -> bytes:
    """Bytes, also as protocol 2 writes them: the encoding of a text, within a bytearray or alone."""
    for _ in range(2):
        if isinstance(value, Thing) and value.name in BYTES and value.args is not None:
            value = _arguments(value, value.name, 1)[0] if value.args else b""
    if isinstance(value, Thing) and value.name == "_codecs.encode":
        text, encoding = _arguments(value, value.name, 2)
        check(isinstance(text, str) and encoding == "latin1", "bytes in no known encoding")
        return text.encode("latin1")
    check(isinstance(value, bytes), "no bytes where there should be some")
    return value


def _buffer(thing: Any) -> bytes:
    return _bytes(*_arguments(thing, "pyarrow.py_buffer", 1))


def _chunks(thing: Any) -> list[Any]:
    if not (isinstance(thing, Thing) and thing.name == "pyarrow.chunked_array"):
        return [thing]
    chunks, _ = _arguments(thing, thing.name, 2)
    check(isinstance(chunks, list), "an Arrow array without chunks")
    return chunks
