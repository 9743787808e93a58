"""Rows in blocks whose activations stay in cache, each on a core of its own; and whether all of them are finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

ROWS = 2048
"""Rows of a block, whose activations stay in the second cache."""


def each(of: Callable[[slice], object], count: int) -> None:
    """``of`` slices that cover ``count`` rows: at once for few rows, else blocks of them on all cores.

    Args:
        of: writes what it finds of a slice; what it raises of the first block that fails is raised. count: of rows.

    Example:
        >>> found = np.zeros(5000)
        >>> def square(rows):
        ...     found[rows] = np.arange(5000.0)[rows] ** 2
        >>> each(square, 5000)
        >>> float(found[-1])
        24990001.0
    """
    if count <= ROWS:
        of(slice(0, count))
        return
    from concurrent.futures import ThreadPoolExecutor

    from jaxroute.system.threads import cores, one_blas_thread

    errors = np.geterr()

    def one(start: int) -> None:
        with np.errstate(**errors):  # which are those of a thread
            of(slice(start, min(start + ROWS, count)))

    @one_blas_thread()
    def every() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(one, range(0, count, ROWS)):
                pass

    every()


def all_finite(x: np.ndarray) -> bool:
    """Whether no number of a real array is NaN or infinite, in one pass unless their squares overflow.

    Example:
        >>> all_finite(np.float32([1e30, -1e30])), all_finite(np.float32([0, np.nan])), all_finite(np.float32([np.inf]))
        (True, False, False)
    """
    return math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())  # no warning of vdot, unlike dot and sum
