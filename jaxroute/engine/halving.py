"""Successive halving: a training that drops its worst points on the way.

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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxroute import sweep
from jaxroute.engine import loop
from jaxroute.engine.program import Program
from jaxroute.types import Hyperparams, InputError, Spec, TrainState


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


def search(
    program: Program,
    points: Hyperparams,
    learn: Any,
    validate: Any,
    *,
    rungs: Sequence[int] = (),
    keep: float = 0.5,
    on_chunk: Callable[[int, Int[np.ndarray, " A"], Float[np.ndarray, "S P"]], None] | None = None,
    **settings: Any,
) -> Found:
    """Train every point; at each rung keep the best; a killed search goes on to the same bits.

    Args:
        program: with a block, survivors get the same bits as without any rung (the same kernels run whatever the
            number of points); without it they are close.
        points: leaves [S, P]; the cost weight may differ along P, not along S.
        learn, validate: as in `loop.train`.
        rungs: steps after which points are dropped, multiples of the chunk and ascending.
        keep: share of a cost weight's points that stays, at each rung.
        on_chunk: called with (steps done, positions alive, values [S, P]) after every chunk.
        **settings: of `loop.train` (folder, kept, about, budget).

    Raises:
        InputError: rungs that are not chunk ends, a share outside (0, 1], or what `loop.train` refuses.
        checkpoint.SaveError: a checkpoint could not be written.

    Example:
        Of four learning rates the better two go on after 10 of 20 steps:

        >>> from jaxroute import engine, losses
        >>> from jaxroute.data import synthetic
        >>> from jaxroute.engine import networks
        >>> from jaxroute.types import Examples
        >>> def regret(scores, utility, where, h):
        ...     return losses.softmax_regret(scores, utility, where=where)
        >>> table = synthetic.make(jax.random.key(0), num_prompts=64, num_models=3)
        >>> rows = jax.tree.map(lambda x: x[None], Examples(table.features, table.outcomes, table.available))
        >>> spec = Spec(hidden=(4,), batch_size=32, steps=20, chunk=10)
        >>> program = engine.Program(networks.router(3, (4,)), regret, spec, sweep.mesh())
        >>> points = sweep.grouped_grid(1, learning_rate=[0.001, 0.01, 0.1, 1.0])
        >>> found = search(program, points, rows, rows, rungs=[10])
        >>> found.alive.shape, int((found.dropped_at == 10).sum())
        ((2,), 2)
    """
    hook = Rungs(rungs, keep)
    told = None if on_chunk is None else lambda done, _: on_chunk(done, hook.alive, hook.value)
    state = loop.train(program, points, learn, validate, hook=hook, on_chunk=told, **settings)
    survived = jax.tree.map(lambda x: np.asarray(x)[:, hook.alive], points)
    return Found(survived, sweep.gather(state, len(hook.alive), axis=1), hook.alive, hook.dropped_at, hook.value)


class Rungs(loop.Hook):
    """The hook of `search`: counts, at each rung, who goes on."""

    dropped_at: Int[np.ndarray, " P"]
    value: Float[np.ndarray, "S P"]

    def __init__(self, rungs: Sequence[int], keep: float) -> None:
        if not 0 < keep <= 1:
            raise InputError(f"keep={keep}: it must be a share in (0, 1]")
        self.rungs, self.keep = tuple(rungs), keep

    def begin(self, points: Hyperparams, spec: Spec) -> None:
        super().begin(points, spec)
        rungs, weights = self.rungs, np.asarray(points.cost_weight)
        if list(rungs) != sorted(set(rungs)) or any(r % spec.chunk or not 0 < r < spec.steps for r in rungs):
            raise InputError(
                f"rungs={rungs}: they must be ascending multiples of chunk={spec.chunk} below {spec.steps}"
            )
        if (weights != weights[0]).any():
            raise InputError(
                "cost_weight differs between seeds; a setting is compared over all seeds, so give them the same cost "
                "weight"
            )
        self.group = weights[0]
        self.dropped_at = np.full(len(self.alive), -1, np.int32)
        self.value = np.full(weights.shape, -np.inf, np.float32)

    def after(self, done: int, state: TrainState) -> Int[np.ndarray, " B"] | None:
        self.value[:, self.alive] = np.asarray(state.best_value)
        if done not in self.rungs:
            return None
        stay = survivors(self.value[:, self.alive], self.group[self.alive], self.keep)
        self.dropped_at[np.delete(self.alive, stay)] = done
        self.alive = self.alive[stay]
        return stay

    def left(self, done: int) -> int:
        counts = np.unique(self.group, return_counts=True)[1].tolist()
        for _ in range(sum(rung <= done for rung in self.rungs)):
            counts = [_kept(count, self.keep) for count in counts]
        return sum(counts)

    def pack(self, done: int, state: Any) -> dict[str, Any]:
        alive = self.alive[: self.left(done)].astype(np.int32)
        arrays = {"alive": alive, "dropped_at": self.dropped_at, "value": self.value}
        return {"state": state, **jax.tree.map(jnp.array, arrays)}

    def unpack(self, held: dict[str, Any]) -> TrainState:
        self.alive, self.dropped_at, self.value = (np.array(held[name]) for name in ("alive", "dropped_at", "value"))
        return held["state"]

    def words(self, done: int) -> dict[str, Any]:
        taken = [int(rung) for rung in self.rungs if rung <= done]
        return {**super().words(done), **({"rungs": taken, "keep": float(self.keep)} if taken else {})}

    def worth(self, state: TrainState) -> float:
        """The best setting's value, mean over cost weights."""
        mean, group = self.value[:, self.alive].mean(0), self.group[self.alive]
        return float(np.mean([mean[group == g].max() for g in np.unique(group)]))


def survivors(value: Float[np.ndarray, "S A"], group: Float[np.ndarray, " A"], keep: float) -> Int[np.ndarray, " B"]:
    """Positions of the best ceil(keep n) of each group's n points by mean value over seeds, ascending.

    Ties go to the lower position.

    >>> print(survivors(np.array([[0.1, 0.4, 0.3, 9.0, 8.0]]), np.array([0, 0, 0, 1, 1]), 0.5))
    [1 2 3]
    """
    mean = value.mean(0)
    stay = []
    for each in np.unique(group):
        inside = np.flatnonzero(group == each)
        order = np.argsort(-mean[inside], kind="stable")
        stay.append(inside[order[: _kept(len(inside), keep)]])
    return np.sort(np.concatenate(stay))


def _kept(count: int, keep: float) -> int:
    return max(1, math.ceil(keep * count - 1e-9))
