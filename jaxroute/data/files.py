"""The one door for files that are read: regular files only, decompressed and cut into lines under limits.

A device has no end, a pipe may never say anything, and a few kilobytes of gzip can become gigabytes: each is one clear
error instead of a machine without memory.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jaxroute.types import InputError

if TYPE_CHECKING:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

GROWN, TIMES = 1_000_000_000, 100
"""A compressed file may become a gigabyte, or 100 times its own size if that is more. Text becomes 5 to 20 times."""
LINE = 100_000_000
"""Bytes of the longest line of JSON lines, and of the longest cell of a CSV file."""
BLOCK = 1 << 20
CELL = 8
"""Bytes that a cell of a Parquet file counts for at least: a column of one value is stored as next to nothing."""


def opened(path: Path) -> BinaryIO:
    """An input file, open for reading bytes; what ends in .gz is decompressed.

    Raises:
        InputError: missing, no regular file, or no permission; while reading: it becomes too much.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from None
    raw = os.fdopen(number, "rb")
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        raw.close()
        raise InputError(f"{path}: is a folder, a device or a pipe, not a file; copy its content to a file first")
    if path.suffix.lower() != ".gz":
        return raw
    return io.BufferedReader(_Decompressed(path, raw, found.st_size), BLOCK)


BEGINS = {
    b"\x1f\x8b": "is compressed with gzip: end its name in .gz",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: decompress it first (zstd -d)",
    b"BZh": "is compressed with bzip2: decompress it first (bunzip2)",
    b"\xfd7zXZ": "is compressed with xz: decompress it first (unxz)",
    b"PAR1": "is a Parquet file: end its name in .parquet",
    b"PK\x03\x04": "is a ZIP archive: unpack it first, or export a spreadsheet as CSV",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}
"""First bytes of what is no text, and what to do."""


def damaged(source: Any, error: BaseException, advice: str = "write or copy it again") -> InputError:
    """The error to raise of a file whose parser failed.

    Example:
        >>> damaged("log.parquet", ValueError("no footer"))
        InputError('log.parquet: damaged or truncated (no footer); write or copy it again')
    """
    return InputError(f"{source}: damaged or truncated ({reason(error)}); {advice}")


def reason(error: BaseException) -> str:
    """The first line of what an error says, or else its kind.

    Example:
        >>> reason(ValueError("no footer, line 2")), reason(EOFError())
        ('no footer, line 2', 'EOFError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_text(file: BinaryIO, path: Path) -> None:
    """Refuse a file whose first bytes are those of another kind than its name says.

    Args:
        file: of ``opened``, at its start.

    Raises:
        InputError: says what it is, and what to do.
    """
    first = file.peek(8)[:8]  # type: ignore[attr-defined]
    for begin, what in BEGINS.items():
        if first.startswith(begin):
            raise InputError(f"{path}: its content {what}")


def regular(path: Path) -> Path:
    """The path, for libraries that open it themselves; an InputError unless it is a regular file that can be read."""
    opened(path).close()
    return path


def text(path: Path) -> str:
    """The whole of a text file in UTF-8.

    Raises:
        InputError: as ``opened``; or it is not UTF-8.
    """
    with opened(path) as file:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise GivenTwiceError(f"key {next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def parse(content: str | bytes) -> Any:
    """The value of a JSON text; ``GivenTwiceError`` where an object has a key twice: nobody knows which one counts.

    Example:
        >>> parse('{"quality": 1, "quality": 0}')
        Traceback (most recent call last):
        jaxroute.data.files.GivenTwiceError: key 'quality' is given twice
    """
    return _DECODER.decode(content) if isinstance(content, str) else json.loads(content, object_pairs_hook=_once)


def lines(file: BinaryIO, path: Any) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 0, but for the blank ones.

    Raises:
        InputError: a line is longer than ``LINE``.

    Example:
        >>> list(lines(io.BufferedReader(io.BytesIO(b"a\\n\\nb")), "log.jsonl"))
        [(0, b'a'), (2, b'b')]
    """
    number, begun, size = 0, list[bytes](), 0
    read = getattr(file, "read1", file.read)  # of a stream, what there is already
    while block := read(BLOCK):
        *whole, rest = block.split(b"\n")
        for part in whole:
            line = b"".join([*begun, part]) if size else part
            if line and not line.isspace():
                yield number, line
            number, begun, size = number + 1, [], 0
        begun.append(rest)
        size += len(rest)
        if size > LINE:
            raise InputError(f"{path}, row {number}: a line of more than {LINE:,} bytes; check that this is a log")
    if size:
        yield number, b"".join(begun)


def parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file that does not become too much.

    Raises:
        InputError: as ``opened``; or its columns are too much for its size.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(regular(path))
    try:
        about = file.metadata
        groups = (about.row_group(i) for i in range(about.num_row_groups))
        becomes = sum(group.column(j).total_uncompressed_size for group in groups for j in range(group.num_columns))
        limited(path, max(becomes, CELL * about.num_rows * about.num_columns), path.stat().st_size)
    except InputError:
        file.close()
        raise
    return file


def archive(path: Path) -> zipfile.ZipFile:
    """A ZIP archive whose members do not become too much; each is read as long as its entry says, and no longer."""
    found = zipfile.ZipFile(regular(path))
    try:
        limited(path, sum(info.file_size for info in found.infolist()), path.stat().st_size)
    except InputError:
        found.close()
        raise
    return found


def limited(path: Path, becomes: int, size: int) -> None:
    """InputError if a compressed file of this size becomes more than it may."""
    if becomes > max(GROWN, TIMES * size):
        raise InputError(
            f"{path}: {size:,} bytes become {becomes:,} or more; a compressed file may become {GROWN:,} bytes, or "
            f"{TIMES} times its size; give the content as it is if that is right"
        )


class GivenTwiceError(ValueError):
    """A key that an object has twice."""


class _Decompressed(io.RawIOBase):
    """The content of a gzip file, counted; a long stretch of nothing but line breaks is an error."""

    def __init__(self, path: Path, raw: BinaryIO, size: int) -> None:
        self._path, self._raw, self._size = path, raw, size
        self._count = self._blank = 0
        self._content = gzip.GzipFile(fileobj=raw)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._content.readinto(buffer)
        self._count += count
        limited(self._path, self._count, self._size)
        self._blank = 0 if bytes(buffer[:count]).strip() else self._blank + count
        if self._blank > BLOCK:
            raise InputError(f"{self._path}: more than {BLOCK:,} bytes of nothing but blanks; check that this is a log")
        return count

    def close(self) -> None:
        with suppress(AttributeError):
            self._raw.close()
        super().close()
