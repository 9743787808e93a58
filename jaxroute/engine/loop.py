"""The training loop: every point of a sweep side by side, chunk by chunk, from memory or from disk.

A chunk is the interval of validation, of progress reports and of checkpoints; resuming from a checkpoint gives the
same bits as never having stopped. Where the rows come from is the `Source`'s business (`program.in_memory`,
`disk.source`), and which points go on after a chunk the `Hook`'s (`halving`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxroute import sweep
from jaxroute.engine import checkpoint, disk, memory, training
from jaxroute.engine.program import Program, compiled_chunk, compiled_start, in_memory, plan, template
from jaxroute.types import Hyperparams, InputError, Network, Params, Spec, TrainState


class Hook:
    """What is done between chunks. This one lets every point go on, and saves nothing but the states."""

    alive: Int[np.ndarray, " A"]

    def begin(self, points: Hyperparams, spec: Spec) -> None:
        """Before anything else; ``spec.chunk`` is the chunk that will run."""
        self.alive = np.arange(np.shape(points.seed)[1])

    def after(self, done: int, state: TrainState) -> Int[np.ndarray, " B"] | None:
        """After a chunk: positions among the points alive that go on, None for all; keeps ``alive`` up to date."""

    def left(self, done: int) -> int:
        """How many points are alive after ``done`` steps."""
        return len(self.alive)

    def pack(self, done: int, state: TrainState) -> Any:
        """What the checkpoint of a step holds, from the states of the points alive (or their shapes)."""
        return state

    def unpack(self, held: Any) -> TrainState:
        """The states in what `pack` made; the hook goes on from the rest."""
        return held

    def worth(self, state: TrainState) -> float:
        """By what the best checkpoint is kept: the points' mean best validation value."""
        return float(state.best_value.mean())


