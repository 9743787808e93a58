"""Refuses settings that are not what they must be, by their names: numbers, whole numbers, names, several of them.

Whoever only decides, or reads a log, does without JAX, so this module does too; `jaxroute.arguments` looks at arrays.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Collection
from typing import Any

from jaxroute.system.wording import named
from jaxroute.types import InputError

_LARGEST = 2**63 - 1
Fits = Callable[[float], bool]


def refused(name: str, value: Any, rule: str) -> InputError:
    """The error that says what a setting is, and what it must be.

    Example:
        >>> print(refused("members", 0, "a whole number of at least 1"))
        members is 0; it must be a whole number of at least 1
    """
    return InputError(f"{named(name)} is {reprlib.repr(value)}; it must be {rule}")


def number(name: str, value: Any, rule: str = "a finite number", fits: Fits = math.isfinite) -> None:
    """Refuse what is not one number that ``fits``; a truth value and a text are no numbers.

    Example:
        >>> number("max_latency", 2.5, "seconds above 0", lambda seconds: seconds > 0)
        >>> number("cost_scale", "large")
        Traceback (most recent call last):
        jaxroute.types.InputError: cost_scale is 'large'; it must be a finite number
    """
    try:
        fine = not _no_number(value) and fits(float(value))
    except (TypeError, ValueError, OverflowError):
        fine = False
    if not fine:
        raise refused(name, value, rule)


def whole(name: str, value: Any, least: int = 0) -> None:
    """Refuse what is not one whole number of at least ``least``; 1.0 and True are none.

    Example:
        >>> whole("steps", 500, 1)
        >>> whole("members", 1.5, 1)
        Traceback (most recent call last):
        jaxroute.types.InputError: members is 1.5; it must be a whole number of at least 1
    """
    found = _index(value)
    if found is None or found < least:
        raise refused(name, value, f"a whole number of at least {least}")


def seed(value: Any, name: str = "seed") -> None:
    """Refuse what is no seed of JAX: a whole number of 64 bits."""
    found = _index(value)
    if found is None or not -_LARGEST <= found <= _LARGEST:
        raise refused(name, value, "a whole number of at most 63 bits")


def share(name: str, value: Any) -> None:
    """Refuse what is no share of rows to hold out."""
    number(name, value, "a share above 0 and below 1, such as 0.2", lambda part: 0 < part < 1)


def several(name: str, values: Any, of: str) -> list[Any]:
    """What a list, a tuple or an array holds; a text, a set and a mapping are refused.

    Example:
        >>> several("hidden", (64, 32), "widths")
        [64, 32]
        >>> several("names", "ab", "names")
        Traceback (most recent call last):
        jaxroute.types.InputError: names is 'ab'; it must be a list of names
    """
    if not isinstance(values, str | bytes | dict | set):
        try:
            return list(values)
        except TypeError:
            pass
    raise refused(name, values, f"a list of {of}")


def numbers(name: str, values: Any, rule: str = "finite", fits: Fits = math.isfinite) -> None:
    """Refuse what is not one number or more, each of which ``fits``.

    Example:
        >>> numbers("cost_weights", [0, 0.5])
        >>> numbers("cost_weights", [0, "a"])
        Traceback (most recent call last):
        jaxroute.types.InputError: cost_weights is [0, 'a']; it must be a list of one number or more, each finite
    """
    of = f"one number or more, each {rule}"
    given = several(name, values, of)
    try:
        for one in given:
            number(name, one, rule, fits)
    except InputError:
        given = []
    if not given:
        raise refused(name, values, f"a list of {of}")


def texts(name: str, values: Any, of: str = "texts") -> None:
    """Refuse what is not several texts."""
    if not all(isinstance(one, str) for one in several(name, values, of)):
        raise refused(name, values, f"a list of {of}")


def one_of(name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse what is none of the names to choose from.

    Example:
        >>> one_of("combine", "mean", ("select", "stack"))
        Traceback (most recent call last):
        jaxroute.types.InputError: combine is 'mean'; it must be one of select, stack
    """
    if not (isinstance(value, str) and value in choices):
        raise refused(name, value, f"one of {', '.join(choices)}")


def quality_range(value: Any) -> None:
    """Refuse what is not the worst and the best quality of a scale: two different finite numbers."""
    rule = "(worst, best), two different numbers"
    try:
        worst, best = several("quality_range", value, "numbers")
        number("quality_range", worst)
        number("quality_range", best)
        fine = float(worst) != float(best)
    except ValueError:  # InputError is one
        fine = False
    if not fine:
        raise refused("quality_range", value, rule)


def _no_number(value: Any) -> bool:
    """Whether ``float`` would take for one number what is none: a truth value, a text, an array."""
    return isinstance(value, str | bytes) or getattr(value, "ndim", 0) > 0 or type(value).__name__ in ("bool", "bool_")


def _index(value: Any) -> int | None:
    try:
        return None if _no_number(value) else operator.index(value)
    except TypeError:
        return None
