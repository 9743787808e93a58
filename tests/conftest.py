"""JAX is set up before its first call: eight emulated devices, no silent rank promotion, quick compiling.

Most of the tests' time is compiling programs that run once, so XLA optimises them little, here and in the processes
that tests start. The training engine's tests, which compare bits over devices and resumes, run as users run it.
"""

import json
import os
from pathlib import Path

QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
os.environ.setdefault(QUICK, "1")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_file(request):
    """Compiled programs are let go after each file: kept, they grow to 7 GB in a worker."""
    as_users_run_it = request.module.__name__.startswith(("test_engine", "test_sweep"))
    jax.config.update(QUICK.lower(), os.environ[QUICK] == "1" and not as_users_run_it)
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def golden() -> dict[str, list[dict]]:
    """Reference cases by family; inputs and expected values in float64 (tests/golden.json)."""
    cases = json.loads((HERE / "golden.json").read_text())["cases"]
    return {f: [c for c in cases if c["family"] == f] for f in {c["family"] for c in cases}}
