"""Training on more rows than memory holds: they stay on disk, and a block of them at a time visits the device.

    learn = disk.open_rows(folder)
    state = streaming.train(points, learn, validate, network=network, objective=objective, spec=spec, mesh=mesh)

A visit trains on one block as a chunk of `population.train` does on all rows, with the same program, while a thread
loads the next block (double buffering): two blocks are in memory, whatever the number of rows. With one block that
holds every row the training is that in memory, to the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from jaxroute import sweep
from jaxroute.engine import checkpoint, disk, population, rows, training
from jaxroute.types import Examples, Hyperparams, InputError, Network, Objective, Spec, TrainState

BLOCK, RUN = 65536, 256


def runs_of(visit: int, num_rows: int, block: int, run: int) -> Int[np.ndarray, " R"]:
    """First rows of the runs of ``run`` consecutive rows that are visited together; a function of the visit alone.

    An epoch cuts the rows into runs, shuffles them and deals them to blocks: what a block holds comes from all
    over the files, and is read in long pieces. Runs start at an offset drawn anew, so that rows beyond the last
    whole run or block, which an epoch leaves out, are others in the next.

    >>> print(np.sort([runs_of(visit, num_rows=12, block=6, run=3) for visit in (0, 1)], axis=None))
    [0 3 6 9]
    """
    epoch, position = divmod(visit, num_rows // block)
    generator = np.random.default_rng([epoch, num_rows])
    offset = generator.integers(num_rows % run + 1)
    runs = generator.permutation(num_rows // run)
    each = block // run
    return offset + run * np.sort(runs[position * each : (position + 1) * each])


def train(
    points: Hyperparams,
    learn: Examples,
    validate: Examples,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
    mesh: Mesh,
    block: int = BLOCK,
    run: int = RUN,
    train_chunk: Callable[..., TrainState] = training.train_chunk,
    folder: Path | None = None,
    kept: int = 2,
    about: dict[str, Any] | None = None,
    on_visit: Callable[[int, TrainState], None] | None = None,
) -> TrainState:
    """`population.train` on rows that stay on disk; a killed training goes on to the same bits.

    Args:
        points: leaves [1, P], ``population.grouped_grid(1, ...)``: all see the same rows; seeds are an axis of P.
        learn: [N, ...], see ``disk.open_rows``. validate: leaves [1, V, ...], in memory: every visit ends with them.
        network, objective, mesh: as in ``population.train``.
        spec: ``steps`` is made up to whole visits; a visit is the chunk, whatever ``spec.chunk``.
        block: rows of a visit, better a multiple of ``spec.batch_size``; all rows if there are fewer.
        run: rows that are read together, see ``runs_of``; divides ``block``.
        train_chunk: ``rows.train_chunk`` where the mesh splits each block's rows over "data".
        folder: where to checkpoint every visit, and to resume from. None: nothing is written.
        kept, about: as in ``population.train``.
        on_visit: called with (steps done, state) after every visit; the state is gone after the next one.

    Returns:
        TrainState with leaves [1, P, ...].

    Raises:
        InputError: more than one group of points, runs that do not fill a block, a row that is not finite, a folder
            begun with other rows, or what ``population.train`` refuses.
        checkpoint.SaveError: a checkpoint could not be written.
    """
    if np.shape(points.seed)[:-1] != (1,):
        raise InputError(f"points {np.shape(points.seed)}: all share the rows, so make it [1, P]; seeds go along P")
    num_rows = len(learn.available)
    if num_rows <= block:
        block = run = num_rows
    if run < 1 or block % run:
        raise InputError(f"block={block}: must be a multiple of run={run}")
    steps = block // min(spec.batch_size, block)
    visits = -(-spec.steps // steps)
    static: Any = {"network": network, "objective": objective, "mesh": mesh, "train_chunk": train_chunk}
    static["spec"] = dataclasses.replace(spec, chunk=steps)
    order = {"count": num_rows, "block": block, "run": run}

    def load(visit: int) -> Examples:
        some = disk.read(learn, runs_of(visit, num_rows, block, run), run)
        return rows.place(jax.tree.map(lambda x: x[None], some), mesh)

    points, validate = sweep.place(points, mesh, axis=1), sweep.put(validate, mesh)
    checkpoints = None if folder is None else checkpoint.open_folder(folder, kept)
    with ThreadPoolExecutor(1) as loader:
        try:
            coming = loader.submit(load, 0)
            done, state, at_a_time = population.begin(checkpoints, points, coming.result(), validate, static)
            _, visit_block = population.trainers(**static, block=at_a_time)
            if checkpoints is not None and done:
                if checkpoint.about(checkpoints, done).get("rows") != order:
                    raise InputError(f"{folder}: was begun with other rows, block or run than {order}")
                coming = loader.submit(load, done // steps)
            for visit in range(done // steps, visits):
                here = coming.result()
                if visit + 1 < visits:
                    coming = loader.submit(load, visit + 1)
                state = visit_block(points, state, (here, validate), jnp.int32(visit * steps))
                jax.block_until_ready(state)  # else blocks would queue up in memory
                if checkpoints is not None:
                    words = {**(about or {}), "rows": order, "block": at_a_time}
                    value = population.worth(state)
                    checkpoint.save(checkpoints, (visit + 1) * steps, state, value=value, about=words)
                if on_visit is not None:
                    on_visit((visit + 1) * steps, state)
        finally:
            if checkpoints is not None:
                checkpoint.close(checkpoints)
    return state
