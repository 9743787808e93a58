"""A training program: all that is static in one record, and what is compiled from it.

    program = Program(network, objective, spec, mesh)                 # task=ROUTER: one cost weight a point
    state = loop.train(program, points, learn, validate)

Points have leaves [S groups, P points]: the P points of a group (cost weights, hyperparameters) share that group's rows
without a copy. Where the mesh has the axis "data", the rows are split over it for every task alike: each of its d
devices draws batch_size / d of its own N / d rows, with a dropout mask of its own, and the gradient of a step is the
mean over devices. A minibatch is then stratified by device: with batch_size = N the training is that of one device, up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxroute import sweep
from jaxroute.engine import checks, memory, training
from jaxroute.types import Hyperparams, InputError, Network, Objective, Params, Spec, TrainState

Value = Callable[[Network, Params, Hyperparams, Any], Float[Array, ""]]


@dataclass(frozen=True)
class Task:
    """What a step minimises and what validation measures.

    loss: (network, objective, spec, hyperparams, examples) -> the loss of a minibatch, (params, rows [B], key) -> [].
    value: (network, params, hyperparams, examples) -> what the best step is chosen by; higher is better.
    start_counts: whether the parameters before the first step are a candidate for the best.
    whole: fields of the examples without an axis of rows; every device has all of them.
    """

    loss: Callable[[Network, Objective, Spec, Hyperparams, Any], training.MinibatchLoss]
    value: Value
    start_counts: bool = False
    whole: tuple[str, ...] = ()


ROUTER = Task(training.router_loss, training.policy_value)
"""A router of the point's one cost weight, on `types.Examples`."""


@dataclass(frozen=True)
class Program:
    """All that is static in a training: equal programs are compiled once per shape, whatever the points' numbers.

    block: points that each device trains at a time; with it, results are the same bits on any number of devices.
        None: as many as fit into memory.

    Raises:
        InputError: steps, a chunk, a batch, a width or a block below 1, a dropout outside [0, 1), or a batch that does
            not divide by the devices along "data".
    """

    network: Network
    objective: Objective
    spec: Spec
    mesh: Mesh
    task: Task = ROUTER
    block: int | None = None

    def __post_init__(self) -> None:
        checks.static(self.spec, self.devices_of_rows, self.block)

    @property
    def devices_of_rows(self) -> int:
        """Devices along "data", over which the rows are split; 1 where the mesh has no such axis."""
        return int(self.mesh.shape.get(sweep.DATA, 1))


class Source(NamedTuple):
    """Where the rows come from, a visit at a time.

    like: the examples of one visit, arrays or their shapes, leaves [S, ...]. steps: of a visit, which is the chunk.
    visits: (first, last) -> the examples of those visits. words: what a checkpoint says of the order of rows.
    """

    like: Any
    steps: int
    visits: Callable[[int, int], Generator[Any]]
    words: dict[str, int] | None = None


def in_memory(program: Program, learn: Any, points: Hyperparams) -> Source:
    """The same rows at every visit.

    Raises:
        InputError: what `checks.rows` and `place` refuse.
    """
    checks.rows("learn", learn, points, whole=program.task.whole)
    placed = place(program, learn)

    def visits(first: int, last: int) -> Generator[Any]:
        for _ in range(first, last):
            yield placed

    return Source(placed, program.spec.chunk, visits)


def place(program: Program, learn: Any) -> Any:
    """Put the log on the mesh, its rows split over "data" if the mesh has that axis.

    Args:
        learn: examples, leaves [S, N, ...] but for the task's ``whole`` fields.

    Returns:
        The same record as JAX arrays; each device of "data" holds N / d consecutive rows.

    Raises:
        InputError: rows that do not divide by the devices along "data".
    """
    specs = split(program, learn)
    return type(learn)(*(sweep.put(part, program.mesh, spec) for part, spec in zip(learn, specs, strict=True)))


def split(program: Program, learn: Any) -> Any:
    """Where each field of the examples (leaves [S, N, ...]) lies: a PartitionSpec a field, rows over "data"."""
    count, devices = learn.features.shape[1], program.devices_of_rows
    if count % devices:
        raise InputError(
            f"{count} rows do not divide over {devices} devices; drop the last {count % devices}, or use fewer devices"
        )
    rows = PartitionSpec(None, sweep.DATA) if sweep.DATA in program.mesh.axis_names else PartitionSpec()
    return type(learn)(*(PartitionSpec() if name in program.task.whole else rows for name in learn._fields))


