"""What a command gives back, and how it is printed: for people, or with --json as one object for machines.

A command returns a ``Result``; the options of ``with_output_options`` decide what becomes of it. The object of --json
is described by ``schema.json`` beside this file, a JSON Schema with a definition for each command.

    exit code   0 done    2 bad input    3 the log cannot support it    130 Ctrl-C    141 the output's reader has gone
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import jaxroute
from jaxroute.cli.progress import QUIET
from jaxroute.cli.sheets import Sheet, check_tables, show, write_table
from jaxroute.data import saving
from jaxroute.system.printing import json_text, say

if TYPE_CHECKING:
    from jaxroute.report import Drawing

UNSUPPORTED = 3
"""The exit code where the log cannot support what was asked."""
OPTIONS: dict[str, Any] = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text and tables.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="Print the conclusion alone, and no notes or progress.")],
    "write_table": Annotated[
        list[Path] | None,
        typer.Option(help="File to write the table of the result to: .csv, or .tex for LaTeX. Repeatable."),
    ],
}


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
        before = QUIET.set(quiet)
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
            QUIET.reset(before)
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
