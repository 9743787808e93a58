"""Cores of this process, and threads of BLAS and LAPACK, which JAX takes from SciPy on a CPU."""

from __future__ import annotations

import os
from typing import Any

from threadpoolctl import threadpool_limits


def cores() -> int:
    """How many cores this process may use: with another number, sums round differently and close decisions differ."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> Any:
    """Decorator: the function's BLAS and LAPACK calls run on one thread each, whatever is set outside.

    OpenBLAS divides even a system of a hundred equations among all cores, where its threads wait for each other by
    spinning. With another process on the cores, nine inverses of 129 x 129 took 171 ms of CPU time, and 9 ms on one
    thread. JAX's own products have threads of their own, which this leaves alone. The limit holds for the whole
    process while the function runs, so the function has to wait for the arrays that it returns.

    Example:
        >>> from threadpoolctl import threadpool_info
        >>> limited = one_blas_thread()(lambda: [lib["num_threads"] for lib in threadpool_info()])
        >>> import numpy as np  # which has a BLAS
        >>> 1 in limited()
        True
    """
    return threadpool_limits.wrap(limits=1, user_api="blas")
