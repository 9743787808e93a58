"""Small networks in NumPy, made ready once: for one prompt an operation costs as much as the numbers that it computes.

layers = ready(params)                 of `engine.networks.router`
apply(layers, x)                       [..., N, K], with the parameters' leading axes in front
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

CACHED = 64
"""Rows that an activation function takes at a time, which stay in the first cache."""
_SCALE = np.float32(np.sqrt(2 / np.pi))
LINEAR, CUBIC, ONE = np.array(_SCALE), np.array(_SCALE * np.float32(0.044715)), np.array(np.float32(1))
"""Arrays without axes: NumPy takes twice as long for a scalar."""
Layers = tuple[tuple[np.ndarray, np.ndarray], ...]
"""Kernel [..., inputs, units] and bias [..., 1, units] of every layer in order, the read-out last."""


def ready(params: Mapping[str, Any]) -> Layers:
    """The layers of a network. The kernels after an activation are halved, so that `_twice_gelu` need not halve rows.

    Args:
        params: of `engine.networks.router`, leaves with any leading axes.
    """
    layers = params["params"]
    trunk = layers.get("trunk", {})
    ordered = [trunk[name] for name in sorted(trunk, key=lambda name: int(name.rpartition("_")[2]))]
    return tuple(
        (layer["kernel"] * np.float32(0.5 if number else 1), layer["bias"][..., None, :])
        for number, layer in enumerate((*ordered, layers["scores"]))
    )


def apply(layers: Layers, x: np.ndarray, width: int = 2**30) -> np.ndarray:
    """The network on x [N, d]: [..., N, K]. width: hidden units in use."""
    for kernel, bias in layers[:-1]:
        x = product(x, kernel)
        x += bias
        _twice_gelu(x)
        if width < (units := x.shape[-1]):
            x *= (np.arange(units) < width).astype(np.float32) * np.sqrt(np.float32(units / width))
    kernel, bias = layers[-1]
    z = product(x, kernel)
    z += bias
    return z


def product(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x @ kernel, by the method that costs least around it."""
    return x.dot(kernel) if kernel.ndim == 2 else x @ kernel


def outputs(layers: Layers) -> int:
    """K of the network."""
    return int(layers[-1][1].shape[-1])


def _twice_gelu(x: np.ndarray) -> None:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) in place; of a few rows at a time, which stay in cache."""
    if x.ndim > 2 or len(x) > CACHED:
        flat = x.reshape(-1, x.shape[-1])
        for start in range(0, len(flat), CACHED):
            _twice_gelu(flat[start : start + CACHED])
        return
    z = x * x
    z *= CUBIC
    z += LINEAR
    z *= x
    np.tanh(z, out=z)
    z += ONE
    x *= z
