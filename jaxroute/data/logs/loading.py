"""People's logs: one row a request, answered by one model. Reading, checking, splitting.

Fields: prompt and/or features (a list of numbers), model, quality, cost (or input_tokens and output_tokens with a
price table), and optionally propensity, timestamp (seconds since 1970, or ISO 8601), group (conversation or user),
request_id (unique), available (candidate set: a list, or names joined by "|"; empty: every model), and token counts
that are billed apart: total_tokens, cached_tokens, cache_write_tokens, reasoning_tokens. Prompts may be chats (a list
of messages); ``messages.text_of`` says what of them counts.

A log is a file or a folder of files (.parquet, .csv, .jsonl, the last two also .gz), a table in memory or in
PostgreSQL. The records of gateways and tracers are read as they are; see ``formats``. Every problem is listed with
table, row (counted from 0) and column before anything is returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxroute.data import encoders, messages, records, splits
from jaxroute.data.logs import cells, costs, feedback, formats, joining, naming, router_replay
from jaxroute.data.logs.entries import FAILED, FIELDS, LOST, OTHER, Asked
from jaxroute.nuisance import crossfit
from jaxroute.types import InputError, Logs, NuisanceSpec

EXAMPLES = 10
CLUSTERS = 10
FEW = 20
ONE_BY_ONE = "rows are folded one by one, and intervals take every row as a draw of its own"
FAILURES = ("drop", "zero")
SIMULATED = "propensities simulated from posterior scores"
LEAST = float(np.finfo(np.float32).tiny)
HINTS = {
    "quality is outside": ", or give quality_range where it is on another scale",
    "cost is empty,": ", or give a price table where tokens are counted",
    "cost is 0 though": ", or give a price table (0 for models that are free)",
    "cost is 0 and": "; have streams report their usage (stream_options: include_usage)",
}


@dataclass(frozen=True)
class LogTable:
    """Checked log rows [N] on the host, in the order of the tables; NaN where a number is unknown.

    timestamp: seconds since 1970. group: a number each, rows without one stand alone. prompt, features, timestamp,
    group and request_id are None where the log has no such column. counts: rows, rows without quality, problems by
    kind, records that were no answered request. problems: the lines that say where, of the rows left out;
    outliers: of costs that were lowered (`costs.outliers`). left_out:
    {kind: {model: rows}} of requests that are not in the table. endpoints: {endpoint: (rows, requests left out)} where
    the tool says which; chat: which part of a chat the prompts are.
    """

    prompt: np.ndarray | None
    models: tuple[str, ...]
    action: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    propensity: np.ndarray
    available: np.ndarray
    timestamp: np.ndarray | None
    group: np.ndarray | None
    counts: dict[str, int]
    features: np.ndarray | None = None
    request_id: np.ndarray | None = None
    problems: tuple[str, ...] = ()
    outliers: tuple[str, ...] = ()
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    endpoints: dict[str, tuple[int, int]] = field(default_factory=dict)
    chat: str = messages.CHAT

    def __len__(self) -> int:
        return len(self.action)

    def rows(self, index: np.ndarray) -> LogTable:
        """The same log, restricted to (or reordered by) the rows in ``index``; counts stay those of the whole."""
        arrays = {
            name: value[index]
            for name in ("prompt", "action", "quality", "cost", "propensity", "available", "timestamp", "group",
                         "features", "request_id")
            if (value := getattr(self, name)) is not None
        }  # fmt: skip
        return replace(self, **arrays)


def load(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    prices: Mapping[str, Sequence[Any]] | None = None,
    reprice: bool = False,
    quality_range: tuple[float, float] = (0.0, 1.0),
    feedback: Any = None,
    score: str | None = None,
    failures: str = "drop",
    chat: str = messages.CHAT,
    keep_dates: bool = False,
    form: str = "auto",
    drop_bad: bool = False,
) -> LogTable:
    """Read and check a log.

        quality = (quality as written - worst) / (best - worst)
        cost    = the row's own, else of its tokens by the price table; see ``prices.bill``

    Args:
        source: a file or a folder of files, a URL ``postgresql://...``, a pandas or pyarrow table, a
            ``datasets.Dataset``, a list of dictionaries, or a dictionary of columns.
        columns: {field: name in the table}; a name may be a path into nested values, ``metadata.feedback.score``.
        prices: {model: (input, output) or Price} per million tokens, such as ``prices.load()``, for rows whose cost
            is unknown.
        reprice: price every row, whatever cost it has.
        quality_range: (worst, best) of the qualities as written: (1, 5) for stars, (5, 1) where less is better.
        feedback: a table of request_id and quality, for qualities that came later; see ``feedback.read``.
        score: the evaluation that is the quality, where the log or the feedback has several by name.
        failures: "drop" failed requests (and count them), or keep them with quality "zero".
        chat: which part of a chat is the prompt; see ``messages``.
        keep_dates: models' names stay apart by date: gpt-4o-2024-08-06 is not gpt-4o.
        form: a format's name, or "auto": by the names in each table.
        drop_bad: drop bad rows and count them, instead of refusing the log.

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
    asked = Asked(dict(columns or {}), chat)
    _check(asked, quality_range, failures, form)
    tables = records.sources(source)
    amounts = ["cost"] if prices is None else ["cost", "input_tokens"]
    rated = [] if feedback is not None else [["quality"]]
    log = cells.gather(tables, asked, form, [["model"], *rated, amounts])
    shared = joining.join(log, chat)
    naming.resolve(log, keep_dates)
    _simulate(log)
    _rate(log, feedback, score, shared)
    _set_aside(log, failures, quality_range)
    costs.fill(log, prices, reprice)
    problems = _problems(log, prices, quality_range)
    bad = np.any(list(problems.values()), axis=0)
    lines = tuple(_lines(log, problems, tables))
    if bad.any() and not drop_bad:
        raise InputError("\n".join(lines))
    return _table(log, problems, lines, ~bad & ~log.gone, tables, quality_range, chat)


