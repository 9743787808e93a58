"""Whether the values of a config have the types that its fields declare."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any


def mistyped(record: Any, name: str = "") -> Iterator[tuple[str, Any, str]]:
    """(field, value, what it must be) of every field of a record that holds something else; of records in it too.

    Lists stand for tuples, and whole numbers for numbers.

    Example:
        >>> from jaxroute.types import Spec
        >>> list(mistyped(Spec(hidden=8, steps="20"), "training"))
        [('training.hidden', 8, 'a tuple of whole numbers'), ('training.steps', '20', 'a whole number')]
    """
    hints = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        value, place = getattr(record, field.name), f"{name}.{field.name}".lstrip(".")
        hint = hints[field.name]
        if not _is(value, hint):
            yield place, value, _named(hint)
        elif dataclasses.is_dataclass(value):
            yield from mistyped(value, place)


def _is(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if parts[-1] is Ellipsis:
            return all(_is(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(_is(item, part) for item, part in zip(value, parts, strict=True))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return (hint is type(None) and value is None) or isinstance(value, hint)


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", type(None): "None"}
_MANY = {int: "whole numbers", float: "numbers", str: "texts"}


def _named(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_named(part) for part in parts)
    if origin is tuple:
        many = _MANY.get(parts[0], "tuples" if typing.get_origin(parts[0]) is tuple else "values")
        return f"a tuple of {many}" if parts[-1] is Ellipsis else f"a tuple of {len(parts)} {many}"
    return _WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
