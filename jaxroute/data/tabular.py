"""A full-feedback table from what is in memory: pandas, pyarrow, ``datasets`` or a list of dictionaries.

Two shapes, told apart by their columns:

    long    a row an answer: query_id, prompt, model, quality, cost, optional task, group and features; or two tables,
            {"queries": ..., "outcomes": ...}, as in a table's folder (a ``datasets.DatasetDict`` is such a pair)
    wide    a row a prompt, the shape of RouterBench; see `tables`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute import settings
from jaxroute.data import encoders, shapes
from jaxroute.data.frames import need, refuse
from jaxroute.data.memory import indexed
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd


def table(
    source: Any,
    *,
    features: np.ndarray | None = None,
    encoder: str = "hashed",
    quality_range: tuple[float, float] = (0.0, 1.0),
) -> Table:
    """Read and check a table in memory.

    Args:
        source: a pandas data frame, a pyarrow table, a ``datasets.Dataset``, a list of dictionaries, or a mapping of
            two of them, "queries" and "outcomes".
        features: [N, D] of the prompts in their order of appearance. None: a column features, lists of numbers, else
            the prompts are encoded by ``encoder``.
        encoder: see ``encoders.encode``.
        quality_range: see ``tables.load``.

    Returns:
        Table.

    Raises:
        InputError: one line that names column, row and value, and what to do.

    Example:
        >>> rows = [{"query_id": "a", "prompt": "2+2?", "model": name, "quality": 1, "cost": cost}
        ...     for name, cost in (("small", 0.001), ("large", 0.02))]
        >>> found = table(rows)
        >>> found.models, found.outcomes.cost.tolist(), found.task.tolist()
        (('small', 'large'), [[0.001, 0.02]], ['all'])
    """
    settings.quality_range(quality_range)
    if isinstance(source, Mapping):
        if missing := [name for name in ("queries", "outcomes") if name not in source]:
            raise InputError(f"the table has no {missing[0]!r}; give two tables by name, queries and outcomes")
        query, answer = frame(source["queries"]), frame(source["outcomes"])
        found, given = shapes.from_long(query, answer, quality_range), query.get("features")
    else:
        answer = frame(source)
        if any(str(name).endswith(shapes.COST_SUFFIX) for name in answer.columns):
            found, given = shapes.from_wide(answer, quality_range), answer.get("features")
        else:
            query = _queries(answer)
            found, given = shapes.from_long(query, answer, quality_range, outcomes="table"), query.get("features")
    if features is None and given is not None:
        features = _stacked(given.tolist())
    if features is None:
        return replace(found, features=encoders.encode(found.prompt, encoder))
    features = np.asarray(features)
    if not np.issubdtype(features.dtype, np.number) or features.ndim != 2:
        raise InputError(f"features of shape {features.shape}: give finite numbers, one row for each of {len(found)}")
    if len(features) != len(found) or not np.isfinite(features).all():
        raise InputError(f"features of shape {features.shape}: give finite numbers, one row for each of {len(found)}")
    return replace(found, features=np.asarray(features, np.float32))


def frame(source: Any) -> pd.DataFrame:
    """A table in memory as a pandas data frame.

    Raises:
        InputError: it is none of those that ``table`` takes.
    """
    import pandas as pd

    if hasattr(source, "to_pandas"):  # pyarrow, polars and datasets
        source = source.to_pandas()
    if isinstance(source, pd.DataFrame):
        return indexed(source).reset_index(drop=True)
    if isinstance(source, Sequence) and not isinstance(source, str | bytes) and not hasattr(source, "_fields"):
        if not source:
            raise InputError("the list: no rows; a table needs some")
        if odd := [i for i, record in enumerate(source) if not isinstance(record, Mapping)]:
            raise InputError(
                f"the list, row {odd[0]}: is a {type(source[odd[0]]).__name__}; every row must be a dictionary"
            )
        return pd.DataFrame(list(source))
    raise InputError(
        f"cannot read a table from a {type(source).__name__}; give a path, a pandas, polars or pyarrow table, a "
        "datasets.Dataset or a list of dictionaries"
    )


def _queries(answer: pd.DataFrame) -> pd.DataFrame:
    """One row per prompt of a long table, which must say the same of a prompt in each of its rows."""
    need(answer, "table", ("query_id", "prompt", "model", "quality", "cost"))
    if "task" not in answer.columns:
        answer = answer.assign(task="all")
    described = [name for name in ("query_id", "prompt", "task", "group", "features") if name in answer.columns]
    first = answer.drop_duplicates("query_id")[described]
    told = answer[["query_id"]].merge(first, on="query_id", how="left")
    for name in ("prompt", "task"):
        refuse(
            (told[name] != answer[name]).to_numpy(),
            lambda i, name=name: (  # type: ignore[misc]
                f"table, column {name!r}, row {i}: differs from that of an earlier row of query "
                f"{answer['query_id'].iloc[i]!r}; give every prompt its own query_id"
            ),
        )
    return first.reset_index(drop=True)


def _stacked(rows: list[Any]) -> np.ndarray:
    try:
        return np.array([np.asarray(row, np.float32) for row in rows], np.float32)
    except (TypeError, ValueError):
        raise InputError("column 'features': not lists of numbers of one length") from None
