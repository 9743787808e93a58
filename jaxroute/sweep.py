"""A sweep: many points, one compiled program. grid, pad, place, over_points, gather.

    points = sweep.grid(cost_weight=[0.0, 0.5, 1.0], seed=[0, 1])          # Hyperparams, leaves [M]
    mesh = sweep.mesh()
    points, count = sweep.pad(points, mesh.size)
    points = sweep.place(points, mesh)
    run = sweep.over_points(train_one, mesh)                               # train_one(point, data)
    results = sweep.gather(run(points, data), count)

Points go over the mesh axis "sweep" without any collective; data that all points share are replicated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxroute.types import Hyperparams

SWEEP = "sweep"


def mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """All devices (or those given) in one row, axis "sweep"."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (SWEEP,), axis_types=(AxisType.Auto,), devices=devices)


def grid(**axes: Sequence[float] | float) -> Hyperparams:
    """Cartesian product of the given Hyperparams fields; the last field varies fastest.

    Args:
        **axes: field name -> its values (or one value). Fields not named keep their default.

    Returns:
        Hyperparams whose every leaf is a NumPy array [M].

    Raises:
        TypeError: a name that is not a field of Hyperparams.

    Example:
        >>> points = grid(seed=[0, 1], cost_weight=[0.0, 0.5, 1.0])
        >>> print(points.seed, points.cost_weight)
        [0 0 0 1 1 1] [0.  0.5 1.  0.  0.5 1. ]
    """
    unknown = set(axes) - set(Hyperparams._fields)
    if unknown:
        raise TypeError(f"not a hyperparameter: {sorted(unknown)}; fields are {Hyperparams._fields}")
    names = list(axes)
    rows = list(itertools.product(*(np.atleast_1d(axes[name]).tolist() for name in names)))
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if names else {}

    def leaf(name: str) -> np.ndarray:
        default = Hyperparams._field_defaults[name]
        values = columns.get(name, (default,) * len(rows))
        return np.asarray(values, np.int32 if isinstance(default, int) else np.float32)

    return Hyperparams(**{name: leaf(name) for name in Hyperparams._fields})  # type: ignore[arg-type]


def pad(points: Any, multiple: int, axis: int = 0) -> tuple[Any, int]:
    """Repeat the last point until the axis is a multiple of ``multiple``; returns (points, true count).

    >>> padded, count = pad(np.arange(3), 4)
    >>> print(padded, count)
    [0 1 2 2] 3
    """
    count = jax.tree.leaves(points)[0].shape[axis]
    extra = -count % multiple

    def repeat(x: Any) -> Any:
        last = jnp.take(x, jnp.array([count - 1] * extra, jnp.int32), axis=axis)
        return jnp.concatenate([jnp.asarray(x), last], axis)

    return (jax.tree.map(repeat, points) if extra else points), count


def place(points: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Put the points on the mesh, split along ``axis``; their count must be a multiple of its size."""
    sharding = NamedSharding(mesh, PartitionSpec(*(None,) * axis, SWEEP))
    return jax.device_put(points, sharding)


def over_points(
    function: Callable[..., Any], mesh: Mesh, *, grouped: bool = False, block: int | None = None
) -> Callable[..., Any]:
    """``function`` for one point -> one jit-compiled program for all points, split over the mesh.

    jit(shard_map(vmap(function))). Without groups ``function(point, *common)`` runs over points with
    leaves [M, ...]. With ``grouped`` it is ``function(point, group, *common)``: points have leaves
    [G, P, ...] and ``group`` has leaves [G, ...] (say, a seed's own split, log and nuisances), which the P
    points of a group share without a copy. ``common`` is shared by all and never batched.

    Args:
        function: pure function of one point.
        mesh: a mesh with the axis "sweep"; the number of points (P when grouped) must be a multiple
            of its size (see ``pad``).
        block: run this many points at a time on each device (memory), and the same kernels whatever the
            number of devices: results are then bit-equal on 1 and on 8.

    Returns:
        Compiled callable (points, *rest) -> results with the points' leading axes.
    """

    def shared(points: Any, *common: Any) -> Any:
        if block is None:
            return jax.vmap(lambda point: function(point, *common))(points)
        return jax.lax.map(lambda point: function(point, *common), points, batch_size=block)

    def by_group(points: Any, group: Any, *common: Any) -> Any:
        return jax.vmap(lambda p, g: shared(p, g, *common))(points, group)

    split = PartitionSpec(None, SWEEP) if grouped else PartitionSpec(SWEEP)

    def run(points: Any, *rest: Any) -> Any:
        body = by_group if grouped else shared
        specs = (split, *(PartitionSpec() for _ in rest))
        return jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)(points, *rest)

    return jax.jit(run)


def gather(results: Any, count: int, axis: int = 0) -> Any:
    """Results on the host as NumPy arrays, padding cut off."""

    def fetch(x: Any) -> np.ndarray:
        return np.take(np.asarray(x), np.arange(count), axis=axis)

    return jax.tree.map(fetch, results)
