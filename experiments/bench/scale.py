"""Training with rows on disk: rows per second compared with rows in memory, seconds by number of rows, and memory.

    make bench-scale          (two minutes; ROWS=1e7 for ten million rows and 9 GB of disk; SMOKE=1 for seconds)

An artificial log of 384 float16 features and 11 models is written block by block with doubly robust outcomes
(nuisances fitted on other rows), removed from the page cache, and trained on by `engine.train`: 8 cost weights side by
side, an MLP [64]. Every size runs in its own process. RssAnon is the memory of the process without mapped files, as
Linux counts it; its peak is over writing and training. CPU seconds are those of all threads, because wall time depends
on other work on the machine. Prints a table and writes results/bench/scale.json. The exit status is 1 if the peak
exceeds 4 GB.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import storage
from jaxroute import engine, nuisance, sweep
from jaxroute.engine import disk, networks
from jaxroute.learn import examples, objectives
from jaxroute.system import parsing, stopping
from jaxroute.types import Examples, Logs, NuisanceSpec, Spec

MODELS, FEATURES, WRITTEN, GIGABYTES = 11, 384, 20_000, 4.0
RIDGE = NuisanceSpec(("mean", "ridge"), folds=2, penalties=(100.0,))


def made_up(num_rows: int, seed: int = 0) -> Iterator[Logs]:
    """A uniform log, ``WRITTEN`` rows at a time: quality is a coin whose odds are linear in the features."""
    truth = np.random.default_rng(1).normal(size=(FEATURES, MODELS)).astype(np.float32) / math.sqrt(FEATURES)
    price = np.geomspace(0.02, 1.0, MODELS)
    for start in range(0, num_rows, WRITTEN):
        rows = min(WRITTEN, num_rows - start)
        rng = np.random.default_rng([seed, start])
        features = 3.4 * rng.random((rows, FEATURES), np.float32) - 1.7  # variance 1, sooner drawn than normal ones
        action = rng.integers(0, MODELS, rows)
        odds = np.take_along_axis(2 * features @ truth, action[:, None], 1)[:, 0]
        quality = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float32)
        cost = (price[action] * rng.lognormal(0, 0.3, rows)).astype(np.float32)
        uniform, every = np.full(rows, 1 / MODELS, np.float32), np.ones((rows, MODELS), bool)
        yield Logs(*(jnp.asarray(x) for x in (features, action, quality, cost, uniform, every)))


def anonymous() -> float:
    """Gigabytes that this process holds itself now (RssAnon); NaN where the kernel does not say."""
    status = Path("/proc/self/status")
    marks = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")] if status.exists() else []
    return int(marks[0].split()[1]) * 1024 / 1e9 if marks else math.nan


@contextmanager
def watched(pause: float = 0.02) -> Iterator[list[float]]:
    """[what `anonymous` says at the start, its peak so far], looked at every ``pause`` seconds."""
    seen = [anonymous()] * 2
    done = threading.Event()

    def look() -> None:
        while not done.wait(pause):
            seen[1] = max(seen[1], anonymous())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        seen[1] = max(seen[1], anonymous())


def measure(
    folder: str,
    num_rows: int,
    *,
    points: int = 8,
    hidden: tuple[int, ...] = (64,),
    block: int = 16_384,
    visits: int = 12,
    beside_memory: bool = False,
) -> dict[str, Any]:
    """Write ``num_rows`` rows, then train on all of them for an epoch, ``visits`` blocks at least.

    The first visit compiles and is not counted. With ``beside_memory`` the same steps run on the same rows in memory.
    """
    batch, validated = min(2048, block // 4), min(4096, num_rows // 10)
    with watched() as whole:
        _, model = nuisance.fit(jax.random.key(0), next(made_up(4000, 7)), RIDGE)
        begun = time.perf_counter()
        disk.write(folder, examples.corrected(made_up(num_rows), model, clip=0.05), num_rows)
        _forget(Path(folder))
        writing = time.perf_counter() - begun
        (validate,) = examples.corrected([next(made_up(validated, 8))], model, clip=0.05)
        learn = disk.open_rows(folder, block=block, run=min(256, block // 4))
        visits = max(visits, num_rows // block)
        steps = block // batch
        ticks: list[tuple[float, float]] = []

        def tick(_: int, state: Any) -> None:
            jax.block_until_ready(state)
            ticks.append((time.perf_counter(), time.process_time()))

        def a_million() -> tuple[float, float]:
            """Seconds on the clock, and of processors, that a million rows took."""
            (begun, worked), (ended, had_worked) = ticks[0], ticks[-1]
            millions = (len(ticks) - 1) * block / 1e6
            return (ended - begun) / millions, (had_worked - worked) / millions

        grid = sweep.grouped_grid(1, cost_weight=np.linspace(0.0, 1.0, points).tolist())
        spec, mesh = Spec(hidden, batch, visits * steps, steps), sweep.mesh(jax.devices()[:1])
        program = engine.Program(networks.router(MODELS, hidden), objectives.OBJECTIVES["rm_softmax"], spec, mesh)
        one = jax.tree.map(lambda x: x[None], validate)
        with watched() as training:
            state = engine.train(program, grid, learn, one, on_chunk=tick)
        seconds, processor_seconds = a_million()
        found = {
            "rows": num_rows,
            "visits": len(ticks),
            "writing_seconds": round(writing, 1),
            "rows_per_second": round(1e6 / seconds),
            "epoch_seconds": round(num_rows / 1e6 * seconds, 2),
            "processor_seconds_a_million": round(processor_seconds, 2),
            "training_adds_gigabytes": round(training[1] - training[0], 3),
            "best_value": round(float(np.mean(state.best_value)), 4),
        }
    found["peak_gigabytes"] = round(whole[1], 2)
    if beside_memory:
        ticks.clear()
        held: Examples = jax.tree.map(lambda x: jnp.asarray(x)[None], learn.examples)
        engine.train(program, grid, held, one, on_chunk=tick)
        found["rows_per_second_in_memory"] = round(1e6 / a_million()[0])
        found["processor_seconds_a_million_in_memory"] = round(a_million()[1], 2)
    return found


def _forget(folder: Path) -> None:
    """Send the files to the disk and out of the page cache, so that training reads them from there."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sizes(rows: int) -> list[int]:
    """A hundred thousand, ten times that as long as it is below ``rows``, and ``rows``.

    >>> sizes(300_000), sizes(10_000_000)
    ([100000, 300000], [100000, 1000000, 10000000])
    """
    return [10**k for k in range(5, 12) if 10**k < rows] + [rows]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; the exit status is 1 where the memory limit is passed."""
    parser = parsing.Parser(prog="python -m experiments.bench.scale", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="use few rows, in seconds")
    parser.add_argument("--rows", type=float, default=3e5, help="largest number of rows (default: 300,000)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # folder, settings, where to write: one process
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    if options.one:
        folder, settings, file = options.one
        Path(file).write_text(json.dumps(measure(folder, **json.loads(settings))))
        return 0
    small = {"points": 2, "block": 1024, "visits": 4} if options.smoke else {}
    counts = [4000, 8000] if options.smoke else sizes(int(options.rows))
    table = Table(title=f"rows on disk, {FEATURES} float16 features")
    for column in (
        "rows",
        "rows/s",
        "in memory",
        "s an epoch",
        "CPU s a million",
        "in memory",
        "peak RssAnon GB",
        "writing s",
    ):
        table.add_column(column, justify="right", min_width=10 if column == "rows" else None)
    measured = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            settings = json.dumps({"num_rows": count, "beside_memory": count == counts[0], **small})
            one = ["--one", f"{folder}/rows", settings, f"{folder}/took.json"]
            subprocess.run([sys.executable, "-m", "experiments.bench.scale", *one], check=True)
            took = json.loads(Path(f"{folder}/took.json").read_text())
        measured.append(took)
        in_memory = [took.get(f"{what}_in_memory") for what in ("rows_per_second", "processor_seconds_a_million")]
        table.add_row(
            f"{count:,}",
            f"{took['rows_per_second']:,}",
            "-" if in_memory[0] is None else f"{in_memory[0]:,}",
            f"{took['epoch_seconds']:,.1f}",
            f"{took['processor_seconds_a_million']:,.1f}",
            "-" if in_memory[1] is None else f"{in_memory[1]:,.1f}",
            f"{took['peak_gigabytes']:.2f}",
            f"{took['writing_seconds']:,.0f}",
        )
    Console().print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "scale.json"
    storage.write_text(file, json.dumps({"sizes": measured, "environment": storage.environment()}, indent=1))
    print(f"written: {file}")
    over = [took["rows"] for took in measured if took["peak_gigabytes"] > GIGABYTES]
    if over:
        print(f"over {GIGABYTES:g} GB: {', '.join(f'{rows:,} rows' for rows in over)}")
    return int(bool(over))


if __name__ == "__main__":
    stopping.leave(main())
