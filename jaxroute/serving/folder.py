"""A router's folder under one checksum: ``router.json``, ``arrays.safetensors`` and, from format 4, ``vectors.json``.

docs/artefact.md is its description. Nothing in it is run or unpickled. What is read is whole, of a format and kind that
this version knows, and every array and number is one that can be: whoever gets it may decide with it. Folders of
formats 1 to 3, which have no vectors and other checksums, are still read, and so is 4, which has no posterior.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data import saving
from jaxroute.policies.curves import Curve
from jaxroute.serving import layout, posterior, schema
from jaxroute.serving.posterior import Posterior
from jaxroute.types import InputError

SCHEMA = 5
META, ARRAYS, VECTORS = "router.json", "arrays.safetensors", "vectors.json"
OWNED = (META, ARRAYS, VECTORS, "report.html")
"""What a router's folder holds; anything else in it is somebody's and stays."""
_OPEN = "0" * 64


class Content(NamedTuple):
    """What a folder says: meta as in ``router.json``, the kind's arrays as nested dicts ("a/b" being b in a), the
    curve, the posterior, and the bits of the fingerprint (`data.fingerprints`), which nothing that only decides needs.
    """

    meta: dict[str, Any]
    arrays: dict[str, Any]
    curve: Curve | None
    posterior: Posterior | None
    fingerprint: np.ndarray | None


def write(path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray], vectors: dict[str, Any]) -> None:
    """Write the folder, all of it or nothing; an older router at the same place is replaced.

    Args:
        path: of the folder. meta: for JSON; a number that is not finite is written as null. arrays: by name. vectors:
            of ``vectors.make``.

    Raises:
        InputError: the place holds something that is not a router, the disk refuses, or meta holds what JSON cannot.
    """
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    proof = json.dumps(_finite(vectors), allow_nan=False).encode() + b"\n"
    packages = {name: importlib.metadata.version(name) for name in ("jax", "numpy", "flax")}
    try:
        open_meta = _finite({"schema": SCHEMA, "sha256": _OPEN, **meta, "packages": packages})
        text = json.dumps(open_meta, indent=1, allow_nan=False) + "\n"
    except (RecursionError, TypeError, ValueError) as error:
        raise InputError(f"summary: {error}; keep texts, numbers, lists and dictionaries of these in it") from None
    text = text.replace(_OPEN, checksum(text.encode(), content, proof), 1)
    with saving.folder(path, OWNED) as folder:
        (folder / ARRAYS).write_bytes(content)
        (folder / VECTORS).write_bytes(proof)
        (folder / META).write_text(text, encoding="utf-8")


def checksum(meta: bytes, arrays: bytes, vectors: bytes) -> str:
    """SHA-256 of the three files one after the other, with 64 zeros in the place of the checksum in ``router.json``."""
    digest = hashlib.sha256()
    for part in (meta, arrays, vectors):
        digest.update(part)
    return digest.hexdigest()


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Whatever goes wrong in here is one InputError: the disk refuses to read, or else the router is damaged."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise InputError(f"{path}: cannot be read ({why}); check the path and its permissions") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); restore it or fit again") from None


def read(path: Path) -> Content:
    """What was written, once it is checked: see ``Content``.

    Raises:
        InputError: no router there, a newer format, an unknown kind, or damaged; it names what is wrong.
    """
    with whole(path):
        there = (path / META).is_file()
    if not there:
        raise InputError(f"{path}: is not a router, the folder with {META} that jaxroute fit writes; check the path")
    with whole(path):
        text = (path / META).read_bytes()
        meta = json.loads(text.decode(), parse_constant=_no_number)
        version = meta["schema"]
        if type(version) is not int or version < 1:
            raise ValueError(f"{META}, schema: is {version!r}; it must be a whole number from 1 to {SCHEMA}")
    if version > SCHEMA:
        raise InputError(f"{path / META}: schema {version} is newer than {SCHEMA}; update jaxroute to read it")
    with whole(path):
        content, expected = _content(path, ARRAYS), str(meta["sha256"])
        if version == 1:  # before there were kinds
            meta = {**meta, "kind": "plug_in", "settings": {"hidden": meta.get("hidden")}}
            found = hashlib.sha256(content).hexdigest()
        elif version < 4:
            rest = {key: value for key, value in meta.items() if key != "sha256"}
            words = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
            found = hashlib.sha256(words.encode() + content).hexdigest()
        else:
            found = checksum(text.replace(expected.encode(), _OPEN.encode(), 1), content, _content(path, VECTORS))
        if found != expected:
            raise ValueError(f"its checksum is not that in {META}")
    if isinstance(meta.get("kind"), str) and meta["kind"] not in layout.SETTINGS:
        raise InputError(f"{path}: holds a router of the unknown kind {meta['kind']!r}; update jaxroute to read it")
    with whole(path):
        return _checked(meta, _arrays(content))


def _checked(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Content:
    schema.check(meta, schema.read("router.schema.json"), META)
    models, removed = meta["models"], set(meta["removed"])
    if not removed < set(models):
        raise ValueError(
            f"{META}, removed: {sorted(removed)} must be some of the models, at least one of them left over"
        )
    pieces, last_layer = (
        {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
        for part in ("curve/", "posterior/")
    )
    own = {n: array for n, array in arrays.items() if not n.startswith(("curve/", "posterior/")) and n != "fingerprint"}
    layout.check(meta["kind"], meta["settings"], len(models), own)
    layout.check_curve(pieces)
    width = next(array.shape[0] for name, array in own.items() if name.endswith("axes/mean"))
    if width != meta["num_features"]:
        raise ValueError(f"{META}, num_features: is {meta['num_features']}, but the arrays take {width}")
    layout.check_posterior(last_layer)
    _check_beside(meta, arrays.get("fingerprint"))
    tree: dict[str, Any] = {}
    for name, array in own.items():
        *parents, last = name.split("/")
        place = tree
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = array
    uncertain = Posterior(**last_layer) if last_layer else None
    if uncertain is not None:
        posterior.check(uncertain, len(models), next(a.shape[1] for n, a in own.items() if n.endswith("axes/basis")))
    return Content(meta, tree, Curve(**pieces) if pieces else None, uncertain, arrays.get("fingerprint"))


def _check_beside(meta: dict[str, Any], marks: np.ndarray | None) -> None:
    """What a decision needs beside the arrays: the rule for chats, the context columns; and the fingerprint's array."""
    summary = meta["summary"]
    if "chat" in summary:
        from jaxroute.data import messages

        messages.rule(summary["chat"])
    if summary.get("context"):
        from jaxroute.data import context

        context.check(summary["context"], meta["num_features"])
    if (marks is None) != (meta.get("fingerprint") is None):
        raise ValueError(f"array 'fingerprint': is {'missing' if marks is None else 'not described in ' + META}")
    if marks is not None and (marks.ndim != 1 or marks.dtype != np.uint8):
        raise ValueError(f"array 'fingerprint': is {marks.dtype}{list(marks.shape)}, expected uint8 in one row")


def _content(path: Path, name: str) -> bytes:
    if not (path / name).is_file():
        raise ValueError(f"{name} is missing")
    return (path / name).read_bytes()


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except SafetensorError as error:
        raise ValueError(f"{ARRAYS}: {error}") from None


def _no_number(word: str) -> None:
    raise ValueError(f"{META}: {word} is no number of JSON")


def _finite(value: Any) -> Any:
    """The same with None for numbers that are not finite, for which strict JSON has no word; NumPy's as Python's."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
