"""Seconds from a log to routers for 30 cost weights at equal held-out value: one router for all against 30 routers.

    make bench-weights    (45 s on 2 cores; SMOKE=1 for seconds)

All ways learn from the same log with the same nuisances and settings (the default problem, one seed). Every few steps
the clock is stopped, and the mean utility over the 30 cost weights is measured on the full held-out table. The target
is the value that the separate routers end at, and each way is timed until it first reaches it. Prints a table and
writes JSON.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

from experiments import configs, settings, storage
from experiments.bench import machine, pytorch
from experiments.problem import Problem, build
from experiments.problem.table import prepare
from jaxroute import engine, nuisance, policies, sweep
from jaxroute.counterfactual import utility
from jaxroute.engine import networks, training
from jaxroute.engine.program import advance, compiled_start
from jaxroute.learn import conditional
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.numerics import masked_argmax
from jaxroute.system import parsing, stopping
from jaxroute.types import ConditionalExamples, Hyperparams, TrainState

WEIGHTS = 30
Report = dict[str, Any]


class Curve(NamedTuple):
    """Held-out value after so many steps, and the seconds of training until then; first entry: before any step."""

    steps: np.ndarray
    seconds: np.ndarray
    value: np.ndarray
    compile_seconds: float

    def reach(self, target: float) -> int | None:
        """Position of the first value that is at least ``target``."""
        there = np.flatnonzero(self.value >= target)
        return int(there[0]) if len(there) else None


def config_of(smoke: bool) -> settings.Config:
    config = configs.load("default", smoke=smoke)
    spec = dataclasses.replace(config.training, dropout=0.0, chunk=10)
    weights = tuple(np.linspace(0, 2, WEIGHTS).round(4).tolist())
    return dataclasses.replace(config, seeds=1, cost_weights=weights, between=(), training=spec)


def points_of(config: settings.Config, weights: list[float]) -> Hyperparams:
    names = ("learning_rate", "weight_decay", "temperature", "entropy")
    return sweep.grouped_grid(1, cost_weight=weights, **{name: getattr(config, name) for name in names})


def watched(train: Callable[..., TrainState], value: Callable[[TrainState], float], start: TrainState) -> Curve:
    """Train, and stop the clock after every chunk to measure the best parameters so far."""
    steps, seconds, values = [0], [0.0], [value(start)]
    begun = time.perf_counter()

    def on_chunk(step: int, state: TrainState) -> None:
        nonlocal begun
        jax.block_until_ready(state)
        seconds.append(seconds[-1] + time.perf_counter() - begun)
        steps.append(step)
        values.append(value(state))
        begun = time.perf_counter()

    train(on_chunk=on_chunk)
    taken = np.diff(seconds)
    compiling = max(0.0, float(taken[0] - np.median(taken[1:])))
    counted = np.array(seconds) - compiling * (np.array(steps) > 0)
    return Curve(np.array(steps), counted, np.array(values), compiling)


def mean_utility(chosen: Array, weights: Array, test: Any) -> float:
    """Mean over cost weights and test prompts of the utility of ``chosen`` [L, N]."""

    def at(choice: Array, weight: Array) -> Array:
        return jnp.mean(jnp.take_along_axis(utility(test.outcomes, weight), choice[:, None], -1))

    return float(jnp.mean(jax.vmap(at)(chosen, weights)))


def separate(config: settings.Config, one: Problem) -> Curve:
    """30 routers in one program."""
    mesh, weights = sweep.mesh(jax.devices()[:1]), jnp.asarray(config.cost_weights, jnp.float32)
    network = networks.router(one.test.available.shape[-1], config.training.hidden)
    points = points_of(config, list(config.cost_weights))
    test = jax.tree.map(lambda x: x[0], one.test)
    program = engine.Program(network, OBJECTIVES["rm_softmax"], config.training, mesh)

    def value(state: TrainState) -> float:
        chosen = engine.choose(points, state, one.test.features, one.test.available, network=network, mesh=mesh)
        return mean_utility(chosen[0], weights, test)

    start = compiled_start(program, one.learn.features.shape[-1])(points)
    return watched(lambda **on: engine.train(program, points, one.learn, one.validate, **on), value, start)


def joint(config: settings.Config, one: Problem, *, affine: bool) -> Curve:
    """One router of every cost weight: affine, which starts as the plug-in, or plain f(x, w), which starts uniform."""
    mesh, weights = sweep.mesh(jax.devices()[:1]), jnp.asarray(config.cost_weights, jnp.float32)
    kind = conditional.affine if affine else conditional.plain
    network = kind(one.test.available.shape[-1], config.training.hidden)
    points = points_of(config, [0.0])
    predicted = jax.tree.map(lambda y: np.asarray(y[0]), one.stack.learn)
    ends = policies.interval_endpoints(
        predicted, config.intervals, high=float(weights[-1]), available=np.asarray(one.learn.available[0])
    )
    learn, validate, test = (
        ConditionalExamples(*part, start if affine else (), jnp.asarray(ends, jnp.float32)[None])
        for part, start in (
            (one.learn, one.stack.learn),
            (one.validate, one.stack.validate),
            (one.test, one.stack.test),
        )
    )
    program = engine.Program(network, OBJECTIVES["rm_softmax"], config.training, mesh, conditional.EVERY_WEIGHT)
    rows = jax.tree.map(lambda x: x[0], test)

    @jax.jit
    def decide(params: Any, point: Hyperparams) -> Array:
        def at(weight: Array) -> Array:
            return masked_argmax(conditional.scores_at(network, params, point, rows, weight), rows.available)

        return jax.lax.map(at, weights)

    def value(state: TrainState) -> float:
        params, point = jax.tree.map(lambda x: jnp.asarray(x)[0, 0], (state.best_params, points))
        return mean_utility(decide(params, point), weights, rows)

    start = compiled_start(program, learn.features.shape[-1])(points)
    return watched(lambda **on: engine.train(program, points, learn, validate, **on), value, start)


def step_seconds(config: settings.Config, one: Problem) -> dict[str, float | str]:
    """Seconds of one step of one router in the loops: one compiled function, and PyTorch."""
    spec = dataclasses.replace(config.training, chunk=50)
    network = networks.router(one.test.available.shape[-1], spec.hidden)
    learn, validate, point = jax.tree.map(
        lambda x: jnp.asarray(x)[0],
        (one.learn, one.validate, jax.tree.map(lambda x: x[:, 1], points_of(config, [0, 0.5]))),
    )
    state = training.init(network, point, spec, learn.features.shape[-1])
    program = engine.Program(network, OBJECTIVES["rm_softmax"], spec, sweep.mesh(jax.devices()[:1]))
    once = jax.jit(lambda state: advance(program, (point, state), (learn, validate), 0))
    found: dict[str, float | str] = {
        "loop over one compiled function": machine.seconds(lambda: once(state)) / spec.chunk
    }
    if importlib.util.find_spec("torch") is None:
        found["PyTorch loop"] = "not measured: torch is not installed (pip install -e '.[bench]')"
    else:
        rows = np.random.default_rng(0).integers(0, len(learn.features), (100, spec.batch_size))
        taken = [pytorch.train(state.params, learn, point, spec, rows)[1] for _ in range(3)]
        found["PyTorch loop"] = float(np.median(taken)) / len(rows)
    return found


def measure(smoke: bool) -> Report:
    jax.config.update("jax_enable_compilation_cache", False)
    config = config_of(smoke)
    one = build.build(config, prepare(config))
    log = jax.tree.map(lambda x: x[0], one.train_log)
    begun = time.perf_counter()
    jax.block_until_ready(nuisance.fit(jax.random.key(0), log, config.nuisance)[0])
    nuisances = time.perf_counter() - begun
    alone = f"{WEIGHTS} routers, one program"
    curves = {
        "one affine router": joint(config, one, affine=True),
        "one plain router f(x, w)": joint(config, one, affine=False),
        alone: separate(config, one),
    }
    target = float(curves[alone].value[-1])
    ways: dict[str, Any] = {}
    for name, curve in curves.items():
        at = curve.reach(target)
        ways[name] = {
            "seconds to target": "not reached" if at is None else round(float(curve.seconds[at]), 3),
            "steps": "-" if at is None else int(curve.steps[at]),
            "seconds in all": round(float(curve.seconds[-1]), 2),
            "compile seconds": round(curve.compile_seconds, 2),
            "value at start": round(float(curve.value[0]), 5),
            "value at the end": round(float(curve.value[-1]), 5),
        }
    steps = ways[alone]["steps"]
    for name, each in step_seconds(config, one).items():
        ways[f"{WEIGHTS} routers, {name}"] = (
            each if isinstance(each, str) else {"seconds to target": round(WEIGHTS * steps * each, 3), "steps": steps}
        )
    return {
        "log rows": int(log.features.shape[0]), "features": int(one.learn.features.shape[-1]),
        "hidden": config.training.hidden, "batch": config.training.batch_size, "cost weights": WEIGHTS,
        "target value": round(target, 5), "nuisances s (shared by all ways, compiled before)": round(nuisances, 2),
        "ways": ways, "environment": storage.environment(),
    }  # fmt: skip


def show(found: Report) -> None:
    columns = ("seconds to target", "steps", "seconds in all", "compile seconds", "value at start", "value at the end")
    table = Table(title=f"{WEIGHTS} cost weights, value {found['target value']}; {found['log rows']} log rows, "
                  f"hidden {found['hidden']}, {found['environment']['device']}")  # fmt: skip
    table.add_column("way")
    for column in columns:
        table.add_column(column, justify="right")
    for name, each in found["ways"].items():
        if not isinstance(each, str):
            table.add_row(name, *(str(each.get(column, "-")) for column in columns))
    Console(width=140).print(table)
    for name, each in found["ways"].items():
        if isinstance(each, str):
            print(f"{name}: {each}")
    name = "nuisances s (shared by all ways, compiled before)"
    print(f"{name}: {found[name]}")
    print("no compiling is counted in the seconds; the loops' are steps x measured seconds of a step")


def main(arguments: list[str] | None = None) -> int:
    parser = parsing.Parser(prog="python -m experiments.bench.cost_weights", description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="run on small shapes, in seconds")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    found = measure(options.smoke)
    show(found)
    options.out.mkdir(parents=True, exist_ok=True)
    storage.write_text(options.out / "cost_weights.json", json.dumps(found, indent=1))
    print(f"written: {options.out / 'cost_weights.json'}")
    return 0


if __name__ == "__main__":
    stopping.leave(main())
