"""The log of a gateway: JSON lines in the schema of `jaxroute fit`, each appended completely or not at all.

Several threads and processes may write to one file. A writer holds the file's lock while it appends, so what it takes
back after a full disk is its own, and only one of them turns the file over when it is due: ``requests.jsonl`` becomes
``requests-20260102T030405-0.jsonl`` beside it (compressed if wanted), and a new one begins. `jaxroute fit` reads the
folder, compressed or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.types import InputError

LOG = logging.getLogger("jaxroute.gateway")
TAIL = 1 << 20  # bytes searched backwards for the end of the last whole line
QUIET = 60.0  # seconds between two messages while rows are lost
STAMP = "%Y%m%dT%H%M%S"


class LogWriter:
    """Appends one row per line.

    If a killed process left half a line, the next row begins on a line of its own: the reader reports one bad row, and
    no other is lost. A file that was renamed or removed is made anew, which is said once. While rows cannot be written,
    the first failure is said, then the count once a minute, then the recovery.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> LogWriter(file).write(request_id="a", model="small", quality=None, propensity=0.95)
        True
        >>> read_tail(file)
        [{'request_id': 'a', 'model': 'small', 'quality': None, 'propensity': 0.95}]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: bool = False,
        megabytes: float | None = None,
        daily: bool = False,
        compress: bool = True,
    ) -> None:
        """Open (and create) the file.

        Args:
            path: the JSONL file; its folder is created.
            sync: flush every row to the disk before continuing, for logs that must survive a power cut.
            megabytes: turn the file over before it grows larger than that; None: whatever its size.
            daily: turn the file over on the first row of a day (UTC).
            compress: gzip files that were rotated.

        Raises:
            InputError: the file cannot be opened.
        """
        self.path, self.sync, self.compress = Path(path), sync, compress
        self._compressing: list[threading.Thread] = []
        self.bytes, self.daily = None if megabytes is None else int(megabytes * 1e6), daily
        self.written = self.lost = 0
        self._failing = 0
        self._name, self._end = os.fspath(self.path), -1  # where this writer's last line ends
        self._said = 0.0
        self._lock = threading.Lock()
        try:
            self._file = self._open()
        except OSError as error:
            raise InputError(f"log {self.path}: {error.strerror}; name a file that this process may write") from None

    @property
    def healthy(self) -> bool:
        """Whether the last row was written."""
        return not self._failing

    def write(self, **row: Any) -> bool:
        """Append one row, and say whether it was written; arrays become lists, not finite numbers null.

        Raises:
            TypeError, ValueError: the row holds something that is no JSON.
        """
        line = (_json(row) + "\n").encode("utf-8", "replace")
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                self._fail(error)
                return False
            self.written += 1
            if self._failing:
                LOG.warning("log %s: rows are written again; %d were lost meanwhile", self.path, self._failing)
                self._failing = 0
        return True

    def close(self) -> None:
        """Close the file, once rotated files are compressed; rows that come later are lost, and counted."""
        for thread in self._compressing:
            thread.join()
        os.close(self._file)
        self._file = -1  # another file may get the old number

    def _append(self, line: bytes) -> None:
        with self._locked() as found:
            if found.st_size and self._due(found, len(line)):
                self._turn()
                with self._locked() as found:
                    self._put(line, found.st_size)
            else:
                self._put(line, found.st_size)

    def _put(self, line: bytes, size: int) -> None:
        own = size in (0, self._end)  # the last line is this writer's, and whole
        if not own and os.pread(self._file, 1, size - 1) != b"\n":  # half a line of a process that was killed
            line = b"\n" + line
        if os.write(self._file, line) != len(line):  # a full disk takes a part of the line, which is removed
            os.ftruncate(self._file, size)
            raise OSError(28, "the disk has no space")
        self._end = size + len(line)
        if self.sync:
            os.fsync(self._file)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[os.stat_result]:
        """Hold the lock of the file that is at the path now; another process may have turned it over meanwhile."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        while (found := self._present()) is None:
            self._reopen()
            fcntl.flock(self._file, fcntl.LOCK_EX)
        held = self._file
        try:
            yield found
        finally:
            with contextlib.suppress(OSError):  # closed, because this writer turned the file over
                fcntl.flock(held, fcntl.LOCK_UN)

    def _present(self) -> os.stat_result | None:
        """Of the open file, if it is the one at the path."""
        own = os.fstat(self._file)
        try:
            return own if os.path.samestat(own, os.stat(self._name)) else None
        except FileNotFoundError:
            return None

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def _reopen(self) -> None:
        gone = not self.path.exists()  # nobody began a new one, as a writer that turns the file over does
        new = self._open()
        os.close(self._file)
        self._file, self._end = new, -1
        if gone:
            LOG.warning("log %s: the file was moved or removed by another program; a new one was begun", self.path)

    def _due(self, found: os.stat_result, more: int) -> bool:
        full = self.bytes is not None and found.st_size + more > self.bytes
        return full or (self.daily and time.gmtime(found.st_mtime)[:3] != time.gmtime()[:3])

    def _turn(self) -> None:
        """Rename the full file, and begin a new one; the lock on the old one is held."""
        stamp = time.strftime(STAMP, time.gmtime())
        number = 0
        while any(self.path.parent.glob(f"{(name := f'{self.path.stem}-{stamp}-{number}')}.*")):
            number += 1
        full = self.path.with_name(f"{name}{self.path.suffix}")
        os.rename(self.path, full)
        new = self._open()
        os.close(self._file)
        self._file, self._end = new, -1
        if self.compress:
            self._compressing = [thread for thread in self._compressing if thread.is_alive()]
            self._compressing.append(threading.Thread(target=compress, args=(full,), daemon=True))
            self._compressing[-1].start()

    def _fail(self, error: OSError) -> None:
        self.lost += 1
        self._failing += 1
        now = time.monotonic()
        if self._failing == 1 or now - self._said > QUIET:
            self._said = now
            LOG.error(
                "log %s: %s; %d row(s) lost so far, answers go on", self.path, error.strerror or error, self._failing
            )


def compress(file: Path) -> None:
    """Replace a file by ``<name>.gz``; one that cannot be compressed stays as it is."""
    part, packed = file.with_name(f".{file.name}.gz"), file.with_name(f"{file.name}.gz")
    try:
        with file.open("rb") as plain, gzip.open(part, "wb", 6) as out:
            shutil.copyfileobj(plain, out)
        part.chmod(0o600)
        os.replace(part, packed)
        file.unlink()
    except OSError as error:
        LOG.error("log %s: not compressed: %s", file, error.strerror or error)
        part.unlink(missing_ok=True)


def read_tail(path: str | os.PathLike[str], rows: int = 10) -> list[dict[str, Any]]:
    """The last complete rows of a log, to see what is being written."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        lines = file.read().split(b"\n")
    whole = lines[:-1] if size <= TAIL else lines[1:-1]
    return [json.loads(line) for line in whole[-rows:] if line]


def _json(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):  # arrays, or numbers that are not finite
        return json.dumps(_plain(row), ensure_ascii=False, allow_nan=False)


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
