"""The NumPy generator that belongs to a JAX key.

Data are drawn on the host, so they have the same bits in float32 and float64, on every device and with every version
of JAX. The purpose is folded in, so one key given to two functions draws unrelated numbers. Otherwise a log whose
actions reuse the numbers that made the prompts would be confounded.
"""

from __future__ import annotations

import zlib

import jax
import numpy as np

from jaxroute.types import Key


def generator(key: Key, purpose: str) -> np.random.Generator:
    """A generator for one purpose of one JAX key: the same key and purpose give the same numbers.

    Args:
        key: JAX random key, ``jax.random.key(seed)``.
        purpose: what the numbers are for; other purposes draw unrelated numbers.

    Returns:
        A fresh NumPy generator.

    Example:
        >>> key = jax.random.key(0)
        >>> bool(generator(key, "a").random() == generator(key, "a").random())
        True
        >>> bool(generator(key, "a").random() == generator(key, "b").random())
        False
    """
    words = np.asarray(jax.random.key_data(key)).ravel().tolist()
    return np.random.default_rng([*words, zlib.crc32(purpose.encode())])
