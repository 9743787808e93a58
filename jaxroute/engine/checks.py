"""What a training is given, looked at once before anything is compiled; every error names the argument.

    static(spec, devices, block)                   steps, chunk, batch size, widths, dropout   `Program.__post_init__`
    points(points)                                 one shape [S, P]; numbers inside their ranges          `loop.train`
    rows("learn", learn, points, whole=...)        shapes, and finite numbers where they are needed       `loop.train`

Not available means not needed: there an outcome may be NaN. So may what a log did not observe (its quality, cost and
own propensity). Rows on disk are looked at by `disk`, block by block as they are read.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import jax
import numpy as np

from jaxroute import arguments
from jaxroute.types import Hyperparams, InputError, Logs, Nuisances, Outcomes, Spec

_RANGES = {
    "learning_rate": (lambda x: (x > 0) & (x < np.inf), "above 0 and finite"),
    "weight_decay": (lambda x: (x >= 0) & (x < np.inf), "at least 0 and finite"),
    "width": (lambda x: x >= 1, "at least 1"),
}
"""Of the points' numbers that `arguments` has no range for."""


def static(spec: Spec, devices: int, block: int | None) -> None:
    """The static side of a training.

    Args:
        spec: of one router. devices: over which the rows are split. block: points at a time, or None.

    Raises:
        InputError: steps, a chunk, a batch, a width or a block below 1, a dropout outside [0, 1), or a batch that does
            not divide by the devices.
    """
    for name in ("steps", "chunk", "batch_size"):
        if not _counts(getattr(spec, name)):
            raise InputError(f"{name}={getattr(spec, name)!r}: it must be a whole number, at least 1")
    if not all(map(_counts, spec.hidden)):
        raise InputError(
            f"hidden={spec.hidden!r}: every width must be a whole number, at least 1; () is no hidden layer"
        )
    if not 0 <= spec.dropout < 1:
        raise InputError(f"dropout={spec.dropout!r}: it must be at least 0 and below 1")
    if spec.batch_size % devices:
        raise InputError(f"batch_size={spec.batch_size} does not divide over {devices} devices; make it a multiple")
    if block is not None and not _counts(block):
        raise InputError(f"block={block}: it must be at least 1, or None for as many points as fit")


def points(points: Hyperparams) -> None:
    """The numbers of every point.

    Raises:
        InputError: leaves that are not all of one shape [S, P], no points, or a number outside its range: a learning
            rate, temperature or label temperature that is not above 0, say, or a cost weight below 0.

    Example:
        >>> from jaxroute import sweep
        >>> points(sweep.grouped_grid(1, cost_weight=[0.5, -0.5]))
        Traceback (most recent call last):
        jaxroute.types.InputError: points.cost_weight is -0.5; it must be at least 0 and finite
    """
    shape = np.shape(points.seed)
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"points.seed has shape {shape}; points have leaves [S, P], one or more of each")
    for name, value in points._asdict().items():
        if np.shape(value) != shape:
            raise InputError(f"points.{name} has shape {np.shape(value)}, and points.seed {shape}; all must be alike")
        there = _on_host(value)
        if there is None:
            continue
        if name == "seed" and not np.issubdtype(there.dtype, np.integer):
            raise InputError(f"points.seed has entries of type {there.dtype}; seeds are whole numbers")
        if name in _RANGES:
            inside, words = _RANGES[name]
            if not (fine := inside(there)).all():
                raise InputError(f"points.{name} is {there[~fine].flat[0]}; it must be {words}")
        elif name != "seed":
            try:
                arguments.within(name, there)
            except InputError as error:
                raise InputError(f"points.{error}") from None


