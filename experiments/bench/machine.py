"""This machine's floor, measured in the same run as what is held against it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Median wall time of ``function`` after one warm-up call; waits for the device."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def matmul_peak(size: int = 2048) -> float:
    """GFLOP/s of one large float32 matrix product: 2 size^3 operations over the median time."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / seconds(lambda: product(a, a)) / 1e9


def network_flops(batch: int, widths: list[int]) -> int:
    """Operations of one training step of a dense network with layer widths ``widths``.

    Forward 2 B m n a layer, backward 4 B m n, less the gradient towards the input, which nobody needs.
    Element-wise work and the optimiser are not counted: what they cost shows as lost GFLOP/s.
    """
    products = [m * n for m, n in pairwise(widths)]
    return 6 * batch * sum(products) - 2 * batch * products[0]
