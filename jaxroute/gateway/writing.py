"""The log of a gateway: JSON lines in the schema of `jaxroute fit`, each appended completely or not at all."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

TAIL = 1 << 20  # bytes searched backwards for the end of the last whole line


class LogWriter:
    """Appends one row per line; several threads and processes may write to one file.

    A line is one ``write`` to a file opened for appending, so rows of different writers never mix. If a killed process
    left half a line, the next start ends it with a newline. The reader then reports one bad row, and the next row is
    not lost.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> LogWriter(file).write(request_id="a", model="small", quality=None, propensity=0.95)
        >>> read_tail(file)
        [{'request_id': 'a', 'model': 'small', 'quality': None, 'propensity': 0.95}]
    """

    def __init__(self, path: str | os.PathLike[str], *, sync: bool = False) -> None:
        """Open (and create) the file.

        Args:
            path: the JSONL file; its folder is created.
            sync: flush every row to the disk before continuing, for logs that must survive a power cut.

        Raises:
            OSError: the file cannot be opened.
        """
        self.path, self.sync = Path(path), sync
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, **row: Any) -> None:
        """Append one row; arrays become lists, and numbers that are not finite become null.

        Raises:
            OSError: the disk is full; the part of the row that was written is removed.
        """
        line = (json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._lock:
            written = os.write(self._file, line)
            if written != len(line):  # a full disk takes a part of the line, which is removed
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(f"{self.path}: the disk has no space for a row of {len(line)} bytes")
            if self.sync:
                os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read_tail(path: str | os.PathLike[str], rows: int = 10) -> list[dict[str, Any]]:
    """The last complete rows of a log, to see what is being written."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        lines = file.read().split(b"\n")
    whole = lines[:-1] if size <= TAIL else lines[1:-1]
    return [json.loads(line) for line in whole[-rows:] if line]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(x) for x in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
