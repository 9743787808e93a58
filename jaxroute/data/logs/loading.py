"""People's logs: one row a request, answered by one model. Reading, checking, splitting.

Fields: prompt and/or features (a list of numbers), model, quality, cost (or input_tokens and output_tokens with a
price table), and optionally propensity, timestamp (seconds since 1970, or ISO 8601), group (conversation or user),
request_id (unique), available (candidate set: a list, or names joined by "|"; empty: every model). Prompts may be
chats (a list of messages); ``formats.text_of`` says what of them counts.

A log is a file or a folder of files: .parquet, .csv, .jsonl, the last two also .gz. LiteLLM's and OpenTelemetry's
own records are read as they are; see ``exports``. Every problem is listed with file, row (counted from 0) and
column before anything is returned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxroute.data import encoders, records, splits
from jaxroute.data.logs import cells, formats
from jaxroute.data.logs.feedback import join
from jaxroute.types import InputError, Logs

EXAMPLES = 10
HINTS = {
    "quality is outside": ", or give quality_range where it is on another scale",
    "cost is empty,": ", or give a price table where tokens are counted",
}


@dataclass(frozen=True)
class LogTable:
    """Checked log rows [N] on the host, in the order of the files; NaN where a number is unknown.

    timestamp: seconds since 1970. group: a number each, rows without one stand alone. prompt, features, timestamp,
    group and request_id are None where the log has no such column. counts: rows, rows without quality, problems by
    kind, records that were no answered request. problems: the lines that say where, of the rows left out.
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
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    prices: Mapping[str, Sequence[float]] | None = None,
    quality_range: tuple[float, float] = (0.0, 1.0),
    feedback: str | os.PathLike[str] | None = None,
    form: str = "auto",
    drop_bad: bool = False,
) -> LogTable:
    """Read and check a log.

        quality = (quality as written - low) / (high - low)
        cost = (input_tokens * input price + output_tokens * output price) / 1e6, where prices are given

    Args:
        path: a file or a folder of files.
        columns: {field: name in the file}; a name may be a path into nested values, ``metadata.feedback.score``.
        prices: {model: (input, output, ...)} per million tokens, such as ``prices.load()``; costs are then computed.
        quality_range: (low, high) of the qualities as written, (1, 5) for stars.
        feedback: a file or folder of request_id and quality, for qualities that came later; see ``feedback.join``.
        form: "plain", "litellm", "opentelemetry", or "auto": by the names in each file.
        drop_bad: drop bad rows and count them, instead of refusing the log.

    Returns:
        LogTable; models sorted by name. Rows without quality are kept and counted.

    Raises:
        InputError: every kind of problem, at most ten examples each; or a file, column or setting that will not do.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = file.write_text("prompt,model,quality,cost\\nhi,small,5,0.1\\nho,large,,0.2\\n")
        >>> log = load(file, quality_range=(1, 5))
        >>> log.models, log.quality.tolist(), log.counts["missing quality"]
        (('large', 'small'), [1.0, nan], 1)
    """
    formats.check(form)
    low, high = quality_range
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"quality_range is {quality_range}; give (low, high) with low < high")
    mapping = dict(columns or {})
    if unknown := [name for name in mapping if name not in cells.FIELDS]:
        raise InputError(f"columns names {unknown[0]!r}, which is no field of a log; use: {', '.join(cells.FIELDS)}")
    path = Path(path).expanduser()
    files = records.files(path)
    needed = ["model", *(["quality"] if feedback is None else []), *_amounts(prices)]
    log = cells.gather(files, mapping, form, needed)
    if feedback is not None:
        joined = join(feedback, log.request_id, log.numbers["quality"])
        log = log._replace(numbers={**log.numbers, "quality": joined.quality})
        log.skipped["feedback on no request of the log"] = joined.unknown
    problems = _problems(log, prices, quality_range)
    bad = np.any(list(problems.values()), axis=0)
    lines = tuple(_lines(log, problems, files))
    if bad.any() and not drop_bad:
        raise InputError("\n".join(lines))
    return _table(log, problems, lines, ~bad, path, prices, quality_range)


def as_logs(log: LogTable, encoder: str = "hashed") -> Logs:
    """The record that estimators and learners take.

    Args:
        log: N rows.
        encoder: of the prompts, where the log has no features; see ``encoders.encode``.

    Returns:
        Logs; rows without quality count for propensities, not for outcomes.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = file.write_text("prompt,model,quality,cost\\nhi,small,1,0.1\\nho,large,,0.2\\n")
        >>> as_logs(load(file)).features.shape
        (2, 256)
    """
    features = log.features
    if features is None:
        assert log.prompt is not None  # a log has one of them
        features = encoders.encode(log.prompt, encoder)
    group = np.arange(len(log)) if log.group is None else log.group
    return Logs(features, log.action, log.quality, log.cost, log.propensity, log.available, group)  # type: ignore[arg-type]


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


