"""What the smaller studies share: one simulated log after another at the study's centre, regrets, tables in the end.

`ablation`, `selection`, `shadow`, `tuned` and `wider_stacks` are commands of this one shape. A log that was measured
with this code is not measured again: its frame lies in the folder of its config, table and code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float
from rich.progress import track

from experiments import problem, storage
from experiments.settings import Config
from jaxroute import counterfactual, metrics, policies
from jaxroute.data import simulate, units
from jaxroute.engine import checkpoint
from jaxroute.types import InputError, Key, Logs, Outcomes, Table

Rows = Sequence[np.ndarray]
"""Row indices of one seed: train, validation, test, and those set aside for the weak router."""
Measure = Callable[[Config, Table, int, Rows], pd.DataFrame]


def normalised(config: Config) -> Table:
    """The config's table, costs in normalised units."""
    table = problem.load_table(config)
    return problem.normalise(table, units.cost_scale(table)[0])


def simulated_log(config: Config, seed: int, logged: Table, earlier: Table) -> tuple[Logs, Key]:
    """The training log of the prompts ``logged``, and the key for its nuisances: both as in the main job.

    Args:
        earlier: prompts that the weak router was fitted on.
    """
    keys = [jax.random.fold_in(jax.random.key(seed), purpose) for purpose in range(6)]
    policy = problem.logging_policy(config, keys[problem.LOGGER], earlier)
    logs = simulate.simulate(keys[problem.TRAIN_LOG], logged, policy)
    return jax.tree.map(jnp.asarray, logs), keys[problem.NUISANCE]


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


def each_log(config: Config, table: Table, out: Path, measure: Measure) -> pd.DataFrame:
    """``measure`` of every seed, one below the other; what an earlier run has measured is read.

    Raises:
        InputError: the table is too small, or another process is at work on it.
    """
    every = problem.split_rows(config, table)
    folder, frames = storage.run_folder(out, config), []
    with storage.only_run(folder):
        storage.begin(folder, config)
        seeds = list(zip(config.draws, every, strict=True))
        for seed, rows in track(seeds, description=folder.name, disable=not sys.stderr.isatty()):
            path = folder / f"seed-{seed}.parquet"
            if not path.exists():
                storage.write_frame(path, measure(config, table, seed, rows))
            frames.append(pd.read_parquet(path))
    jax.clear_caches()  # every program maps memory, and the system grants so many maps
    return pd.concat(frames, ignore_index=True)


def command(
    name: str,
    about: str | None,
    measured: Callable[[argparse.Namespace], Iterator[pd.DataFrame]],
    show: Callable[[pd.DataFrame], str],
    arguments: list[str] | None,
) -> int:
    """A study as a command: what was measured goes to <out>/<name>/<name>.parquet, its tables to the screen.

    Args:
        measured: frames, table by table, from the options data, out and smoke. show: text of all of them.

    Returns:
        The exit status: 0, 2 where input was bad or nothing could be written, 130 where it was stopped.
    """
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=about)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the tables' folders")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--smoke", action="store_true", help="small synthetic logs, seconds")
    options = parser.parse_args(arguments)
    try:
        found = pd.concat(measured(options), ignore_index=True)
    except (InputError, checkpoint.SaveError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk met outside a checkpoint
        print(f"error: {error}; what was finished before is intact: run the same command again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was measured is saved: the same command goes on from there", file=sys.stderr)
        return 130
    folder = options.out / name
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_frame(folder / f"{name}.parquet", found)
    print(show(found))
    return 0
