"""How fast the main job and its vmapped sweep are, against loops and against this machine's peak.

    make bench            (about 5 minutes on 2 cores; SMOKE=1 for seconds)

Prints a table and writes results/bench/throughput.json. Everything is measured in this one run: the
matrix-product peak, the grid of routers as one program, the same work as a Python loop over one compiled
function, the same with one compile per cost weight, and `make experiment` with an empty and a full
compile cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from experiments import objectives, settings, storage
from experiments.bench import machine
from jaxroute import networks, population, sweep, training
from jaxroute.types import Examples, Hyperparams, Outcomes, Spec


def workload(config: settings.Config, models: int, features: int) -> tuple[Examples, Examples]:
    """Random examples of the shapes that the config's main job trains on, [S, N, ...]."""

    def examples(key: jax.Array, rows: int) -> Examples:
        x, quality, cost = (
            jax.random.normal(k, (config.seeds, rows, width))
            for k, width in zip(jax.random.split(key, 3), (features, models, models), strict=True)
        )
        outcomes = Outcomes(jax.nn.sigmoid(quality), jnp.exp(cost))
        return Examples(x, outcomes, jnp.ones(outcomes.cost.shape, bool))

    train, validation, _ = (int(share * config.num_prompts) for share in config.fractions)
    return examples(jax.random.key(0), train), examples(jax.random.key(1), validation)


def compare(config: settings.Config, repeats: int) -> dict[str, Any]:
    """Router-epochs per second of one chunk of training, three ways."""
    spec: Spec = config.training
    models, features = 10, 32
    learn, validate = workload(config, models, features)
    network = networks.router(models, spec.hidden)
    objective = objectives.softmax_regret
    mesh = sweep.mesh(jax.devices()[:1])
    points = population.grouped_grid(config.seeds, cost_weight=config.cost_weights)
    chunk = partial(training.train_chunk, network=network, objective=objective, spec=spec)

    together = sweep.over_points(chunk, mesh, grouped=True)
    states = jax.vmap(jax.vmap(lambda p: training.init(network, p, spec, features)))(points)
    begun = time.perf_counter()
    compiled = jax.jit(together).lower((points, states), (learn, validate), jnp.int32(0)).compile()
    compile_seconds = time.perf_counter() - begun
    vmapped = machine.seconds(lambda: compiled((points, states), (learn, validate), jnp.int32(0)), repeats)

    def pick(tree: Any, *index: int) -> Any:
        return jax.tree.map(lambda x: x[index], tree)

    every = [(s, p) for s in range(config.seeds) for p in range(len(config.cost_weights))]
    inputs = [((pick(points, *i), pick(states, *i)), pick((learn, validate), i[0])) for i in every]
    single = jax.jit(chunk)
    loop = machine.seconds(lambda: [single(point, data, jnp.int32(0)) for point, data in inputs], repeats)

    def recompiled() -> Any:
        """What a cost weight baked into the program costs: one compile each, seeds sharing it."""
        done = []
        for p, weight in enumerate(config.cost_weights):

            def baked(point: Any, data: Any, first: Any, weight: float = weight) -> Any:
                fixed: Hyperparams = point[0]._replace(cost_weight=weight)
                return chunk((fixed, point[1]), data, first)

            program = jax.jit(baked)
            done += [program(*inputs[s * len(config.cost_weights) + p], jnp.int32(0)) for s in range(config.seeds)]
        return done

    begun = time.perf_counter()
    jax.block_until_ready(recompiled())
    once_per_weight = time.perf_counter() - begun

    rows = learn.features.shape[1]
    epochs = len(every) * spec.chunk * spec.batch_size / rows
    steps = len(every) * spec.chunk
    flops = steps * machine.network_flops(spec.batch_size, [features, *spec.hidden, models])
    peak = machine.matmul_peak()
    return {
        "points": len(every),
        "rows": rows,
        "features": features,
        "hidden": spec.hidden,
        "batch": spec.batch_size,
        "matmul_peak_gflops": round(peak, 1),
        "compile_seconds": round(compile_seconds, 2),
        "router_epochs_per_second": {
            "one vmapped program": round(epochs / vmapped, 1),
            "loop over one compiled function": round(epochs / loop, 1),
            "one compile per cost weight (compiles included)": round(epochs / once_per_weight, 1),
        },
        "vmapped_over_loop": round(loop / vmapped, 2),
        "vmapped_over_recompiling": round(once_per_weight / vmapped, 1),
        "vmapped_gflops": round(flops / vmapped / 1e9, 1),
        "share_of_peak": round(flops / vmapped / 1e9 / peak, 3),
    }


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.throughput", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, seconds")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args()
    config = settings.load("default", smoke=options.smoke)
    # Compile times are part of what is compared here; `main_job` brings a cache of its own.
    jax.config.update("jax_enable_compilation_cache", False)
    measured = compare(config, repeats=2 if options.smoke else 5)
    measured["main_job_seconds"] = main_job(options.smoke)
    measured["environment"] = storage.environment()

    table = Table(title="throughput", show_header=False)
    for name, value in measured.items():
        if isinstance(value, dict) and name != "environment":
            for part, number in value.items():
                table.add_row(f"{name}: {part}", str(number))
        elif name != "environment":
            table.add_row(name, str(value))
    table.add_row("device", measured["environment"]["device"] + f", {measured['environment']['cores']} cores")
    Console().print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    storage.write_text(options.out / "throughput.json", json.dumps(measured, indent=1))
    print(f"written: {options.out / 'throughput.json'}")


if __name__ == "__main__":
    main()
