"""Which requests to explore, measured over rounds: regret, dollars, and how soon a log proves a gain.

    make loop DATA=<folder of tables>        SMOKE=1 for a run of seconds

Every table of the study: a log of 500 rows that a weak router wrote, then ten rounds of 300 requests, whose cost
weights are the study's in turn; the outcome model is refitted after each round (`experiments.loop.bayes`), the same
one for all policies, but for those rivals whose rule has a learner of its own. Ten seeds. Every policy runs where
nothing changes, the main ones also under each of `problem.SCENARIOS`. The numbers of our policies were chosen on
seeds from 200 on. A run that was made with this code is not made again.

Writes results/loop/loop.parquet (a row per table, scenario, policy, seed and round), loop.md and loop.svg.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from rich.progress import track

from experiments import commands, storage
from experiments.cells import Cells, fingerprint, key
from experiments.loop import learned, problem, report, simulate
from experiments.loop.policies import DRIFT, NETWORKS, POLICIES
from experiments.loop.problem import SCENARIOS
from experiments.study import design

COLUMNS = ("table", "seed", "policy", "round", "regret", "cumulative_regret", "dollars", "half_width")
SMOKED = [(SCENARIOS[0], name) for name in ("uniform 0.1", "thompson", "shadow sample", "BaRP")]
SMOKED += [("new model", "thompson")]
PARTS = [
    [(SCENARIOS[0], name) for name in POLICIES] + [(SCENARIOS[1], name) for name in DRIFT],
    [(scenario, name) for scenario in SCENARIOS[2:] for name in DRIFT],
    [(SCENARIOS[0], name) for name in NETWORKS],
]
"""What is run on every table, in this order."""
FIRST_SEED, SEEDS = 0, 10


def measured(data: Path, out: Path, *, smoke: bool, seeds: int = SEEDS, first_seed: int = FIRST_SEED) -> pd.DataFrame:
    """Every run of every table that is there: first those where nothing changes and where a model is new."""
    cells, frames, loops = Cells(out / "loop" / "cells"), [], {}
    for table, config in design.centres(data, smoke=smoke):
        config = dataclasses.replace(config, seeds=2 if smoke else seeds, first_seed=first_seed)
        loops[table.name] = problem.make(config)
    for wanted in [SMOKED] if smoke else PARTS:
        for name, loop in loops.items():
            for scenario, policy in track(wanted, name, disable=not sys.stderr.isatty()):
                frame = measured_once(cells, name, loop, scenario, policy)
                frames.append(frame.assign(table=name, scenario=scenario, policy=policy))
            jax.clear_caches()  # every program maps memory, and the system grants so many maps
    found = pd.concat(frames, ignore_index=True)
    smaller = dict.fromkeys(found.select_dtypes(float).columns, np.float32)
    return found[[*COLUMNS, *found.columns.difference(list(COLUMNS), sort=False)]].astype(smaller)


def measured_once(cells: Cells, table: str, loop: problem.Loop, scenario: str, name: str) -> pd.DataFrame:
    """One policy on one table, of an earlier run where it was made with the same code on the same prompts."""
    run = learned.run if name in NETWORKS else simulate.run
    policy = (POLICIES | NETWORKS)[name]
    prompts = fingerprint(jax.tree.map(np.asarray, loop.world), loop.first, loop.rounds, loop.requests)
    code = key((run,), prompts, loop.seeds, scenario, repr(policy))
    return cells.frame(f"{table}-{scenario}-{name}", code, lambda: run(loop, scenario, policy))


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("loop", __doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the folders of the tables")
    options = parser.parse_args(arguments)

    def work() -> None:
        found = measured(options.data, options.out, smoke=options.smoke)
        folder = options.out / "loop"
        storage.write_frame(folder / "loop.parquet", found)
        storage.write_text(folder / "loop.md", report.text(found))
        report.draw(found).savefig(folder / "loop.svg", metadata={"Date": None})
        print((folder / "loop.md").read_text())

    return commands.exit_code(work)


if __name__ == "__main__":
    raise SystemExit(main())
