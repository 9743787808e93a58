"""Readers for one cell of a log: a number, a time, a name, a prompt, a candidate set, a vector.

A reader returns the exact content or raises ValueError (TypeError, OverflowError); nothing is guessed. An empty cell is
missing, which is NaN, None or (). Text that holds a number is read as that number, because CSV holds only text.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from numbers import Real
from typing import Any

import numpy as np

from jaxroute.data import messages, records
from jaxroute.system.wording import named
from jaxroute.types import InputError

TRUTH = {"true": 1.0, "false": 0.0}
SECONDS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (1e20, 1e-9))
"""Limits below which a timestamp is in seconds, milliseconds, microseconds or nanoseconds; 1e11 s is the year 5138."""


def number(value: Any) -> float:
    """A cell as a number; NaN if it is empty.

    Raises:
        ValueError: it is not a number.

    Example:
        >>> number("0.5"), number(True), number(None)
        (0.5, 1.0, nan)
    """
    if isinstance(value, float):
        return value
    if value is None:
        return math.nan
    if isinstance(value, str):
        value = value.strip().lower()
        if "_" in value:
            raise ValueError("digits with underscores")
        return TRUTH[value] if value in TRUTH else float(value) if value else math.nan
    if isinstance(value, Real | np.bool_) or type(value).__name__ == "Decimal":
        return float(value)
    raise ValueError(f"a {type(value).__name__}")


def moment(value: Any) -> float:
    """Seconds since 1970 of a time in ISO 8601 (UTC unless a zone is given), a date, or a count since 1970.

    A number whose digits are a date of this century, with or without a time, is one: as a count it would be of 1970, or
    of the year 2600.

    Raises:
        ValueError: it is not a time.

    Example:
        >>> moment("2025-01-01T00:00:00Z"), moment(1735689600000), moment(20250101), moment("20250101000000")
        (1735689600.0, 1735689600.0, 1735689600.0, 1735689600.0)
    """
    if isinstance(value, str):
        try:
            value = number(value)
        except ValueError:
            value = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool):
        raise ValueError("a truth value")
    count = number(value)
    if math.isnan(count):
        return count
    if (written := _written(count)) is not None:
        return written
    for limit, unit in SECONDS:
        if abs(count) < limit:
            return count * unit
    raise ValueError("no time since 1970 in any unit")


def _written(count: float) -> float | None:
    """Seconds since 1970 where a number's digits are YYYYMMDD or YYYYMMDDhhmmss of this century; None elsewhere."""
    for first, pattern in ((20000101, "%Y%m%d"), (20000101000000, "%Y%m%d%H%M%S")):
        if first <= count < first + first // 20 and count.is_integer():
            try:
                return datetime.strptime(f"{count:.0f}", pattern).replace(tzinfo=UTC).timestamp()
            except ValueError:
                return None
    return None


def moment_of(argument: str, value: Any) -> float:
    """Seconds since 1970 of a date or a time that an argument names; an InputError if it is none."""
    try:
        found = moment(value)
    except (ValueError, TypeError, OverflowError):
        found = math.nan
    if math.isnan(found):
        raise InputError(f"{named(argument)} is {value!r}; give a date or a time, such as '2026-11-01'")
    return found


def label(value: Any) -> str | None:
    """A cell as a name: a text unchanged, a number as written; None if it is empty or blank.

    Raises:
        ValueError: it is anything else, or text that is not valid Unicode.
    """
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # a lone surrogate, which JSON can hold, cannot be written or encoded as text
        return value if value.strip() else None
    if value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, Real) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"a {type(value).__name__}")


def identity(value: Any) -> str | None:
    """A cell as an identifier: like ``label``, except that whole numbers that a table turned into floats are restored.

    Example:
        >>> identity(12.0), identity("12.0"), identity("a-12")
        ('12', '12', 'a-12')
    """
    found = label(value)
    return found[:-2] if found is not None and found.endswith(".0") and found[:-2].isdecimal() else found


def is_chat(value: Any) -> bool:
    """Whether a prompt's cell holds a chat: a list of messages, or its text as JSON or as Python prints it."""
    if isinstance(value, str):
        return value[:2] == "[{" and ('"role"' in value or "'role'" in value)
    return isinstance(value, list | np.ndarray)


def prompt(value: Any, chat: str = messages.CHAT) -> str | None:
    """A prompt: text, or the part of a chat that ``messages.text_of`` returns."""
    if isinstance(value, str) and is_chat(value):
        value = records.parsed(value)  # as text columns hold it
    if isinstance(value, list | np.ndarray) and len(value):
        value = messages.text_of(list(value), chat)
        if value is None:
            raise ValueError("a list that is not a chat with text")
    if not isinstance(value, str | None):
        raise ValueError(f"a {type(value).__name__}")
    return label(value)


@functools.lru_cache(maxsize=1024)
def _candidates(text: str) -> tuple[str, ...]:
    """A log has few candidate sets, written in every row."""
    return _names(records.parsed(text))


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [name for part in value.split("|") if (name := part.strip())]
    found = tuple(value) if isinstance(value, list | tuple | np.ndarray) else () if value is None else None
    if found is None or not all(isinstance(name, str) and name for name in found):
        raise ValueError("not a list of names")
    for name in found:
        label(name)
    return tuple(dict.fromkeys(found))


def candidates(value: Any) -> tuple[str, ...]:
    """The names of a candidate set; () if it is empty.

    Example:
        >>> candidates("small | large"), candidates('["small"]')
        (('small', 'large'), ('small',))
    """
    return _candidates(value) if isinstance(value, str) else _names(records.parsed(value))


def vector(value: Any) -> np.ndarray | None:
    """float32 [D] of a list of finite numbers (or its JSON text); None for anything else."""
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(records.parsed(value), float).astype(np.float32)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.ndim == 1 and len(found) and np.isfinite(found).all() else None


def each(reader: Callable[[Any], Any], cells: Sequence[Any], otherwise: Any) -> tuple[list[Any], list[int]]:
    """The values of all cells, ``otherwise`` where one cannot be read, and the positions of those.

    Example:
        >>> each(number, ["1", "one"], 0.0)
        ([1.0, 0.0], [1])
    """
    found, odd = [], []
    for i, cell in enumerate(cells):
        try:
            found.append(reader(cell))
        except (ValueError, TypeError, OverflowError):
            found.append(otherwise)
            odd.append(i)
    return found, odd


def short(cell: Any) -> str:
    """A cell as text for a message, at most 60 characters."""
    text = repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."