def as_logs(log: LogTable, encoder: str = "hashed") -> Logs:
    """The record that estimators and learners take.

    Args:
        log: N rows.
        encoder: of the prompts, where the log has no features; see ``encoders.encode``.

    Returns:
        Logs; rows without quality count for propensities, not for outcomes. With fewer than ten groups, or where one
        group holds all rows of a model, every row is a group of its own: neither folds nor clustered intervals can be
        made of such groups.

    Example:
        >>> rows = [{"prompt": "hi", "model": "small", "quality": 1, "cost": 0.1},
        ...     {"prompt": "ho", "model": "large", "cost": 0.2}]
        >>> as_logs(load(rows)).features.shape
        (2, 256)
    """
    features = log.features
    if features is None:
        assert log.prompt is not None  # a log has one of them
        features = encoders.encode(log.prompt, encoder)
    apart = log.group is None or bool(folding(log, NuisanceSpec().folds))
    group = np.arange(len(log)) if apart else log.group
    return Logs(features, log.action, log.quality, log.cost, log.propensity, log.available, group)  # type: ignore[arg-type]


def is_table(log: LogTable) -> bool:
    """Whether a log is a full table in long form: the same prompts, each answered once by (nearly) every model.

    Example:
        >>> rows = [{"prompt": f"p{i}", "model": m, "quality": 1, "cost": 1} for i in range(20) for m in "abc"]
        >>> is_table(load(rows)), is_table(load(rows[::2]))
        (True, False)
    """
    if log.prompt is None or np.isfinite(log.propensity).any():
        return False
    prompts = len(set(log.prompt.tolist()))
    pairs = len(set(zip(log.prompt.tolist(), log.action.tolist(), strict=True)))
    return prompts >= FEW and pairs >= 0.99 * len(log) and pairs >= 0.8 * prompts * len(log.models)


