"""Cores of this process, and threads of BLAS and LAPACK, which JAX takes from SciPy on a CPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


def cores() -> int:
    """How many cores this process may use: with another number, sums round differently and close decisions differ."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, or in a function that this decorates, BLAS and LAPACK calls run on one thread each.

    OpenBLAS divides even a system of a hundred equations among all cores, where its threads wait for each other by
    spinning. With another process on the cores, nine inverses of 129 x 129 took 171 ms of CPU time, and 9 ms on one
    thread. JAX's own products have threads of their own, which this leaves alone. The limit holds for the whole
    process, so a function has to wait for the arrays that it returns.

    A limit holds for the libraries that are there already, and JAX loads SciPy's with the first program that needs
    LAPACK, so it is loaded here: a first fit would else be slower than a second one, and round differently.

    Example:
        >>> from threadpoolctl import threadpool_info
        >>> with one_blas_thread():
        ...     print({lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"})
        {1}
    """
    importlib.import_module("scipy.linalg.cython_lapack")
    with threadpool_limits(limits=1, user_api="blas"):
        yield
