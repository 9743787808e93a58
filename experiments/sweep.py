"""Search the settings of a router: settings x cost weights x seeds in one compiled program; methods in a loop.

    python -m experiments.sweep --config sweep
    python -m experiments.sweep --shard 1/4 && ... && python -m experiments.sweep merge     # see `experiments.shards`

Every chunk of steps is a checkpoint. A sweep that was killed or interrupted, or whose disk was full, continues when the
same command is run again, and its tables have the same bits as those of an undisturbed run.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import commands, configs, methods, shards, storage, sweep_table, watching
from experiments.cells import Cells, KeptFits, key
from experiments.methods.experiment import Experiment, Method
from experiments.problem import build
from experiments.problem.table import prepare
from experiments.settings import IN_TABLE, Config, blank, dataset_name
from experiments.shards import Part
from jaxroute import engine, metrics, sweep
from jaxroute.engine import halving, networks
from jaxroute.learn.examples import LOGGED, LoggedExamples
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.serving.kinds import PerWeight
from jaxroute.serving.router import Router
from jaxroute.system import stopping
from jaxroute.types import Examples, Hyperparams, InputError, Objective, Params

NUMBERS = ("learning_rate", "weight_decay", "temperature", "entropy", "clip", "width")
OnChunk = Callable[[int, np.ndarray, np.ndarray], None]


def folder_of(config: Config, out: Path) -> Path:
    """Where the sweep of a config is, or will be."""
    objectives = (OBJECTIVES[method_of(name).loss] for name in config.axes.methods)
    return storage.run_folder(out, config, (prepare, build.one, settings_of, trained, *objectives))


def method_of(name: str) -> Method:
    """The method called ``name``, if a sweep can train it.

    Raises:
        InputError: it is no router of one loss, on the log's doubly robust utilities or on full feedback.
    """
    known = [method for method in methods.METHODS.values() if method.loss]
    found = next((method for method in known if method.name == name), None)
    if found is None:
        raise InputError(f"axes: methods: {name!r} is not one of {', '.join(method.name for method in known)}")
    return found


def settings_of(config: Config) -> Hyperparams:
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
            raise InputError(f"axes: {wrong[0]}={ranges[wrong[0]]}: a {axes.draw} draw needs two ends or one value")
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
    config: Config,
    out: Path,
    *,
    shard: str = "",
    merge: bool = False,
    fresh: bool = False,
    profile: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Run the sweep of ``config.axes``; returns the folder of results.

    Args:
        shard: "i/n": only this part of it; the folder then holds the record alone, and results are kept as cells.
        merge: train nothing: the results are those of the shards.

    Raises:
        InputError: an unknown method, bad axes or table, another process at work in the folder, or, to be merged, a
            shard that is not there.
        checkpoint.SaveError: the disk is full; what was saved before stays.
        KeyboardInterrupt: after Ctrl-C, with everything saved.
    """
    axes = config.axes
    if config.shadow:
        raise InputError(f"shadow={config.shadow}: a sweep takes no shadow sample; use make experiment")
    points, chosen = settings_of(config), [method_of(name) for name in axes.methods]
    whole, parts = shards.whole(config, chosen), shards.parts_of(config, chosen) if shard or merge else []
    wanted = shards.shard_of(parts, shard) if shard else whole
    data = prepare(config)  # bad input stops us here, before anything is written
    folder, cells = folder_of(config, out), Cells(out / "cells", fresh=fresh)
    if shard:
        folder = folder.with_name(f"{folder.name}-shard-{shard.replace('/', '-of-')}")
    with storage.only_run(folder), watching.interruptible() as stop_if_asked:
        if fresh and folder.exists():
            shutil.rmtree(folder)
        storage.begin(folder, config)
        keep = KeptFits(cells, config, data)
        problems = build.build(config, data, keep=keep)
        checkpoints = folder / "checkpoints"
        experiment = Experiment(_seen(config), problems, data.table.models, sweep.mesh(), cost_scale=data.scale)
        about = (keep.keys, repr(experiment.config), experiment.models, experiment.cost_scale)
        paths = {part: _path(cells, about, part) for part in (*wanted, *parts)}
        if merge:
            _merge(cells, whole, {part: paths[part] for part in parts}, paths)
        show = watching.progress(sum(not cells.has(paths[part]) for part in wanted) * config.training.steps)
        frames = []
        with watching.writer(folder, tensorboard=tensorboard) as write, watching.profiled(folder, profile) as tick:
            for part in wanted:
                own, method = part.points(points), part.method
                hook = watching.after_chunk(config, own, part.name, (write, tick, show, stop_if_asked))
                alone = experiment._replace(checkpoints=checkpoints / part.name)
                make = partial(trained, alone, own, method, OBJECTIVES[method.loss], part.hidden, hook)
                write_all = partial(_write, experiment, part.hidden)
                frames.append(cells.keep(paths[part], make, write_all, pd.read_parquet))
                shutil.rmtree(checkpoints / part.name, ignore_errors=True)
        if shard:
            print(f"{len(wanted)} of {len(parts)} parts: {', '.join(part.name for part in wanted)}")
            print("when all are there: python -m experiments.sweep merge, with the same config and --out")
            return folder
        for part in whole:
            shutil.copytree(paths[part].with_suffix(""), folder / "routers" / part.name, dirs_exist_ok=True)
        results = pd.concat(frames, ignore_index=True)
        storage.write_frame(folder / "results.parquet", results)
    sweep_table.print_table(results, np.size(points.seed) * len(whole))
    print(f"results: {folder / 'results.parquet'}")
    print(f"the best setting's routers, by method, depth and seed: {folder / 'routers'}")
    return folder


