"""A sweep: many points, one compiled program. grid, draw, cross, pad, place, over_points, gather.

    points = sweep.grid(cost_weight=[0.0, 0.5, 1.0], seed=[0, 1])          # Hyperparams, leaves [M]
    mesh = sweep.mesh()
    points, count = sweep.pad(points, mesh.size)
    points = sweep.place(points, mesh)
    run = sweep.over_points(train_one, mesh)                               # train_one(point, data)
    results = sweep.gather(run(points, data), count)

Points go over the mesh axis "sweep" without any collective; data that all points share are replicated, or their
rows split over a second axis "data" (`engine`). On several hosts the same lines run on each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxroute.types import Hyperparams, InputError

SWEEP, DATA = "sweep", "data"


def mesh(devices: Sequence[Any] | None = None, *, data: int | None = None) -> Mesh:
    """All devices of all hosts (or those given), axis "sweep"; with ``data``, that many along a second axis "data".

    Raises:
        InputError: ``data`` does not divide the number of devices.

    Example:
        >>> print(mesh(data=1).axis_names)
        ('sweep', 'data')
    """
    devices = jax.devices() if devices is None else devices
    if data is None:
        return jax.make_mesh((len(devices),), (SWEEP,), axis_types=(AxisType.Auto,), devices=devices)
    if data < 1 or len(devices) % data:
        raise InputError(f"mesh: data={data} does not divide {len(devices)} devices; choose a divisor")
    return jax.make_mesh((len(devices) // data, data), (SWEEP, DATA), axis_types=(AxisType.Auto,) * 2, devices=devices)


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
        raise TypeError(f"{sorted(unknown)} are no hyperparameters; the fields are {Hyperparams._fields}")
    names = list(axes)
    rows = list(itertools.product(*(np.atleast_1d(axes[name]).tolist() for name in names)))
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if names else {}

    def leaf(name: str) -> np.ndarray:
        default = Hyperparams._field_defaults[name]
        values = columns.get(name, (default,) * len(rows))
        return np.asarray(values, np.int32 if isinstance(default, int) else np.float32)

    return Hyperparams(**{name: leaf(name) for name in Hyperparams._fields})  # type: ignore[arg-type]


def grouped_grid(groups: int, **axes: Sequence[float] | float) -> Hyperparams:
    """`grid` once per group, whose number is the seed: leaves [S, P], as `engine.train` takes them.

    >>> print(grouped_grid(2, cost_weight=[0.0, 0.5, 1.0]).seed)
    [[0 0 0]
     [1 1 1]]
    """
    return jax.tree.map(lambda x: x.reshape(groups, -1), grid(seed=range(groups), **axes))


def draw(count: int, *, kind: str = "sobol", seed: int = 0, **ranges: tuple[float, float]) -> Hyperparams:
    """Points drawn at random inside ranges of Hyperparams fields, where a grid would be too large.

    Log-uniform between ends above zero, uniform where the low end is 0; ``width`` is rounded. Fields not named
    keep their default.

    Args:
        count: M. A power of two keeps Sobol points balanced.
        kind: "sobol" (scrambled, spread evenly in every projection) or "random" (independent).
        seed: of the draw, not of the points.
        **ranges: field name -> (low, high).

    Returns:
        Hyperparams whose every leaf is a NumPy array [M].

    Raises:
        InputError: an unknown kind, a name that is no field of Hyperparams, or ends that do not ascend from 0.

    Example:
        >>> points = draw(4, learning_rate=(1e-4, 1e-2), entropy=(0.0, 0.2))
        >>> print(points.learning_rate.shape, (points.entropy < 0.1).sum())
        (4,) 2

    Reference: On the distribution of points in a cube and the approximate evaluation of integrals, by Sobol,
    USSR Computational Mathematics and Mathematical Physics 7 (1967).
    """
    unknown = set(ranges) - set(Hyperparams._fields)
    if unknown:
        raise InputError(f"draw: {sorted(unknown)} are no hyperparameters; the fields are {Hyperparams._fields}")
    for name, (low, high) in ranges.items():
        if not 0 <= low <= high < np.inf:
            raise InputError(f"draw: {name}={(low, high)}: the range must satisfy 0 <= low <= high, both finite")
    if kind == "sobol":
        from scipy.stats import qmc

        # A power of two is drawn, then cut: scipy warns of any other number.
        unit = qmc.Sobol(max(len(ranges), 1), rng=np.random.default_rng(seed)).random_base2((count - 1).bit_length())
    elif kind == "random":
        unit = np.random.default_rng(seed).random((count, max(len(ranges), 1)))
    else:
        raise InputError(f'draw: unknown kind {kind!r}; use "sobol" or "random"')
    points = grid()
    columns = {name: np.broadcast_to(getattr(points, name), count).copy() for name in Hyperparams._fields}
    for (name, (low, high)), u in zip(ranges.items(), unit[:count].T, strict=False):
        value = low * (high / low) ** u if low > 0 else high * u
        kept = columns[name].dtype
        columns[name] = np.rint(value).astype(kept) if kept == np.int32 else value.astype(kept)
    return Hyperparams(**columns)  # type: ignore[arg-type]


def cross(points: Hyperparams, **axes: Sequence[float] | float) -> Hyperparams:
    """Every point at every combination of the given fields' values; points vary fastest.

    >>> print(cross(draw(2, learning_rate=(1e-3, 1e-3)), cost_weight=[0.0, 1.0], seed=[5, 6]).seed)
    [5 5 6 6 5 5 6 6]
    """
    outer = grid(**axes)
    inner_count, outer_count = np.size(points.seed), np.size(outer.seed)

    def leaf(name: str) -> np.ndarray:
        if name in axes:
            return np.repeat(getattr(outer, name), inner_count)
        return np.tile(getattr(points, name), outer_count)

    return Hyperparams(**{name: leaf(name) for name in Hyperparams._fields})  # type: ignore[arg-type]


def pad(points: Any, multiple: int, axis: int = 0) -> tuple[Any, int]:
    """Repeat the last point until the axis is a multiple of ``multiple``; returns (points, true count).

    >>> padded, count = pad(np.arange(3), 4)
    >>> print(padded, count)
    [0 1 2 2] 3
    """
    count = jax.tree.leaves(points)[0].shape[axis]
    extra = -count % multiple
    return (_repeated(points, extra, axis) if extra else points), count


@partial(jax.jit, static_argnames=("extra", "axis"))
def _repeated(points: Any, extra: int, axis: int) -> Any:
    """With the last point once more, ``extra`` times."""

    def repeat(x: Array) -> Array:
        last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, x.shape[axis], axis=axis)
        return jnp.concatenate([x] + [last] * extra, axis)

    return jax.tree.map(repeat, points)


def place(points: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Put the points on the mesh, ``axis`` over "sweep"; their count must be a multiple of the devices along it."""
    return put(points, mesh, PartitionSpec(*(None,) * axis, SWEEP))


