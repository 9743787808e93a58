"""Threads of BLAS: one inside, and as many as before outside, also after an error."""

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
