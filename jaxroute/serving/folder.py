"""A router's folder: ``router.json`` (words and numbers) and ``arrays.safetensors``, under one checksum.

Nothing in it is run or unpickled. The checksum covers both files: it is the SHA-256 of the JSON's content, sorted and
without the checksum itself, followed by the bytes of the arrays. Folders of schema 1, whose checksum covers the
arrays alone, and of schema 2, which have no fingerprint, are still read.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data import saving
from jaxroute.types import InputError

SCHEMA = 3
META, ARRAYS = "router.json", "arrays.safetensors"
OWNED = (META, ARRAYS, "report.html")
"""What a router's folder holds; anything else in it is somebody's and stays."""


def write(path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the folder, all of it or nothing; an older router at the same place is replaced.

    Args:
        path: of the folder. meta: for JSON; a number that is not finite is written as null. arrays: by name.

    Raises:
        InputError: the place holds something that is not a router, or the disk refuses.
    """
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    packages = {name: importlib.metadata.version(name) for name in ("jax", "numpy", "flax")}
    meta = _finite({"schema": SCHEMA, **meta, "packages": packages})
    meta["sha256"] = _checksum(meta, content)
    with saving.folder(path, OWNED) as folder:
        (folder / ARRAYS).write_bytes(content)
        (folder / META).write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file's content in here is one InputError: the router is damaged."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); restore it or fit again") from None


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was written: (meta, arrays as nested dicts, "a/b" being b in a).

    Raises:
        InputError: no router there, a newer schema, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not (path / META).is_file():
        raise InputError(f"{path}: is not a router, because {META} is missing; check the path")
    with whole(path):
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        schema = int(meta["schema"])
    if schema > SCHEMA:
        raise InputError(f"{path / META}: schema {schema} is newer than {SCHEMA}; update jaxroute to read it")
    with whole(path):
        if not (path / ARRAYS).is_file():
            raise ValueError(f"{ARRAYS} is missing")
        content = (path / ARRAYS).read_bytes()
        checksum = hashlib.sha256(content).hexdigest() if schema == 1 else _checksum(meta, content)
        if checksum != meta["sha256"]:
            raise ValueError(f"its checksum is not that in {META}")
        try:
            arrays = load(content)
        except SafetensorError as error:
            raise ValueError(f"{ARRAYS}: {error}") from None
        tree: dict[str, Any] = {}
        for name, array in arrays.items():
            *parents, last = name.split("/")
            place = tree
            for key in parents:
                place = place.setdefault(key, {})
            place[last] = array
    return {**meta, "schema": schema}, tree


def _checksum(meta: dict[str, Any], content: bytes) -> str:
    rest = {key: value for key, value in meta.items() if key != "sha256"}
    words = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(words.encode() + content).hexdigest()


def _finite(value: Any) -> Any:
    """The same with None for numbers that are not finite: strict JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