def folding(log: LogTable, folds: int) -> str:
    """What is said where the groups of a log cannot make folds; "" where they can, or where there are none.

    Example:
        >>> rows = [{"prompt": str(i), "model": "ab"[i % 2], "quality": 1, "cost": 1, "group": "u"} for i in range(9)]
        >>> folding(load(rows), 5)
        '1 group is fewer than 10: rows are folded one by one, and intervals take every row as a draw of its own'
    """
    if log.group is None:
        return ""
    count = len(np.unique(log.group))
    if count < CLUSTERS:
        return f"{count} group{'s are' if count != 1 else ' is'} fewer than {CLUSTERS}: {ONE_BY_ONE}"
    why = crossfit.unfoldable(log.group, log.action, folds, log.models)
    return f"{why}: {ONE_BY_ONE}" if why else ""


def split(seed: int, log: LogTable, fractions: Sequence[float] = splits.FRACTIONS) -> splits.Parts:
    """Train, validation and test rows of a log, at random: whole groups, near-duplicate prompts together.

    Args:
        seed: same seed, same split.
        log: N rows.
        fractions: shares of the three parts.

    Returns:
        As ``splits.split``.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> rows = [f"{i} apples,m{i % 2},1,0.1,user{i // 2}" for i in range(40)]
        >>> _ = file.write_text("prompt,model,quality,cost,group\\n" + "\\n".join(rows))
        >>> log = load(file)
        >>> train, _, test = split(0, log)
        >>> set(log.group[train]) & set(log.group[test])
        set()
    """
    return splits.split(seed, log, fractions)


def split_time(log: LogTable, fractions: Sequence[float] = splits.FRACTIONS) -> splits.Parts:
    """The earliest rows to train on, later ones to validate, the latest to test; see ``splits.split_time``.

    Raises:
        InputError: the log has no timestamps, or rows without one.
    """
    if log.timestamp is None or np.isnan(log.timestamp).any():
        raise InputError("split_time: needs a timestamp in every row; map the column, or split at random")
    return splits.split_time(log, log.timestamp, fractions)


def _check(asked: Asked, quality_range: tuple[float, float], failures: str, form: str) -> None:
    if form != "auto":
        formats.named(form)
    messages.rule(asked.chat)
    worst, best = quality_range
    if not (np.isfinite(worst) and np.isfinite(best) and worst != best):
        raise InputError(f"quality_range is {quality_range}; give (worst, best), two different numbers")
    if failures not in FAILURES:
        raise InputError(f"failures is {failures!r}; use one of: {', '.join(FAILURES)}")
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


def _rate(log: cells.Columns, source: Any, score: str | None, shared: set[str]) -> None:
    """Qualities: the log's own column, else an evaluation by name; then what feedback says of them."""
    ids = {kind: np.where(log.gone, np.array(None, object), log.column[name]) for kind, name in
           (("request", "request_id"), ("call", "spare_id"), ("span", "spare_id")) if name in log.column}  # fmt: skip
    if "trace" in log.column:
        ids["trace"] = np.where(log.gone, 0, log.column["trace"])
    if source is not None and not ids:
        raise InputError("feedback is joined by request_id, which the log does not have; map the column")
    given = [] if source is None else feedback.read(source)
    said = [*log.judged, *given]
    names = {name for name, rows in log.scores.items() if rows} | {one.name for one in log.judged}
    chosen = _chosen({*names, *(one.name for one in given)}, score, "quality" in log.column)
    quality = log.number("quality").copy()
    for row, value in log.scores.get(chosen, {}).items() if chosen is not None else ():
        if np.isnan(quality[row]):
            quality[row] = cells.number_or_nan(value)
    if said:
        kept = [one for one in said if one.name == chosen or (chosen is None and one.name == "")]
        joined = feedback.join(kept, ids, quality, shared)
        rated = {tuple(one.ids.values()) for one in given if one in kept}
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