def advance(
    program: Program, point: tuple[Hyperparams, TrainState], data: tuple[Any, Any], first: Int[Array, ""] | int
) -> TrainState:
    """One chunk (``spec.chunk`` steps) of one point, then best-step selection on validation.

    With rows split, the axis "data" must be bound: under ``shard_map``, or under ``jax.vmap(..., axis_name="data")``,
    which emulates the devices on one.

    Args:
        point: hyperparameters and state of the sweep point.
        data: (training, validation) examples, this device's rows of the first and all rows of the second. Validation
            outcomes come from logs (doubly robust), never from the full table unless the full-feedback ceiling is
            what is being trained.
        first: number of the chunk's first step, not batched.

    Returns:
        The state after the chunk, with the best parameters so far by validation value.
    """
    (hyperparams, state), (learn, validate) = point, data
    network, task, spec = program.network, program.task, program.spec

    def consider(state: TrainState) -> TrainState:
        return training.keep_best(state, task.value(network, state.params, hyperparams, validate))

    loss = task.loss(network, program.objective, spec, hyperparams, learn)
    optimise = training.optimiser(hyperparams, spec.steps)
    if sweep.DATA in program.mesh.axis_names:
        loss, optimise = training.own_draws(loss, sweep.DATA), training.averaged(optimise, sweep.DATA)
    if task.start_counts:
        state = jax.lax.cond(jnp.equal(first, 0), consider, lambda state: state, state)
    with jax.default_matmul_precision(spec.matmul_precision):
        state = training.run_steps(
            state,
            first,
            loss,
            optimise,
            num_rows=learn.features.shape[0],
            batch_size=spec.batch_size // program.devices_of_rows,
            steps=spec.chunk,
        )
    return consider(state)


@cache
def compiled_start(program: Program, num_features: int) -> Callable[[Hyperparams], TrainState]:
    """points [S, P] -> their states before the first step."""

    def start(point: Hyperparams, _: None) -> TrainState:
        return training.init(program.network, point, program.spec, num_features)

    return sweep.over_points(start, program.mesh, grouped=True, block=program.block, once=True)


@cache
def compiled_chunk(program: Program) -> Callable[..., TrainState]:
    """(points, states, (learn, validate), first) -> states after one chunk, in place of those given (donated)."""

    def chunk(point: tuple[Hyperparams, TrainState], data: tuple[Any, Any], first: Array) -> TrainState:
        return advance(program, point, data, first)

    def specs(data: tuple[Any, Any], first: Array) -> tuple[Any, ...]:
        return (split(program, data[0]), PartitionSpec()), PartitionSpec()

    return sweep.over_points(chunk, program.mesh, grouped=True, block=program.block, rest_specs=specs, carry=True)


def template(program: Program, points: Hyperparams, num_features: int, count: int | None = None) -> TrainState:
    """The points' TrainState as shapes and where they lie; ``count`` points instead of all, if given."""
    shapes = jax.eval_shape(compiled_start(program, num_features), points)
    count = np.shape(points.seed)[1] if count is None else count
    even = count % program.mesh.shape[sweep.SWEEP] == 0
    where = NamedSharding(program.mesh, PartitionSpec(None, sweep.SWEEP) if even else PartitionSpec())
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0], count, *x.shape[2:]), x.dtype, sharding=where), shapes
    )


def plan(program: Program, points: Hyperparams, learn: Any, validate: Any, budget: int | None = None) -> int | None:
    """How many points each device should train at a time (`memory.plan`); None: all of them at once.

    Args:
        program: with a block, whether that many fit is asked, instead of the most that fit.
        points, learn, validate: on the mesh, or as shapes with shardings; P a multiple of the devices along "sweep".
        budget: bytes a device may use; None: most of what is free now.

    Raises:
        InputError: not even one at a time fits, or not as many as the program's block.
    """
    mesh, block = program.mesh, program.block

    def chunk(block: int | None) -> Any:
        return compiled_chunk(replace(program, block=block))

    first = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec()))
    arguments = (points, template(program, points, learn.features.shape[-1]), (learn, validate), first)
    resident = [leaf for leaf in jax.tree.leaves((points, learn, validate)) if isinstance(leaf, jax.Array)]
    count = np.shape(points.seed)[1] // mesh.shape[sweep.SWEEP]
    budget = int(memory.SHARE * memory.free(mesh)) if budget is None else budget
    if block is not None and memory.needed(chunk(block).lower(*arguments).compile(), resident) <= budget:
        return block
    found = memory.plan(chunk, count, arguments, mesh=mesh, resident=resident, budget=budget)
    if block is not None:
        raise InputError(f"block={block} does not fit into the free memory; block={found or count} fits")
    return found