def put(tree: Any, mesh: Mesh, spec: PartitionSpec | None = None) -> Any:
    """Put arrays on the mesh; whole on every device by default. Every host gives the same NumPy arrays.

    >>> print(put(np.arange(3.0), mesh()).dtype)
    float32
    """
    sharding = NamedSharding(mesh, PartitionSpec() if spec is None else spec)

    def leaf(x: Any) -> jax.Array:
        if isinstance(x, jax.Array):
            return jax.device_put(x, sharding)
        # Not device_put: with several hosts it compares their arrays, and finds NaN and float64 unequal to themselves.
        x = np.asarray(x, jax.dtypes.canonicalize_dtype(np.result_type(x)))
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    with jax.transfer_guard_host_to_device("allow"):  # which counts as a transfer that nobody asked for
        return jax.tree.map(leaf, tree)


def over_points(
    function: Callable[..., Any],
    mesh: Mesh,
    *,
    grouped: bool = False,
    block: int | None = None,
    rest_specs: Callable[..., Sequence[Any]] | None = None,
    carry: bool = False,
    once: bool = False,
) -> Callable[..., Any]:
    """``function`` for one point -> one jit-compiled program for all points, split over the mesh.

    jit(shard_map(vmap(function))). Without groups ``function(point, *common)`` runs over points with
    leaves [M, ...]. With ``grouped`` it is ``function(point, group, *common)``: points have leaves
    [G, P, ...] and ``group`` has leaves [G, ...] (say, a seed's own split, log and nuisances), which the P
    points of a group share without a copy. ``common`` is shared by all and never batched.

    Args:
        function: pure function of one point.
        mesh: a mesh with the axis "sweep"; the number of points (P when grouped) must be a multiple
            of the devices along it (see ``pad``).
        block: run this many points at a time on each device (memory), and the same kernels whatever the
            number of devices: results are then bit-equal on 1 and on 8 (shown on CPU).
        rest_specs: rest -> where each of them lies (PartitionSpec, or a tree prefix of them); every device has all
            of it by default. ``function`` then averages over the axis "data" itself (`engine.program.advance`).
        carry: ``function((point, state), *rest) -> state`` moves a state on. The callable is then
            (points, states, *rest) -> states, and the memory of the states given is used for those returned
            (donated): the ones given are gone after the call.
        once: it will run once, and on a CPU is compiled with few optimisations: faster to compile, slower to run.

    Returns:
        Compiled callable (points, *rest) -> results with the points' leading axes.

    Example:
        >>> def train_one(point, x, y):  # ridge regression by gradient descent
        ...     def step(w, _):
        ...         return w - point.learning_rate * (x.T @ (x @ w - y) + point.weight_decay * w), None
        ...     return jax.lax.scan(step, jnp.zeros(2), None, length=200)[0]
        >>> row = mesh()
        >>> points, count = pad(grid(weight_decay=[0.0, 1.0, 3.0], learning_rate=0.3), row.size)
        >>> run = over_points(train_one, row)
        >>> print(gather(run(place(points, row), jnp.eye(2), jnp.array([1.0, 2.0])), count).round(3))
        [[1.   2.  ]
         [0.5  1.  ]
         [0.25 0.5 ]]
    """

    def shared(points: Any, *common: Any) -> Any:
        if block is None:
            return jax.vmap(lambda point: function(point, *common))(points)
        return jax.lax.map(lambda point: function(point, *common), points, batch_size=block)

    def by_group(points: Any, group: Any = None, *common: Any) -> Any:
        return jax.vmap(lambda p, g: shared(p, g, *common))(points, group)

    split = PartitionSpec(None, SWEEP) if grouped else PartitionSpec(SWEEP)

    def run(points: Any, *rest: Any) -> Any:
        body = by_group if grouped else shared
        specs = (split, *((PartitionSpec() for _ in rest) if rest_specs is None else rest_specs(*rest)))
        return jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)(points, *rest)

    options = {**(_same_rewrites(mesh, once) if block else {}), **(_quickly_compiled(mesh) if once else {})}
    if carry:
        moved = lambda points, states, *rest: run((points, states), *rest)  # noqa: E731
        return jax.jit(moved, donate_argnums=1, compiler_options=options)
    return jax.jit(run, compiler_options=options)