def _path(cells: Cells, about: tuple[Any, ...], part: Part) -> Path:
    """The cell of a part; ``about``: what all parts were made of."""
    at = () if part.cost_weight is None else (part.cost_weight,)
    made_of = key((trained, OBJECTIVES[part.method.loss]), *about, part.method.name, part.hidden, *at)
    return cells.path(part.name, made_of)


def _merge(cells: Cells, whole: Sequence[Part], parts: Mapping[Part, Path], paths: Mapping[Part, Path]) -> None:
    """Make the cells of the undivided sweep from those of its parts."""
    shards.all_there(parts)
    for cell in whole:
        own = {part: path for part, path in parts.items() if part._replace(cost_weight=None) == cell}
        make, write = partial(shards.table, list(own.values())), partial(shards.write, own)
        cells.keep(paths[cell], make, write, pd.read_parquet)


def _seen(config: Config) -> Config:
    """What a cell of the sweep sees of the config: the other methods and depths are no part of its results."""
    own = blank(config, "name", "methods", "rivals", *IN_TABLE)
    axes = dataclasses.replace(config.axes, methods=(), hidden=())
    return dataclasses.replace(own, data=dataset_name(config.data, config.tasks), axes=axes)


def _write(
    experiment: Experiment, hidden: tuple[int, ...], path: Path, made: tuple[pd.DataFrame, Hyperparams, Params]
) -> None:
    """The table, and beside it one router for each seed, that of the best setting at each cost weight."""
    frame, points, params = made
    scale, axes = experiment.cost_scale, experiment.problems.axes
    for seed in range(np.shape(points.seed)[0]):
        of_seed, at, network = jax.tree.map(lambda x: jnp.asarray(x[seed]), (axes, points, params))  # noqa: B023
        one = jax.tree.map(lambda x: x[:, None], network)
        kind = PerWeight(of_seed, at.cost_weight / scale, one, hidden, at.temperature, at.width)
        Router(experiment.models, kind, scale).save(path.with_suffix("") / f"seed-{seed}")
    storage.write_frame(path, frame)


