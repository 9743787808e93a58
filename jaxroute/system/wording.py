"""How errors name what a caller has to write: arguments in Python, options on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_OPTIONS = ContextVar("options", default=False)


@contextmanager
def as_options() -> Iterator[None]:
    """Inside, as on the command line, options are named.

    Example:
        >>> named("max_latency")
        'max_latency'
        >>> with as_options():
        ...     print(named("max_latency"))
        --max-latency
    """
    before = _OPTIONS.set(True)
    try:
        yield
    finally:
        _OPTIONS.reset(before)


def here(python: str, command: str) -> str:
    """The one of the two that the caller can write.

    Example:
        >>> here("score=NAME", "--score NAME")
        'score=NAME'
    """
    return command if _OPTIONS.get() else python


def named(argument: str) -> str:
    """An argument by its name, or the option that gives it."""
    return here(argument, f"--{argument.replace('_', '-')}")


def mapped(columns: Mapping[str, str]) -> str:
    """How to say which columns of a log hold which fields.

    Example:
        >>> mapped({"timestamp": "NAME"})
        "read_log(columns={'timestamp': 'NAME'})"
        >>> with as_options():
        ...     print(mapped({"timestamp": "at", "cost": "total cost"}))
        --column timestamp=at --column cost='total cost'
    """
    options = " ".join(f"--column {field}={_quoted(name)}" for field, name in columns.items())
    return here(f"read_log(columns={dict(columns)})", options)


def _quoted(name: str) -> str:
    """A name as a shell takes it within a word: quoted where it has spaces."""
    return f"{name!r}" if name != name.strip() or " " in name else name
