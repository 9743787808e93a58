"""The shapes that a kind of router's arrays must have, and numbers that must be positive or ascend."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute.engine import networks
from jaxroute.projection import Projection
from jaxroute.serving.distil import Student
from jaxroute.types import InputError, Params


def floats(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def integers(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def members(params: Params, axis: int) -> int:
    """How many networks lie along an axis."""
    return int(jax.tree.leaves(params)[0].shape[axis])


def network(outputs: int, hidden: tuple[int, ...], inputs: int, *lead: int) -> Params:
    """Parameters of ``networks.router`` behind leading axes."""
    params = jax.eval_shape(lambda key: networks.router(outputs, hidden).init(key, inputs), jax.random.key(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype), params)


def projection(axes: Projection) -> Projection:
    inputs, kept = axes.basis.shape
    return Projection(floats(inputs), floats(inputs, kept), floats(kept))


def student(fitted: Student, num_models: int, hidden: tuple[int, ...]) -> Student:
    """Of ``distil.fit``; its mean costs must be positive."""
    positive("level", fitted.level)
    axes, heads = projection(fitted.axes), 2 * num_models
    kept = axes.basis.shape[1]
    return Student(axes, floats(kept, heads), floats(heads), network(heads, hidden, kept), floats(num_models))


def positive(name: str, numbers: Any) -> None:
    """InputError unless all numbers are positive and finite."""
    numbers = np.asarray(numbers)
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise InputError(f"{name}: the numbers must be positive and finite, got {numbers.min():g}")


def ascending(name: str, weights: Any, least: int) -> None:
    """InputError unless there are so many cost weights, ascending from 0 or more."""
    weights = np.asarray(weights)
    if weights.ndim != 1 or len(weights) < least or not weights[0] >= 0 or not (np.diff(weights) > 0).all():
        raise InputError(
            f"{name}: needs at least {least} cost weights that ascend from 0 or more, got {weights.tolist()}"
        )
