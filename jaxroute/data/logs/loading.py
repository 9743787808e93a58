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
from jaxroute.data.logs import cells, convert, costs, feedback, formats, joining, naming, problems, router_replay
from jaxroute.data.logs.entries import EARLIER, FAILED, FIELDS, LOST, Asked
from jaxroute.data.logs.table import LogTable
from jaxroute.system.wording import here, mapped, named
from jaxroute.types import InputError

FAILURES = ("drop", "zero")
REQUESTS = "requests, for which these rows stand"
HUMAN = "rows with a human rating beside the judge's"
SIMULATED = "propensities simulated from posterior scores"


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
    tables = records.sources(source)
    amounts = ["cost"] if listed is None else ["cost", "input_tokens"]
    rated = [] if feedback is not None else [["quality"]]
    log = cells.gather(tables, asked, form, [["model"], *rated, amounts])
    shared = joining.join(log, chat)
    naming.resolve(log, keep_dates)
    _simulate(log)
    chosen = _rate(log, feedback, score, shared)
    _leave_earlier(log, since)
    _set_aside(log, failures, quality_range)
    costs.fill(log, listed, reprice, asked.columns.get("cost", "cost"))
    found = problems.find(log, listed, quality_range)
    bad = np.any(list(found.values()), axis=0)
    lines = tuple(problems.lines(log, found, tables))
    if bad.any() and not drop_bad:
        raise InputError("\n".join(lines))
    table = _table(log, found, lines, ~bad & ~log.gone, tables, quality_range, chat)
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


def _simulate(log: cells.Columns) -> None:
    """Propensities of choices by posterior sampling, where the log has none of its own."""
    if (sampled := log.column.get("sampled")) is None:
        return
    propensity = log.number("propensity").copy()
    rows = np.array([i for i, one in enumerate(sampled) if one is not None and np.isnan(propensity[i])], int)
    rows = rows[~log.gone[rows]]
    if len(rows):
        propensity[rows] = router_replay.propensities([sampled[i] for i in rows.tolist()])
        log.column["propensity"] = propensity
        log.counts[SIMULATED] += len(rows)


def _rate(log: cells.Columns, source: Any, score: str | None, shared: set[str]) -> str:
    """Qualities: the log's own column, else an evaluation by name; then what feedback says of them; the name."""
    ids = {kind: np.where(log.gone, np.array(None, object), log.column[name]) for kind, name in
           (("request", "request_id"), ("call", "spare_id"), ("span", "spare_id")) if name in log.column}  # fmt: skip
    if "trace" in log.column:
        ids["trace"] = np.where(log.gone, 0, log.column["trace"])
    if source is not None and not ids:
        how = mapped({"request_id": "NAME"})
        raise InputError(f"feedback is joined by request_id, which the log does not have; map the column, {how}")
    given = [] if source is None else feedback.read(source)
    said = [*log.judged, *given]
    names = {name for name, rows in log.scores.items() if rows} | {one.name for one in log.judged}
    chosen = _chosen({*names, *(one.name for one in given)}, score, "quality" in log.column)
    quality = log.number("quality").copy()
    for row, value in log.scores.get(chosen, {}).items() if chosen is not None else ():
        if np.isnan(quality[row]):
            quality[row] = convert.number_or_nan(value)
    if said:
        kept = [one for one in said if one.name == chosen or (chosen is None and one.name == "")]
        joined = feedback.join(kept, ids, quality, shared)
        rated = dict.fromkeys(tuple(one.ids.values()) for one in given if one in kept)
        if rated and joined.counts.get(feedback.UNKNOWN, 0) >= len(rated):
            first = next(iter(next(iter(rated))))
            raise InputError(
                f"feedback: none of its {len(rated)} request(s) is in the log (the first is {first!r}); ratings are "
                "joined by the log's request_id, a response's id, or a span's id"
            )
        quality = joined.quality
        log.counts.update(joined.counts)
    if said or chosen is not None or "quality" in log.column:
        log.column["quality"] = quality
    return chosen or ""


def _chosen(names: set[str], score: str | None, has_quality: bool) -> str | None:
    """Which evaluation is the quality; None for none."""
    if score is not None:
        if score not in names:
            raise InputError(f"no evaluation is called {score!r}; the log has: {_listed(names) or 'none'}")
        return score
    if has_quality and names - {""}:
        return "" if "" in names else None
    if len(names) > 1:
        how = here("score=NAME", "--score NAME")
        raise InputError(f"the log has several evaluations; choose the quality with {how}: {_listed(names)}")
    return next(iter(names), None)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(name or "one without a name" for name in names))


def _leave_earlier(log: cells.Columns, since: Any) -> None:
    if since is None:
        return
    if "timestamp" not in log.column:
        how = mapped({"timestamp": "NAME"})
        raise InputError(f"{named('since')}: the log has no times; map the column, {how}")
    _leave(log, ~(log.number("timestamp") >= values.moment_of("since", since)) & ~log.gone, EARLIER)


