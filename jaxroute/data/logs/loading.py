"""Reading and checking people's logs: one row a request, answered by one model.

Fields: prompt and/or features (a list of numbers), model, quality, cost (or input_tokens and output_tokens with a
price table), and optionally propensity, timestamp (seconds since 1970, or ISO 8601), group (conversation or user),
request_id (unique), available (candidate set: a list, or names joined by "|"; empty: every model), weight (how many
requests the row stands for, in a log that keeps a share of them; empty: one), human_quality (a person's rating of an
answer whose quality is a judge's, on the same scale), human_rate (the probability with which it was asked for),
latency (seconds from the request to the end of the answer), and token counts that are billed apart: total_tokens,
cached_tokens, cache_write_tokens, reasoning_tokens. Prompts may be chats (a list of messages); ``messages.text_of``
says what of them counts.

A log is a file or a folder of files (.parquet, .csv, .jsonl, the last two also .gz), a table in memory or in
PostgreSQL. The records of gateways and tracers are read as they are; see ``formats``. Every problem is listed with
table, row (counted from 0) and column before anything is returned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxroute import settings
from jaxroute.data import messages, records, values
from jaxroute.data import prices as tariffs
from jaxroute.data.logs import cells, comparisons, convert, costs, formats, joining, naming, problems, router_replay
from jaxroute.data.logs.assembling import REQUESTS, assemble
from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.entries import COMPARED, EARLIER, FAILED, FIELDS, LOST, Asked
from jaxroute.data.logs.feedback import apart
from jaxroute.data.logs.qualities import rate
from jaxroute.data.logs.table import LogTable
from jaxroute.system.wording import mapped, named
from jaxroute.types import InputError

FAILURES = ("drop", "zero")
SIMULATED = "propensities simulated from posterior scores"
RARE = "simulated propensities that are too small to be told, taken as unknown"


def load(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    prices: Mapping[str, Sequence[Any]] | str | os.PathLike[str] | None = None,
    reprice: bool = False,
    quality_range: tuple[float, float] = (0.0, 1.0),
    feedback: Any = None,
    score: str | None = None,
    failures: str = "drop",
    chat: str = messages.CHAT,
    keep_dates: bool = False,
    form: str = "auto",
    drop_bad: bool = False,
    context: Sequence[str] = (),
    since: Any = None,
) -> LogTable:
    """Read and check a log.

        quality = (quality as written - worst) / (best - worst)
        cost    = the row's own, else of its tokens by the price table; see ``prices.bill``

    Args:
        source: a file or a folder of files, a URL ``postgresql://...``, a pandas or pyarrow table, a
            ``datasets.Dataset``, a list of dictionaries, or a dictionary of columns.
        columns: {field: name in the table}; a name may be a path into nested values, ``metadata.feedback.score``.
        prices: for rows whose cost is unknown: {model: (input, output) or Price} per million tokens, a file of these
            (``prices.load``), or "default" for the prices of this package.
        reprice: price every row, whatever cost it has.
        quality_range: (worst, best) of the qualities as written: (1, 5) for stars, (5, 1) where less is better.
        feedback: a table of request_id and quality, for qualities that came later; see ``feedback.read``.
        score: the evaluation that is the quality, where the log or the feedback has several by name.
        failures: "drop" failed requests (and count them), or keep them with quality "zero".
        chat: which part of a chat is the prompt; see ``messages``.
        keep_dates: models' names stay apart by date: gpt-4o-2024-08-06 is not gpt-4o.
        form: a format's name, or "auto": by the names in each table.
        drop_bad: drop bad rows and count them, instead of refusing the log.
        context: further columns that were known before the model was chosen, such as tenant, tier or language; see
            ``data.context``. A list counts by its length.
        since: a date or a time, such as "2026-10-01": earlier requests are left out, and so are those without a time.

    Returns:
        LogTable; models sorted by name. Rows without quality are kept and counted.

    Raises:
        InputError: every kind of problem, at most ten examples each; or a table, column or setting that will not do.

    Example:
        >>> rows = [{"prompt": "hi", "model": "small", "quality": 5, "cost": 0.1},
        ...     {"prompt": "ho", "model": "large", "cost": 0.2}]
        >>> log = load(rows, quality_range=(1, 5))
        >>> log.models, log.quality.tolist(), log.counts["missing quality"]
        (('large', 'small'), [1.0, nan], 1)
    """
    if not isinstance(columns, Mapping | None) or not all(isinstance(name, str) for name in (columns or {}).values()):
        raise settings.refused("columns", columns, "a dictionary of fields and their columns' names")
    settings.texts("context", context, "names of columns")
    asked = Asked(dict(columns or {}), chat)
    _check(asked, quality_range, failures, form)
    listed = tariffs.listed(prices)
    asked = asked._replace(columns={**asked.columns, **{f"{convert.CONTEXT}{name}": name for name in context}})
    tables = apart(records.sources(source), feedback)
    amounts = ["cost"] if listed is None else ["cost", "input_tokens"]
    rated = [] if feedback is not None else [["quality"]]
    log = cells.gather(tables, asked, form, [["model"], *rated, amounts])
    comparisons.check(log, quality_range, feedback)
    shared = joining.join(log, chat)
    naming.resolve(log, keep_dates)
    _simulate(log)
    chosen = rate(log, feedback, score, shared, drop_bad)
    _leave_earlier(log, since)
    _set_aside(log, failures, quality_range)
    costs.fill(log, listed, reprice, asked.columns.get("cost", "cost"))
    found = problems.find(log, listed, quality_range)
    bad = np.any(list(found.values()), axis=0)
    found[comparisons.UNLINKED, "model"] = comparisons.unlinked(log, ~bad & ~log.gone) & ~bad & ~log.gone
    bad |= found[comparisons.UNLINKED, "model"]
    lines = tuple(problems.lines(log, found, tables))
    if bad.any() and not drop_bad:
        raise InputError("\n".join(lines))
    if comparisons.balance(log, ~bad & ~log.gone):
        chosen = COMPARED
    table = assemble(log, found, lines, ~bad & ~log.gone, tables, quality_range, chat)
    if chosen == COMPARED:  # a weight is of the opponent there, and no number of requests
        table.counts.pop(REQUESTS, None)
    scale = "{:g},{:g}".format(*quality_range)
    return replace(table, read_as={"quality_range": scale, "failures": failures, "score": chosen})


def _check(asked: Asked, quality_range: tuple[float, float], failures: str, form: str) -> None:
    if form != "auto":
        formats.named(form)
    messages.rule(asked.chat)
    settings.quality_range(quality_range)
    settings.one_of("failures", failures, FAILURES)
    if unknown := [name for name in asked.columns if name not in FIELDS]:
        raise InputError(f"columns names {unknown[0]!r}, which is not a field of a log; use: {', '.join(FIELDS)}")


def _simulate(log: Columns) -> None:
    """Propensities of choices by posterior sampling, where the log has none of its own."""
    if (sampled := log.column.get("sampled")) is None:
        return
    propensity = log.number("propensity").copy()
    rows = np.array([i for i, one in enumerate(sampled) if one is not None and np.isnan(propensity[i])], int)
    rows = rows[~log.gone[rows]]
    if len(rows):
        found = router_replay.propensities([sampled[i] for i in rows.tolist()])
        rare = found < router_replay.LEAST  # its inverse, a weight, would be a guess
        propensity[rows] = np.where(rare, np.nan, found)
        log.column["propensity"] = propensity
        log.counts[SIMULATED] += int((~rare).sum())
        if rare.any():
            log.counts[RARE] += int(rare.sum())


def _leave_earlier(log: Columns, since: Any) -> None:
    if since is None:
        return
    if "timestamp" not in log.column:
        how = mapped({"timestamp": "NAME"})
        raise InputError(f"{named('since')}: the log has no times; map the column, {how}")
    _leave(log, ~(log.number("timestamp") >= values.moment_of("since", since)) & ~log.gone, EARLIER)


def _set_aside(log: Columns, failures: str, quality_range: tuple[float, float]) -> None:
    """Failed requests go, or have the lowest quality; requests without a prompt go; each counted by model."""
    failed = log.flag("failed") & ~log.gone
    if failures == "zero" and failed.any():
        quality, cost = log.number("quality").copy(), log.number("cost").copy()
        quality[failed] = quality_range[0]
        cost[failed & np.isnan(cost)] = 0.0  # what no tool says was billed
        log.column["quality"], log.column["cost"] = quality, cost
        log.counts[f"{FAILED}, taken as quality 0"] = int(failed.sum())
    else:
        _leave(log, failed, FAILED)
    lost = log.code("lost")
    lost = np.where(log.flag("failed") & log.gone, -1, lost)
    described = "features" in log.column
    for code, why in enumerate(log.codes["lost"]):
        rows = (lost == code) & ~log.gone
        if not described or why != LOST:
            _leave(log, rows, why)


def _leave(log: Columns, rows: np.ndarray, why: str) -> None:
    """Mark rows as gone, counted by model and endpoint."""
    names, ends = log.codes["model"], log.codes["endpoint"]
    model, endpoint = log.code("model"), log.code("endpoint")
    for i in np.flatnonzero(rows).tolist():
        name = names[model[i]] if model[i] >= 0 else ""
        log.left[why, name, ends[endpoint[i]] if endpoint[i] >= 0 else ""] += 1
    log.gone |= rows
