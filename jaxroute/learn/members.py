"""Members of an ensemble: a router for every fold, seed and cost weight, all of them points of one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute import engine, policies, settings
from jaxroute.engine import training
from jaxroute.learn import folds
from jaxroute.types import Hyperparams, InputError, Key, TrainState

HYPERPARAMS = Hyperparams(learning_rate=2e-3, weight_decay=1.0, entropy=0.1)
"""Of all trained methods: what the study used, settled on a synthetic problem that it did not measure on."""


def seeds_of(key: Key, seeds: Sequence[int], num_folds: int) -> Int[Array, "F S"]:
    """The seed of every member; those of one of ``seeds`` do not depend on what the others are.

    Raises:
        InputError: no seeds.
    """
    if not len(seeds):
        raise InputError("seeds is empty: give at least one")
    most = np.iinfo(np.int32).max
    return jnp.stack([jax.random.randint(jax.random.fold_in(key, s), (num_folds,), 0, most) for s in seeds], 1)


def scalars(hyperparams: Hyperparams) -> Hyperparams:
    """The same, after a look at every field.

    Raises:
        InputError: a hyperparameter that is not one finite number.
    """
    for name, value in hyperparams._asdict().items():
        settings.number(f"hyperparams.{name}", value, "one finite number")
    return hyperparams


def points(hyperparams: Hyperparams, weights: Sequence[float] | np.ndarray, seeds: Int[Array, "F S"]) -> Hyperparams:
    """Every seed at every cost weight for each of F folds: leaves [F, L * S], seeds vary fastest.

    Raises:
        InputError: a hyperparameter that is not one number.

    Example:
        >>> found = points(Hyperparams(), [0.0, 0.5], jnp.array([[7, 8]]))
        >>> print(found.cost_weight, found.seed)
        [[0.  0.  0.5 0.5]] [[7 8 7 8]]
    """
    shape = (len(seeds), len(weights) * seeds.shape[1])

    def spread(value: float, default: float) -> np.ndarray:
        return np.full(shape, value, np.int32 if isinstance(default, int) else np.float32)

    same = jax.tree.map(spread, scalars(hyperparams), Hyperparams())
    weight = np.broadcast_to(np.repeat(np.asarray(weights, np.float32), seeds.shape[1]), shape)
    return same._replace(cost_weight=weight, seed=np.tile(np.asarray(seeds), (1, len(weights))))


def train(program: engine.Program, points: Hyperparams, learn: Any, validate: Any, **options: Any) -> TrainState:
    """``engine.train`` on leaves [F, A, ...] and [F, B, ...], with each member's best value made a mean over rows.

    Where a fold is short of rows, rows that are not there count for 0 in the engine's mean over B.
    """
    state = engine.train(program, points, learn, validate, **options)
    return state._replace(best_value=_mean_over_rows(state.best_value, validate.available))


@jax.jit
def _mean_over_rows(value: Float[Array, "F A"], available: Bool[Array, "F B K"]) -> Float[Array, "F A"]:
    return value / jnp.mean(jnp.any(available, -1), 1, dtype=jnp.float32)[:, None]


def out_of_fold(
    function: Callable[..., Array],
    program: engine.Program,
    points: Hyperparams,
    state: TrainState,
    held_out: Any,
    rows: folds.Folds,
    *common: Any,
) -> Float[Array, "R P K"]:
    """Scores of every row by the members that never saw it.

    Args:
        function: of ``engine.evaluate``, giving [B, K]. held_out: the rows of every fold, leaves [F, B, ...].
    """
    scores = engine.evaluate(function, points, state, held_out, *common, network=program.network, mesh=program.mesh)
    return folds.put_back(jnp.moveaxis(scores, 1, 2), rows.held_out, len(rows.fold))


def scores(
    program: engine.Program, points: Hyperparams, state: TrainState, features: Array, rows: folds.Folds
) -> Float[Array, "R P K"]:
    """``out_of_fold`` of routers of one cost weight, on features [R, d]."""
    return out_of_fold(training.scores, program, points, state, folds.take(features, rows.held_out), rows)


@jax.jit
def log_mean_policy(scores: Float[Array, "*batch S K"], temperature: float) -> Float[Array, "*batch K"]:
    """log of the members' mean probabilities, as `serving.kinds.PerWeight` has it.

    log mean_s softmax(z_s / temperature)_k
    """
    share = jax.nn.log_softmax(scores / temperature, -1)
    return jax.scipy.special.logsumexp(share, -2) - jnp.log(scores.shape[-2])


def decide(scores: Float[Array, "L R K"], available: Bool[Array, "R K"]) -> Float[Array, "L R K"]:
    """The greedy policy at every cost weight."""
    return policies.greedy(scores, available=jnp.broadcast_to(available, scores.shape))


def by_weight(tree: Any, weights: int) -> Any:
    """Leaves [F, L * S, ...] as [L, F * S, ...]: all members of a cost weight together.

    >>> print(by_weight(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), 2))
    [[1 2 5 6]
     [3 4 7 8]]
    """

    def of(x: np.ndarray) -> np.ndarray:
        groups, count = x.shape[:2]
        split = np.asarray(x).reshape(groups, weights, count // weights, *x.shape[2:])
        return np.moveaxis(split, 1, 0).reshape(weights, -1, *x.shape[2:])

    return jax.tree.map(of, tree)
