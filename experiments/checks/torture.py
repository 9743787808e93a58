"""Kill the sweep at random moments, restart it, and compare its tables with those of an undisturbed run, bit for bit.

    python -m experiments.checks.torture --kills 200

Each round starts the sweep in a fresh folder and kills it (SIGKILL) repeatedly, a random number of chunks and part of a
chunk after each start (in one of five cases at any moment of a start), until it finishes. Rounds follow until the kills
are used up.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from jaxroute.system import parsing

CONFIG = '''"""A sweep of seconds whose every chunk is a checkpoint, with two rungs."""
from experiments.settings import Axes, Config
from jaxroute.types import NuisanceSpec, Spec


def get_config(smoke: bool = False) -> Config:
    return Config(
        name="torture", num_prompts=300, seeds=1, cost_weights=(0.0, 1.0),
        nuisance=NuisanceSpec(("ridge",), folds=2, penalties=(10.0,)),
        training=Spec(batch_size=32, steps=150, chunk=5),
        axes=Axes(count=4, width=(4, 8), hidden=((8,),), rungs=(50, 100), block=2),
    )
'''


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "experiments.sweep", "--config", str(config), "--out", str(out)]


def _run(config: str, out: str) -> None:
    """The sweep's own entry, in a process that has its imports already; output goes to a file."""
    from experiments import sweep

    with (Path(out) / "output").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(sweep.main(["--config", config, "--out", out]))


def launch(config: Path, out: Path) -> Any:
    out.mkdir(exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.sweep"])  # importing is most of a start
    process = context.Process(target=_run, args=(str(config), str(out)))
    process.start()
    return process


def chunks(out: Path) -> int:
    return sum(path.read_bytes().count(b'"chunk"') for path in out.glob("*/*/metrics.jsonl"))


def table(out: Path) -> pd.DataFrame:
    (path,) = out.glob("*/*/results.parquet")
    return pd.read_parquet(path)


def torture(kills: int, folder: Path, *, seed: int = 0, say: bool = True) -> dict[str, int]:
    """Kill ``kills`` times; returns counts. Raises AssertionError if a table differs or a run fails by itself."""
    chance = random.Random(seed)
    config = folder / "torture.py"
    config.write_text(CONFIG)
    begun = time.perf_counter()
    undisturbed = launch(config, folder / "undisturbed")
    undisturbed.join()
    whole = time.perf_counter() - begun
    assert undisturbed.exitcode == 0, (folder / "undisturbed" / "output").read_text()
    expected, last = table(folder / "undisturbed"), chunks(folder / "undisturbed")
    counts = {"kills": 0, "in training": 0, "rounds": 0}
    while counts["kills"] < kills or counts["rounds"] == 0:
        out = folder / f"round_{counts['rounds']}"
        while True:
            process = launch(config, out)
            if counts["kills"] < kills:
                if chance.random() < 0.2:  # any moment at all, starting up included
                    process.join(chance.uniform(0, whole))
                else:  # after some more chunks, and a part of the next
                    goal = chunks(out) + chance.randint(0, last // 2)
                    while process.is_alive() and chunks(out) < goal:
                        time.sleep(0.01)
                    process.join(chance.uniform(0, 0.2))
                if process.is_alive():
                    counts["in training"] += 0 < chunks(out) < last
                    process.kill()
                    counts["kills"] += 1
            process.join()
            if process.exitcode == -signal.SIGKILL:
                continue
            assert process.exitcode == 0, f"the sweep failed by itself:\n{(out / 'output').read_text()}"
            break
        pd.testing.assert_frame_equal(table(out), expected, check_exact=True)
        shutil.rmtree(out)
        counts["rounds"] += 1
        if say:
            print(f"{counts}; the table is bit-equal to the undisturbed run's", flush=True)
    return counts


def main(arguments: list[str] | None = None) -> int:
    parser = parsing.Parser(prog="python -m experiments.checks.torture", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments")
    options = parser.parse_args(arguments)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").resolve()))
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        counts = torture(options.kills, Path(folder), seed=options.seed)
    print(
        f"{counts['kills']} kills ({counts['in training']} in training) in {counts['rounds']} rounds: "
        "every final table bit-equal to the undisturbed run's"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
