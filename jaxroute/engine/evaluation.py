"""What trained points say: their decisions, or any function of their best parameters, points side by side.

    chosen = evaluation.choose(points, state, features, available, network=network, mesh=mesh)      # [S, P, N]

The axis of points is padded to what the devices take, and cut again; the training loop uses the same three functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxroute import sweep
from jaxroute.engine import memory, training
from jaxroute.types import Hyperparams, Network, Params, TrainState


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
    asked = placed((points, state.best_params), mesh, devices)
    arguments = (asked, *sweep.put((group, *common), mesh))
    program = partial(_over_points, function, network, mesh)
    count = np.shape(asked[0].seed)[1] // devices
    block = memory.plan(program, count, arguments, mesh=mesh, resident=arguments)
    return cut(program(block)(*arguments), np.shape(points.seed)[1])


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


def chosen(tree: Any, positions: Int[np.ndarray, " B"], mesh: Mesh) -> Any:
    """Those points of leaves [S, A, ...]."""
    if any(isinstance(x, jax.Array) for x in jax.tree.leaves(tree)):
        return _taken(tree, sweep.put(positions, mesh))
    return jax.tree.map(lambda x: np.take(x, positions, axis=1), tree)


@jax.jit
def _taken(tree: Any, positions: Int[Array, " B"]) -> Any:
    return jax.tree.map(lambda x: jnp.take(x, positions, axis=1), tree)


def placed(tree: Any, mesh: Mesh, multiple: int) -> Any:
    """On the mesh, the last point repeated to a multiple of what the devices take."""
    return sweep.place(sweep.pad(tree, multiple, axis=1)[0], mesh, axis=1)


def cut(tree: Any, count: int) -> Any:
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
