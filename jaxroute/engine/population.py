"""A population of routers, [S seeds, P points], trained side by side in one compiled program.

The P points of a seed (cost weights, hyperparameters) share that seed's data without a copy. Training is a
Python loop over compiled chunks of steps; a chunk is the interval of validation, of progress reports and
of checkpoints, and resuming from one gives the same bits as never having stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxroute import sweep
from jaxroute.engine import checkpoint, memory, rows, training
from jaxroute.types import Continuum, Examples, Hyperparams, InputError, Network, Objective, Params, Spec, TrainState


def train(
    points: Hyperparams,
    learn: Examples | Continuum,
    validate: Examples | Continuum,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
    mesh: Mesh,
    train_chunk: Callable[..., TrainState] = training.train_chunk,
    folder: Path | None = None,
    kept: int = 2,
    about: dict[str, Any] | None = None,
    on_chunk: Callable[[int, TrainState], None] | None = None,
) -> TrainState:
    """Train every point; keep each point's best parameters by validation value.

    Args:
        points: leaves [S, P]; P must be a multiple of the devices along "sweep" (see ``sweep.pad``).
        learn, validate: examples with a leading seed axis [S]; outcomes in the units of points.cost_weight.
        network, objective, spec: static; one compile for any values of the points.
        mesh: see ``sweep.mesh``.
        train_chunk: what a chunk does; ``conditional.train_chunk`` for routers of every cost weight,
            ``rows.train_chunk`` where the mesh splits the rows of ``learn`` over "data".
        folder: where to checkpoint every chunk, and to resume from. None: nothing is written.
        kept: the last so many checkpoints stay, and the best (see ``worth``).
        about: what to write into each checkpoint, a config say.
        on_chunk: called with (steps done, state) after every chunk; the state is gone after the next one.

    Returns:
        TrainState with leaves [S, P, ...].

    Raises:
        InputError: a mesh with the axis "data" and another ``train_chunk``, which would not average over it; rows
            or batch that do not divide by the devices along it; not even one point at a time fits into memory.
        checkpoint.SaveError: a checkpoint could not be written.
    """
    points = sweep.place(points, mesh, axis=1)
    learn, validate = rows.place(learn, mesh), sweep.put(validate, mesh)
    static: Any = {"network": network, "objective": objective, "spec": spec, "mesh": mesh, "train_chunk": train_chunk}
    checkpoints = None if folder is None else checkpoint.open_folder(folder, kept)
    try:
        first, state, block = begin(checkpoints, points, learn, validate, static)
        _, chunk = trainers(**static, block=block)
        for done in range(first, spec.steps, spec.chunk):
            state = chunk(points, state, (learn, validate), jnp.int32(done))
            if checkpoints is not None:
                words = {**(about or {}), "block": block}
                checkpoint.save(checkpoints, done + spec.chunk, state, value=worth(state), about=words)
            if on_chunk is not None:
                on_chunk(done + spec.chunk, state)
    finally:
        if checkpoints is not None:
            checkpoint.close(checkpoints)
    return state


def choose(
    points: Hyperparams,
    state: TrainState,
    features: Float[Array, "S N D"],
    available: Bool[Array, "S N K"],
    *,
    network: Network,
    mesh: Mesh,
) -> Int[Array, "S P N"]:
    """Models chosen by every point's best parameters, in blocks of prompts, and of points where memory is short."""
    arguments = (sweep.place((points, state), mesh, axis=1), sweep.put((features, available), mesh))
    count = np.shape(points.seed)[1] // mesh.shape[sweep.SWEEP]
    block = memory.plan(partial(_decider, network, mesh), count, arguments, mesh=mesh, resident=arguments)
    return _decider(network, mesh, block)(*arguments)


def evaluate(
    function: Callable[..., Any],
    points: Hyperparams,
    state: TrainState,
    group: Any,
    *common: Any,
    network: Network,
    mesh: Mesh,
) -> Any:
    """``function(network, params, hyperparams, group, *common)`` of every point's best parameters, leaves [S, P, ...].

    Args:
        function: static; ``training.scores``, say, or ``conditional.scores_at``.
        group: second to last argument, leaves [S, ...]. common: shared by all, never batched.
    """
    run = _evaluator(function, network, mesh)
    return run((sweep.place(points, mesh, axis=1), state.best_params), group, *common)


@cache
def _evaluator(function: Callable[..., Any], network: Network, mesh: Mesh) -> Callable[..., Any]:
    def one(point: tuple[Hyperparams, Params], group: Any, *common: Any) -> Any:
        hyperparams, params = point
        return function(network, params, hyperparams, group, *common)

    return sweep.over_points(one, mesh, grouped=True)


