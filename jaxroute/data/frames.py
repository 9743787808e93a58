"""Reading files and data frames, with errors that say where the problem is and what to do.

Messages count rows from 0, as pandas does. ``source`` is the name of the frame in messages, usually its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxroute.data import files, values
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

Place = Callable[[int, str], str]
"""(row, meaning of the column) -> a phrase that names file, column, row and whose value it is."""


def refuse(bad: np.ndarray, message: Callable[[int], str]) -> None:
    """Raise InputError about the first bad row [N], if there is one.

    Example:
        >>> refuse(np.array([False, True]), lambda row: f"row {row} is bad")
        Traceback (most recent call last):
        jaxroute.types.InputError: row 1 is bad
    """
    if bad.any():
        raise InputError(message(int(np.argmax(bad))))


def read(path: Path, as_text: Sequence[str] = ()) -> pd.DataFrame:
    """Data frame of a .parquet or .csv file; columns ``as_text`` of a csv are not turned into numbers.

    Raises:
        InputError: the file does not exist, is of another kind, or is damaged.
    """
    import pandas as pd

    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: cannot read {path.suffix or 'a file without suffix'}; give a .parquet or a .csv")
    try:
        if path.suffix == ".parquet":
            with files.parquet(path):
                return pd.read_parquet(path)
        # A prompt may be "None" or "NA" and an id "007", so only an empty cell counts as missing.
        with files.opened(path) as content:
            return pd.read_csv(content, dtype=dict.fromkeys(as_text, str), keep_default_na=False, na_values=[""])
    except InputError:
        raise
    except Exception as error:  # pandas and Arrow also pass on errors of their parsers, such as KeyError for metadata
        raise files.damaged(path, error) from error


def need(frame: pd.DataFrame, source: str, columns: Sequence[str]) -> None:
    """Raise InputError unless the frame has rows, and has all the columns once."""
    count = Counter(frame.columns)
    for name in columns:
        if name not in count:
            has = ", ".join(map(str, frame.columns))
            raise InputError(f"{source}: column {name!r} is missing; add or rename it (there are: {has})")
        if count[name] > 1:
            raise InputError(f"{source}: column {name!r} occurs more than once; keep one")
    if frame.empty:
        raise InputError(f"{source}: the table has no rows; at least one is needed")


def text(frame: pd.DataFrame, column: str, source: str) -> np.ndarray:
    """A column as strings [N], none of them missing; numbers are kept as written."""
    found, odd = values.each(values.label, frame[column].tolist(), None)
    missing = np.array([value is None for value in found], bool)
    missing[odd] = False
    refuse(missing, lambda i: f"{source}, column {column!r}, row {i}: empty; fill it or drop the row")
    if odd:
        raise InputError(
            f"{source}, column {column!r}, row {odd[0]}: {values.short(frame[column].iloc[odd[0]])} is not text; "
            "correct it or drop the row"
        )
    texts = np.empty(len(found), object)
    texts[:] = found
    return texts


def numbers(column: pd.Series, name: str, place: Place) -> np.ndarray:
    """A column as float64 [N], NaN where missing."""
    if column.dtype.kind in "fiub":
        return column.to_numpy(dtype=float, na_value=np.nan)
    cells = [None if missing else cell for cell, missing in zip(column.tolist(), column.isna(), strict=True)]
    found, odd = values.each(values.number, cells, np.nan)
    if odd:
        shown = values.short(column.iloc[odd[0]])
        raise InputError(f"{place(odd[0], name)}: {shown} is not a number; correct it or drop the row")
    return np.array(found, float)


def read_features(path: Path, rows: int) -> np.ndarray:
    """float32 [rows, D] of an .npy file, all finite.

    The file is memory-mapped, so only the converted copy is in memory, and for a float32 file not even that.

    Raises:
        InputError: the file does not exist or is damaged, or its array has another shape or kind.
    """
    try:
        stored = np.load(files.regular(path), mmap_mode="r", allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # NumPy passes on any error of its parser for a damaged header
        raise InputError(
            f"{path}: not a readable .npy array ({files.reason(error)}); write or copy it again"
        ) from error
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "fiu" or stored.ndim != 2:
        raise InputError(f"{path}: not an array of numbers [rows, features]; save one with numpy.save")
    if stored.shape[0] != rows or stored.shape[1] == 0:
        raise InputError(f"{path}: shape {stored.shape}, expected [{rows}, D]; encode every prompt once, in order")
    with np.errstate(over="ignore"):
        features = np.asarray(stored, np.float32)
    finite = np.isfinite(features)
    refuse(
        ~np.all(finite, 1),
        lambda i: (
            f"{path}, row {i}, column {int(np.argmin(finite[i]))}: "
            f"{features[i, np.argmin(finite[i])]} is not finite; encode that prompt again"
        ),
    )
    return features
