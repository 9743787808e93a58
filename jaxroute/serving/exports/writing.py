"""The folder of an export: the program, ``export.json`` that says how to call it, and ``vectors.json``.

The vectors are the router's; with float16 weights they are what these weights decide.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data import saving
from jaxroute.serving import folder, portable, vectors
from jaxroute.system.wording import here, named
from jaxroute.types import InputError

FORMATS = ("stablehlo", "jax", "onnx", "js")
META = "export.json"
OWNED = (META, folder.VECTORS, "router.onnx", "router.mjs", "weights.safetensors")
REFUSED = dict.fromkeys(FORMATS, "at any other the scores are NaN") | {"js": "any other is an error"}
"""What the program does at a cost weight that the router refuses."""
COMPARED = 10_000
"""Rows on which float16 weights are compared with float32 ones."""


def write(path: Path, out: Path, form: str, batches: Sequence[int] = (1,), half: bool = False) -> dict[str, Any]:
    """Export the router of a folder.

    Args:
        path: of the router. out: folder to write, completely or not at all. form: one of ``FORMATS``. batches: sizes
            that StableHLO programs are made for, beside one for any size. half: float16 weights, of ONNX alone.

    Returns:
        What ``export.json`` says.

    Raises:
        InputError: no such format; an option that it does not have; no router; a package that is not installed; a
            place that will not do.
    """
    if form not in FORMATS:
        raise InputError(f"{here('form', '--format')} {form}: use one of {', '.join(FORMATS)}")
    if half and form != "onnx":
        raise InputError(f"{named('half')} is for {here('form onnx', '--format onnx')}; {form} keeps float32 weights")
    if any(size < 1 for size in batches):
        raise InputError(f"{here('batches', '--batch')} {min(batches)}: give sizes of at least 1")
    saving.check_folder(out, (META,))
    router = portable.load(path)
    meta = described(router, form)
    kept = replace(router, arrays=rounded(router.arrays)) if half else router
    files = {"stablehlo": _hlo, "jax": _hlo, "onnx": _onnx, "js": _js}[form](path, kept, meta, batches, half)
    files[folder.VECTORS] = json.dumps(vectors.make(kept, portable.axes(kept.arrays)), allow_nan=False).encode()
    with saving.folder(out, (*OWNED, *files)) as scratch:
        (scratch / META).write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for name, content in files.items():
            (scratch / name).write_bytes(content)
    return meta


def described(router: portable.Portable, form: str) -> dict[str, Any]:
    """What every export says of its router."""
    shape = ["N", len(router.models)]
    predicted = ["quality", "cost"] if router.kind in ("plug_in", "affine") else []
    predicted = predicted[: 2 if router.costs_known else 1]
    return {
        "format": form,
        "router": router.version,
        "kind": router.kind,
        "models": list(router.models),
        "removed": [name for name, left in zip(router.models, router.available, strict=True) if not left],
        "never_logged": list(router.never_logged),
        "measured_without": list(router.summary.get("measured_without") or ()),
        "encoder": router.encoder,
        "revision": router.revision,
        "context": router.context,
        "cost_scale": router.cost_scale,
        "units": "cost_weight: quality per unit of the log's cost; quality in [0, 1]; cost: in the log's unit",
        "cost_weight": f"{'at least 0' if router.costs_known else '0, as costs are unknown'}; {REFUSED[form]}",
        "inputs": [
            {"name": "features", "shape": ["N", router.num_features], "dtype": "float32"},
            {"name": "cost_weight", "shape": [], "dtype": "float32"},
        ],
        "outputs": [{"name": name, "shape": shape, "dtype": "float32"} for name in ("scores", *predicted)],
        "choice": "the model of the highest score; the first of equal ones",
    }


def _hlo(path: Path, router: portable.Portable, meta: dict[str, Any], batches: Sequence[int], half: bool) -> Any:
    from jaxroute.serving import export
    from jaxroute.serving.router import Router

    make, ending = (export.portable, "mlirbc") if meta["format"] == "stablehlo" else (export.stablehlo, "jax")
    made, sizes = Router.load(path), [None, *dict.fromkeys(batches)]
    meta["programs"] = {f"router-{size or 'any'}.{ending}": {"N": size or "any"} for size in sizes}
    meta["jax"] = importlib.metadata.version("jax")
    if meta["format"] == "jax":
        meta |= {"platforms": list(export.PLATFORMS), "outputs": meta["outputs"][:1]}
    else:
        meta |= {"stablehlo": "a portable artifact of MLIR bytecode, versioned", "entry": "main"}
    return {name: make(made, size) for name, size in zip(meta["programs"], sizes, strict=True)}


def _onnx(path: Path, router: portable.Portable, meta: dict[str, Any], batches: Sequence[int], half: bool) -> Any:
    from jaxroute.serving.exports import onnx

    words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in meta.items()}
    content = onnx.model(router, words, half)
    meta |= {"opset": onnx.OPSET, "weights": "float16" if half else "float32"}
    if half:
        meta["float16"] = changed(portable.load(path))
    return {"router.onnx": content}


def rounded(tree: Any) -> Any:
    """A router's arrays as ``--half`` stores them.

    Raises:
        InputError: a number is larger than float16 can hold.
    """
    from jaxroute.serving.exports.onnx import HALVED

    if isinstance(tree, dict):
        return {name: rounded(part) for name, part in tree.items()}
    if tree.size < HALVED or tree.dtype != np.float32:
        return tree
    if (most := float(np.abs(tree).max())) > float(np.finfo(np.float16).max):
        raise InputError(f"--half: a weight is {most:.3g}, and float16 ends at 65504; leave --half out")
    return tree.astype(np.float16).astype(np.float32)


def changed(router: portable.Portable) -> dict[str, int]:
    """How many decisions change when weights are rounded to float16, on typical rows at the vectors' cost weights."""
    features = vectors.typical(portable.axes(router.arrays), COMPARED)
    routers = [portable.ready(router.kind, tree, router.settings) for tree in (router.arrays, rounded(router.arrays))]
    differ = 0
    weights = [w / router.cost_scale for w in vectors.NORMALISED] if router.costs_known else [0.0]
    for weight in weights:
        at = np.full(COMPARED, weight, np.float32)
        before, after = (portable.score(one, features, at)[0][:, router.available].argmax(1) for one in routers)
        differ += int((before != after).sum())
    return {"decisions": COMPARED * len(weights), "changed": differ}


def _js(path: Path, router: portable.Portable, meta: dict[str, Any], batches: Sequence[int], half: bool) -> Any:
    from jaxroute.serving.exports import js

    return {"router.mjs": js.module(), "weights.safetensors": js.weights(router, meta)}