def _problems(
    log: cells.Columns, prices: Mapping[str, Sequence[float]] | None, quality_range: tuple[float, float]
) -> dict[tuple[str, str], np.ndarray]:
    """Bad rows [N] by what is wrong and the field that it is wrong in."""
    low, high = quality_range
    number = log.numbers
    quality, propensity = number["quality"], number["propensity"]
    found = {("cannot be read", ""): cells.marked(log.broken, len(log.row))}
    found |= {(f"{field} is {what}", field): rows for (field, what), rows in log.odd.items()}
    found[f"quality is outside [{low:g}, {high:g}]", "quality"] = (quality < low) | (quality > high)
    found["propensity is outside (0, 1]", "propensity"] = (propensity <= 0) | (propensity > 1)
    for name in _amounts(prices):
        wrong = ~(np.isfinite(number[name]) & (number[name] >= 0)) & ~log.odd[name, "not a number"]
        found[f"{name} is empty, infinite or negative", name] = wrong
    if prices is not None:
        priced = np.array([name in prices for name in log.models], bool)
        found["model is not in the price table", "model"] = (log.model >= 0) & ~np.append(priced, True)[log.model]
    if log.request_id is not None:
        found["request_id occurs before", "request_id"] = cells.repeated(log.request_id)
    # Each pair of candidate set and model once; model -1 is none.
    pairs, place = np.unique(log.available * (len(log.models) + 1) + log.model + 1, return_inverse=True)
    sets, models = np.divmod(pairs, len(log.models) + 1)
    lacks = [
        m > 0 and len(log.sets[s]) > 0 and log.models[m - 1] not in log.sets[s]
        for s, m in zip(sets, models, strict=True)
    ]
    found["available lacks the chosen model", "available"] = np.array(lacks, bool)[place]
    whole = ~found["cannot be read", ""]
    return {kind: rows if kind[1] == "" else rows & whole for kind, rows in found.items()}


def _amounts(prices: Mapping[str, Sequence[float]] | None) -> tuple[str, ...]:
    """The fields that say what an answer costs."""
    return ("cost",) if prices is None else ("input_tokens", "output_tokens")


def _lines(log: cells.Columns, problems: Mapping[tuple[str, str], np.ndarray], files: Sequence[Path]) -> list[str]:
    lines = []
    for (kind, field), bad in problems.items():
        if bad.any():
            more = next((hint for start, hint in HINTS.items() if kind.startswith(start)), "")
            lines.append(f"{kind}: {int(bad.sum())} row(s); correct them or drop bad rows{more}")
            for i in np.flatnonzero(bad)[:EXAMPLES].tolist():
                where = f"  {files[log.file[i]]}, row {log.row[i]}"
                if field:
                    shown = log.shown(field, i)
                    lines.append(f"{where}, column {log.names[log.file[i]].get(field, field)!r}{shown}")
                else:
                    lines.append(f"{where}: {log.broken[i]}")
    return lines


def _table(
    log: cells.Columns,
    problems: Mapping[tuple[str, str], np.ndarray],
    lines: tuple[str, ...],
    good: np.ndarray,
    path: Path,
    prices: Mapping[str, Sequence[float]] | None,
    quality_range: tuple[float, float],
) -> LogTable:
    used = {log.models[m] for m in set(log.model[good].tolist())}
    used = used.union(*(log.sets[s] for s in set(log.available[good].tolist())))
    models = tuple(sorted(used))
    if len(models) < 2:
        raise InputError("\n".join([f"{path}: good rows of {len(models)} model(s); a log needs two or more", *lines]))
    low, high = quality_range
    quality = (log.numbers["quality"][good] - low) / (high - low)
    if prices is None:
        cost = log.numbers["cost"][good]
    else:
        each = np.array([tuple(prices.get(name, (np.nan, np.nan)))[:2] for name in log.models], float)[log.model[good]]
        cost = (log.numbers["input_tokens"][good] * each[:, 0] + log.numbers["output_tokens"][good] * each[:, 1]) / 1e6
    counts = {kind: int(rows.sum()) for (kind, _), rows in problems.items() if rows.any()} | log.skipped
    counts |= {"rows": int(good.sum()), "dropped": int((~good).sum()), "missing quality": int(np.isnan(quality).sum())}
    place = {name: k for k, name in enumerate(models)}
    mask = np.array([[not names or name in names for name in models] for names in map(set, log.sets)], bool)
    prompt = None if log.prompt is None else log.prompt[good]
    if prompt is not None:
        prompt[prompt == None] = ""  # noqa: E711  (elementwise; only beside features)
        counts["repeated prompts"] = len(prompt) - len(set(prompt.tolist()))
    return LogTable(
        prompt=prompt,
        models=models,
        action=np.array([place.get(name, -1) for name in log.models], np.int32)[log.model[good]],
        quality=quality,
        cost=cost,
        propensity=log.numbers["propensity"][good],
        available=mask[log.available[good]],
        timestamp=None if log.timestamp is None else log.timestamp[good],
        group=None if log.group is None else np.unique(log.group[good], return_inverse=True)[1],
        counts=counts,
        features=None if log.features is None else log.features[good],
        request_id=None if log.request_id is None else log.request_id[good],
        problems=lines,
    )
