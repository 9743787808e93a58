"""The peak of this machine, measured in the same run as the results that are compared with it."""

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


def matmul_peak(size: int = 2048, precision: str = "default") -> float:
    """GFLOP/s of one large float32 matrix product: 2 size^3 operations over the median time.

    precision: JAX's name, that of the training it is compared with ("default" is TF32 on a GPU, float32 on a CPU).
    """
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision=precision))
    return 2 * size**3 / seconds(lambda: product(a, a)) / 1e9


def bandwidth(megabytes: int = 256) -> float:
    """GB/s of memory: an array read and written in place (fresh memory would be zeroed first), over the median time."""
    held = [jnp.ones(megabytes * 2**18, jnp.float32)]
    negate = jax.jit(jnp.negative, donate_argnums=0)

    def once() -> jax.Array:
        held.append(negate(held.pop()))
        return held[0]

    return 2 * held[0].nbytes / seconds(once) / 1e9


def network_flops(batch: int, widths: list[int]) -> int:
    """Operations of one training step of a dense network with layer widths ``widths``.

    Forward 2 B m n a layer, backward 4 B m n, less the gradient towards the input, which nobody needs.
    Element-wise work and the optimiser are not counted: what they cost shows as lost GFLOP/s.
    """
    products = [m * n for m, n in pairwise(widths)]
    return 6 * batch * sum(products) - 2 * batch * products[0]


def network_bytes(batch: int, widths: list[int]) -> int:
    """Bytes that one training step of the same network in float32, with Adam, cannot but move.

    Parameters are read forward and backward and read and written by the optimiser, their gradients written and read,
    both moments read and written: 10 times. Every unit past the input is written and read forward, read backward, and
    its gradient written and read: 5 times. That caches keep some of it makes the share of bandwidth an upper bound.
    """
    parameters = sum(m * n + n for m, n in pairwise(widths))
    return 4 * (10 * parameters + 5 * batch * sum(widths[1:]))
