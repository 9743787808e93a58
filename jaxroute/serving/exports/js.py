"""A router in JavaScript: one ES module without dependencies, and one file of weights that describes itself."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from typing import Any

import numpy as np

from jaxroute.serving import layout
from jaxroute.serving.portable import Portable


def module() -> bytes:
    """The ES module, the same for every router."""
    return resources.files("jaxroute.serving.exports").joinpath("router.mjs").read_bytes()


def weights(router: Portable, meta: dict[str, Any]) -> bytes:
    """The arrays and the curve in safetensors, all float32 or int32; the metadata's ``router`` is ``meta`` in JSON."""
    from safetensors.numpy import save

    arrays = layout.flat(router.arrays)
    if router.curve is not None:
        pieces = dataclasses.asdict(router.curve)
        arrays |= {f"curve/{name}": np.asarray(part, np.float64) for name, part in pieces.items() if part is not None}
    said = {**meta, "settings": dict(router.settings), "costs_known": router.costs_known}
    content = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save(content, metadata={"router": json.dumps(said)}))
