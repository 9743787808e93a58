"""Tables that commands print for people, or write with --write-table."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxroute.data import saving
from jaxroute.system.printing import cell, console, finite, number
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd


TEXT = 10
"""Columns of characters that a text in a table gets at least, where numbers are not broken."""


@dataclass(frozen=True)
class Sheet:
    """A table for people."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[Any]]


def check_tables(paths: Sequence[Path]) -> None:
    """Refuse the files of --write-table before any work."""
    for path in paths:
        if path.suffix not in (".csv", ".tex"):
            raise InputError(f"--write-table {path}: give a file that ends in .csv or .tex")
        saving.check_file(path)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write records as CSV, lists and dicts in it as JSON; or as LaTeX, without columns of lists and dicts.

    An interval, a pair of numbers, is two columns in both: its name with ``_low`` and with ``_high``.
    """
    import pandas as pd

    if not rows:
        raise InputError(f"--write-table {path}: this result has no table")
    rows = _ends(rows)
    nested = {name for row in rows for name, value in row.items() if isinstance(value, list | dict)}
    if path.suffix == ".tex":
        frame = pd.DataFrame([{name: v for name, v in row.items() if name not in nested} for row in rows])
        text = frame.to_latex(index=False, escape=True, float_format="{:.4g}".format, na_rep="")
    else:
        flat = [{name: json.dumps(finite(v)) if name in nested else v for name, v in row.items()} for row in rows]
        text = pd.DataFrame(flat).to_csv(index=False)
    with saving.text(path) as file:
        file.write(text)


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The records with two columns for each interval; an unknown interval has unknown ends."""

    def kinds(name: str) -> set[str]:
        values = (row.get(name) for row in rows)
        return {"interval" if _is_pair(value) else "other" for value in values if value is not None}

    intervals = {name for row in rows for name in row if kinds(name) == {"interval"}}
    split: list[dict[str, Any]] = []
    for row in rows:
        line: dict[str, Any] = {}
        for name, value in row.items():
            if name in intervals:
                line[f"{name}_low"], line[f"{name}_high"] = value or (None, None)
            else:
                line[name] = value
        split.append(line)
    return split


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, float) for end in value)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as a list of records."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def show(title: str, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout; text is aligned left and numbers right, and where there is room only text is broken."""
    from rich.table import Table
    from rich.text import Text

    wide = console(120)
    shown = [["unknown" if x is None else x if isinstance(x, str) else number(x) for x in line] for line in lines]
    numeric = [bool(lines) and all(not isinstance(line[j], str) for line in lines) for j in range(len(header))]
    full, least = (
        [max(map(len, [*words(name), *(line[j] for line in shown)])) for j, name in enumerate(header)]
        for words in (lambda name: [name], str.split)
    )
    least = full if sum(full) + 3 * len(header) < wide.width else least  # where all fits, no heading is broken
    room = sum(width if figures else min(width, TEXT) for width, figures in zip(least, numeric, strict=True))
    padding = 1 if room + 3 * len(header) < wide.width else 0
    whole = room + (2 * padding + 1) * len(header) < wide.width
    fixed = None if whole else _widths(shown, numeric, least, wide.width - len(header) - 1)
    sheet = Table(title=cell(title), title_justify="left", padding=(0, padding))
    for j, (name, width, figures) in enumerate(zip(header, least, numeric, strict=True)):
        broken = textwrap.wrap(name, width) if figures and whole else [name]
        sheet.add_column(
            Text("\n").join(map(cell, broken)),
            justify="right" if figures else "left",
            overflow="fold",
            no_wrap=figures and whole,
            width=None if fixed is None else fixed[j],
        )
    for line in shown:
        sheet.add_row(*map(cell, line))
    wide.print(sheet)


def _widths(
    lines: Sequence[Sequence[str]], numeric: Sequence[bool], wanted: Sequence[int], room: int
) -> list[int] | None:
    """Widths that break headings and long names, but no number; None where there is no room for that."""
    longest = [max([1, *(len(word) for line in lines for word in line[j].split())]) for j in range(len(wanted))]
    widths = [width if figures else min(width, TEXT) for width, figures in zip(longest, numeric, strict=True)]
    if sum(widths) > room:
        return None
    for _ in range(room - sum(widths)):  # what is left goes where most is missing
        j = max(range(len(widths)), key=lambda j: wanted[j] - widths[j])
        widths[j] += wanted[j] > widths[j]
    return widths