def _chosen(names: set[str], score: str | None, has_quality: bool) -> str | None:
    """Which evaluation is the quality; None for none."""
    if score is not None:
        if score not in names:
            raise InputError(f"no evaluation is called {score!r}; the log has: {_listed(names) or 'none'}")
        return score
    if has_quality and names - {""}:
        return "" if "" in names else None
    if len(names) > 1:
        raise InputError(
            f"the log has several evaluations; choose the quality with score= or --score: {_listed(names)}"
        )
    return next(iter(names), None)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(name or "one without a name" for name in names))


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


def _problems(
    log: cells.Columns, prices: Mapping[str, Sequence[Any]] | None, quality_range: tuple[float, float]
) -> dict[tuple[str, str], np.ndarray]:
    """Bad rows [N] by what is wrong and the field that it is wrong in."""
    low, high = sorted(quality_range)
    quality, propensity = log.number("quality"), log.number("propensity")
    model, available = log.code("model"), log.column.get("available", np.zeros(len(log), np.int64))
    found = {("cannot be read", ""): cells.marked(log.broken, len(log))}
    found |= {(f"{field} is {what}", field): rows for (field, what), rows in log.odd.items()}
    empty = np.array([text is None for text in log.column["prompt"]], bool) if "prompt" in log.column else None
    if empty is not None and "features" not in log.column:
        found["prompt is empty", "prompt"] = empty & ~_odd(log, "prompt")
    found["model is empty", "model"] = (model < 0) & ~_odd(log, *cells.NAMED)
    found[f"quality is outside [{low:g}, {high:g}]", "quality"] = (quality < low) | (quality > high)
    found["propensity is outside (0, 1]", "propensity"] = (propensity <= 0) | (propensity > 1)
    found[f"propensity is below {LEAST:.3g}, which counts as 0", "propensity"] = (propensity > 0) & (propensity < LEAST)
    found |= costs.problems(log, prices)
    # Each pair of candidate set and model once; model -1 is none.
    names, sets = log.codes["model"], log.codes["available"]
    pairs, place = np.unique(available * (len(names) + 1) + model + 1, return_inverse=True)
    which, models = np.divmod(pairs, len(names) + 1)
    lacks = [m > 0 and len(sets[s]) > 0 and names[m - 1] not in sets[s] for s, m in zip(which, models, strict=True)]
    found["available lacks the chosen model", "available"] = np.array(lacks, bool)[place]
    whole = ~found["cannot be read", ""] & ~log.gone
    return {kind: rows if kind[1] == "" else rows & whole for kind, rows in found.items()}


def _odd(log: cells.Columns, *fields: str) -> np.ndarray:
    return np.any([rows for (name, _), rows in log.odd.items() if name in fields] or [np.zeros(len(log), bool)], axis=0)


def _lines(
    log: cells.Columns, problems: Mapping[tuple[str, str], np.ndarray], tables: Sequence[records.Source]
) -> list[str]:
    lines = []
    for (kind, name), bad in problems.items():
        if bad.any():
            more = next((hint for start, hint in HINTS.items() if kind.startswith(start)), "")
            by = f" ({_by_model(log, bad)})" if name in ("cost", *costs.TOKENS) else ""
            lines.append(f"{kind}: {int(bad.sum())} row(s){by}; correct them or drop bad rows{more}")
            for i in np.flatnonzero(bad)[:EXAMPLES].tolist():
                where = f"  {tables[log.source[i]]}, row {log.row[i]}"
                if name:
                    shown = log.shown(name, i)
                    lines.append(f"{where}, column {log.names[log.source[i]].get(name, name)!r}{shown}")
                else:
                    lines.append(f"{where}: {log.broken[i]}")
    return lines


def _by_model(log: cells.Columns, rows: np.ndarray) -> str:
    """How many rows of which models, the most first."""
    codes, count = np.unique(log.code("model")[rows], return_counts=True)
    parts = [
        (log.codes["model"][code] if code >= 0 else "no model", int(n)) for code, n in zip(codes, count, strict=True)
    ]
    return ", ".join(f"{name} {n}" for name, n in sorted(parts, key=lambda part: -part[1])[:EXAMPLES])


