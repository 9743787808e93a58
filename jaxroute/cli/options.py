"""The options that commands share, and what their texts stand for: above all how a log is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from jaxroute.cli.progress import note
from jaxroute.data.logs import describing, formats
from jaxroute.data.logs.entries import FIELDS
from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.data import prices as price_table

LogPath = Annotated[
    str,
    typer.Argument(
        help="The log: a .parquet, .csv or .jsonl file (also .gz), a folder of them, or "
        "postgresql://USER@HOST/DATABASE."
    ),
]
MaybeLog = Annotated[str | None, *LogPath.__metadata__]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="FIELD=NAME, if the log has another name for a field, as in quality=metadata.rating. Repeatable. Fields: "
        f"{', '.join(FIELDS)}.",
    ),
]
Prices = Annotated[
    str | None,
    typer.Option(
        help="Price table for rows whose cost is unknown: a CSV, LiteLLM's price map as JSON, or 'default' for the "
        "table in this package."
    ),
]
Reprice = Annotated[
    bool, typer.Option("--reprice", help="Compute the cost of every row from --prices, even if the log has costs.")
]
QualityRange = Annotated[
    str | None,
    typer.Option(
        help="WORST,BEST: the scale of the qualities as written, 1,5 for one to five stars, 5,1 where less is better.  "
        "[default: 0,1]"
    ),
]
Feedback = Annotated[
    str | None,
    typer.Option(help="File of ratings that arrived after the log, with the columns request_id and quality."),
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        help="A column that was known before the model was chosen, such as tenant, tier or language: it is encoded "
        "beside the text. Repeatable.",
    ),
]
Since = Annotated[
    str | None, typer.Option(help="Leave earlier requests out, and those without a time: 2026-10-01, or a time.")
]
Score = Annotated[str | None, typer.Option(help="Name of the evaluation to use as quality, if the log has several.")]
Failures = Annotated[
    str, typer.Option(help="What to do with failed requests: drop leaves them out, zero keeps them with quality 0.")
]
Chat = Annotated[
    str | None,
    typer.Option(
        help="Which part of a chat is the prompt: last (the user's last message), user (all messages of the user) or "
        "all. Add a limit on characters as in user:4000. Default: last, or the rule that the router was fitted with."
    ),
]
KeepDates = Annotated[
    bool, typer.Option("--keep-dates", help="Treat dated models as separate models: gpt-4o-2024-08-06 is not gpt-4o.")
]
Form = Annotated[
    str, typer.Option(help=f"Format of the log: auto (from the names in each file), {', '.join(formats.NAMES)}.")
]
DropBad = Annotated[
    bool,
    typer.Option("--drop-bad/--strict", help="Whether to drop and count bad rows, or to refuse a log that has any."),
]
Encoder = Annotated[
    str,
    typer.Option(
        help="Encoder of the prompts, if the log has no features: hashed (offline), sentence:NAME and others; several "
        "joined by +, as in hashed+marks. docs/encoders.md lists them."
    ),
]
Shadow = Annotated[
    Path | None,
    typer.Option(
        help="A shadow sample: prompts like those of the log that several models answered, drawn without looking at "
        "the answers. A table's folder, or results of an evaluation tool as they are; see docs/tables.md."
    ),
]
RouterPath = Annotated[Path, typer.Argument(help="A saved router: the folder that jaxroute fit wrote.")]
RouterEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="The router's encoder, to confirm that texts may be sent to its endpoint. Other encoders need no "
        "confirmation.",
    ),
]


@dataclass(frozen=True)
class How:
    """The options that say how to read a log; see ``with_log_options``.

    What an option leaves open, ``jaxroute.toml`` may say: see ``described``.
    """

    column: Column = None
    prices: Prices = None
    reprice: Reprice = False
    quality_range: QualityRange = None
    feedback: Feedback = None
    context: Context = None
    since: Since = None
    score: Score = None
    failures: Failures = "drop"
    chat: Chat = None
    keep_dates: KeepDates = False
    form: Form = "auto"
    drop_bad: DropBad = False


AS_IT_IS = How()


def with_log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options of ``How`` added; it receives them as its argument ``how``."""
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
    def run(**given: Any) -> Any:
        how = How(**{one.name: given.pop(one.name) for one in named})
        return command(how=described(given.get("log"), how), **given)

    run.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in everything}
    return run


def mapping(column: Sequence[str] | None) -> dict[str, str]:
    """{field: name} of --column."""
    found: dict[str, str] = {}
    for pair in column or []:
        field, equals, name = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--column {pair!r}: write FIELD=NAME, as in quality=metadata.rating")
        if found.get(field, name) != name:
            raise InputError(f"--column: {field} is both {found[field]} and {name}; name one column for each field")
        found[field] = name
    return found


def described(log: str | None, how: How) -> How:
    """The options, and what jaxroute.toml says where they say nothing; a note tells which file it is."""
    path = None if log is None else describing.find(log)
    if path is None:
        return how
    said = describing.read(path)
    given = mapping(how.column)
    columns = [f"{field}={name}" for field, name in {**said.columns, **given}.items()]
    settings = {name: value for name, value in said.settings.items() if getattr(how, name) is None}
    note(f"note: the log is read as {path} says")
    return replace(how, column=columns or None, **settings)


def scale(text: str) -> tuple[float, float]:
    """The worst and the best quality of --quality-range."""
    try:
        worst, best = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--quality-range {text!r}: write WORST,BEST, as in 1,5 or 5,1") from None
    return worst, best


def price_list(prices: str | None, reprice: bool) -> dict[str, price_table.Price] | None:
    """The prices that --prices names, if any."""
    from jaxroute.data import prices as price_table

    if reprice and prices is None:
        raise InputError("--reprice needs prices; add --prices FILE or --prices default")
    return price_table.listed(prices)


def cost_weights(text: str | None) -> list[float] | None:
    """The numbers of --normalised-cost-weights; None where it was not given."""
    try:
        found = None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--normalised-cost-weights {text!r}: write numbers with commas, as in 0,0.5,1") from None
    if found is not None and not all(0 <= weight < float("inf") for weight in found):
        raise InputError(f"--normalised-cost-weights {text!r}: give finite numbers of at least 0")
    return found
