"""The one door for what is written: a place is checked before any work, and a result is exchanged whole or not at all.

    saving.check_folder(out, ("router.json", ...))      # before the work: an InputError for a place that will not do
    with saving.folder(out, (...)) as scratch: ...      # the new folder takes the place of the old one at once
    with saving.file(out) as file: ...                  # the same for one file

A full disk, a missing permission and the like are one `InputError`, and what stood at the place before stays. What a
killed save left behind is removed by the next one at the same place: each save holds a lock on its scratch as long as
its process lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from jaxroute.types import InputError

SCRATCH = ".saving-"
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2 in Linux
_HERE = -100  # AT_FDCWD: relative to the working directory


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Whatever the disk refuses in here is one InputError that names the place."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise InputError(
            f"{path}: cannot be written ({reason}); what was there before stays; make room, or choose another place"
        ) from None


def check_file(path: Path) -> None:
    """InputError unless a file can be written at this place; nothing is written.

    Args:
        path: of the file; the folder it is in is made if it is not there.
    """
    path = _place(path)
    with disk(path):
        there = path.exists()
    if there and not path.is_file():
        raise InputError(f"{path}: is a folder or a device; give the name of a file")
    _writable(path)


def check_folder(path: Path, owned: Sequence[str]) -> None:
    """InputError unless a folder of ours can be written at this place; nothing is written.

    Args:
        path: of the folder; where it is a link, the folder that it leads to.
        owned: names of the files that such a folder holds, the one first that tells it from any other.
    """
    path = _place(path)
    with disk(path):
        path.exists()  # a name that the disk does not take, a folder that nobody may look into
    if os.path.ismount(path):
        raise InputError(f"{path}: is a mounted volume, which cannot be exchanged; give a folder inside it")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: exists and is no folder; choose another path or remove it")
    if path.is_dir() and any(path.iterdir()) and not (path / owned[0]).is_file():
        raise InputError(f"{path}: exists and holds no {owned[0]}; choose another path or remove it")
    _writable(path)


@contextlib.contextmanager
def file(path: Path) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes its place when all of it is on the disk.

    Example:
        >>> place = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with file(place) as content:
        ...     _ = content.write(b"whole")
        >>> place.read_text(), len(list(place.parent.iterdir()))
        ('whole', 1)
    """
    path = _place(path)
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        held, scratch = _scratch(path)
        new = scratch / path.name
        try:
            with new.open("wb") as content:
                yield content
                content.flush()
                os.fsync(content.fileno())
            if path.exists():
                shutil.copymode(path, new)
            os.replace(new, path)
        finally:
            os.close(held)
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def text(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8, as ``file``."""
    with file(path) as content:
        words = io.TextIOWrapper(content, encoding="utf-8", newline="\n")
        yield words
        words.flush()
        words.detach()


@contextlib.contextmanager
def folder(path: Path, owned: Sequence[str]) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``path`` at once when all is in it; ``check_folder`` first.

    Files and folders of the old one that are not ``owned`` are not ours to delete: they move into the new one.
    """
    check_folder(path, owned)
    path = _place(path)
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        held, scratch = _scratch(path)
        try:
            new = scratch / path.name
            new.mkdir()
            yield new
            kept = [one.name for one in path.iterdir() if one.name not in owned] if path.is_dir() else []
            for name in kept:
                _copy(path / name, new / name)
            _exchange(new, path)
        finally:
            os.close(held)
            shutil.rmtree(scratch, ignore_errors=True)


def _exchange(new: Path, path: Path) -> None:
    """The new folder at the path; the old one, if any, where the new one was, in one step where the system can."""
    if not path.exists():
        os.replace(new, path)
        return
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        rename = getattr(library, "renameat2", None)
        if rename is not None and rename(_HERE, bytes(new), _HERE, bytes(path), _EXCHANGE) == 0:
            return
        if rename is not None and ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    os.replace(path, new.with_name("old"))
    try:
        os.replace(new, path)
    except OSError:
        os.replace(new.with_name("old"), path)
        raise


def _copy(old: Path, new: Path) -> None:
    if old.is_dir() and not old.is_symlink():
        shutil.copytree(old, new, symlinks=True)
    else:
        shutil.copy2(old, new, follow_symlinks=False)


def _place(path: Path) -> Path:
    """Where the path leads: a link stays a link, and what it leads to is replaced."""
    return Path(os.path.realpath(path))


def _writable(path: Path) -> None:
    """InputError unless files can be made in the folder that the path is in, or in the nearest one that exists."""
    there = next(parent for parent in path.parents if parent.exists())
    if not there.is_dir():
        raise InputError(f"{path}: {there} is no folder; choose another path")
    with disk(path), tempfile.TemporaryFile(dir=there):
        pass


def _clear(path: Path) -> None:
    """Remove the scratch of saves whose process is gone, which the kernel has unlocked."""
    for old in path.parent.glob(f".{_literal(path.name)}{SCRATCH}*"):
        with contextlib.suppress(OSError):
            number = os.open(old, os.O_RDONLY)
            try:
                _lock(number)
                shutil.rmtree(old)
            finally:
                os.close(number)


def _scratch(path: Path) -> tuple[int, Path]:
    """A new folder beside the path, open and held; another one where a save that began now removed it first."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}{SCRATCH}", dir=path.parent))
        with contextlib.suppress(FileNotFoundError):
            held = os.open(scratch, os.O_RDONLY)
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                _lock(held)
                if os.path.samestat(os.fstat(held), os.stat(scratch)):
                    return held, scratch
            os.close(held)


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _lock(number: int) -> None:
    """Hold a file until this process ends; OSError where another one holds it."""
    with contextlib.suppress(ImportError):  # not on Windows
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
