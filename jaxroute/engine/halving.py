"""A population that thins itself out: successive halving over the vmapped points of `population`.

At every rung, the settings with the best validation values stay and are moved together (compacted), so that
the rest of the training costs what the survivors cost. Settings compete within their cost weight (values at
different cost weights are in different units of money) and by their mean over seeds (a setting stays or goes
for all seeds at once, so comparisons stay paired). With no rung this is a plain sweep.

Reference: Non-stochastic Best Arm Identification and Hyperparameter Optimization, by Jamieson and Talwalkar,
https://arxiv.org/abs/1502.07943 (2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from jaxroute import sweep
from jaxroute.engine import checkpoint, population, rows, training
from jaxroute.types import Hyperparams, InputError, Network, Objective, Spec, TrainState


class Found(NamedTuple):
    """What a search leaves. Positions are those in the points that were given, P of them.

    points, state: the A survivors', leaves [S, A, ...]. alive [A]: their positions. dropped_at [P]: the step after
    which a point was dropped, -1 for survivors. value [S, P]: best validation value at that time, or at the end.
    """

    points: Hyperparams
    state: TrainState
    alive: Int[np.ndarray, " A"]
    dropped_at: Int[np.ndarray, " P"]
    value: Float[np.ndarray, "S P"]


def survivors(value: Float[np.ndarray, "S A"], group: Float[np.ndarray, " A"], keep: float) -> Int[np.ndarray, " B"]:
    """Positions of the best ceil(keep n) of each group's n points by mean value over seeds, ascending.

    Ties go to the lower position.

    >>> print(survivors(np.array([[0.1, 0.4, 0.3, 9.0, 8.0]]), np.array([0, 0, 0, 1, 1]), 0.5))
    [1 2 3]
    """
    mean = value.mean(0)
    kept = []
    for each in np.unique(group):
        inside = np.flatnonzero(group == each)
        order = np.argsort(-mean[inside], kind="stable")
        kept.append(inside[order[: _left(len(inside), keep)]])
    return np.sort(np.concatenate(kept))


def train(
    points: Hyperparams,
    learn: Any,
    validate: Any,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
    mesh: Mesh,
    rungs: Sequence[int] = (),
    keep: float = 0.5,
    block: int | None = None,
    budget: int | None = None,
    train_chunk: Callable[..., TrainState] = training.train_chunk,
    folder: Path | None = None,
    kept: int = 2,
    about: dict[str, Any] | None = None,
    on_chunk: Callable[[int, Int[np.ndarray, " A"], Float[np.ndarray, "S P"]], None] | None = None,
) -> Found:
    """Train every point; at each rung keep the best; a killed search goes on to the same bits.

    Args:
        points: leaves [S, P], any P; the cost weight may differ along P, not along S.
        learn, validate: as in ``population.train``.
        rungs: steps after which points are dropped, multiples of ``spec.chunk`` and ascending.
        keep: share of a cost weight's points that stays, at each rung.
        block: points run at a time on each device. With it, survivors get the same bits as without any rung
            (the same kernels run whatever the number of points); without it they are close, and as many run at
            a time as fit (`memory`). A search that goes on keeps the block that it was begun with.
        budget: bytes a device may use; None: most of what is free.
        folder: where to checkpoint every chunk, and to resume from. None: nothing is written.
        kept: the last so many checkpoints stay, and the best by validation value.
        about: what to write into each checkpoint, a config say.
        on_chunk: called with (steps done, positions alive, values [S, P]) after every chunk.

    Raises:
        InputError: rungs that are not chunk ends, a share outside (0, 1], or points that do not fit into memory.
        checkpoint.SaveError: a checkpoint could not be written.
    """
    if list(rungs) != sorted(set(rungs)) or any(r % spec.chunk or not 0 < r < spec.steps for r in rungs):
        raise InputError(f"rungs={tuple(rungs)}: need ascending multiples of chunk={spec.chunk} below {spec.steps}")
    if not 0 < keep <= 1:
        raise InputError(f"keep={keep}: a share in (0, 1]")
    seeds, count = np.shape(points.seed)
    weights = np.asarray(points.cost_weight)
    if (weights != weights[0]).any():
        raise InputError("cost_weight differs between seeds: a setting is compared over all seeds at one cost weight")
    group = weights[0]
    multiple = mesh.shape[sweep.SWEEP] * (block or 1)
    learn, validate = rows.place(learn, mesh), sweep.put(validate, mesh)
    static: Any = {"network": network, "objective": objective, "spec": spec, "mesh": mesh, "train_chunk": train_chunk}

    def chosen(tree: Any, positions: Any) -> Any:
        """Columns of the tree, padded to what the devices take and put on them."""
        padded = np.concatenate([positions, np.full(-len(positions) % multiple, positions[-1])])
        return sweep.place(jax.tree.map(lambda x: jnp.take(jnp.asarray(x), padded, axis=1), tree), mesh, axis=1)

    def template(step: int) -> dict[str, Any]:
        """What the checkpoint of a step holds: no padding, so that any number of devices can read it."""
        left = sum(_after(int(n), keep, sum(r <= step for r in rungs)) for n in np.unique(group, return_counts=True)[1])
        whole = NamedSharding(mesh, PartitionSpec())

        def of(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

        return {
            "state": jax.tree.map(lambda x: of(x.dtype, seeds, left, *x.shape[2:]), shapes),
            "alive": of(jnp.int32, left),
            "dropped_at": of(jnp.int32, count),
            "value": of(jnp.float32, seeds, count),
        }

    alive, dropped_at = np.arange(count), np.full(count, -1, np.int32)
    value = np.full((seeds, count), -np.inf, np.float32)
    active = chosen(points, alive)
    shapes = jax.eval_shape(population.trainers(**static, block=block)[0], active, learn.features)
    first = 0
    checkpoints = None if folder is None else checkpoint.open_folder(folder, kept)
    try:
        restored = None if checkpoints is None else checkpoint.restore(checkpoints, template)
        if restored is not None:
            first, held = restored
            alive, dropped_at, value = (np.array(held[name]) for name in ("alive", "dropped_at", "value"))
            active, state = chosen(points, alive), chosen(held["state"], np.arange(len(alive)))
            planned = checkpoint.about(checkpoints, first).get("block") if block is None else block
        else:
            planned = population.plan(active, learn, validate, **static, block=block, budget=budget)
        initialise, chunk = population.trainers(**static, block=planned)
        if restored is None:
            state = initialise(active, learn.features)
        for start in range(first, spec.steps, spec.chunk):
            state = chunk(active, state, (learn, validate), jnp.int32(start))
            done = start + spec.chunk
            value[:, alive] = np.asarray(state.best_value)[:, : len(alive)]
            if done in rungs:
                stay = survivors(value[:, alive], group[alive], keep)
                dropped_at[np.delete(alive, stay)] = done
                alive, state = alive[stay], chosen(state, stay)
                active = chosen(points, alive)
            if checkpoints is not None:
                arrays = {"alive": alive.astype(np.int32), "dropped_at": dropped_at, "value": value}
                whole_state = jax.tree.map(lambda x: x[:, : len(alive)], state)  # noqa: B023
                held = {"state": whole_state, **jax.tree.map(jnp.array, arrays)}
                worth = float(np.mean([value[:, alive[group[alive] == g]].mean(0).max() for g in np.unique(group)]))
                checkpoint.save(checkpoints, done, held, value=worth, about={**(about or {}), "block": planned})
            if on_chunk is not None:
                on_chunk(done, alive, value)
    finally:
        if checkpoints is not None:
            checkpoint.close(checkpoints)
    cut = sweep.gather(state, len(alive), axis=1)
    return Found(jax.tree.map(lambda x: np.asarray(x)[:, alive], points), cut, alive, dropped_at, value)


def _left(count: int, keep: float) -> int:
    return max(1, math.ceil(keep * count - 1e-9))


def _after(count: int, keep: float, rungs: int) -> int:
    for _ in range(rungs):
        count = _left(count, keep)
    return count