@cache
def trainers(
    network: Network,
    objective: Objective,
    spec: Spec,
    mesh: Mesh,
    train_chunk: Callable[..., TrainState],
    block: int | None = None,
) -> tuple[Callable[..., TrainState], Callable[..., TrainState]]:
    """(initialise, one chunk): compiled once per static choice and shape, whatever the points."""

    def initialise(point: Hyperparams, features: Array) -> TrainState:
        return training.init(network, point, spec, features.shape[-1])

    by_rows = sweep.DATA in mesh.axis_names
    if by_rows != (train_chunk is rows.train_chunk):
        raise InputError('rows.train_chunk and a mesh with the axis "data" go together: one came without the other')
    whole = PartitionSpec()
    learn = rows.split() if by_rows else whole
    chunk = partial(train_chunk, network=network, objective=objective, spec=spec)
    return (
        sweep.over_points(initialise, mesh, grouped=True, block=block, rest_specs=(learn,)),
        sweep.over_points(chunk, mesh, grouped=True, block=block, rest_specs=((learn, whole), whole), carry=True),
    )


def begin(
    checkpoints: Any, points: Hyperparams, learn: Any, validate: Any, static: dict[str, Any]
) -> tuple[int, TrainState, int | None]:
    """(steps done, state, block) of the newest checkpoint; if there is none, of the start, with the block that fits.

    A training that goes on keeps its block whatever is free by then: another could give other bits.

    Args:
        checkpoints: an open folder, or None.
        points, learn, validate: as placed for `train`, on the mesh.
        static: arguments of ``trainers``, but for the block.
    """
    restored = None if checkpoints is None else checkpoint.restore(checkpoints, template(points, learn, **static))
    if restored is not None:
        return *restored, checkpoint.about(checkpoints, restored[0]).get("block")
    block = plan(points, learn, validate, **static)
    return 0, trainers(**static, block=block)[0](points, learn.features), block


def worth(state: TrainState) -> float:
    """By what the best checkpoint is kept: the points' mean best validation value."""
    return float(state.best_value.mean())


def template(
    points: Hyperparams,
    learn: Any,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
    mesh: Mesh,
    train_chunk: Callable[..., TrainState] = training.train_chunk,
) -> Any:
    """The points' TrainState as shapes and where they lie, which is what ``checkpoint.restore`` asks for."""
    initialise, _ = trainers(network, objective, spec, mesh, train_chunk)
    split = NamedSharding(mesh, PartitionSpec(None, sweep.SWEEP))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=split),
        jax.eval_shape(initialise, points, learn.features),
    )


def plan(
    points: Hyperparams,
    learn: Any,
    validate: Any,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
    mesh: Mesh,
    train_chunk: Callable[..., TrainState] = training.train_chunk,
    block: int | None = None,
    budget: int | None = None,
) -> int | None:
    """How many points each device should train at a time (`memory.plan`); None: all of them at once.

    Args:
        points, learn, validate: as placed for `train`, on the mesh.
        block: ask whether this many fit, instead of for the most that fit.
        budget: bytes a device may use; None: most of what is free now.

    Raises:
        InputError: not even one at a time fits, or not as many as ``block``.
    """
    static: Any = {"network": network, "objective": objective, "spec": spec, "mesh": mesh, "train_chunk": train_chunk}

    def program(block: int | None) -> Any:
        return trainers(**static, block=block)[1]

    state = template(points, learn, **static)
    arguments = (points, state, (learn, validate), jnp.int32(0))
    count = np.shape(points.seed)[1] // mesh.shape[sweep.SWEEP]
    resident = (points, learn, validate)
    budget = int(memory.SHARE * memory.free(mesh)) if budget is None else budget
    if block is not None and memory.needed(program(block).lower(*arguments).compile(), resident) <= budget:
        return block
    found = memory.plan(program, count, arguments, mesh=mesh, resident=resident, budget=budget)
    if block is not None:
        raise InputError(
            f"block={block} does not fit into the memory that is free; {found or count} points at a time do"
        )
    return found


@cache
def _decider(network: Network, mesh: Mesh, block: int | None) -> Callable[..., Array]:
    def decide(point: tuple[Hyperparams, TrainState], data: tuple[Array, Array]) -> Array:
        hyperparams, trained = point
        return training.choose(network, trained.best_params, *data, hyperparams.width)

    return sweep.over_points(decide, mesh, grouped=True, block=block)


def grouped_grid(seeds: int, **axes: Sequence[float] | float) -> Hyperparams:
    """``sweep.grid`` once per seed: leaves [S, P]."""
    flat = sweep.grid(seed=range(seeds), **axes)
    return jax.tree.map(lambda x: x.reshape(seeds, -1), flat)