def rows(name: str, examples: Any, points: Hyperparams, *, whole: tuple[str, ...] = (), like: Any = None) -> None:
    """What is learnt from or validated on.

    Args:
        name: of the argument.
        examples: a record with features [S, N, D], available [S, N, K] and others, leaves [S, N, ...].
        points: leaves [S, P].
        whole: fields without an axis of rows.
        like: examples, or shapes, that have as many features and models; these rows are validated on, where a row
            without any available model counts with the first.

    Raises:
        InputError: no rows, shapes that do not fit each other or the points, or a number that is not finite where a
            router would learn from it or be valued by it.

    Example:
        >>> from jaxroute import sweep
        >>> from jaxroute.types import Examples, Outcomes
        >>> some, there = np.ones((1, 5, 3)), np.ones((1, 5, 3), bool)
        >>> rows("learn", Examples(some, Outcomes(some, np.nan * some), there), sweep.grouped_grid(1))
        Traceback (most recent call last):
        jaxroute.types.InputError: learn.outcomes.cost is nan in group 0, row 0; it must be a finite number ...
    """
    features, available, groups = (np.shape(x) for x in (examples.features, examples.available, points.seed))
    if len(features) != 3 or len(available) != 3:
        raise InputError(f"{name}: features have shape {features} and available {available}; give [S, N, D], [S, N, K]")
    if not (features[1] and available[2]):
        raise InputError(f"{name} has no rows or no models: features have shape {features} and available {available}")
    for field, part in examples._asdict().items():
        expected = (groups[0],) if field in whole else (groups[0], features[1])
        for path, leaf in jax.tree_util.tree_leaves_with_path(part):
            called = f"{name}.{field}{jax.tree_util.keystr(path)}"
            if np.shape(leaf)[: len(expected)] != expected:
                axes = "[groups]" if field in whole else "[groups, rows]"
                raise InputError(
                    f"{called} has shape {np.shape(leaf)}; it must begin with {axes} = {expected}, "
                    f"as points.seed {groups} and {name}.features {features} do"
                )
            a_row = called.endswith(".response")
            if isinstance(part, Outcomes | Nuisances) and not a_row and np.shape(leaf) != available:
                raise InputError(f"{called} has shape {np.shape(leaf)}, and {name}.available {available}")
    if like is not None:
        for field, shape in (("features", features), ("available", available)):
            if shape[-1] != (count := getattr(like, field).shape[-1]):
                raise InputError(f"{name}.{field} has {shape[-1]} in its last axis, and learn.{field} {count}")
    _values(name, examples, whole, judged=like is not None)


def _values(name: str, examples: Any, whole: tuple[str, ...], *, judged: bool) -> None:
    available = _on_host(examples.available)
    if available is None:
        return
    available = available.astype(bool)
    needed = available.copy()
    if judged:
        needed[..., 0] |= ~available.any(-1)
    for field, part in examples._asdict().items():
        called = f"{name}.{field}"
        if field == "features" or field in whole:
            _finite(called, part)
        elif field in ("outcomes", "initial"):
            _finite(called, part, needed if field == "outcomes" else available)
        elif isinstance(part, Logs):
            _log(called, part, available.shape[-1])
        elif isinstance(part, Nuisances):
            _finite(f"{called}.outcomes", part.outcomes, available)
            chosen = next((_on_host(x.action) for x in examples if isinstance(x, Logs)), None)
            mask = available if chosen is None else np.arange(available.shape[-1]) == chosen[..., None]
            _finite(f"{called}.propensity", part.propensity, mask)


def _log(name: str, logs: Logs, num_models: int) -> None:
    if (action := _on_host(logs.action)) is not None:
        for group in action:
            arguments.indices(f"{name}.action", group, num_models)
    for part in ("quality", "cost"):
        values = _on_host(getattr(logs, part))
        if values is not None and np.isinf(values).any():
            raise InputError(f"{name}.{part} is infinite in a row; it must be a finite number, or NaN if not observed")


def _finite(name: str, tree: Any, available: np.ndarray | None = None) -> None:
    """InputError where a number is not finite; given ``available`` [S, N, K], only there, if the last axis is K."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        there, needed = _on_host(leaf), np.ones((), bool)
        if available is not None:
            if np.ndim(leaf) < 3 or np.shape(leaf)[-1] != available.shape[-1]:
                continue
            needed = np.expand_dims(available, tuple(range(2, np.ndim(leaf) - 1)))
        if there is None or (fine := np.isfinite(there) | ~needed).all():
            continue
        at = tuple(int(i) for i in np.unravel_index(int(np.argmin(fine)), fine.shape))
        row = f", row {at[1]}" if len(at) > 2 else ""
        where = "" if available is None else " wherever the model is available"
        called = f"{name}{jax.tree_util.keystr(path)}"
        raise InputError(f"{called} is {there[at]} in group {at[0]}{row}; it must be a finite number{where}")


def _on_host(value: Any) -> np.ndarray | None:
    """The array in this host's memory; None where some of it is on other hosts."""
    if isinstance(value, jax.Array):
        return np.asarray(jax.device_get(value)) if value.is_fully_addressable else None
    return np.asarray(value)


def _counts(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1
