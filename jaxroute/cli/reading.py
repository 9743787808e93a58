"""What every command that reads a log shares: its options, and the log itself with what it was read as."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table as Sheet

from jaxroute.data import encoders, messages, tables
from jaxroute.data import logs as people
from jaxroute.data import prices as price_table
from jaxroute.data import shadow as shadows
from jaxroute.data.logs import formats
from jaxroute.estimators.evidence import Evidence
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec

LogPath = Annotated[
    str,
    typer.Argument(
        help="Log: a .parquet, .csv or .jsonl file (also .gz), a folder of them, or postgresql://USER@HOST/DATABASE."
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="FIELD=NAME where the log calls a field otherwise: quality=metadata.rating. Repeatable."
    ),
]
Prices = Annotated[
    str | None,
    typer.Option(
        help="Price table (CSV, or LiteLLM's price map as JSON) for rows whose cost is unknown; "
        "'default' is the packaged one."
    ),
]
Reprice = Annotated[bool, typer.Option("--reprice", help="Price every row by --prices, whatever cost the log has.")]
QualityRange = Annotated[str, typer.Option(help="LOW,HIGH of the qualities as written: 1,5 for stars.")]
Feedback = Annotated[
    str | None, typer.Option(help="Table of request_id and quality, for ratings that came after the log.")
]
Score = Annotated[str | None, typer.Option(help="The evaluation that is the quality, where a log has several.")]
Failures = Annotated[str, typer.Option(help="Failed requests: drop them, or keep them with quality zero.")]
Chat = Annotated[
    str,
    typer.Option(
        help="What of a chat is the prompt: last (the user's last message), user (all of the user's), all; "
        "with a cap on characters: user:4000."
    ),
]
KeepDates = Annotated[
    bool, typer.Option("--keep-dates", help="Keep models apart by date: gpt-4o-2024-08-06 is not gpt-4o.")
]
Form = Annotated[str, typer.Option(help=f"Kind of log: auto (by the names in each file), {', '.join(formats.NAMES)}.")]
DropBad = Annotated[bool, typer.Option("--drop-bad/--strict", help="Drop and count bad rows, or refuse the log.")]
Encoder = Annotated[
    str, typer.Option(help="Of the prompts, where the log has no features: hashed (offline), sentence:NAME, ...")
]
Shadow = Annotated[
    Path | None,
    typer.Option(
        help="Folder: full table of prompts like the log's that every model answered, none of them chosen for its "
        "answers: see README, Data."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]


@dataclass(frozen=True)
class How:
    """The options of every command that reads a log, which say how; see ``with_log_options``."""

    column: Column = None
    prices: Prices = None
    reprice: Reprice = False
    quality_range: QualityRange = "0,1"
    feedback: Feedback = None
    score: Score = None
    failures: Failures = "drop"
    chat: Chat = messages.CHAT
    keep_dates: KeepDates = False
    form: Form = "auto"
    drop_bad: DropBad = False


AS_IT_IS = How()


def with_log_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of ``How``, which it takes as its one argument ``how``."""
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    place = next(i for i, one in enumerate(parameters) if one.name == "how")
    hints = get_type_hints(How, include_extras=True)
    named = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(How)
    ]
    kept = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters if one.name != "how"]
    everything = [*kept[:place], *named, *kept[place:]]

    @wraps(command)
    def run(**given: Any) -> None:
        how = How(**{one.name: given.pop(one.name) for one in named})
        command(how=how, **given)

    run.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in everything}
    return run


def read(path: str, how: How) -> people.LogTable:
    """The checked log, or an InputError that lists every problem."""
    mapping = {}
    for pair in how.column or []:
        field, equals, name = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--column {pair!r}: write FIELD=NAME, as in quality=metadata.rating")
        mapping[field] = name
    if how.reprice and how.prices is None:
        raise InputError("--reprice: by which prices? Give --prices FILE, or --prices default")
    table: Any = None if how.prices is None else price_table.load(None if how.prices == "default" else how.prices)
    try:
        low, high = (float(part) for part in how.quality_range.split(","))
    except ValueError:
        raise InputError(f"--quality-range {how.quality_range!r}: write LOW,HIGH, as in 1,5") from None
    return people.load(
        path,
        columns=mapping,
        prices=table,
        reprice=how.reprice,
        quality_range=(low, high),
        feedback=how.feedback,
        score=how.score,
        failures=how.failures,
        chat=how.chat,
        keep_dates=how.keep_dates,
        form=how.form,
        drop_bad=how.drop_bad,
    )


def as_logs(log: people.LogTable, encoder: str) -> tuple[Logs, str | None]:
    """The log as arrays, and the encoder that served it (None: it brought features); says how groups are folded."""
    if said := people.folding(log, NuisanceSpec().folds):
        note(f"note: {said}")
    return people.as_logs(log, encoder), None if log.features is not None else encoder


def made_by(encoder: str, log: people.LogTable) -> str:
    """The encoder that is said to have made a log's features; refused where it makes others."""
    if log.features is None:
        raise InputError("--features-by: the log has no features; --encoder makes them of its prompts")
    width = encoders.encode(["a text"], encoder).shape[1]
    if width != log.features.shape[1]:
        raise InputError(
            f"--features-by {encoder}: makes {width} features a prompt, the log has {log.features.shape[1]}"
        )
    return encoder


def as_shadow(path: Path | None, log: people.LogTable, encoder: str | None) -> Examples | None:
    """Prompts that every model answered, models in the log's order, features made as the log's are."""
    return None if path is None else shadows.examples(tables.load(path), log.models, encoder=encoder)


def print_json(frame: pd.DataFrame) -> None:
    """A table as a JSON list of records; null where a number is unknown."""
    print(json.dumps(json.loads(frame.to_json(orient="records", double_precision=15)), indent=1))


def show(title: str, header: list[str], lines: list[list[Any]]) -> None:
    """A table on stdout: text left, numbers right."""
    sheet = Sheet(title=title, title_justify="left")
    for j, name in enumerate(header):
        numeric = bool(lines) and all(not isinstance(line[j], str) for line in lines)
        sheet.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for line in lines:
        sheet.add_row(
            *("unknown" if cell is None else cell if isinstance(cell, str) else f"{cell:.4g}" for cell in line)
        )
    Console(width=None if Console().is_terminal else 120).print(sheet)


def normalised(found: Evidence, scale: float) -> Evidence:
    """The same with normalised cost weights, as pages and tables show them."""

    def rescaled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(cost_weight=(frame["cost_weight"] * scale).round(6))

    return found._replace(values=rescaled(found.values), gains=rescaled(found.gains))


def write_page(folder: Path, found: Evidence, cost_scale: float, title: str) -> Path:
    """report.html with what the log says; returns its path."""
    from jaxroute import report

    drawings = report.draw_evidence(found, cost_scale=cost_scale, unit="unit of cost")
    meta = {"title": title, "models": list(found.models), "cost_scale": cost_scale, "cost_unit": "unit of cost"}
    return report.write_html(folder, None, meta, drawings, evidence=found)


def note(message: str) -> None:
    """A line on stderr, so that stdout stays what was asked for."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)