def train(
    program: Program,
    points: Hyperparams,
    learn: Any,
    validate: Any,
    *,
    hook: Hook | None = None,
    folder: Path | None = None,
    kept: int = 2,
    about: dict[str, Any] | None = None,
    on_chunk: Callable[[int, TrainState], None] | None = None,
    budget: int | None = None,
) -> TrainState:
    """Train every point; keep each point's best parameters by validation value.

    Args:
        program: what is static, see `Program`.
        points: leaves [S, P]; padded here to what the devices take.
        learn: the task's examples, leaves [S, N, ...], outcomes in the units of points.cost_weight; or `disk.Rows`,
            which all points share (S = 1): the chunk is then one visit of a block, whatever ``spec.chunk``.
        validate: examples, leaves [S, V, ...], in memory.
        hook: what is done between chunks; `halving.search` brings one.
        folder: where to checkpoint every chunk, and to resume from. None: nothing is written.
        kept: the last so many checkpoints stay, and the best (see `Hook.worth`).
        about: what to write into each checkpoint, a config say.
        on_chunk: called with (steps done, state) after every chunk; the state is gone after the next one.
        budget: bytes a device may use; None: most of what is free. A training that goes on keeps the block that it
            was begun with, whatever is free by then: another could give other bits.

    Returns:
        TrainState with leaves [S, P, ...], of the points alive.

    Raises:
        InputError: rows that do not divide by the devices along "data", a folder begun with other rows, points that
            do not fit into memory even one at a time, or what the source or the hook refuses.
        checkpoint.SaveError: a checkpoint could not be written.

    Example:
        Three cost weights, one seed, side by side:

        >>> from jaxroute import engine, losses
        >>> from jaxroute.data import synthetic
        >>> from jaxroute.engine import networks
        >>> from jaxroute.types import Examples
        >>> def regret(scores, utility, where, h):
        ...     return losses.softmax_regret(scores, utility, temperature=h.temperature, where=where)
        >>> table = synthetic.make(jax.random.key(0), num_prompts=64, num_models=3)
        >>> rows = jax.tree.map(lambda x: x[None], Examples(table.features, table.outcomes, table.available))
        >>> spec = Spec(hidden=(4,), batch_size=32, steps=20, chunk=10)
        >>> program = engine.Program(networks.router(3, (4,)), regret, spec, sweep.mesh())
        >>> points = sweep.grouped_grid(1, cost_weight=[0.0, 0.5, 1.0])
        >>> train(program, points, rows, rows).best_value.shape
        (1, 3)
    """
    hook, mesh = hook or Hook(), program.mesh
    source = disk.source(program, learn, points) if isinstance(learn, disk.Rows) else in_memory(program, learn)
    program = replace(program, spec=replace(program.spec, chunk=source.steps))
    spec, multiple = program.spec, mesh.shape[sweep.SWEEP] * (program.block or 1)
    validate, num_features = sweep.put(validate, mesh), source.like.features.shape[-1]
    hook.begin(points, spec)
    active = _placed(_chosen(points, hook.alive, mesh), mesh, multiple)
    checkpoints = None if folder is None else checkpoint.open_folder(folder, kept)

    def expected(step: int) -> Any:
        return hook.pack(step, template(program, active, num_features, hook.left(step)))

    try:
        restored = None if checkpoints is None else checkpoint.restore(checkpoints, expected)
        if restored is None:
            first, block = 0, plan(program, active, source.like, validate, budget)
        else:
            first, held = restored
            begun = checkpoint.about(checkpoints, first)
            if begun.get("rows") != source.words:
                raise InputError(
                    f"{folder}: was begun with other rows, block or run than {source.words}; use another folder"
                )
            block = program.block or begun.get("block")
            state = _placed(hook.unpack(held), mesh, multiple)
            active = _placed(_chosen(points, hook.alive, mesh), mesh, multiple)
        program = replace(program, block=block)
        chunk = compiled_chunk(program)
        if restored is None:
            state = compiled_start(program, num_features)(active)
        words = {**(about or {}), **({"rows": source.words} if source.words else {}), "block": block}
        with closing(source.visits(first // spec.chunk, -(-spec.steps // spec.chunk))) as visits:
            for start, rows in zip(range(first, spec.steps, spec.chunk), visits, strict=True):
                # Waited for, else chunks and the rows that they visit would queue up in memory.
                state = jax.block_until_ready(chunk(active, state, (rows, validate), sweep.put(np.int32(start), mesh)))
                done, alive = start + spec.chunk, _cut(state, len(hook.alive))
                stay = hook.after(done, alive)
                if stay is not None:
                    alive = _chosen(alive, stay, mesh)
                    state = _placed(alive, mesh, multiple)
                    active = _placed(_chosen(points, hook.alive, mesh), mesh, multiple)
                if checkpoints is not None:
                    checkpoint.save(checkpoints, done, hook.pack(done, alive), value=hook.worth(alive), about=words)
                if on_chunk is not None:
                    on_chunk(done, alive)
    finally:
        if checkpoints is not None:
            checkpoint.close(checkpoints)
    return _cut(state, len(hook.alive))


def choose(
    points: Hyperparams,
    state: TrainState,
    features: Float[Array, "S N D"],
    available: Bool[Array, "S N K"],
    *,
    network: Network,
    mesh: Mesh,
) -> Int[Array, "S P N"]:
    """Models chosen by every point's best parameters, in blocks of prompts."""
    return evaluate(_choice, points, state, (features, available), network=network, mesh=mesh)


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

    Points are taken in blocks where memory is short.

    Args:
        function: static; ``training.scores``, say, or ``conditional.scores_at``.
        group: second to last argument, leaves [S, ...]. common: shared by all, never batched.
    """
    devices = mesh.shape[sweep.SWEEP]
    asked = _placed((points, state.best_params), mesh, devices)
    arguments = (asked, *sweep.put((group, *common), mesh))
    program = partial(_over_points, function, network, mesh)
    count = np.shape(asked[0].seed)[1] // devices
    block = memory.plan(program, count, arguments, mesh=mesh, resident=arguments)
    return _cut(program(block)(*arguments), np.shape(points.seed)[1])


def _choice(network: Network, params: Params, hyperparams: Hyperparams, data: tuple[Array, Array]) -> Array:
    return training.choose(network, params, *data, hyperparams.width)


@cache
def _over_points(
    function: Callable[..., Any], network: Network, mesh: Mesh, block: int | None = None
) -> Callable[..., Any]:
    def one(point: tuple[Hyperparams, Params], group: Any, *common: Any) -> Any:
        hyperparams, params = point
        return function(network, params, hyperparams, group, *common)

    return sweep.over_points(one, mesh, grouped=True, block=block)


def _chosen(tree: Any, positions: Int[np.ndarray, " B"], mesh: Mesh) -> Any:
    """Those points of leaves [S, A, ...]."""
    if any(isinstance(x, jax.Array) for x in jax.tree.leaves(tree)):
        return _taken(tree, sweep.put(positions, mesh))
    return jax.tree.map(lambda x: np.take(x, positions, axis=1), tree)


@jax.jit
def _taken(tree: Any, positions: Int[Array, " B"]) -> Any:
    return jax.tree.map(lambda x: jnp.take(x, positions, axis=1), tree)


def _placed(tree: Any, mesh: Mesh, multiple: int) -> Any:
    """On the mesh, the last point repeated to a multiple of what the devices take."""
    return sweep.place(sweep.pad(tree, multiple, axis=1)[0], mesh, axis=1)


def _cut(tree: Any, count: int) -> Any:
    """Without the points that were repeated.

    One program, and waited for: on emulated devices XLA runs a program in as many threads as there are devices, so that
    of several with collective operations at a time none may ever have them all.
    """
    if all(x.shape[1] == count for x in jax.tree.leaves(tree)):
        return tree
    return jax.block_until_ready(_first(tree, count))


@partial(jax.jit, static_argnames="count")
def _first(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda x: x[:, :count], tree)
