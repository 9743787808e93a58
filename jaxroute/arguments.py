"""What public functions do with their arguments before any formula: one rule for each name, applied by ``@checked``.

    scores, utility, target, ...    integers and booleans become floating point; at least one model
    target, probabilities           at least 0; every row sums to 1, or to 0 where no model is available
    where, available                true or false, or 1 or 0
    logs                            every chosen model exists and was available; one value a row
    clip, cost_weight, ...          numbers inside their range

Floating-point input passes unchanged, bit by bit. Shapes that do not fit are refused by the names of the arguments that
have them. Values are looked at outside jit only: inside they are not known.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes

F = TypeVar("F", bound=Callable[..., Any])

_RANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "clip": (lambda x: (x >= 0) & (x < 1), "at least 0 and below 1"),
    "cost_weight": (lambda x: (x >= 0) & (x < np.inf), "at least 0 and finite"),
    "entropy": (lambda x: (x >= 0) & (x < np.inf), "at least 0 and finite"),
    "epsilon": (lambda x: (x >= 0) & (x <= 1), "between 0 and 1"),
    "floor": (lambda x: (x >= 0) & (x <= 1), "between 0 and 1"),
    "label_temperature": (lambda x: x > 0, "above 0"),
    "level": (lambda x: (x > 0) & (x < 1), "between 0 and 1, as in 0.95"),
    "loss": (lambda x: x >= 0, "at least 0"),
    "shrinkage": (lambda x: x >= 0, "at least 0"),
    "spend": (lambda x: x >= 0, "at least 0"),
    "temperature": (lambda x: x > 0, "above 0"),
    "threshold": (lambda x: x == x, "a number"),
    "weight_clip": (lambda x: x >= 0, "at least 0"),
}
_PER_MODEL = (
    *("scores", "utility", "predicted", "outcomes", "quality", "cost", "error"),
    *("mean", "sd", "deviation", "baseline", "greedy"),
)
_NUMBERS = ("points", "costs", "propensity", "noise", "weight", "shares")
_MASKS = ("where", "available", "prompts")
_POLICIES = ("target", "probabilities")
_ROUNDING = 0.01  # that a sum of probabilities may be off: they may have 16 bits
_OF_SHAPES = re.compile(r"\[Chex\]|broadcast|[Ss]hapes? of weights")


def checked(function: F) -> F:
    """A function whose arguments are checked, and promoted to floating point, by their names in its signature.

    Raises:
        InputError: from the function that is returned; names the argument, what it holds and what it may hold.

    Example:
        >>> doubled = checked(lambda scores, clip=0.0: 2 * scores)
        >>> print(doubled(np.array([200, 1], np.uint8)))
        [400.   2.]
        >>> doubled(np.ones(2), clip=1.5)
        Traceback (most recent call last):
        jaxroute.types.InputError: clip is 1.5; it must be at least 0 and below 1
        >>> checked(lambda scores, utility: jnp.add(scores, utility))(np.ones(2), np.ones(3))
        Traceback (most recent call last):
        jaxroute.types.InputError: <lambda>: shapes that neither fit nor broadcast: scores (2,), utility (3,)
    """
    parameters = inspect.signature(function).parameters
    names = tuple(parameters)
    required = {name for name in names if name in _RANGES and parameters[name].default is inspect.Parameter.empty}

    @functools.wraps(function)
    def at_the_door(*args: Any, **kwargs: Any) -> Any:
        positional = [_argument(name, value) for name, value in zip(names, args, strict=False)]
        named = {k: _argument(k, value) for k, value in kwargs.items()}
        given = {**dict(zip(names, positional, strict=False)), **named}
        for name in required.intersection(given):
            if given[name] is None:
                raise InputError(f"{name} is None; it must be {_RANGES[name][1]}")
        try:
            return function(*positional, *args[len(names) :], **named)
        except (AssertionError, TypeError, ValueError) as error:
            if isinstance(error, InputError) or not _OF_SHAPES.search(str(error)):
                raise
            shapes = ", ".join(shape for name, value in given.items() for shape in _shapes(name, value))
            raise InputError(f"{function.__name__}: shapes that neither fit nor broadcast: {shapes}") from None

    return at_the_door  # type: ignore[return-value]


def floats(x: Any, name: str) -> Any:
    """An array of numbers as it is, integers and booleans in floating point; InputError for anything else.

    Example:
        >>> print(floats([1, 2], "scores"))
        [1. 2.]
    """
    if isinstance(x, (bool, int, float, list, tuple)):
        return jnp.asarray(x, float)
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    if not (jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool):
        raise InputError(f"{name} has entries of type {x.dtype}; it must hold numbers")
    return x.astype(float)


def known(*arrays: Any) -> bool:
    """Whether the values can be looked at: none of them is being traced."""
    return not any(isinstance(x, jax.core.Tracer) for x in arrays)


def indices(name: str, index: Any, num_models: int) -> None:
    """InputError unless every entry is the index of one of the models."""
    if not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise InputError(f"{name} has entries of type {jnp.result_type(index)}; it must hold indices of models")
    if known(index) and (outside := (np.asarray(index) < 0) | (np.asarray(index) >= num_models)).any():
        row = int(outside.argmax())
        raise InputError(f"{name}, row {row}: {np.asarray(index)[row]} is not the index of one of {num_models} models")


def within(name: str, value: Any) -> None:
    """InputError where a number, or one of an array of them, is outside the range that goes with the name."""
    inside, words = _RANGES[name]
    if not known(value):
        return
    try:
        fine = inside(np.asarray(value))
    except TypeError:
        raise InputError(f"{name} is {value!r}; it must be a number, {words}") from None
    if not np.all(fine):
        worst = np.asarray(value)[~fine].flat[0] if np.ndim(value) else value
        raise InputError(f"{name} is {worst}; it must be {words}")


def row_weights(weight: Any) -> None:
    """InputError unless the weights say how often rows count: finite numbers of at least 0, not all of them 0.

    Example:
        >>> row_weights(np.array([1.0, 2.0]))
        >>> row_weights(np.array([1.0, -2.0]))
        Traceback (most recent call last):
        jaxroute.types.InputError: weight, row 1: -2 is not a finite number of at least 0
    """
    if weight is None or not known(weight):
        return
    times = np.asarray(weight, float)
    if not (fine := (times >= 0) & (times < np.inf)).all():
        at = _first(~fine)
        raise InputError(f"weight, row {', '.join(map(str, at))}: {times[at]:g} is not a finite number of at least 0")
    if times.size and not times.any():
        raise InputError("weight: every row counts 0 times; at least one must count")


def _argument(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _RANGES:
        within(name, value)
    elif name in _MASKS:
        return _mask(value, name)
    elif isinstance(value, Logs):
        return _log(value)
    elif isinstance(value, Nuisances):
        propensity, outcomes = _per_model(value.propensity, "nuisances.propensity"), value.outcomes
        return value._replace(propensity=propensity, outcomes=_argument("nuisances.outcomes", outcomes))
    elif isinstance(value, Examples):
        outcomes = _argument(f"{name}.outcomes", value.outcomes)
        return value._replace(outcomes=outcomes, available=_mask(value.available, f"{name}.available"))
    elif isinstance(value, Outcomes):
        return Outcomes(*(_per_model(y, f"{name}.{part}") for part, y in zip(Outcomes._fields, value, strict=True)))
    elif name in _POLICIES:
        return _policy(value, name)
    elif name in _PER_MODEL:
        return _per_model(value, name)
    elif name in _NUMBERS:
        return floats(value, name)
    return value


def _per_model(x: Any, name: str) -> Any:
    x = floats(x, name)
    if not (x.ndim and x.shape[-1]):
        raise InputError(f"{name} has shape {x.shape}; its last axis must hold at least one model")
    return x


def _policy(x: Any, name: str) -> Any:
    """Probabilities of models, last axis: at least 0, with sum 1, or 0 in a row in which no model is available."""
    x = _per_model(x, name)
    if known(x):
        values = np.asarray(x)
        if not (fine := (values >= 0) & (values <= 1 + _ROUNDING)).all():
            at = _first(~fine)
            raise InputError(f"{name}{_place(at)}: {values[at]:.3g} is not a probability, which is between 0 and 1")
        total = values.sum(-1, dtype=np.float64)
        if (wrong := (np.abs(total - 1) > _ROUNDING) & (total != 0)).any():
            at = _first(wrong)
            raise InputError(f"{name}{_place(at)}: probabilities that sum to {total[at]:.3g}, where they must sum to 1")
    return x


def _first(where: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(where)), where.shape))


def _place(at: tuple[int, ...]) -> str:
    return f", entry {at if len(at) > 1 else at[0]}" if at else ""


def _shapes(name: str, value: Any) -> Iterator[str]:
    """Every array of an argument with its shape, the parts of a record by their names."""
    if hasattr(value, "_fields"):
        for part in value._fields:
            yield from _shapes(f"{name}.{part}", getattr(value, part))
    elif np.ndim(value):
        yield f"{name} {np.shape(value)}"


def _mask(x: Any, name: str) -> Any:
    x = jnp.asarray(x) if isinstance(x, (bool, list, tuple)) else x
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if x.dtype == bool:
        return x
    if known(x) and not np.isin(np.asarray(x), (0, 1)).all():
        raise InputError(f"{name} must be true or false, or 1 or 0, in every entry")
    return x.astype(bool)


def _log(logs: Logs) -> Logs:
    action, available = logs.action, _mask(logs.available, "logs.available")
    models = _per_model(available, "logs.available").shape[-1]
    indices("logs.action", action, models)
    if known(action, available) and np.shape(action) == np.shape(available)[:-1]:
        chosen, choosable = np.asarray(action), np.asarray(available)
        if (impossible := ~np.take_along_axis(choosable, chosen[..., None].astype(int), -1)[..., 0]).any():
            row = int(impossible.argmax())
            raise InputError(f"logs.available, row {row}: model {chosen[row]} was chosen, but is not marked available")
    numbers = {part: floats(getattr(logs, part), f"logs.{part}") for part in ("quality", "cost", "propensity")}
    beside = {part: getattr(logs, part) for part in ("human_quality", "human_rate")}
    numbers |= {part: floats(value, f"logs.{part}") for part, value in beside.items() if value is not None}
    for part, value in {"group": logs.group, "weight": logs.weight, **numbers}.items():
        if value is not None and np.shape(value) != np.shape(action):
            raise InputError(f"logs.{part} has shape {np.shape(value)}, and logs.action {np.shape(action)}: one a row")
    _ratings(numbers.get("human_quality"), numbers.get("human_rate"))
    if logs.weight is not None:
        weight = numbers["weight"] = floats(logs.weight, "logs.weight")
        if known(weight) and not (fine := (np.asarray(weight) > 0) & np.isfinite(np.asarray(weight))).all():
            row = int((~fine).argmax())
            raise InputError(f"logs.weight, row {row}: {weight[row]} is not a finite number above 0")
    return logs._replace(available=available, **numbers)


def _ratings(human: Any, rate: Any) -> None:
    """InputError where people rated nothing, or a rating without the probability with which it was asked for."""
    if human is None or not known(human) or not np.size(human):
        return
    rated = ~np.isnan(np.asarray(human))
    if not rated.any():
        raise InputError("logs.human_quality holds no rating; where nobody rated an answer it is None")
    if rate is None or not known(rate) or np.shape(rate) != np.shape(human):
        return
    asked = np.asarray(rate)
    if (wrong := rated & ~((asked > 0) & (asked <= 1 + _ROUNDING))).any():
        at = _first(wrong)
        raise InputError(f"logs.human_rate{_place(at)}: {asked[at]:.3g} for a rated row; it must be above 0, at most 1")
