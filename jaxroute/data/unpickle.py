"""Reading data from pickles of others, without running anything.

A pickle is a small program, and reading it in the usual way calls any function that it names. Here the opcodes are
interpreted by a machine that knows only data. Names stay names, and calls become records of what would be called
(``pickled.Thing``): nothing is imported, looked up or called because of a file. Arrays and frames are recognised in the
records and rebuilt from their bytes and strings. Anything else is refused, and the error gives its name.

There are limits on the file size, the number of opcodes, the depth, and the number of values relative to the file size.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jaxroute.data import files
from jaxroute.data.pickled import DEPTH, Rebuilder, RefusedError, Thing, check
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

# Package as written -> the names in it that the pickle of a frame of strings and numbers may hold.
KNOWN = {
    "builtins": {"slice", "bytes", "bytearray"},
    "_codecs": {"encode"},  # how protocol 2 writes bytes
    "numpy": {"dtype", "ndarray", "_reconstruct", "scalar", "_frombuffer"},
    "pandas": {
        *("DataFrame", "BlockManager", "_unpickle_block", "NA", "_new_Index", "Index", "RangeIndex"),
        *("StringArray", "ArrowStringArray", "FloatingArray", "IntegerArray", "BooleanArray"),
        *("StringDtype", "BooleanDtype", "Float32Dtype", "Float64Dtype", "__pyx_unpickle_NDArrayBacked"),
        *(f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    },
    "pyarrow": {"_restore_array", "chunked_array", "type_for_alias", "py_buffer"},
}
OLDER = {  # names of the same things in older releases
    "new_block": "_unpickle_block",
    "Int64Index": "Index",
    "UInt64Index": "Index",
    "Float64Index": "Index",
}
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
GET, PUT = {"GET", "BINGET", "LONG_BINGET"}, {"PUT", "BINPUT", "LONG_BINPUT"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
BYTES = 2**31
OPCODES = 20_000_000
VALUES_A_BYTE = 8


def contents(file: BinaryIO, source: str) -> Any:
    """The contents of a pickle of strings, numbers, lists, dictionaries, arrays and data frames.

    Args:
        file: open for reading.
        source: its name in messages.

    Returns:
        The object as written; its shape is not checked.

    Raises:
        InputError: the pickle is truncated, exceeds the limits, or names anything else (the message has the name).

    Example:
        >>> import io, pickle, numpy as np
        >>> contents(io.BytesIO(pickle.dumps({"models": ["a"], "right": np.eye(1)})), "matrix.pkl")
        {'models': ['a'], 'right': array([[1.]])}
    """
    try:
        whole = file.read(BYTES + 1)
        check(len(whole) <= BYTES, f"more than {BYTES} bytes")
        return Rebuilder(VALUES_A_BYTE * len(whole) + 1000).plain(_said(whole))
    except RefusedError as error:
        raise InputError(
            f"{source}: refused, because the pickle asks for {error}, which data of strings, numbers, arrays and "
            "frames do not need; if you trust the file, convert it to Parquet elsewhere"
        ) from error
    except Exception as error:  # parsing errors of many kinds, and our own ``DamagedError``
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: not a readable pickle ({reason}); write or copy it again") from error


def read(path: Path) -> pd.DataFrame:
    """The data frame of strings and numbers in a pickle file.

    Args:
        path: a file written by ``DataFrame.to_pickle``, not compressed.

    Returns:
        The frame, its columns as written, its rows numbered from 0.

    Raises:
        InputError: the file does not exist, is truncated, names anything that such a frame does not need (the message
            has the name), or does not hold a data frame.

    Example:
        >>> import pickle, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "frame.pkl"
        >>> _ = file.write_bytes(pickle.dumps(print))
        >>> read(file)
        Traceback (most recent call last):
        jaxroute.types.InputError: ...frame.pkl: refused, because the pickle asks for builtins.print, ...
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    with files.opened(path) as file:
        found = contents(file, str(path))
    if type(found) is not pd.DataFrame:
        raise InputError(f"{path}: holds a {type(found).__name__}, not a data frame; write it with DataFrame.to_pickle")
    return found


def _said(content: bytes) -> Any:
    """The value that the opcodes leave on the stack: plain values, with Things in place of names and calls."""
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stack at the time each open mark was set
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    value: Any
    for count, (opcode, value, _) in enumerate(pickletools.genops(content)):
        check(count < OPCODES, f"more than {OPCODES} opcodes")
        match opcode.name:
            case name if name in VALUES:
                stack.append(_value(value))
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case name if name in PUT:
                memo[value] = stack[-1]
            case name if name in GET:
                stack.append(memo[value])
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in EMPTY:
                stack.append(EMPTY[name]())
            case "MARK":
                check(len(outer) < 2 * DEPTH, f"more than {2 * DEPTH} open marks")
                outer.append(stack)
                stack = []
            case name if name in TUPLES:
                items = [stack.pop() for _ in range(TUPLES[name])]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "LIST":
                items = since_mark()
                stack.append(items)
            case "DICT":
                items = since_mark()
                stack.append(_set({}, items))
            case "APPEND":
                item = stack.pop()
                _list(stack[-1]).append(item)
            case "APPENDS":
                items = since_mark()
                _list(stack[-1]).extend(items)
            case "SETITEM":
                pair = [stack.pop(), stack.pop()]
                _set(stack[-1], pair[::-1])
            case "SETITEMS":
                items = since_mark()
                _set(stack[-1], items)
            case "GLOBAL":
                stack.append(_named(*value.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_named(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, what = stack.pop(), stack.pop()
                stack.append(_thing(what, arguments))
            case "BUILD":
                state = stack.pop()
                check(isinstance(stack[-1], Thing) and stack[-1].args is not None, "a state of nothing")
                stack[-1].state = state
            case "POP":
                stack.pop()
            case "POP_MARK":
                since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                check(len(stack) == 1 and not outer, "values left over")
            case name:
                raise RefusedError(f"opcode {name}")
    return stack[0]


def _value(value: Any) -> Any:
    check(not isinstance(value, int) or -(2**63) <= value < 2**64, "a whole number of more than 64 bits")
    return bytes(value) if isinstance(value, bytearray) else value


def _named(module: Any, name: Any) -> Thing | None:
    """A name as a Thing; only pandas' NA is a value."""
    check(isinstance(module, str) and isinstance(name, str), "a name that is no text")
    package = "builtins" if module == "__builtin__" else module.partition(".")[0]  # as protocol 2 writes it
    here = OLDER.get(name, name) if package == "pandas" else name
    if here not in KNOWN.get(package, ()):
        raise RefusedError(f"{module}.{name}")
    return None if here == "NA" else Thing(f"{package}.{here}")


def _thing(what: Any, arguments: Any) -> Thing:
    check(isinstance(what, Thing) and what.args is None and isinstance(arguments, tuple), "a call of nothing")
    return Thing(what.name, arguments)


def _list(value: Any) -> list[Any]:
    check(isinstance(value, list), "items of no list")
    return value


def _set(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Put pairs into a dictionary. Keys are texts or small whole numbers, for which a file cannot force collisions."""
    check(isinstance(target, dict) and len(items) % 2 == 0, "pairs of no dictionary")
    keys = items[::2]
    small = (isinstance(key, str) or (type(key) is int and abs(key) < 2**32) for key in keys)
    check(all(small), "a key that is neither a text nor a small whole number")
    target.update(zip(keys, items[1::2], strict=True))
    return target
