"""Reading what commands are given: the log, and the shadow sample beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxroute.cli.options import How, mapping, price_list, scale
from jaxroute.cli.progress import doing, note
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Table

if TYPE_CHECKING:
    from jaxroute.data import logs as people
    from jaxroute.serving.asking import Asked


def read(path: str, how: How, *routers: Asked, listed: bool = False) -> people.LogTable:
    """The checked log, or an InputError that lists every problem; notes what is left out, or counts for too much.

    It is read as the routers need it (``as_fitted``), unless the options say otherwise. With ``listed`` the caller
    lists what is left out.
    """
    from jaxroute.data import logs as people
    from jaxroute.data.logs.problems import shown
    from jaxroute.serving import asking

    table, fitted = price_list(how.prices, how.reprice), asking.as_fitted(*routers)
    with doing(f"reading {path}"):
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
    if not listed:
        for why, by in log.left_out.items():
            note(f"note: left out: {why}: {sum(by.values()):,} ({shown(by)})")
    return log


def as_logs(log: people.LogTable, encoder: str) -> tuple[Logs, str | None]:
    """The log as arrays, and the encoder that was used (None if the log has features); notes how groups are folded."""
    from jaxroute.data import logs as people

    note_rows(log)
    if log.features is not None:
        return people.as_logs(log, encoder), None
    with doing(f"encoding {len(log)} prompts", bar=True):
        return people.as_logs(log, encoder), encoder


def note_rows(log: people.LogTable) -> None:
    """Note how groups are folded, whether they are enough, what ratings are for, and of which answers they are."""
    from jaxroute.data import logs as people

    folded = people.folding(log, NuisanceSpec().folds)
    for said in (folded, people.crowded(log), people.rating(log), people.rated_costs(log)):
        if said:
            note(f"note: {said}")


def results(path: Path, **options: Any) -> Table:
    """A table, or results of evaluation tools as they are; notes what was read of these, and what was not."""
    from jaxroute.data import harness

    return harness.load(path, note=lambda line: note(f"note: {line}"), **options)


def shadow_table(path: Path | None, log: people.LogTable, how: How) -> Table | None:
    """The table that --shadow names; notes which models it and the log do not share, and unknown costs."""
    if path is None:
        return None
    from jaxroute.data import logs as people
    from jaxroute.data import shadow as shadows

    people.check_shadow(log, path)
    table = results(path, alone=True, prices=price_list(how.prices, how.reprice), reprice=how.reprice)
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
