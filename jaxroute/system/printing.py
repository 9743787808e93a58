"""Text from files, made safe to show: names, paths and prompts are data, never commands to a terminal."""

from __future__ import annotations

import json
import math
import os
import sys
import unicodedata
from numbers import Integral
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Control characters, lone surrogates, line and paragraph separators; then what turns the direction of writing around.
_KINDS = ("Cc", "Cs", "Zl", "Zp")
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: Any, keep: str = "") -> str:
    """The text with everything that a terminal would act on written as Python escapes; ``keep`` is left as it is.

    Example:
        >>> print(printable("red \\x1b[31m, bell \\x07, [bold]é"))
        red \\x1b[31m, bell \\x07, [bold]é
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _acts(c) else ascii(c)[1:-1] for c in text)


def cell(text: Any, style: str = "") -> Text:
    """The text for rich: no escape sequence, and square brackets are no markup."""
    from rich.text import Text

    return Text(printable(text), style=style)


def console(width: int) -> Console:
    """Rich's console on stdout: as wide as the terminal, or as COLUMNS says, or ``width`` where there is neither."""
    from rich.console import Console

    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if known else width, highlight=False, color_system=None if plain() else "auto")


def plain() -> bool:
    """Whether NO_COLOR asks for text without a terminal's codes: neither colours nor bold, nor lines drawn anew."""
    return bool(os.environ.get("NO_COLOR"))


def say(*lines: Any, to: TextIO | None = None) -> None:
    """Print lines, on stdout unless said otherwise; what they quote from files is escaped."""
    for line in lines:
        print(printable(line), file=sys.stdout if to is None else to)


def json_text(value: Any) -> str:
    """The value as JSON; what is not a finite number is null, because JSON has no other word for unknown.

    Example:
        >>> print(json_text({"value": float("nan"), "rows": (1, 2.5)}))
        {
         "value": null,
         "rows": [
          1,
          2.5
         ]
        }
    """
    return json.dumps(finite(value), indent=1, allow_nan=False)


def finite(value: Any) -> Any:
    """The same numbers, texts, lists and dicts, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _acts(character: str) -> bool:
    return unicodedata.category(character) in _KINDS or character in _DIRECTION


def money(amount: float, currency: str) -> str:
    """An amount to three figures, with its sign where the currency is known.

    Example:
        >>> money(1234.5, "USD"), money(1.8, "USD"), money(0.01234, "USD"), money(1.8, "")
        ('$1,234', '$1.80', '$0.0123', '1.8')
    """
    if currency != "USD":
        return f"{amount:.3g}"
    return f"${amount:,.0f}" if amount >= 100 else f"${amount:.2f}" if amount >= 1 else f"${amount:.3g}"


def number(value: float) -> str:
    """Four figures, and a count in full.

    Example:
        >>> number(0.00016094), number(12345), number(34417.6), number(1.5e20)
        ('0.0001609', '12,345', '34,420', '1.5e+20')
    """
    if isinstance(value, Integral):
        return f"{value:,}"
    return f"{float(f'{value:.4g}'):,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def days(count: float) -> str:
    """Days in whole from 10 on.

    Example:
        >>> days(9.53), days(1234.5)
        ('9.5 days', '1,234 days')
    """
    return f"{count:,.0f} days" if count >= 10 else f"{count:,.1f} days"


def two_figures(value: float) -> str:
    """Two figures, and from 10 on a whole number: for shares in percent and for points.

    Example:
        >>> two_figures(0.0123), two_figures(9.53), two_figures(99.7), two_figures(1234.5)
        ('0.012', '9.5', '100', '1,234')
    """
    return f"{value:,.0f}" if abs(value) >= 9.95 else f"{value:.2g}"
