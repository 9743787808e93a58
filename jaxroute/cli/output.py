"""What a command gives back, and how it is printed: for people, or with --json as one object for machines.

A command returns a ``Result``; the options of ``with_output_options`` decide what becomes of it. The object of --json
is described by ``schema.json`` beside this file, a JSON Schema with a definition for each command.

    exit code   0 done    2 bad input    3 the log cannot support it    130 Ctrl-C    141 the output's reader has gone
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import jaxroute
from jaxroute.data import saving
from jaxroute.system.printing import cell, console, finite, json_text, number, plain, say
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

    from jaxroute.report import Drawing

UNSUPPORTED = 3
"""The exit code where the log cannot support what was asked."""
TEXT = 10
"""Columns of characters that a text in a table gets at least, where numbers are not broken."""
EVERY = 5.0
"""Seconds between two lines about progress, where there is no terminal."""
OPTIONS: dict[str, Any] = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text and tables.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="Print the conclusion alone, and no notes or progress.")],
    "write_table": Annotated[
        list[Path] | None,
        typer.Option(help="File to write the table of the result to: .csv, or .tex for LaTeX. Repeatable."),
    ],
}
_QUIET = ContextVar("quiet", default=False)


@dataclass(frozen=True)
class Sheet:
    """A table for people."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Result:
    """What a command found.

    record: the object of --json, but for the keys "command" and "jaxroute", which every object has. said: sentences,
    the conclusion first. sheets: tables, which come last. rows: records of the table that --write-table writes.
    supported: False if the log cannot support what was asked. printed: whether the command has written its own output.
    before: sentences that stand before the conclusion, on what was left out; --quiet prints them too.
    """

    record: Mapping[str, Any]
    said: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    supported: bool = True
    printed: bool = False
    before: int = 0


def with_output_options(command: Callable[..., Result], name: str) -> Callable[..., None]:
    """The command with --json, --quiet and --write-table, printing what it returns and exiting with its code.

    A command with a parameter of the name ``as_json`` is told whether it will be printed so.
    """
    before = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name not in OPTIONS]
    asks = "as_json" in inspect.signature(command).parameters
    added = [
        inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=False if one != "write_table" else None,
                          annotation=annotation)
        for one, annotation in OPTIONS.items()
    ]  # fmt: skip
    everything = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in before), *added]

    @wraps(command)
    def run(**given: Any) -> None:
        as_json, quiet, paths = (given.pop(one) for one in OPTIONS)
        before = _QUIET.set(quiet)
        try:
            check_tables(paths or ())
            result = command(**given, **({"as_json": as_json} if asks else {}))
            for path in paths or ():
                write_table(path, result.rows)
            if as_json:
                print(json_text({"command": name, "jaxroute": jaxroute.__version__, **result.record}))
            elif not result.printed:
                say(*(result.said[: result.before + 1] if quiet else result.said))
                for sheet in () if quiet else result.sheets:
                    show(sheet.title, sheet.header, sheet.lines)
        finally:
            _QUIET.reset(before)
        if not result.supported:
            raise typer.Exit(UNSUPPORTED)

    run.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in everything}
    return run


def schema(command: str) -> dict[str, Any]:
    """The JSON Schema of a command's object.

    Example:
        >>> schema("route")["required"][:2]
        ['command', 'jaxroute']
    """
    whole = json.loads(resources.files(__package__).joinpath("schema.json").read_text("utf-8"))
    return {"$schema": whole["$schema"], "$defs": whole["$defs"], **whole["$defs"][command]}


Page = Annotated[
    Path | None, typer.Option("--report", help="Folder for report.html: what is printed, as a page to read or send.")
]


def write_page(
    folder: Path | None, title: str, said: Sequence[str], sheets: Sequence[Sheet], figures: Sequence[Drawing] = ()
) -> str | None:
    """Write what a command prints as report.html, figures before tables; its path, or None where none is asked for."""
    if folder is None:
        return None
    from jaxroute import report

    return str(report.write_sheets(folder, title, said, sheets, figures))


def check_page(folder: Path | None) -> None:
    """Refuse a folder of --report before any work."""
    if folder is not None:
        saving.check_file(folder / "report.html")


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


def note(message: str) -> None:
    """Print a line on stderr, so that stdout holds only the result; nothing with --quiet."""
    if not _QUIET.get():
        say(message, to=sys.stderr)


@contextmanager
def progress(begins: Mapping[str, float]) -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr: a spinner on a terminal, elsewhere a line every few seconds; none with --quiet.

    Args:
        begins: the stages, each with the share of the whole time after which it usually begins.

    Yields:
        A function to be called with the name of every stage when it begins.
    """
    if _QUIET.get():
        yield lambda stage: None
        return
    if sys.stderr.isatty() and not plain():
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("reading", total=None)
            yield lambda stage: bar.update(task, description=stage)
        return
    started, done = time.monotonic(), threading.Event()
    now: dict[str, Any] = {"stage": "reading", "share": 0.0, "at": 0.0}

    def stage(name: str) -> None:
        share = max(now["share"], begins.get(name, now["share"]))
        now.update(stage=name, share=share, at=time.monotonic() - started)

    def lines() -> None:
        while not done.wait(EVERY):
            say(progress_line(now["stage"], now["share"], now["at"], time.monotonic() - started), to=sys.stderr)

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield stage
    finally:
        done.set()
        thread.join()


def progress_line(stage: str, share: float, at: float, elapsed: float) -> str:
    """Stage, share done and time left.

    Args:
        share: of the whole, done when the stage began. at: seconds when it began. elapsed: seconds until now.

    Example:
        >>> progress_line("distilling", 0.5, 10.0, 14.0), progress_line("reading", 0.0, 0.0, 5.0)
        ('distilling: 70% done, some 6 s left', 'reading: 5 s so far')
    """
    if not share:
        return f"{stage}: {elapsed:.0f} s so far"
    whole = at / share
    if elapsed >= 0.99 * whole:
        return f"{stage}: more than 99% done, {elapsed:.0f} s so far"
    return f"{stage}: {100 * elapsed / whole:.0f}% done, some {whole - elapsed:.0f} s left"
