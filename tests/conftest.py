"""JAX is set up before its first call: eight emulated devices, no silent rank promotion."""

import gc
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

os.environ.pop("COLUMNS", None)  # of the terminal where the tests run: tables would take its width
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # LiteLLM and the proxies call nobody for prices
jax.config.update("jax_num_cpu_devices", 8)
# Threads for them all: of programs that wait for one another, each would hold some of eight (docs/many-devices.md).
os.environ.setdefault("PJRT_NPROC", "64")
jax.config.update("jax_numpy_rank_promotion", "raise")
if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1" and jax.__version_info__ < (0, 11):  # newer JAX lacks it
    # Its older generator compiles faster; and programs as small as these, in one part each.
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", quick)
# Tracing makes many objects, and the collector would look through all of them again and again: a tenth of the time.
gc.set_threshold(50_000)

HERE = Path(__file__).parent
# The files that take longest, longest first: they begin first, so that the workers end together.
LONGEST = (
    "methods", "estimators", "conditional", "metrics", "evidence", "losses", "learn_fit", "full_feedback", "feedback",
    "conditional_methods", "engine_halving", "engine_training", "engine_train", "engine_disk", "engine_rows", "api",
    "read_alike", "source", "study_report", "exploring", "fit_steps",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.name, len(first)))


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_file():
    """Compiled programs are let go after each file: kept, they grow to 7 GB in a worker."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def _no_row_is_known_by_chance():
    """Fingerprints take one new row in 15,000 for a known one, another one in each run: here one in 10 billion."""
    from jaxroute.data import fingerprints

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprints, "BITS", 64)
        yield


@pytest.fixture(scope="session")
def golden() -> dict[str, list[dict]]:
    """Reference cases by family; inputs and expected values in float64 (tests/golden.json)."""
    cases = json.loads((HERE / "golden.json").read_text())["cases"]
    return {f: [c for c in cases if c["family"] == f] for f in {c["family"] for c in cases}}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo log, one later log, and a router fitted from the first."""
    from jaxroute import cli

    folder = tmp_path_factory.mktemp("cli")
    for name, seed, rows in (("log.jsonl", 0, 1200), ("later.jsonl", 1, 800)):
        with pytest.raises(SystemExit):
            cli.main(["demo-log", str(folder / name), "--rows", str(rows), "--seed", str(seed)])
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fit", str(folder / "log.jsonl"), "--out", str(folder / "router")])
    assert not exit_.value.code
    return folder


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """How many generated cases of a module loaded and how many were refused; printed at its end."""
    from fuzzing import counted

    yield from counted()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to read from, with a cache of its own."""
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def upstream() -> Iterator[Any]:
    """What a gateway's models are: a server of this test alone."""
    import gateway_upstream

    with gateway_upstream.running() as server:
        yield server


@pytest.fixture(scope="module")
def proxy_of_the_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """LiteLLM's real proxy before an upstream of its own."""
    import gateway_proxy

    with gateway_proxy.shared(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
def proxy(proxy_of_the_file: Any) -> Any:
    """The file's proxy, at the beginning of a test."""
    proxy_of_the_file.begin()
    return proxy_of_the_file
