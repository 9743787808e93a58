"""What the smaller studies share: one simulated log after another at the study's centre, regrets, tables in the end.

The other modules here are commands of this one shape, except `worked_example`. A log that was measured is not measured
again: its frame is a cell, under a key of the source, the table, the rows and the settings (`experiments.cells`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Bool, Float
from rich.progress import track

from experiments import commands, storage
from experiments.cells import Cells, fingerprint, key
from experiments.problem import build
from experiments.problem.table import Data
from experiments.settings import IN_ROWS, IN_TABLE, Config, blank
from experiments.study.tables import markdown
from jaxroute import counterfactual, metrics, policies
from jaxroute.data import simulate
from jaxroute.types import Key, Logs, Outcomes, Table

Measure = Callable[..., pd.DataFrame]
"""Of (config, table, seed, rows, ...)."""


def simulated_log(config: Config, seed: int, logged: Table, earlier: Table) -> tuple[Logs, Key]:
    """The training log of the prompts ``logged``, and the key for its nuisances: both as in the main job.

    Args:
        earlier: prompts that the weak router was fitted on.
    """
    keys = build.keys_of(seed)
    policy = build.logging_policy(config, keys[build.LOGGER], earlier)
    logs = simulate.simulate(keys[build.TRAIN_LOG], logged, policy)
    return jax.tree.map(jnp.asarray, logs), keys[build.NUISANCE]


def regret(predicted: Outcomes, test: Table, weights: Sequence[float]) -> float:
    """Mean regret to the realised oracle in points, over test prompts and cost weights.

    Args:
        predicted: [N, K] outcomes of the test prompts to decide on, greedily.
    """
    truth, available = jax.tree.map(jnp.asarray, (test.outcomes, test.available))
    return 100 * float(_regret(predicted, truth, available, jnp.asarray(weights, jnp.float32)))


@jax.jit
def _regret(
    predicted: Outcomes, truth: Outcomes, available: Bool[Array, "N K"], weights: Float[Array, " L"]
) -> Float[Array, ""]:
    def at(weight: Array) -> Array:
        policy = policies.greedy(counterfactual.utility(predicted, weight), available=available)
        return jnp.mean(metrics.regret(policy, truth, weight, available=available))

    return jnp.mean(jax.lax.map(at, weights))


def each_log(config: Config, data: Data, out: Path, measure: Measure, *more: Any) -> pd.DataFrame:
    """``measure`` of every seed, one below the other; what an earlier run has measured is read.

    Args:
        more: further arguments of ``measure``, of which its result is made as well.
    """
    cells, table = Cells(out / "cells"), fingerprint(data.table)
    seen = blank(config, "name", "methods", "axes", *IN_TABLE, *IN_ROWS)
    frames = []
    seeds = list(zip(config.draws, data.rows, strict=True))
    for seed, rows in track(seeds, description=config.name, disable=not sys.stderr.isatty()):
        made_of = key((measure,), repr(seen), table, seed, rows, *more)
        frames.append(
            cells.frame(f"{config.name}-seed-{seed}", made_of, partial(measure, seen, data.table, seed, rows, *more))
        )
    jax.clear_caches()  # every program maps memory, and the system grants so many maps
    return pd.concat(frames, ignore_index=True)


def command(
    name: str,
    about: str | None,
    measured: Callable[[argparse.Namespace], Iterator[pd.DataFrame]],
    summary: Callable[[pd.DataFrame], pd.DataFrame],
    arguments: list[str] | None,
    add: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> int:
    """A study as a command: what was measured goes to <out>/<name>/<name>.parquet, its summary to the screen.

    Args:
        measured: frames, table by table, from the options data, out and smoke. summary: of all of them.
        add: adds options of the study's own.
    """
    parser = commands.parser(f"side.{name}", about)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the folders of the tables")
    add(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        found = pd.concat(measured(options), ignore_index=True)
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_frame(folder / f"{name}.parquet", found)
        print(markdown(summary(found)))

    return commands.exit_code(work)
