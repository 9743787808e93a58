"""The folder of compiled programs: one for each version of Python and JAX, of bounded size.

    python -m jaxroute.system.compiled ROOT             prints the folder of this Python and its JAX
    python -m jaxroute.system.compiled ROOT --bound     removes what was cut short, and what was used longest ago
    python -m jaxroute.system.compiled --flags          prints the $XLA_FLAGS that compile fastest (see `quickly`)

JAX finds a program again by what it is, so that a folder may be moved. It never removes one, or else it looks at all
files at every write (``jax_compilation_cache_max_size``); here that is done once, at the end of a command or at the
beginning of ``make``. What other versions of JAX left is used no more, and goes first. Nor does JAX ever replace a
program that was cut short while it was written (see `mend`).
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import zlib
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

MOST = 2**30
"""Bytes that the folders of all versions may hold together, unless $JAXROUTE_COMPILED_BYTES says otherwise."""

OLDER_GENERATOR = "--xla_cpu_use_fusion_emitters=false"
"""JAX 0.10's older generator of code for CPUs: it compiles in half the time, and its programs are as fast."""

SETTINGS = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none"}
"""Every program is kept, also those that took less than the second that JAX asks for; no path of the folder is in
what they are found by."""


def folder(root: Path) -> Path:
    """Where this Python and this JAX keep theirs: they warn about each other's.

    Example:
        >>> folder(Path("compiled")).parent.name
        'compiled'
    """
    python = ".".join(map(str, sys.version_info[:2]))
    return root / f"python-{python}-jax-{importlib.metadata.version('jax')}"


def use(root: Path, environment: MutableMapping[str, str] = os.environ) -> bool:
    """Set JAX up to keep its programs there, before it is imported; says whether it did.

    It does not where a folder is set already, which is then somebody else's.
    """
    if "JAX_COMPILATION_CACHE_DIR" in environment:
        return False
    environment.update({"JAX_COMPILATION_CACHE_DIR": str(folder(root)), **SETTINGS})
    return True


def quickly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have JAX, before it is imported, generate code the way that compiles fastest; what $XLA_FLAGS says stands.

    Later versions of JAX have one generator, and stop at a flag that they do not know.

    Example:
        >>> mine = {"XLA_FLAGS": "--xla_dump_to=dumped"}
        >>> quickly(mine)
        >>> mine
        {'XLA_FLAGS': '--xla_dump_to=dumped'}
    """
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        environment.setdefault("XLA_FLAGS", OLDER_GENERATOR)


def is_cut(entry: bytes) -> bool:
    """Whether a zlib stream, as JAX keeps programs, ends early; what has another format is taken as whole.

    With the package zstandard, or Python 3.14, JAX writes Zstandard instead: of that only empty files are found.

    Example:
        >>> entry = zlib.compress(b"a program")
        >>> is_cut(entry), is_cut(entry[:-1]), is_cut(b"")
        (False, True, True)
    """
    stream = zlib.decompressobj()
    try:
        stream.decompress(entry)
    except zlib.error:
        return False
    return not stream.eof


def mend(root: Path) -> int:
    """Remove programs that a full disk or a kill cut short, so that JAX compiles them once more and keeps them.

    JAX itself warns of such a file at every start and compiles its program each time, for it never replaces a file
    (findings/jax-keeps-a-cut-cache-entry.sh). Only files written since the last call are read: ``root/.whole`` has the
    time of the newest file found then.

    Args:
        root: that ``folder`` was given.

    Returns:
        Files removed.
    """
    mark = root / ".whole"
    since = newest = removed = 0
    with suppress(OSError):  # never called before
        since = newest = mark.stat().st_mtime_ns
    for path in root.glob("python-*/*-cache"):
        with suppress(OSError):  # removed by another process meanwhile
            written = path.stat().st_mtime_ns
            if written >= since and is_cut(path.read_bytes()):
                path.unlink()
                removed += 1
            newest = max(newest, written)
    with suppress(OSError):  # nothing kept there yet, or a folder to read only
        mark.touch()
        os.utime(mark, ns=(newest, newest))
    return removed


def bound(root: Path, most: int | None = None) -> int:
    """Remove what was used longest ago, until all folders under the root hold ``most`` bytes.

    Args:
        root: that ``folder`` was given.
        most: bytes; None: $JAXROUTE_COMPILED_BYTES, or ``MOST``.

    Returns:
        Bytes removed.
    """
    most = int(os.environ.get("JAXROUTE_COMPILED_BYTES", MOST)) if most is None else most
    files = []
    for path in root.glob("python-*/*-cache"):
        with suppress(OSError):  # removed by another process meanwhile
            found = path.stat()
            files.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    excess, removed = sum(size for _, size, _ in files) - most, 0
    for _, size, path in sorted(files):
        if removed >= excess:
            break
        with suppress(OSError):
            path.unlink()
            removed += size
    return removed


def main(arguments: list[str]) -> None:
    if arguments == ["--flags"]:
        chosen: dict[str, str] = {}
        quickly(chosen)
        print(chosen.get("XLA_FLAGS", ""))
    elif "--bound" in arguments:
        mend(Path(arguments[0]).absolute())
        bound(Path(arguments[0]).absolute())
    else:
        print(folder(Path(arguments[0]).absolute()))


if __name__ == "__main__":
    main(sys.argv[1:])
