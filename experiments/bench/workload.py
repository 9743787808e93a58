"""What the speed bench trains: a fixed workload of random examples, and M routers of it in one compiled program."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import machine
from jaxroute import sweep
from jaxroute.engine import memory, networks, training
from jaxroute.learn import objectives
from jaxroute.types import Examples, Hyperparams, InputError, Outcomes, Spec, TrainState

EPOCHS = 10  # of a whole training, where one-off costs are spread over it


@dataclass(frozen=True)
class Workload:
    """Sizes of what is trained. seconds: aim of each timed call, where one step does not take longer."""

    rows: int = 20_000
    features: int = 384
    hidden: tuple[int, ...] = (512, 256)
    models: int = 11
    batch: int = 2048
    points: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    block: int = 16
    seconds: float = 2.0
    peak_size: int = 2048

    @property
    def programs(self) -> list[tuple[int, int | None]]:
        """(M, block); on a CPU the largest M in blocks alone: all at once would take minutes to say the same."""
        few = jax.default_backend() == "cpu"
        whole = [(count, None) for count in self.points if count < 1024 or not few]
        return sorted(
            [*whole, *((count, self.block) for count in self.points if count > self.block)], key=lambda p: p[0]
        )

    @property
    def widths(self) -> list[int]:
        return [self.features, *self.hidden, self.models]

    @property
    def epoch(self) -> int:
        return self.rows // self.batch

    @property
    def spec(self) -> Spec:
        return Spec(hidden=self.hidden, batch_size=self.batch, steps=EPOCHS * self.epoch, chunk=1, dropout=0.0)


SMOKE = Workload(640, 16, (32, 16), 4, 64, points=(1, 4, 8), block=4, seconds=0.01, peak_size=128)


def data(work: Workload) -> Examples:
    """Random examples of one seed, [1, N, ...]."""
    features, quality, cost = (
        jax.random.uniform(key, (1, work.rows, width))
        for key, width in zip(
            jax.random.split(jax.random.key(0), 3), (work.features, work.models, work.models), strict=True
        )
    )
    return Examples(features - 0.5, Outcomes(quality, cost), jnp.ones(cost.shape, bool))


def trainer(work: Workload, steps: int) -> Callable[..., TrainState]:
    """``steps`` steps of one router: what the engine repeats, without validation."""
    network, spec = networks.router(work.models, work.hidden), work.spec

    def train(point: tuple[Hyperparams, TrainState], examples: Examples, first: Any) -> TrainState:
        hyperparams, state = point
        loss = training.router_loss(network, objectives.OBJECTIVES["rm_softmax"], spec, hyperparams, examples)
        optimise = training.optimiser(hyperparams, spec.steps)
        with jax.default_matmul_precision(spec.matmul_precision):
            return training.run_steps(
                state, first, loss, optimise, num_rows=work.rows, batch_size=work.batch, steps=steps
            )

    return train


class Engine:
    """``count`` routers in one program, compiled: ``seconds(repeats)`` of a call of ``steps`` steps.

    block: routers at a time; None: as many as fit into memory.
    """

    def __init__(self, work: Workload, count: int, steps: int, block: int | None = None) -> None:
        mesh = sweep.mesh(jax.devices()[:1])
        points = sweep.grouped_grid(1, cost_weight=np.linspace(0, 2, count).tolist())
        self.points, self.examples = sweep.place(points, mesh, axis=1), sweep.put(data(work), mesh)
        network = networks.router(work.models, work.hidden)
        init = sweep.over_points(
            lambda point, features: training.init(network, point, work.spec, features.shape[-1]), mesh, grouped=True
        )

        @cache
        def program(block: int | None) -> Any:
            return sweep.over_points(trainer(work, steps), mesh, grouped=True, carry=True, block=block)

        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.points.seed.sharding),
            jax.eval_shape(init, self.points, self.examples.features),
        )
        arguments = (self.points, shapes, self.examples, jnp.int32(0))

        def compiled(block: int | None) -> Any:
            lowered = program(block).lower(*arguments)
            begun = time.perf_counter()
            done = lowered.compile()
            self.compile_seconds = time.perf_counter() - begun
            return done

        self.compiled = compiled(block)
        resident = (self.points, self.examples)
        if block is None:  # the plan asks for the program just compiled, first
            block = memory.plan(program, count, arguments, mesh=mesh, resident=resident)
            self.compiled = self.compiled if block is None else compiled(block)
        elif memory.needed(self.compiled, resident) > memory.SHARE * memory.free(mesh):
            raise InputError(f"{memory.needed(self.compiled, resident) / 1e9:.1f} GB do not fit into the free memory")
        self.block = block or count
        self.bytes_per_point = memory.needed(self.compiled, resident) // count
        self.state = init(self.points, self.examples.features)

    def seconds(self, repeats: int) -> float:
        return machine.seconds(self.call, repeats)

    def call(self) -> Any:
        self.state = self.compiled(self.points, self.state, self.examples, jnp.int32(0))
        return self.state