def trained(
    experiment: Experiment,
    points: Hyperparams,
    method: Method,
    objective: Objective,
    hidden: tuple[int, ...],
    on_chunk: OnChunk,
) -> tuple[pd.DataFrame, Hyperparams, Params]:
    """One method and depth: all its points trained (or thinned out), then measured on the test table.

    Returns:
        The table, and points and parameters of the best setting at each of L cost weights, leaves [S, L, ...].
    """
    config, problems, mesh = experiment.config, experiment.problems, experiment.mesh
    axes, spec = config.axes, dataclasses.replace(config.training, hidden=hidden)
    network = networks.router(len(experiment.models), hidden)
    rows, validate = problems.rows(full=method.full)
    log = problems.train_log._replace(features=rows.features)  # what routers see; the rest is not needed
    logged = LoggedExamples(rows.features, log, problems.nuisances, rows.available)
    learn, task = (rows, engine.ROUTER) if method.full else (logged, LOGGED)
    found = halving.search(
        engine.Program(network, objective, spec, mesh, task, axes.block),
        points,
        learn,
        validate,
        rungs=axes.rungs,
        keep=axes.keep,
        folder=experiment.checkpoints,
        about={"config": json.loads(json.dumps(dataclasses.asdict(config)))},
        on_chunk=on_chunk,
    )
    test = problems.test
    chosen = engine.choose(found.points, found.state, test.features, test.available, network=network, mesh=mesh)
    measured = tuple(np.asarray(x) for x in _measure(chosen, found.points.cost_weight, test))
    frame = _frame(config, points, found, method, hidden, measured)
    return frame, *_best(found)


def _best(found: halving.Found) -> tuple[Hyperparams, Params]:
    """Of each cost weight's survivors, the setting of the best validation value, mean over seeds; ties: the first."""
    mean, weights = found.value[:, found.alive].mean(0, dtype=float), np.asarray(found.points.cost_weight)[0]
    columns = [np.flatnonzero(weights == w)[np.argmax(mean[weights == w])] for w in np.unique(weights)]
    points, params = jax.tree.map(lambda x: np.asarray(x)[:, columns], (found.points, found.state.best_params))
    return points, params


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
    config: Config,
    points: Hyperparams,
    found: halving.Found,
    method: Method,
    hidden: tuple[int, ...],
    measured: tuple[np.ndarray, ...],
) -> pd.DataFrame:
    """Tidy rows: every point's validation value, when it was dropped, and the survivors' test utility and regret."""
    rows = []
    place = {int(p): i for i, p in enumerate(found.alive)}
    for seed in range(config.seeds):
        for p in range(np.shape(points.seed)[1]):
            numbers = {name: float(getattr(points, name)[seed, p]) for name in NUMBERS}
            common = {
                "dataset": config.data,
                "logger": config.logger,
                "method": method.name,
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


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("sweep", __doc__.split("\n")[0], config="sweep")
    parser.add_argument("action", nargs="?", choices=("merge",), help="make the results from those of all shards")
    parser.add_argument("--shard", default="", metavar="I/N", help="run one of N parts of the sweep; merge joins them")
    parser.add_argument("--fresh", action="store_true", help="discard what an earlier run of this config saved")
    parser.add_argument("--profile", action="store_true", help="write a trace of one chunk to profile/ in the folder")
    parser.add_argument("--tensorboard", action="store_true", help="also write to tensorboard/ in the folder")
    options = parser.parse_args(arguments)
    if options.action and (options.shard or options.fresh):
        parser.error("merge takes neither --shard nor --fresh")
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what SaveError says in one line

    def work() -> None:
        config = configs.load(options.config, smoke=options.smoke, data=options.data)
        run(
            config,
            options.out,
            shard=options.shard,
            merge=bool(options.action),
            fresh=options.fresh,
            profile=options.profile,
            tensorboard=options.tensorboard,
        )

    return commands.exit_code(work)


if __name__ == "__main__":
    stopping.leave(main())
