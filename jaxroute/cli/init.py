"""``jaxroute init LOG``: describe a log once, in jaxroute.toml, which every command reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxroute.cli import options, output, reading
from jaxroute.cli.sheets import Sheet, show
from jaxroute.data import saving
from jaxroute.data.logs import describing
from jaxroute.data.logs.entries import FIELDS
from jaxroute.system.printing import say
from jaxroute.types import InputError

MENDS = {
    "cost": "--column cost=NAME, or token counts and --prices default",
    "quality": "--column quality=NAME, or --feedback FILE",
}
NEEDED = ("prompt", "model", "quality", "cost")


def init(
    log: options.LogPath,
    column: options.Column = None,
    quality_range: Annotated[str | None, typer.Option(help="WORST,BEST of the qualities as written.")] = None,
    prices: options.Prices = None,
    feedback: options.Feedback = None,
    context: options.Context = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: jaxroute.toml beside the log.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take what is proposed, without asking.")] = False,
    as_json: bool = False,
) -> output.Result:
    """Look at a log, propose which column is which field, and write jaxroute.toml, which every command reads.

    On a terminal it asks about every field; elsewhere, and with --yes, it takes what the options say and what it
    proposes itself. Every command that reads a log looks for jaxroute.toml beside it, then in the working directory;
    its own options come first. route takes from it what the prompts are called.

    Examples:

      jaxroute init requests.jsonl

      jaxroute init requests.csv --column quality=stars --quality-range 1,5 --prices default --yes
    """
    place = out or _beside(log)
    saving.check_file(place)
    found = describing.propose(log)
    columns = dict(found.columns) | options.mapping(column)
    given = {"quality_range": quality_range, "prices": prices, "feedback": feedback, "context": context}
    settings: dict[str, Any] = {**found.settings, **{name: value for name, value in given.items() if value is not None}}
    said, known = [], found.title != describing.formats.PLAIN.title
    if known:
        said.append(f"{log}: read as {found.title}, whose fields are known; only what is elsewhere needs a column")
    unnamed = "as recorded" if known else "-"
    lines = [
        [name, columns.get(name, unnamed), _example(found, columns.get(name))]
        for name in FIELDS
        if _shown(name, columns)
    ]
    sheet = Sheet("fields", ["field", "column", "example"], lines)
    used = (*columns.values(), *(settings.get("context") or ()))
    others = [name for name in found.others if not any(one == name or one.startswith(f"{name}.") for one in used)]
    listed = f"{'columns' if known else 'other columns'}: {', '.join(others) or 'none'}"
    said.append(f"{listed}; --context NAME takes one in that was known beforehand")
    if sys.stdin.isatty() and not yes and not as_json:
        show(sheet.title, sheet.header, sheet.lines)
        columns, settings = _asked(columns, settings)
    kept = dict(settings)
    for name in ("prices", "feedback"):  # a description is read from any folder
        if kept.get(name, "default") != "default":
            kept[name] = os.path.relpath(kept[name], place.parent)
    description = describing.Description({k: v for k, v in columns.items() if k != v}, kept)
    with saving.text(place) as file:
        file.write(describing.text(description))
    how = options.How([f"{name}={column}" for name, column in description.columns.items()], **settings)
    try:
        table = reading.read(log, how)
    except InputError as error:
        faults = str(error).splitlines()
        mending = [
            f"{name}: {MENDS.get(name, f'--column {name}=NAME')}"
            for name in NEEDED
            if name not in columns and (not known or any(line.startswith(f"{name} ") for line in faults))
        ]
        unread = [f"{place} is written, and with it the log cannot be read yet:", str(error), *mending]
        raise InputError("\n".join(unread)) from None
    read = f"written: {place}; read: {len(table)} rows of {', '.join(table.models)}"
    record = {"description": str(place), "columns": columns, "settings": kept, "rows": len(table)}
    return output.Result(record, [read, *said, f"next: jaxroute doctor {log}"], [sheet])


def _beside(log: str) -> Path:
    path = Path(log).expanduser()
    if "://" in log:
        return Path(describing.NAME)
    return (path if path.is_dir() else path.parent) / describing.NAME


def _shown(name: str, columns: dict[str, str]) -> bool:
    return name in columns or name in NEEDED


def _example(found: describing.Proposal, column: str | None) -> str:
    text = str(found.examples.get(column or "", "-"))
    return text if len(text) <= 60 else text[:57] + "..."


def _asked(columns: dict[str, str], settings: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Answers to a question for every field and setting: return keeps what is proposed, a hyphen leaves it out."""
    say("Return keeps what is proposed; - leaves a field out.")

    def answer(name: str, proposed: str | None) -> str:
        said: str = typer.prompt(name, default=proposed or "-")
        return "" if said.strip() == "-" else said.strip()

    asked = {name: answer(f"column of {name}", columns.get(name)) for name in FIELDS if _shown(name, columns)}
    said = {"quality_range": answer("quality range (worst,best)", settings.get("quality_range", "0,1"))}
    said |= {name: answer(name, settings.get(name)) for name in ("prices", "feedback")}
    beside = answer("context columns (with commas)", ",".join(settings.get("context") or ()))
    kept: dict[str, Any] = {k: v for k, v in said.items() if v and (k, v) != ("quality_range", "0,1")}
    return {k: v for k, v in asked.items() if v}, kept | ({"context": beside.split(",")} if beside else {})
