"""People's logs: one row a request, answered by one model. Reading and checking.

Columns: prompt, model, quality, cost (or input_tokens and output_tokens with a price table), and optionally
propensity, timestamp, group, request_id (unique), available (candidate set: a list, or names joined by "|";
empty: every model). A log is a .parquet, .csv or .jsonl file, or a folder of them. Every problem is
listed with file, row (counted from 0) and column before anything is returned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxroute.data.frames import need, read
from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("prompt", "model", "timestamp", "group", "request_id", "available")
EXAMPLES = 10


class LogTable(NamedTuple):
    """Checked log rows [N] on the host; quality and propensity are NaN where unknown."""

    prompt: np.ndarray
    models: tuple[str, ...]
    action: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    propensity: np.ndarray
    available: np.ndarray
    timestamp: np.ndarray | None
    group: np.ndarray | None
    counts: dict[str, int]


def load(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    prices: Mapping[str, tuple[float, float]] | None = None,
    drop_bad: bool = False,
) -> LogTable:
    """Read and check a log.

        cost = (input_tokens * input price + output_tokens * output price) / 1e6, where prices are given

    Args:
        path: a file or a folder of files.
        columns: {name used here: name in the file}.
        prices: {model: (input, output)} per million tokens.
        drop_bad: drop bad rows and count them, instead of refusing the log.

    Returns:
        LogTable; models sorted by name. Rows without quality are kept and counted.

    Raises:
        InputError: every kind of problem, at most ten examples each.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> _ = file.write_text("prompt,model,quality,cost\\nhi,small,1,0.1\\nho,large,,0.2\\n")
        >>> log = load(file)
        >>> log.models, log.action.tolist(), log.counts["missing quality"]
        (('large', 'small'), [1, 0], 1)
    """
    import pandas as pd

    path = Path(path).expanduser()
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in (".parquet", ".csv", ".jsonl"))
    if not files:
        raise InputError(f"{path}: no .parquet, .csv or .jsonl file in it; check the path")
    mapping = dict(columns or {})
    amounts = ["cost"] if prices is None else ["input_tokens", "output_tokens"]
    parts = []
    for file in files:
        frame = _read(file, [mapping.get(name, name) for name in TEXT])
        need(frame, str(file), [mapping.get(name, name) for name in ("prompt", "model", "quality", *amounts)])
        names = [n for n in (*TEXT, "quality", "propensity", *amounts) if mapping.get(n, n) in frame.columns]
        part = frame[[mapping.get(n, n) for n in names]].set_axis(names, axis=1)
        parts.append(part.assign(file=str(file), row=np.arange(len(part))))
    log = pd.concat(parts, ignore_index=True)
    problems: dict[str, tuple[str, np.ndarray]] = {}
    empty = {name: log[name].isna().to_numpy() for name in ("prompt", "model")}
    for name, bad in empty.items():
        problems[f"{name} is empty"] = (name, bad)
    values = {}
    for name in ("quality", "propensity", *amounts):
        given = log[name] if name in log else pd.Series(np.nan, index=log.index)
        values[name] = pd.to_numeric(given, errors="coerce").to_numpy(float, na_value=np.nan)
        problems[f"{name} is not a number"] = (name, np.isnan(values[name]) & given.notna().to_numpy())
    quality, propensity = values["quality"], values["propensity"]
    problems["quality is outside [0, 1]"] = ("quality", (quality < 0) | (quality > 1))
    problems["propensity is outside (0, 1]"] = ("propensity", (propensity <= 0) | (propensity > 1))
    for name in amounts:
        problems[f"{name} is empty, infinite or negative"] = (name, ~(np.isfinite(values[name]) & (values[name] >= 0)))
    model = log["model"].astype(str)
    if prices is None:
        cost = values["cost"]
    else:
        unknown = ~model.isin(list(prices)).to_numpy() & ~empty["model"]
        problems["model is not in the price table"] = ("model", unknown)
        each = [model.map({m: p[i] for m, p in prices.items()}).to_numpy(float) for i in (0, 1)]
        cost = (values["input_tokens"] * each[0] + values["output_tokens"] * each[1]) / 1e6
    if "request_id" in log:
        again = log["request_id"].duplicated().to_numpy() & log["request_id"].notna().to_numpy()
        problems["request_id occurs before"] = ("request_id", again)
    given = log["available"] if "available" in log else pd.Series(None, index=log.index, dtype=object)
    which, sets = pd.factorize(given.map(_names))
    pairs, first = pd.factorize(pd.MultiIndex.from_arrays([which, model]))
    lacks = np.array([len(sets[s]) > 0 and m not in sets[s] for s, m in first], bool)[pairs]
    problems["available lacks the chosen model"] = ("available", lacks & ~empty["model"])
    bad = np.any([rows for _, rows in problems.values()], axis=0)
    if bad.any() and not drop_bad:
        raise InputError("\n".join(_lines(log, problems)))
    good = ~bad
    models = tuple(sorted(set(model[good]).union(*(sets[s] for s in set(which[good])))))
    if len(models) < 2:
        raise InputError(f"{path}: good rows of {len(models)} model(s); a log needs two or more")
    counts = {kind: int(rows.sum()) for kind, (_, rows) in problems.items() if rows.any()}
    counts |= {
        "rows": int(good.sum()),
        "dropped": int(bad.sum()),
        "missing quality": int(np.isnan(quality[good]).sum()),
    }
    mask = np.array([[not s or m in s for m in models] for s in sets], bool)
    return LogTable(
        log["prompt"].to_numpy(object)[good],
        models,
        pd.Categorical(model[good], categories=list(models)).codes.astype(np.int32),
        quality[good],
        cost[good],
        propensity[good],
        mask[which[good]],
        log["timestamp"].to_numpy(object)[good] if "timestamp" in log else None,
        log["group"].to_numpy(object)[good] if "group" in log else None,
        counts,
    )


def _read(file: Path, as_text: list[str]) -> pd.DataFrame:
    import pandas as pd

    if file.suffix != ".jsonl" or not file.exists():
        return read(file, as_text)
    try:
        return pd.read_json(file, lines=True, dtype=False)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{file}: damaged or truncated ({error}); write or copy it again") from error


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split("|") if name.strip())
    return tuple(map(str, value)) if isinstance(value, (list, tuple, np.ndarray)) else ()


def _lines(log: pd.DataFrame, problems: Mapping[str, tuple[str, np.ndarray]]) -> list[str]:
    lines = []
    for kind, (column, bad) in problems.items():
        if bad.any():
            lines.append(f"{kind}: {int(bad.sum())} row(s); correct them or drop bad rows")
            for i in np.flatnonzero(bad)[:EXAMPLES]:
                lines.append(f"  {log['file'].iloc[i]}, row {log['row'].iloc[i]}, column {column!r}")
    return lines
