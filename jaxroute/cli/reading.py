"""Shared by every command that reads a log: the options, and reading the log."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from jaxroute.cli.output import note
from jaxroute.data.logs import describing, formats
from jaxroute.data.logs.entries import FIELDS
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Table

if TYPE_CHECKING:
    from jaxroute.data import logs as people
    from jaxroute.data import prices as price_table
    from jaxroute.estimators.evidence import Evidence
    from jaxroute.serving.asking import Asked

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


def read(path: str, how: How, *routers: Asked) -> people.LogTable:
    """The checked log, or an InputError that lists every problem; notes what was changed, or counts for too much.

    It is read as the routers need it (``as_fitted``), unless the options say otherwise.
    """
    from jaxroute.data import logs as people
    from jaxroute.serving import asking

    table, fitted = price_list(how.prices, how.reprice), asking.as_fitted(*routers)
    log = people.load(
        path,
        columns=mapping(how.column),
        prices=table,
        reprice=how.reprice,
        quality_range=scale(how.quality_range or "0,1"),
        feedback=how.feedback,
        score=how.score,
        failures=how.failures,
        chat=how.chat or fitted["chat"],
        keep_dates=how.keep_dates,
        form=how.form,
        drop_bad=how.drop_bad,
        since=how.since,
        context=how.context or fitted["context"],
    )
    if people.is_table(log):
        raise InputError(
            f"{path}: the same prompts were answered by {len(log.models)} models, so this is a table of evaluation "
            f"results, not a log; use jaxroute fit --table {path}"
        )
    if routers:
        from jaxroute.serving import alike

        alike.check(log, routers)
    for line in log.outliers:
        note(f"note: {line}")
    return log


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


def as_logs(log: people.LogTable, encoder: str) -> tuple[Logs, str | None]:
    """The log as arrays, and the encoder that was used (None if the log has features); notes how groups are folded."""
    from jaxroute.data import logs as people

    note_rows(log)
    return people.as_logs(log, encoder), None if log.features is not None else encoder


def note_rows(log: people.LogTable) -> None:
    """Note how the groups of a log are folded, and what people's ratings are for."""
    from jaxroute.data import logs as people

    for said in (people.folding(log, NuisanceSpec().folds), people.rating(log)):
        if said:
            note(f"note: {said}")


def shadow_table(path: Path | None, log: people.LogTable, how: How) -> Table | None:
    """The table that --shadow names; notes which models it and the log do not share, and unknown costs."""
    if path is None:
        return None
    from jaxroute.data import harness
    from jaxroute.data import logs as people
    from jaxroute.data import shadow as shadows
    from jaxroute.estimators.prediction_powered import check_scale

    check_scale(people.corrected(log), path)
    table = harness.load(path, alone=True, prices=price_list(how.prices, how.reprice), reprice=how.reprice)
    unknown, lacking = shadows.unmatched(table, log.models)
    if unknown:
        note(f"note: left out of the shadow sample, as the log does not have them: {', '.join(unknown)}")
    if lacking:
        note(f"note: the shadow sample has no answer of {', '.join(lacking)}: it teaches, and is no evidence of values")
    own = shadows.matched(table, log.models)
    if count := int(shadows.unpriced(own.outcomes, own.available).sum()):
        evidence = "" if lacking else ", and they are evidence at cost weight 0 alone"
        note(
            f"note: {count} answers of the shadow sample have no cost: the model's mean in the log stands in to learn "
            f"from{evidence}"
        )
    return table


def as_shadow(path: Path | None, log: people.LogTable, how: How, encoder: str | None) -> Examples | None:
    """The shadow sample, with models in the log's order and features from the log's encoder and context columns."""
    from jaxroute.data import context as contexts
    from jaxroute.data import shadow as shadows

    table = shadow_table(path, log, how)
    if table is None:
        return None
    return shadows.examples(table, log.models, encoder=encoder, columns=contexts.fit(log.context))


def normalised(found: Evidence, scale: float) -> Evidence:
    """The same evidence with normalised cost weights, as in pages and tables."""

    tables = (found.values, found.gains, found.frontier)
    values, gains, frontier = (t.assign(cost_weight=(t["cost_weight"] * scale).round(6)) for t in tables)
    return found._replace(values=values, gains=gains, frontier=frontier)


def write_page(
    folder: Path, found: Evidence, cost_scale: float, title: str, *, left_out: Sequence[str] = (), figures: bool = False
) -> Path:
    """Write report.html with the evidence of the log, and its figures as files if wanted; returns the page's path.

    left_out: sentences on rows that are no evidence, because the router learned from them.
    """
    from jaxroute import report

    unit = found.currency or "unit of cost"
    drawings = report.draw_evidence(found, cost_scale=cost_scale, unit=unit)
    meta = {"title": title, "models": list(found.models), "cost_scale": cost_scale, "cost_unit": unit}
    meta["left_out"] = left_out
    if figures:
        report.write_figures(folder, drawings)
    return report.write_html(folder, None, meta, drawings, evidence=found)
