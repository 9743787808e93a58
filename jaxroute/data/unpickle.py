"""Data frames out of other people's pickles, without running other people's code.

A pickle is a small program: reading one calls whatever it names. Here it may name only what a pandas frame of
strings and numbers is made of, under the names that pandas 1.5, 2.2 and 3 write, and everything else is
refused by name before it is looked up. What remains possible is a crash or a waste of memory by a file made for
that; nothing outside pandas, NumPy and Arrow containers is ever called.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

# module as written -> names that may be asked of it. Dotted names (DataFrame.eval) are not in here, so refused.
ADMITTED: dict[str, tuple[str, ...]] = {
    "builtins": ("slice", "bytearray"),
    "_codecs": ("encode",),  # how protocol 2 writes bytes
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "pandas": ("DataFrame", "Index", "RangeIndex", "StringDtype", "Float64Dtype", "Int64Dtype", "Int32Dtype", "NA"),
    "pandas.arrays": ("ArrowStringArray", "StringArray", "FloatingArray", "IntegerArray"),
    "pandas._libs.internals": ("_unpickle_block",),
    "pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",),
    "pandas._libs.missing": ("NA",),
    "pandas.core.frame": ("DataFrame",),
    "pandas.core.indexes.base": ("Index", "_new_Index"),
    "pandas.core.indexes.range": ("RangeIndex",),
    "pandas.core.internals.managers": ("BlockManager",),
    "pandas.core.arrays.string_": ("StringArray", "StringDtype"),
    "pandas.core.arrays.string_arrow": ("ArrowStringArray",),
    "pandas.core.arrays.floating": ("FloatingArray", "Float64Dtype"),
    "pandas.core.arrays.integer": ("IntegerArray", "Int64Dtype", "Int32Dtype"),
    "pyarrow.lib": ("_restore_array", "type_for_alias", "py_buffer"),
}
MOVED = {  # where older releases had the same thing; the new place must be admitted too
    ("pandas.core.indexes.numeric", "Int64Index"): ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.numeric", "UInt64Index"): ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.numeric", "Float64Index"): ("pandas.core.indexes.base", "Index"),
    ("pandas.core.internals.blocks", "new_block"): ("pandas._libs.internals", "_unpickle_block"),
}
OLD_NUMPY = "numpy.core."
ARRAY = "numpy.ndarray"  # stands for the class, which would let a file lay an array of objects over its own bytes


class RefusedError(Exception):
    """The pickle asks for something that no frame of strings and numbers needs."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        place, here = MOVED.get((module, name), (module, name))
        place = "builtins" if place == "__builtin__" else place  # as protocol 2 writes it
        if place.startswith(OLD_NUMPY):
            place = "numpy._core." + place.removeprefix(OLD_NUMPY)
        if here not in ADMITTED.get(place, ()):
            raise RefusedError(f"{module}.{name}")
        if (place, here) == ("numpy", "ndarray"):
            return ARRAY
        if here == "_reconstruct":
            return _empty
        return getattr(importlib.import_module(place), here)

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError(f"persistent id {pid!r}")


def _empty(subtype: Any, shape: Any, code: Any) -> np.ndarray:
    """The empty array that a pickled array starts as; its content follows as state."""
    if subtype is not ARRAY:
        raise RefusedError(f"array class {subtype!r}")
    return np.empty(0, np.int8)


def contents(file: BinaryIO, source: str) -> Any:
    """What a pickle holds, if that is made of strings, numbers, lists, dictionaries, arrays and data frames.

    Args:
        file: open for reading.
        source: what to call it in messages.

    Returns:
        The thing, as written; nothing of its shape is checked.

    Raises:
        InputError: a truncated pickle, or one that names anything else (the message has the name).

    Example:
        >>> import io, pickle
        >>> contents(io.BytesIO(pickle.dumps({"models": ["a"], "right": np.eye(1)})), "matrix.pkl")
        {'models': ['a'], 'right': array([[1.]])}
    """
    try:
        return _Unpickler(file).load()
    except RefusedError as error:
        raise InputError(
            f"{source}: refused, as the pickle asks for {error}, which strings, numbers, arrays and data frames do not "
            "need; convert the file where you trust it"
        ) from error
    except Exception as error:  # a crafted pickle can make any constructor raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: not a readable pickle ({reason}); write or copy it again") from error


def read(path: Path) -> pd.DataFrame:
    """The data frame of strings and numbers in a pickle file.

    Args:
        path: a file written by ``DataFrame.to_pickle``, not compressed.

    Returns:
        The frame, its columns as written.

    Raises:
        InputError: no such file; a truncated one; one that names anything that such a frame does not need (the
            message has the name); or one that holds something else than a data frame.

    Example:
        >>> import pickle, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "frame.pkl"
        >>> _ = file.write_bytes(pickle.dumps(print))
        >>> read(file)
        Traceback (most recent call last):
        jaxroute.types.InputError: ...frame.pkl: refused, as the pickle asks for builtins.print, ...
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    with path.open("rb") as file:
        found = contents(file, str(path))
    if type(found) is not pd.DataFrame:
        raise InputError(f"{path}: holds a {type(found).__name__}, not a data frame; write it with DataFrame.to_pickle")
    try:
        # Anew from plain values: a frame's own dtypes and index are whatever the file made them.
        return pd.DataFrame({str(name): found.iloc[:, i].tolist() for i, name in enumerate(found.columns)})
    except Exception as error:  # a frame put together wrongly
        raise InputError(f"{path}: holds a damaged data frame ({error}); write or copy it again") from error
