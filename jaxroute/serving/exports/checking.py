"""The folder of a router or of an export, checked by its test vectors: what ``jaxroute verify`` runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.serving import folder, portable
from jaxroute.serving import vectors as made
from jaxroute.serving.exports.comparing import Answer, Check, compare
from jaxroute.serving.exports.runtimes import RUNTIMES, lacking
from jaxroute.serving.exports.writing import META
from jaxroute.types import InputError

_FILES = {"onnx": ("router.onnx",), "js": ("router.mjs", "weights.safetensors")}


def verify(path: Path) -> list[Check]:
    """Check the folder of a router (in NumPy and, if it is installed, in JAX) or of an export (in its runtime).

    Raises:
        InputError: neither of the two, a damaged folder, a file that is missing in it, or a router of an older format,
            which has no vectors.
    """
    if (path / META).is_file():
        return _of_export(path)
    own = portable.load(path)
    if not (path / folder.VECTORS).is_file():
        raise InputError(f"{path}: is of an older format without test vectors; load and save it again to add them")
    vectors = _vectors(path, own.models)
    checks = [compare("numpy", vectors, list(own.models), _asked(own), own.features)]
    if why := lacking("jax"):
        return [*checks, Check("jax", False, why=why)]
    from jaxroute.serving import kinds
    from jaxroute.serving.router import Router

    router = Router.load(path)

    def in_jax(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
        import jax
        import jax.numpy as jnp

        with jax.default_matmul_precision("highest"):
            scores = router.kind.scores(jnp.asarray(features), jnp.full(len(features), weight, jnp.float32))
        return {"scores": np.where(router.available, np.asarray(scores), -np.inf)}

    return [*checks, compare(f"jax {kinds.name_of(router.kind)}", vectors, list(router.models), in_jax)]


def _asked(router: portable.Portable) -> Answer:
    def answer(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
        quality, cost = router.predict(features)
        named = {"scores": router.scores(features, weight), "quality": quality, "cost": cost}
        return {name: part for name, part in named.items() if not np.isnan(part).any()}

    return answer


def _of_export(path: Path) -> list[Check]:
    meta = _read(path / META)
    vectors = _vectors(path, meta.get("models") or ())
    if meta.get("format") not in RUNTIMES:
        raise InputError(f"{path / META}: the format {meta.get('format')!r} is unknown; update jaxroute to check it")
    form = meta["format"]
    runtime, run = RUNTIMES[form]
    if lost := [name for name in _FILES.get(form) or meta.get("programs") or () if not (path / name).is_file()]:
        raise InputError(f"{path}: {lost[0]} is missing; export the router again")
    why = lacking(form)
    return [Check(runtime, False, why=why)] if why else run(path, meta, vectors)


def _vectors(path: Path, models: Sequence[str]) -> dict[str, Any]:
    found = _read(path / folder.VECTORS)
    with folder.whole(path / folder.VECTORS):
        made.check(found, models)
    return found


def _read(file: Path) -> dict[str, Any]:
    with folder.whole(file.parent):
        found: dict[str, Any] = json.loads(file.read_bytes())
    return found
