"""Rows of the log split over devices: the mesh axis "data", gradients averaged over it.

    mesh = sweep.mesh(data=4)                                     # 8 devices: 2 along "sweep", 4 along "data"
    state = population.train(points, learn, validate, mesh=mesh, train_chunk=rows.train_chunk, ...)

For a log that does not fit on one device, or fewer points than devices. Each of the d devices of a point holds N / d
rows and draws batch_size / d of them a step; the step's gradient is the mean over devices. A minibatch is then
stratified by device: with batch_size = N the training is that of one device, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxroute import sweep
from jaxroute.engine import training
from jaxroute.types import Examples, Hyperparams, InputError, Key, Network, Objective, Params, Spec, TrainState


def place(learn: Any, mesh: Mesh, axis: int = 1) -> Any:
    """Put the log on the mesh, its rows split over "data"; whole on every device of a mesh without that axis.

    Args:
        learn: examples; every leaf has its N rows along ``axis``.
        mesh: see ``sweep.mesh``.

    Returns:
        The same tree as JAX arrays; each device of "data" holds N / d consecutive rows.

    Raises:
        InputError: rows that do not divide by the devices along "data"; cut the log first.

    Example:
        >>> import numpy as np
        >>> print(place(np.ones((2, 6, 3)), sweep.mesh(data=1)).sharding.spec == split())
        True
    """
    if sweep.DATA not in mesh.axis_names:
        return sweep.put(learn, mesh)
    count, devices = jax.tree.leaves(learn)[0].shape[axis], mesh.shape[sweep.DATA]
    if count % devices:
        raise InputError(f"{count} rows over {devices} devices: drop the last {count % devices}, or use fewer devices")
    return sweep.put(learn, mesh, split(axis))


def split(axis: int = 1) -> PartitionSpec:
    """Where rows are: ``axis`` over "data".

    >>> split() == PartitionSpec(None, "data")
    True
    """
    return PartitionSpec(*(None,) * axis, sweep.DATA)


def averaged(optimise: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same optimiser, given the mean of all devices' gradients.

        g = (g_1 + ... + g_d) / d

    With equally many rows on each device that is the gradient of the mean over all of them. The optimiser's state
    is then the same on every device. Runs where the axis "data" is bound.
    """

    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        return optimise.update(jax.lax.pmean(gradient, sweep.DATA), state, params)

    return optax.GradientTransformation(optimise.init, update)


def train_chunk(
    point: tuple[Hyperparams, TrainState],
    data: tuple[Examples, Examples],
    first: Int[Array, ""] | int,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
) -> TrainState:
    """`training.train_chunk` where this device holds a part of the training rows and all validation rows.

    Runs where the axis "data" is bound: under ``shard_map`` on a mesh that has it, or under
    ``jax.vmap(..., axis_name="data")``, which emulates the devices on one.

    Args:
        point: hyperparameters and state of the sweep point, the same on the d devices of "data".
        data: (this device's N / d training rows, all validation rows).
        first: number of the chunk's first step, not batched.

    Returns:
        The state after the chunk, the same on the d devices.

    Raises:
        InputError: a batch that does not divide by the devices.
    """
    hyperparams, state = point
    train, validation = data
    devices = jax.lax.axis_size(sweep.DATA)
    if spec.batch_size % devices:
        raise InputError(f"batch_size={spec.batch_size} over {devices} devices: make it a multiple")
    loss = training.router_loss(network, objective, spec, hyperparams, train)
    with jax.default_matmul_precision(spec.matmul_precision):
        state = training.run_steps(
            state,
            first,
            _own_dropout(loss),
            averaged(training.optimiser(hyperparams, spec.steps)),
            num_rows=train.features.shape[0],
            batch_size=spec.batch_size // devices,
            steps=spec.chunk,
        )
    return training.keep_best(state, training.policy_value(network, state.params, hyperparams, validation))


def _own_dropout(
    loss: Callable[[Params, Array, Key], Float[Array, ""]],
) -> Callable[[Params, Array, Key], Float[Array, ""]]:
    """Rows of different devices get masks of their own."""
    return lambda params, rows, key: loss(params, rows, jax.random.fold_in(key, jax.lax.axis_index(sweep.DATA)))
