"""Search a router's numbers: settings x cost weights x seeds in one compiled program; methods and depths in a loop.

    python -m experiments.sweep --config sweep

Every chunk is a checkpoint. A killed, interrupted or disk-starved sweep goes on where it was when the same command
is given again, and its tables are those of an undisturbed one, bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments import best_routers, commands, configs, settings, storage, watching
from experiments.cells import Cells, KeptFits
from experiments.problem import Problem, build
from experiments.problem.table import prepare
from jaxroute import engine, metrics, sweep
from jaxroute.engine import halving, networks
from jaxroute.learn.examples import LOGGED, LoggedExamples
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.types import Examples, Hyperparams, InputError

NUMBERS = ("learning_rate", "weight_decay", "temperature", "entropy", "clip", "width")
SHORT = ("rate", "decay", "temp.", "entropy", "clip", "width")


def folder_of(config: settings.Config, out: Path) -> Path:
    """Where the sweep of a config is, or will be."""
    return storage.run_folder(
        out, config, (prepare, build.one, settings_of, _cell, *map(OBJECTIVES.get, config.axes.methods))
    )


def settings_of(config: settings.Config) -> Hyperparams:
    """The points of every seed, leaves [S, L x T]: T settings at each of L cost weights; settings vary fastest.

    Raises:
        InputError: a field of the axes that cannot be meant.
    """
    axes = config.axes
    if axes.draw == "grid":
        points = sweep.grid(**axes.ranges)
    else:
        fixed = {name: values[0] for name, values in axes.ranges.items() if len(values) == 1}
        ranges = {name: values for name, values in axes.ranges.items() if len(values) > 1}
        wrong = [name for name, values in ranges.items() if len(values) != 2]
        if wrong:
            raise InputError(f"axes: {wrong[0]}={ranges[wrong[0]]}: a {axes.draw} draw needs two ends, or one value")
        drawn = sweep.draw(axes.count, kind=axes.draw, **ranges)  # type: ignore[arg-type]
        points = sweep.cross(drawn, **fixed)
    if axes.own:
        own = sweep.grid(
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            temperature=config.temperature,
            entropy=config.entropy,
            clip=config.learning_clip,
            width=max(axes.width),
        )
        points = jax.tree.map(lambda *parts: np.concatenate(parts), own, points)
    everywhere = sweep.cross(points, seed=range(config.seeds), cost_weight=config.cost_weights)
    return jax.tree.map(lambda x: x.reshape(config.seeds, -1), everywhere)


def run(
    config: settings.Config, out: Path, *, fresh: bool = False, profile: bool = False, tensorboard: bool = False
) -> Path:
    """Run the sweep of ``config.axes``; returns the folder of results.

    Raises:
        InputError: an unknown method, bad axes or table, or another process at work in the folder.
        checkpoint.SaveError: the disk is full; what was saved before stays.
        KeyboardInterrupt: after Ctrl-C, with everything saved.
    """
    axes = config.axes
    unknown = [name for name in axes.methods if name.removesuffix("_full") not in OBJECTIVES]
    if unknown:
        raise InputError(f"axes: methods: {unknown[0]!r} is not one of {', '.join(OBJECTIVES)} (or _full)")
    if config.shadow:
        raise InputError(f"shadow={config.shadow}: a sweep learns from the log alone; use `make experiment`")
    points = settings_of(config)
    data = prepare(config)  # bad input stops us here, before anything is written
    folder = folder_of(config, out)
    with storage.only_run(folder), watching.interruptible() as stop_if_asked:
        if fresh and folder.exists():
            shutil.rmtree(folder)
        storage.begin(folder, config)
        problems = build.build(config, data, keep=KeptFits(Cells(out / "cells", fresh=fresh), config, data))
        cells = [(method, hidden) for method in axes.methods for hidden in axes.hidden]
        todo = [cell for cell in cells if not _file(folder, *cell).exists()]
        show = watching.progress(len(todo) * config.training.steps)
        with (
            watching.writer(folder, tensorboard=tensorboard) as write,
            watching.profiled(folder, profile) as tick,
        ):
            watch = (write, tick, show, stop_if_asked)
            for method, hidden in todo:
                frame, found = _cell(config, problems, points, method, hidden, folder, watch)
                kept = best_routers.best(found, data.table.models, hidden, problems.axes)
                best_routers.save(folder / "routers" / f"{_name(method, hidden)}.safetensors", kept)
                storage.write_frame(_file(folder, method, hidden), frame)
                shutil.rmtree(_checkpoints(folder, method, hidden), ignore_errors=True)
        results = pd.concat([pd.read_parquet(_file(folder, *cell)) for cell in cells], ignore_index=True)
        storage.write_frame(folder / "results.parquet", results)
    print_table(results, np.size(points.seed) * len(cells))
    print(f"results: {folder / 'results.parquet'}")
    print(f"the best setting's routers, per method and depth: {folder / 'routers'}")
    return folder


def _cell(
    config: settings.Config,
    problems: Problem,
    points: Hyperparams,
    method: str,
    hidden: tuple[int, ...],
    folder: Path,
    watch: tuple[Any, ...],
) -> tuple[pd.DataFrame, halving.Found]:
    """One method and depth: all its points trained (or thinned out), then measured on the test table."""
    write, tick, show, stop_if_asked = watch
    axes, mesh = config.axes, sweep.mesh()
    spec = dataclasses.replace(config.training, hidden=hidden)
    network = networks.router(problems.test.available.shape[-1], hidden)
    full = method.endswith("_full")
    log = problems.train_log._replace(features=problems.learn.features)  # what routers see; the rest is not needed
    learn = LoggedExamples(problems.learn.features, log, problems.nuisances, problems.learn.available)
    name = _name(method, hidden)
    begun = time.perf_counter()
    trained = 0

    def on_chunk(step: int, alive: np.ndarray, value: np.ndarray) -> None:
        nonlocal trained
        mean, weights = value[:, alive].mean(0), np.asarray(points.cost_weight)[0, alive]
        best = float(np.mean([mean[weights == w].max() for w in np.unique(weights)]))
        write(
            step, event="chunk", cell=name, alive=len(alive), best=best, seconds=round(time.perf_counter() - begun, 3)
        )
        tick()
        restored = 0 if trained else step - spec.chunk
        trained += spec.chunk
        show(f"{name}, {len(alive)} x {config.seeds} routers", spec.chunk, best, restored=restored)
        stop_if_asked()

    objective = OBJECTIVES[method.removesuffix("_full")]
    found = halving.search(
        engine.Program(network, objective, spec, mesh, engine.ROUTER if full else LOGGED, axes.block),
        points,
        problems.learn_full if full else learn,
        problems.validate_full if full else problems.validate,
        rungs=axes.rungs,
        keep=axes.keep,
        folder=_checkpoints(folder, method, hidden),
        about={"config": json.loads(json.dumps(dataclasses.asdict(config)))},
        on_chunk=on_chunk,
    )
    write(spec.steps, event="cell", cell=name, seconds=round(time.perf_counter() - begun, 3))
    test = problems.test
    chosen = engine.choose(found.points, found.state, test.features, test.available, network=network, mesh=mesh)
    utility, regret = (np.asarray(x) for x in _measure(chosen, found.points.cost_weight, test))
    return _frame(config, points, found, method, hidden, (utility, regret)), found


@jax.jit
def _measure(chosen: Any, weights: Any, test: Any) -> tuple[Any, Any]:
    """Mean utility and regret on the full test table, [S, A], point by point (memory: one point's [N, K])."""

    def one(choice: Any, weight: Any, examples: Examples) -> tuple[Any, Any]:
        policy = jax.nn.one_hot(choice, examples.available.shape[-1])
        gained = metrics.value(policy, examples.outcomes, weight)
        lost = metrics.regret(policy, examples.outcomes, weight, available=examples.available)
        return jnp.mean(gained), jnp.mean(lost)

    def seed(args: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        choices, each, examples = args
        return jax.lax.map(lambda point: one(point[0], point[1], examples), (choices, each))

    return jax.lax.map(seed, (chosen, jnp.asarray(weights), test))


def _frame(
    config: settings.Config,
    points: Hyperparams,
    found: halving.Found,
    method: str,
    hidden: tuple[int, ...],
    measured: tuple[np.ndarray, np.ndarray],
) -> pd.DataFrame:
    """Tidy rows: every point's validation value, when it was dropped, and the survivors' test utility and regret."""
    rows = []
    place = {int(p): i for i, p in enumerate(found.alive)}
    for seed in range(config.seeds):
        for p in range(np.shape(points.seed)[1]):
            numbers = {name: float(getattr(points, name)[seed, p]) for name in NUMBERS}
            common = {
                "dataset": settings.dataset_name(config.data, config.tasks),
                "logger": config.logger,
                "method": method,
                "cost_weight": float(np.asarray(points.cost_weight)[seed, p]),
                "seed": config.draws[seed],
                "hyperparameters": json.dumps({"hidden": hidden, **numbers}),
            }
            dropped = int(found.dropped_at[p])
            rows.append({**common, "split": "validation", "metric": "utility", "value": float(found.value[seed, p])})
            rows.append({**common, "split": "validation", "metric": "dropped_at", "value": float(dropped)})
            if p in place:
                for metric, values in zip(("utility", "regret"), measured, strict=True):
                    value = float(values[seed, place[p]])
                    rows.append({**common, "split": "test", "metric": metric, "value": value})
    return pd.DataFrame(rows)


def best_settings(results: pd.DataFrame) -> pd.DataFrame:
    """Per method and cost weight, the surviving setting with the best mean validation value: one row each."""
    keys = ["method", "cost_weight", "hyperparameters"]
    wide = results.assign(what=results["split"] + " " + results["metric"])
    wide = wide.pivot_table(index=keys, columns="what", values="value", aggfunc="mean").reset_index()
    wide = wide[wide["validation dropped_at"] < 0].sort_values("validation utility", ascending=False, kind="stable")
    return wide.groupby(["method", "cost_weight"], sort=True).head(1).sort_values(["method", "cost_weight"])


def print_table(results: pd.DataFrame, count: int) -> None:
    """The best setting per method and cost weight, on the console."""
    table = Table(title=f"{count} routers; best setting per cost weight by validation value, mean over seeds")
    columns = ("method", "cost weight", "validation", "test utility", "test regret", "hidden", *SHORT)
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for _, row in best_settings(results).iterrows():
        numbers = json.loads(row["hyperparameters"])
        values = (row["validation utility"], row["test utility"], row["test regret"])
        table.add_row(
            row["method"],
            f"{row['cost_weight']:g}",
            *(f"{100 * value:.2f}" for value in values),
            "x".join(map(str, numbers["hidden"])) or "linear",
            *(f"{numbers[name]:.2g}" if name != "width" else f"{numbers[name]:.0f}" for name in NUMBERS),
        )
    Console(width=140).print(table)
    steps, numbers = np.unique(results.loc[results["metric"] == "dropped_at", "value"], return_counts=True)
    for step, number in zip(steps, numbers, strict=True):
        print(f"{number} routers " + ("were trained to the end" if step < 0 else f"dropped after step {step:.0f}"))
    print("validation values chose the settings and the steps, so they are optimistic; test values are not")


def _name(method: str, hidden: tuple[int, ...]) -> str:
    return f"{method}-{'x'.join(map(str, hidden)) or 'linear'}"


def _file(folder: Path, method: str, hidden: tuple[int, ...]) -> Path:
    return folder / "cells" / f"{_name(method, hidden)}.parquet"


def _checkpoints(folder: Path, method: str, hidden: tuple[int, ...]) -> Path:
    return folder / "checkpoints" / _name(method, hidden)


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("sweep", __doc__.split("\n")[0], config="sweep")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run of this config left")
    parser.add_argument("--profile", action="store_true", help="trace one chunk into the folder's profile/")
    parser.add_argument("--tensorboard", action="store_true", help="write to the folder's tensorboard/ too")
    options = parser.parse_args(arguments)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what SaveError says in one line

    def work() -> None:
        config = configs.load(options.config, smoke=options.smoke, data=options.data)
        run(config, options.out, fresh=options.fresh, profile=options.profile, tensorboard=options.tensorboard)

    return commands.exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