def _quickly_compiled(mesh: Mesh) -> dict[str, str]:
    """Compiler options for a program that runs once: on the CPU it would take longer to optimise than to run."""
    return {"xla_backend_optimization_level": "0"} if mesh.devices.flat[0].platform == "cpu" else {}


def _same_rewrites(mesh: Mesh, once: bool) -> dict[str, str]:
    """Compiler options for the same bits on one device and on several, in one block or in many.

    XLA merges equal subexpressions of a program for several devices earlier than those of one for a single device.
    That changes no value, but what the algebraic simplifier does afterwards depends on it, and that does: it turns
    a / b into a (1 / b) in one of the two. Without merging (about 5% slower) both are simplified alike.

    A loop over one block would become a program without a loop, in which other operations share a kernel. With few
    optimisations (``once``) the bits then differ, because a product and a sum in one kernel are rounded once instead of
    twice; so the loop stays.
    """
    passes = "cse,simplify-while-loops" if once else "cse"
    return {"xla_disable_hlo_passes": passes} if mesh.devices.flat[0].platform == "cpu" else {}


def gather(results: Any, count: int, axis: int = 0) -> Any:
    """Results on every host as NumPy arrays, padding cut off."""

    def fetch(x: Any) -> np.ndarray:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            from jax.experimental import multihost_utils

            x = multihost_utils.process_allgather(x, tiled=True)
        return np.take(np.asarray(x), np.arange(count), axis=axis)

    return jax.tree.map(fetch, results)