def _set_aside(log: cells.Columns, failures: str, quality_range: tuple[float, float]) -> None:
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


def _leave(log: cells.Columns, rows: np.ndarray, why: str) -> None:
    """Mark rows as gone, counted by model and endpoint."""
    names, ends = log.codes["model"], log.codes["endpoint"]
    model, endpoint = log.code("model"), log.code("endpoint")
    for i in np.flatnonzero(rows).tolist():
        name = names[model[i]] if model[i] >= 0 else ""
        log.left[why, name, ends[endpoint[i]] if endpoint[i] >= 0 else ""] += 1
    log.gone |= rows


def _table(
    log: cells.Columns,
    found: Mapping[tuple[str, str], np.ndarray],
    lines: tuple[str, ...],
    good: np.ndarray,
    tables: Sequence[records.Source],
    quality_range: tuple[float, float],
    chat: str,
) -> LogTable:
    names, sets = log.codes["model"], log.codes["available"]
    model, available = log.code("model")[good], log.column.get("available", np.zeros(len(log), np.int64))[good]
    left = problems.left_out(log, found)
    used = {names[m] for m in set(model.tolist())}.union(*(sets[s] for s in set(available.tolist())))
    models = tuple(sorted(used))
    if len(models) < 2:
        apart = [f"  {why}: {sum(by.values())} ({problems.shown(by)})" for why, by in left.items()]
        hints = list(dict.fromkeys(form.hint for form in log.forms if form.hint and LOST in left))
        first = f"{tables[0]}: good rows of {len(models)} model(s); a log needs two or more"
        raise InputError("\n".join([first, *apart, *hints, *lines]))
    worst, best = quality_range
    quality = (log.number("quality")[good] - worst) / (best - worst)
    counts = {kind: int(rows.sum()) for (kind, _), rows in found.items() if rows.any()}
    for (why, _, _), count in log.left.items():
        counts[why] = counts.get(why, 0) + count
    counts |= log.counts
    dropped = int(np.any([rows & ~log.gone for rows in found.values()], axis=0).sum())
    counts |= {"rows": int(good.sum()), "dropped": dropped, "missing quality": int(np.isnan(quality).sum())}
    cost, odd = costs.outliers(log.number("cost")[good], model)
    beyond = [
        f"cost is beyond all measure, lowered to {cost[j]:.3g}: {tables[log.source[i]]}, row {log.row[i]}, "
        f"model {names[model[j]]}: {log.number('cost')[i]:.3g}"
        for i, j in zip(np.flatnonzero(good)[odd].tolist(), np.flatnonzero(odd).tolist(), strict=True)
    ]
    if beyond:
        counts[costs.LOWERED] = len(beyond)
    place = {name: k for k, name in enumerate(models)}
    mask = np.array([[not some or name in some for name in models] for some in map(set, sets)], bool)

    def kept(name: str) -> np.ndarray | None:
        return log.column[name][good] if name in log.column else None

    human = kept("human_quality")
    if human is not None:
        human = (human - worst) / (best - worst)
        rated = int(np.isfinite(human).sum())
        counts |= {HUMAN: rated, "rows without a human rating": len(human) - rated}
    prompt, group, weight = kept("prompt"), kept("group"), kept("weight")
    if weight is not None:
        weight = np.where(np.isnan(weight), 1.0, weight)
        weight = None if (weight == 1).all() else weight
    if weight is not None:
        counts[REQUESTS] = round(float(weight.sum()))
    if prompt is not None:
        prompt[prompt == None] = ""  # noqa: E711  (elementwise; only beside features)
        prompt = None if "features" in log.column and not any(prompt) else prompt
    if prompt is not None:
        counts["repeated prompts"] = len(prompt) - len(set(prompt.tolist()))
    action = np.array([place.get(name, -1) for name in names], np.int32)[model]
    return LogTable(
        prompt=prompt,
        models=models,
        action=action,
        quality=quality,
        cost=cost,
        propensity=log.number("propensity")[good],
        available=mask[available],
        timestamp=kept("timestamp"),
        group=None if group is None else np.unique(group, return_inverse=True)[1],
        counts=counts,
        weight=weight,
        human_quality=human,
        human_rate=kept("human_rate"),
        latency=kept("latency"),
        features=kept("features"),
        request_id=kept("request_id"),
        problems=lines,
        outliers=(*beyond[: problems.EXAMPLES], *problems.out_of_scale(log, good, weight, tables)),
        left_out=left,
        endpoints=problems.endpoints(log, good),
        chat=chat,
        chats=log.chats,
        usage=costs.usage(log, good, models, action, cost, weight),
        currency=costs.currency(log, good),
        context={
            name.removeprefix(convert.CONTEXT): log.column[name][good]
            for name in log.column
            if name.startswith(convert.CONTEXT)
        },
    )
