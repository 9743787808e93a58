"""How fast the training program is, compared with loops, PyTorch and this machine's own peak.

    make bench            (156 s on 2 idle cores; SMOKE=1 for seconds; MAIN=1 also times `make experiment`)

One fixed workload: 20,000 prompts x 384 features, MLP [512, 256], 11 models, batch 2048, Adam. M routers in one
program for M = 1 to 1024 are compared with (a) a Python loop over one compiled function, (b) one compilation per cost
weight, (c) a plain PyTorch loop (extra "bench"). The peaks of product and bandwidth are measured in the same run.
Prints a table and writes results/bench/throughput.json.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import storage
from experiments.bench import machine, pytorch
from experiments.bench.workload import EPOCHS, SMOKE, Engine, Workload, data, trainer
from jaxroute.engine import networks, training
from jaxroute.system import parsing, stopping
from jaxroute.types import Examples, Hyperparams, InputError, TrainState

Report = dict[str, Any]


def scaling(work: Workload, peak: float, bandwidth: float) -> list[Report]:
    """A row for every M, all at once (or as many as fit), and one in blocks of ``work.block``: kinder to caches."""
    flops, moved = machine.network_flops(work.batch, work.widths), machine.network_bytes(work.batch, work.widths)
    rows: list[Report] = []
    for count, block in work.programs:
        likely = flops * count / (0.5e9 * peak)
        steps = max(1, min(2 * work.epoch, int(work.seconds / likely)))
        try:
            engine = Engine(work, count, steps, block)
            taken = engine.seconds(3 if likely * steps < 2 * work.seconds else 1) / (count * steps)  # a router-step
        except InputError as error:
            rows.append({"routers": count, "said": str(error)})
            continue
        rows.append(
            {
                "routers": count,
                "at a time": engine.block,
                "steps timed": steps,
                "MB a router": round(engine.bytes_per_point / 1e6, 1),
                "router-epochs/s": round(1 / (taken * work.epoch), 3),
                "GFLOP/s": round(flops / taken / 1e9, 2),
                "share of peak": round(flops / taken / 1e9 / peak, 3),
                "share of bandwidth": round(moved / taken / 1e9 / bandwidth, 3),
                "compile s": round(engine.compile_seconds, 2),
            }
        )
        del engine
    return rows


def compile_times(work: Workload, count: int) -> Report:
    """Seconds to compile with an empty persistent cache, then to find it there, by a process that knows nothing."""
    from jax.experimental.compilation_cache import compilation_cache

    def compiling() -> float:
        jax.clear_caches()
        compilation_cache.reset_cache()
        return Engine(work, count, 1).compile_seconds

    with tempfile.TemporaryDirectory() as folder:
        kept = {name: getattr(jax.config, name) for name in _CACHE}
        try:
            for name, value in zip(_CACHE, (True, folder, 0.0, -1), strict=True):
                jax.config.update(name, value)
            return {"routers": count, "cold": round(compiling(), 2), "persistent cache": round(compiling(), 2)}
        finally:
            for name, value in kept.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


_CACHE = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


def rivals(work: Workload, routers: int = 16) -> Report:
    """Router-epochs per second of the three loops."""
    single = jax.jit(trainer(work, work.epoch))
    network = networks.router(work.models, work.hidden)
    examples = jax.tree.map(lambda x: jax.device_put(x[0]), data(work))
    points = [Hyperparams(cost_weight=jnp.float32(weight)) for weight in np.linspace(0, 2, routers)]
    states = [training.init(network, point, work.spec, work.features) for point in points]
    begun = time.perf_counter()
    jax.block_until_ready(single((points[0], states[0]), examples, jnp.int32(0)))
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for point, state in zip(points, states, strict=True):
        jax.block_until_ready(single((point, state), examples, jnp.int32(0)))
    epoch = (time.perf_counter() - begun) / routers

    def baked(weight: float) -> float:
        """Seconds that a cost weight written into the program costs: tracing and compiling anew."""

        def train(state: TrainState, examples: Examples, first: Any) -> TrainState:
            return trainer(work, work.epoch)((points[0]._replace(cost_weight=weight), state), examples, first)

        begun = time.perf_counter()
        jax.jit(train).lower(states[0], examples, jnp.int32(0)).compile()
        return time.perf_counter() - begun

    anew = float(np.mean([baked(weight) for weight in (0.25, 0.5)]))
    found: Report = {
        "loop over one compiled function": {
            "router-epochs/s": round(1 / epoch, 3),
            "routers timed": routers,
            "first call s": round(first, 2),
        },
        f"one compile per cost weight, {EPOCHS} epochs each": {
            "router-epochs/s": round(EPOCHS / (anew + EPOCHS * epoch), 3),
            "compile s": round(anew, 2),
        },
    }
    if importlib.util.find_spec("torch") is None:
        found["PyTorch loop"] = "not measured: torch is not installed (pip install -e '.[bench]')"
    else:
        rng = np.random.default_rng(0)
        taken = []
        for point, state in zip(points[:4], states[:4], strict=True):
            batches = rng.permutation(work.rows)[: work.epoch * work.batch].reshape(work.epoch, work.batch)
            taken.append(pytorch.train(state.params, examples, point, work.spec, batches)[1])
        found["PyTorch loop"] = {"router-epochs/s": round(1 / float(np.median(taken)), 3), "routers timed": len(taken)}
    return found


def main_job(smoke: bool) -> dict[str, float]:
    """Wall seconds of the default main job with an empty compile cache, then with the full one."""
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        for label in ("empty_cache", "full_cache"):
            command = [sys.executable, "-m", "experiments.run", "--out", f"{folder}/out", "--fresh"]
            begun = time.perf_counter()
            subprocess.run(
                [*command, *(["--smoke"] if smoke else [])],
                check=True,
                stdout=subprocess.DEVNULL,
                env=os.environ
                | {
                    "JAX_COMPILATION_CACHE_DIR": f"{folder}/cache",
                    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                },
            )
            times[label] = round(time.perf_counter() - begun, 1)
    return times


def measure(work: Workload) -> Report:
    """Everything but the main job."""
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are part of what is compared
    peak, bandwidth = machine.matmul_peak(work.peak_size, work.spec.matmul_precision), machine.bandwidth()
    found: Report = {
        "workload": {"rows": work.rows, "features": work.features, "hidden": work.hidden, "models": work.models,
                     "batch": work.batch, "epoch_steps": work.epoch, "precision": work.spec.matmul_precision},
        "matmul peak GFLOP/s": round(peak, 1),
        "memory bandwidth GB/s": round(bandwidth, 1),
        "one program": scaling(work, peak, bandwidth),
        "rivals": rivals(work),
        "compile s": compile_times(work, 16),
    }  # fmt: skip
    fastest = max(row.get("router-epochs/s", 0.0) for row in found["one program"])
    found["fastest program over"] = {
        name: round(fastest / each["router-epochs/s"], 2)
        for name, each in found["rivals"].items()
        if isinstance(each, dict)
    }
    found["environment"] = storage.environment()
    return found


def show(found: Report) -> None:
    """The same on the console."""
    columns = [name for name in max(found["one program"], key=len) if name != "said"]
    table = Table(title=f"one program; peak {found['matmul peak GFLOP/s']} GFLOP/s, "
                  f"memory {found['memory bandwidth GB/s']} GB/s, {found['environment']['device']}")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for row in found["one program"]:
        table.add_row(*(str(row.get(column, "-")) for column in columns))
    Console(width=140).print(table)
    for row in found["one program"]:
        if "said" in row:
            print(f"{row['routers']} routers: {row['said']}")
    for name, each in found["rivals"].items():
        print(f"{name}: " + (each if isinstance(each, str) else ", ".join(f"{k} {v}" for k, v in each.items())))
    for name in ("fastest program over", "compile s"):
        print(f"{name}: " + ", ".join(f"{k}: {v}" for k, v in found[name].items()))


def main(arguments: list[str] | None = None) -> int:
    parser = parsing.Parser(prog="python -m experiments.bench.throughput", description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="run on small shapes, in seconds")
    parser.add_argument("--main-job", action="store_true", help="also time make experiment with and without a cache")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    found = measure(SMOKE if options.smoke else Workload())
    show(found)
    if options.main_job:
        found["main job s"] = main_job(options.smoke)
        print(f"make experiment: {found['main job s']}")
    options.out.mkdir(parents=True, exist_ok=True)
    storage.write_text(options.out / "throughput.json", json.dumps(found, indent=1))
    print(f"written: {options.out / 'throughput.json'}")
    return 0


if __name__ == "__main__":
    stopping.leave(main())
