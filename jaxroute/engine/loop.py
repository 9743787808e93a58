"""The training loop: every point of a sweep side by side, chunk by chunk, from memory or from disk.

A chunk is the interval of validation, of progress reports and of checkpoints; resuming from a checkpoint gives the
same bits as never having stopped. Where the rows come from is the `Source`'s business (`program.in_memory`,
`disk.source`), and which points go on after a chunk the `Hook`'s (`halving`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxroute import sweep
from jaxroute.engine import checkpoint, checks, disk, identity
from jaxroute.engine.evaluation import chosen, cut, placed
from jaxroute.engine.program import Program, compiled_chunk, compiled_start, in_memory, plan, template
from jaxroute.types import Hyperparams, Spec, TrainState


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

    def words(self, done: int) -> dict[str, Any]:
        """What the states after ``done`` steps owe to the hook, as JSON has it: other words, another training."""
        return {"hook": type(self).__name__}

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
        folder: where to checkpoint every chunk, and to resume from. None: nothing is written. A folder is of one
            training (`identity.parts`, for which rows on disk are read once); it may go on with more ``steps``, and
            from then on the learning rate is that of the new number of steps.
        kept: the last so many checkpoints stay, and the best (see `Hook.worth`).
        about: what to write into each checkpoint, a config say.
        on_chunk: called with (steps done, state) after every chunk; the state is gone after the next one.
        budget: bytes a device may use; None: most of what is free. A training that goes on keeps the block that it
            was begun with, whatever is free by then: another could give other bits.

    Returns:
        TrainState with leaves [S, P, ...], of the points alive.

    Raises:
        InputError: points or rows that cannot be trained on (see `checks`), rows that do not divide by the devices
            along "data", a folder begun with other points, network, loss, rows or Spec or with more steps (nothing in
            it is changed), points that do not fit into memory even one at a time, or what the source or the hook
            refuses.
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
    checks.points(points)
    source = (disk.source if isinstance(learn, disk.Rows) else in_memory)(program, learn, points)
    checks.rows("validate", validate, points, whole=program.task.whole, like=source.like)
    program = replace(program, spec=replace(program.spec, chunk=source.steps))
    spec, multiple = program.spec, mesh.shape[sweep.SWEEP] * (program.block or 1)
    own = {} if folder is None else identity.parts(program, points, learn, validate)
    validate, num_features = sweep.put(validate, mesh), source.like.features.shape[-1]
    hook.begin(points, spec)
    active = placed(chosen(points, hook.alive, mesh), mesh, multiple)
    checkpoints = None if folder is None else checkpoint.open_folder(folder, kept)

    def expected(step: int) -> Any:
        like = hook.pack(step, template(program, active, num_features, hook.left(step)))
        begun, parts = checkpoint.about(checkpoints, step), {**own, **hook.words(step)}
        alike = partial(checkpoint.fits, checkpoints, step, like)
        identity.refuse_another(folder, begun, parts, rows=source.words, done=step, steps=spec.steps, alike=alike)
        return like

    try:
        restored = None if checkpoints is None else checkpoint.restore(checkpoints, expected)
        if restored is None:
            first, block = 0, plan(program, active, source.like, validate, budget)
        else:
            first, held = restored
            block = program.block or checkpoint.about(checkpoints, first).get("block")
            state = placed(hook.unpack(held), mesh, multiple)
            active = placed(chosen(points, hook.alive, mesh), mesh, multiple)
        program = replace(program, block=block)
        chunk = compiled_chunk(program)
        if restored is None:
            state = compiled_start(program, num_features)(active)
        words = {**(about or {}), **({"rows": source.words} if source.words else {}), "block": block}
        begin, parts = first // spec.chunk, chunks(first, spec.steps, spec.chunk)
        with closing(source.visits(begin, begin + len(parts))) as visits:
            for (start, count), rows in zip(parts, visits, strict=True):
                whole = count == spec.chunk
                run = chunk if whole else compiled_chunk(replace(program, spec=replace(spec, chunk=count)))
                # Waited for, else chunks and the rows that they visit would queue up in memory.
                state = jax.block_until_ready(run(active, state, (rows, validate), sweep.put(np.int32(start), mesh)))
                done, alive = start + count, cut(state, len(hook.alive))
                stay = hook.after(done, alive)
                if stay is not None:
                    alive = chosen(alive, stay, mesh)
                    state = placed(alive, mesh, multiple)
                    active = placed(chosen(points, hook.alive, mesh), mesh, multiple)
                if checkpoints is not None:
                    words["training"] = {"steps": spec.steps, "parts": {**own, **hook.words(done)}}
                    checkpoint.save(checkpoints, done, hook.pack(done, alive), value=hook.worth(alive), about=words)
                if on_chunk is not None:
                    on_chunk(done, alive)
    finally:
        if checkpoints is not None:
            checkpoint.close(checkpoints)
    return cut(state, len(hook.alive))


def chunks(first: int, steps: int, length: int) -> list[tuple[int, int]]:
    """(first step, number of steps) of every chunk from ``first`` on: they end at multiples of ``length``, or with all.

    >>> chunks(0, 25, 10), chunks(25, 40, 10)
    ([(0, 10), (10, 10), (20, 5)], [(25, 5), (30, 10)])
    """
    ends = [*range((first // length + 1) * length, steps, length), steps] if first < steps else []
    return [(start, end - start) for start, end in pairwise([first, *ends])]
