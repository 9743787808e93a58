"""How models stand in comparisons of two answers, as knowledge beside a log: an arena's votes, say.

The expected quality is the chance to win against the same opponents (`comparisons`). Its standard deviation is that of
the votes and of another task together: levels of one task predict another's to some points, however many votes there
are.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxroute.data import records
from jaxroute.data.logs import cells, comparisons
from jaxroute.data.logs.entries import Asked
from jaxroute.types import InputError

ELSEWHERE = 0.05
"""Standard deviation of a level on another task, quality units: tables of the study have 0.03 to 0.13."""


class Standings(NamedTuple):
    """models: K names. quality: [K] chance to win against the others. deviation: [K] its standard deviation."""

    models: tuple[str, ...]
    quality: Float[np.ndarray, " K"]
    deviation: Float[np.ndarray, " K"]


def told(source: Any) -> bool:
    """Whether a source holds comparisons: a file, or a table in memory with their columns."""
    if isinstance(source, str | Path):
        path = Path(source)
        if not (path.is_file() and path.name.lower().removesuffix(".gz").endswith(records.SUFFIXES)):
            return False
        names: Collection[str] = next((chunk.names for chunk in records.read(path)), ())
    else:
        columns = source if isinstance(source, dict) else getattr(source, "columns", ())
        names = list(columns)
    return comparisons.told(names)


def load(source: Any) -> Standings:
    """Read comparisons, without the texts and the costs that a log of them needs.

    Args:
        source: a file or a table in memory, see ``logs.load``.

    Raises:
        InputError: a verdict that is none, no verdict at all, or models that nothing links to the others.

    Example:
        >>> rows = [{"model_a": "x", "model_b": "y", "winner": "model_a" if i % 4 else "tie"} for i in range(40)]
        >>> found = load(rows)
        >>> print(found.models, np.round(found.quality, 3), np.round(found.deviation, 3))
        ('x', 'y') [0.688 0.312] [0.055 0.055]
    """
    tables = records.sources(source)
    log = cells.gather(tables, Asked({}), comparisons.FORMAT.name, [])
    for (name, what), rows in log.odd.items():
        if name in ("quality", "model") and rows.any():
            i = int(np.flatnonzero(rows)[0])
            raise InputError(f"{tables[log.source[i]]}, row {log.row[i]}: {name} is {what}{log.shown(name, i)}")
    good = np.isfinite(log.number("quality"))
    if not good.any():
        raise InputError(f"{tables[0]}: no comparison has a winner")
    if (lost := comparisons.unlinked(log, good)).any():
        who = ", ".join(sorted({log.codes["model"][k] for k in log.code("model")[lost]}))
        raise InputError(f"{tables[0]}: {comparisons.UNLINKED}: {who}; leave out the comparisons of these models")
    comparisons.balance(log, good)
    model, quality, weight = log.code("model")[good], log.number("quality")[good], log.number("weight")[good]
    group = np.unique(log.column["group"][good], return_inverse=True)[1]
    codes = np.unique(model)
    means, errors = [], []
    for k in codes:
        own = model == k
        mean = np.average(quality[own], weights=weight[own])
        by_group = np.bincount(group[own], weight[own] * (quality[own] - mean))
        means.append(mean)
        squares = (by_group**2).sum() + 0.5  # as if it had won and lost once more
        errors.append(np.sqrt(squares) / (weight[own].sum() + 2))
    names = tuple(log.codes["model"][k] for k in codes)
    return Standings(names, np.array(means), np.hypot(ELSEWHERE, errors))
