"""The loop with the recommended recipe as every round's router, instead of the Bayesian regressions.

    python -m experiments.loop.recipe --data <folder of tables>        --smoke for a short run

Uniform exploration of 0.02 around the recipe fitted to all rows so far, on the prompts, seeds and draws of `make loop`:
its rows compare with those of "uniform 0.02" there.

Writes results/loop/recipe.parquet (a row per table, seed and round) and prints the comparison.
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import commands, storage
from experiments.cells import Cells, fingerprint, key
from experiments.loop import problem, rounds, simulate
from experiments.loop.policies import UNIFORM
from experiments.loop.problem import START, Loop
from experiments.loop.rounds import World
from experiments.study import design
from jaxroute import metrics, policies, recipe
from jaxroute.types import Logs, NuisanceSpec, Outcomes

EPSILON, SEEDS = 0.02, 10
TABLES = tuple(table.name for table in design.TABLES)
SCENARIO, RIVAL = "stationary", f"uniform {EPSILON}"
RESULTS = ["seed", "round", "regret", "cumulative_regret", "cumulative_excess"]


def run(loop: Loop, spec: NuisanceSpec = NuisanceSpec()) -> pd.DataFrame:
    """A row per seed and round, regrets in points; ``seconds`` is what the fit before the round took."""
    lines = [line for place in range(len(loop.seeds)) for line in _one_seed(loop, place, spec)]
    return pd.DataFrame(lines)


def _one_seed(loop: Loop, place: int, spec: NuisanceSpec) -> list[dict[str, float]]:
    world: World = jax.tree.map(lambda leaf: leaf[place], loop.world)
    seed, order = loop.seeds[place], np.asarray(world.order)
    models = len(world.price)
    weather = problem.weather(SCENARIO, int(loop.best[place]), models)[0]
    _, action, _ = problem.start(world, loop.first[place], weather, seed)
    first = np.where(np.asarray(world.available)[order[:START]], loop.first[place], 0.0)
    chance = (first / first.sum(1, keepdims=True))[np.arange(START), action]
    lines, served, informed = [], 0.0, 0.0
    for number in range(1, loop.rounds + 1):
        begun = time.process_time()
        drawn = simulate.key_of(seed, number)
        logs = log_of(world, order[: len(action)], action, chance)
        _, fitted = recipe.fit(jax.random.fold_in(drawn, 1), logs, spec)
        predicted, tested = (jax.block_until_ready(recipe.predict(fitted, x[:, 1:])) for x in (world.x, world.test_x))
        seconds = time.process_time() - begun

        prompt = order[START + (number - 1) * loop.requests :][: loop.requests]
        weight = jnp.resize(world.weights, (loop.requests,))
        available = world.available[prompt]
        scores = predicted.quality[prompt] - weight[:, None] * predicted.cost[prompt]
        chances = policies.epsilon_greedy(scores, epsilon=EPSILON, available=available)
        _, of_action, *_ = jax.random.split(drawn, 4)
        chosen = np.asarray(jax.random.categorical(of_action, jnp.log(chances)))
        utility = world.quality[prompt] - weight[:, None] * world.cost[prompt]
        truth = Outcomes(utility, jnp.zeros_like(utility))
        ceiling = rounds.ceiling(world, weather, jnp.asarray(prompt), weight, available)
        served += float(metrics.regret(chances, truth, 0.0, available=available).sum())
        informed += float(metrics.regret(ceiling, truth, 0.0, available=available).sum())
        lines.append(
            {
                "seed": seed,
                "round": number,
                "regret": 100 * held_out(world, tested),
                "cumulative_regret": served,
                "cumulative_excess": served - informed,
                "seconds": seconds,
            }
        )
        action = np.concatenate([action, chosen])
        chance = np.concatenate([chance, np.asarray(chances)[np.arange(loop.requests), chosen]])
    return lines


def log_of(world: World, prompt: np.ndarray, action: np.ndarray, propensity: np.ndarray) -> Logs:
    """The rows so far as a log; the features without the intercept."""
    cells = jnp.asarray(prompt), jnp.asarray(action)
    return Logs(
        world.x[cells[0], 1:],
        cells[1],
        world.quality[cells],
        world.cost[cells],
        jnp.asarray(propensity, jnp.float32),
        world.available[cells[0]],
    )


def held_out(world: World, predicted: Outcomes) -> float:
    """Regret of the recipe's decisions on prompts that no round asks for, mean over the cost weights."""
    truth, mask = Outcomes(world.test_quality, world.test_cost), {"available": world.test_available}

    def at(weight: jax.Array) -> jax.Array:
        router = policies.greedy(predicted.quality - weight * predicted.cost, **mask)
        return jnp.mean(metrics.regret(router, truth, weight, **mask))

    return float(jnp.mean(jax.lax.map(at, world.weights)))


def measured(data: Path, out: Path, tables: list[str], *, smoke: bool) -> pd.DataFrame:
    """The recipe's rows and those of the loop's own outcome model under the same exploration."""
    cells, frames = Cells(out / "loop" / "cells"), []
    for table, config in design.centres(data, smoke=smoke):
        if smoke or table.name in tables:
            config = dataclasses.replace(config, seeds=1 if smoke else SEEDS, first_seed=0)
            loop = problem.make(config, rounds=2) if smoke else problem.make(config)
            code = key((run,), fingerprint(jax.tree.map(np.asarray, loop.world), loop.first), loop.seeds, loop.rounds)
            by_recipe = cells.frame(f"{table.name}-recipe", code, partial(run, loop))
            frames.append(by_recipe.assign(table=table.name, router="recipe"))
            plain = simulate.run(loop, SCENARIO, UNIFORM[RIVAL])[RESULTS]
            frames.append(plain.assign(table=table.name, router="regressions"))
            jax.clear_caches()  # every program maps memory, and the system grants so many maps
    return pd.concat(frames, ignore_index=True)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """After the last round, mean over seeds: a line per table and router."""
    last = found[found["round"] == found["round"].max()]
    means = last.groupby(["table", "router"], sort=False)[["cumulative_regret", "cumulative_excess", "regret"]].mean()
    return means.assign(seconds=found.groupby(["table", "router"])["seconds"].mean()).round(2)


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("loop.recipe", __doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the folders of the tables")
    parser.add_argument("--tables", nargs="+", default=TABLES, help=f"their names; {' '.join(TABLES)}")
    options = parser.parse_args(arguments)

    def work() -> None:
        found = measured(options.data, options.out, options.tables, smoke=options.smoke)
        storage.write_frame(options.out / "loop" / "recipe.parquet", found)
        print(summary(found).to_string())

    return commands.exit_code(work)


if __name__ == "__main__":
    raise SystemExit(main())
