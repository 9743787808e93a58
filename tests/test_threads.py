"""Threads of BLAS: one inside, and as many as before outside, also after an error."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from jaxroute.system.threads import one_blas_thread


def threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def test_one_thread_inside_and_as_many_as_before_outside():
    @one_blas_thread()
    def factored(matrix):
        assert threads() == {1}
        return np.linalg.cholesky(matrix)

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert factored(np.eye(3)).shape == (3, 3)
        with pytest.raises(np.linalg.LinAlgError):
            factored(-np.eye(3))
        assert threads() == before


def test_a_library_that_jax_loads_inside_has_one_thread_too():
    """JAX loads SciPy's at its first factor: a first fit had all cores, and rounded otherwise than a second one."""
    program = """
import jax, jax.numpy as jnp
from threadpoolctl import threadpool_info, threadpool_limits
from jaxroute.system.threads import one_blas_thread
threadpool_limits(2, user_api="blas")
with one_blas_thread():
    jax.block_until_ready(jnp.linalg.cholesky(jnp.eye(3)))
    print([lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    )
    found = json.loads(ran.stdout)
    assert len(found) >= 2, ran.stderr  # NumPy's and SciPy's
    assert set(found) == {1}