def _table(
    log: cells.Columns,
    problems: Mapping[tuple[str, str], np.ndarray],
    lines: tuple[str, ...],
    good: np.ndarray,
    tables: Sequence[records.Source],
    quality_range: tuple[float, float],
    chat: str,
) -> LogTable:
    names, sets = log.codes["model"], log.codes["available"]
    model, available = log.code("model")[good], log.column.get("available", np.zeros(len(log), np.int64))[good]
    left = _left_out(log, problems)
    used = {names[m] for m in set(model.tolist())}.union(*(sets[s] for s in set(available.tolist())))
    models = tuple(sorted(used))
    if len(models) < 2:
        apart = [f"  {why}: {sum(by.values())} ({_shown(by)})" for why, by in left.items()]
        hints = list(dict.fromkeys(form.hint for form in log.forms if form.hint and LOST in left))
        first = f"{tables[0]}: good rows of {len(models)} model(s); a log needs two or more"
        raise InputError("\n".join([first, *apart, *hints, *lines]))
    worst, best = quality_range
    quality = (log.number("quality")[good] - worst) / (best - worst)
    counts = {kind: int(rows.sum()) for (kind, _), rows in problems.items() if rows.any()}
    for (why, _, _), count in log.left.items():
        counts[why] = counts.get(why, 0) + count
    counts |= log.counts
    dropped = int(np.any([rows & ~log.gone for rows in problems.values()], axis=0).sum())
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

    prompt, group = kept("prompt"), kept("group")
    if prompt is not None:
        prompt[prompt == None] = ""  # noqa: E711  (elementwise; only beside features)
        prompt = None if "features" in log.column and not any(prompt) else prompt
    if prompt is not None:
        counts["repeated prompts"] = len(prompt) - len(set(prompt.tolist()))
    return LogTable(
        prompt=prompt,
        models=models,
        action=np.array([place.get(name, -1) for name in names], np.int32)[model],
        quality=quality,
        cost=cost,
        propensity=log.number("propensity")[good],
        available=mask[available],
        timestamp=kept("timestamp"),
        group=None if group is None else np.unique(group, return_inverse=True)[1],
        counts=counts,
        features=kept("features"),
        request_id=kept("request_id"),
        problems=lines,
        outliers=tuple(beyond[:EXAMPLES]),
        left_out=left,
        endpoints=_endpoints(log, good),
        chat=chat,
    )


def _left_out(log: cells.Columns, problems: Mapping[tuple[str, str], np.ndarray]) -> dict[str, dict[str, int]]:
    """{kind: {model: rows}} of what is not in the table, the most frequent model first."""
    found: dict[str, dict[str, int]] = {}
    for (why, name, _), count in log.left.items():
        by = found.setdefault(why, {})
        by[name or "no model"] = by.get(name or "no model", 0) + count
    names, model = [*log.codes["model"], "no model"], log.code("model")
    counted = np.zeros(len(log), bool)  # a row with several problems is left out once
    for (kind, _), rows in problems.items():
        rows, counted = rows & ~counted, counted | rows
        for code, count in zip(*np.unique(model[rows], return_counts=True), strict=True):
            found.setdefault(kind, {})[names[code]] = int(count)
    return {why: dict(sorted(by.items(), key=lambda one: -one[1])) for why, by in found.items()}


def _shown(by: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in list(by.items())[:EXAMPLES])


def _endpoints(log: cells.Columns, good: np.ndarray) -> dict[str, tuple[int, int]]:
    """{endpoint: (rows, requests left out)} of calls for text."""
    names, endpoint = log.codes["endpoint"], log.code("endpoint")
    rows = np.bincount(endpoint[good & (endpoint >= 0)], minlength=len(names))
    left = np.bincount(endpoint[~good & ~log.gone & (endpoint >= 0)], minlength=len(names))
    for (why, _, name), count in log.left.items():
        if name in names and why != OTHER:
            left[names.index(name)] += count
    return {name: (int(rows[k]), int(left[k])) for k, name in enumerate(names)}
