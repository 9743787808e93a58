"""The two shapes in which a full-feedback table is written: from their frames to a checked `Table`.

    long    one frame of prompts (query_id, prompt, task), one of answers (query_id, model, quality, cost)
    wide    RouterBench's: one row per prompt, for every model a column ``<model>`` and one ``<model>|total_cost``

What is missing, and what is an error, stands in `data.tables`. Rows are counted from 0, as pandas does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.data.frames import Place, need, numbers, refuse, text
from jaxroute.types import InputError, Outcomes, Table

if TYPE_CHECKING:
    import pandas as pd

COST_SUFFIX = "|total_cost"
WIDE_TEXT = ("sample_id", "prompt", "eval_name", "group")


def from_long(
    query: pd.DataFrame,
    answer: pd.DataFrame,
    quality_range: tuple[float, float] = (0.0, 1.0),
    *,
    queries: str = "queries",
    outcomes: str = "outcomes",
    holes: bool = False,
    unknown_costs: bool = False,
    alone: bool = False,
) -> Table:
    """Table without features (D = 0) from the two frames of the folder format; see ``tables.load``.

    Args:
        query: columns query_id, prompt, task, optional group; further ones are the table's context.
        answer: columns query_id, model, quality, cost.
        quality_range: (worst, best) of the qualities as written.
        queries, outcomes: names of the two frames in messages.
        holes: read an empty quality as an answer that was never judged (published tables have them); otherwise it is
            an error, because a missing answer should be a missing row.
        unknown_costs, alone: see ``tables.load``.

    Returns:
        Table, checked.
    """
    import pandas as pd

    described = _describe(query, queries, ("query_id", "prompt", "task"))
    need(answer, outcomes, ("query_id", "model", "quality", "cost"))
    index = pd.Index(described["query_id"])
    answer_id = text(answer, "query_id", outcomes)
    names = text(answer, "model", outcomes)
    row = index.get_indexer(answer_id)
    refuse(
        row < 0,
        lambda i: (
            f"{outcomes}, column 'query_id', row {i}: {answer_id[i]!r} is not in {queries}; "
            "add the query or drop the row"
        ),
    )
    model, models = pd.factorize(names)
    refuse(
        pd.DataFrame({"row": row, "model": model}).duplicated().to_numpy(),
        lambda i: (
            f"{outcomes}, row {i}: model {names[i]!r} has a second answer to query {answer_id[i]!r}; "
            "keep one row per query_id and model"
        ),
    )

    def place(i: int, name: str) -> str:
        return f"{outcomes}, column {name!r}, row {i} (query {answer_id[i]!r}, model {names[i]!r})"

    def scatter(values: np.ndarray) -> Any:
        full = np.full((len(index), len(models)), np.nan)
        full[row, model] = values
        return full

    def column_of(name: str) -> np.ndarray:
        return numbers(answer[name], name, place)

    written = column_of("quality")
    refuse(
        np.isnan(written) & (not holes),
        lambda i: (
            f"{place(i, 'quality')}: empty or NaN; give the quality, or drop the row if the answer was not judged"
        ),
    )
    quality, cost = _checked(written, column_of("cost"), quality_range, place, unknown_costs)
    expected = None
    if {"expected_quality", "expected_cost"} <= set(answer.columns):
        expected = Outcomes(scatter(column_of("expected_quality")), scatter(column_of("expected_cost")))
    table = _table(described, tuple(models), scatter(quality), scatter(cost), queries, outcomes, expected, alone)
    return replace(table, context=_beside(query, described))


def from_wide(frame: pd.DataFrame, quality_range: tuple[float, float] = (0.0, 1.0), *, source: str = "table") -> Table:
    """Table without features (D = 0) from one wide frame in RouterBench's shape; see ``tables.load``.

    Args:
        frame: columns sample_id, prompt, eval_name, optional group, ``<model>``, ``<model>|total_cost``.
        quality_range: (worst, best) of the qualities as written.
        source: name of the frame in messages.

    Returns:
        Table, checked.
    """
    described = _describe(frame, source, ("sample_id", "prompt", "eval_name"))
    models = tuple(str(name).removesuffix(COST_SUFFIX) for name in frame.columns if str(name).endswith(COST_SUFFIX))
    if not models:
        raise InputError(
            f"{source}: no column ends in {COST_SUFFIX!r}, so there are no models; see README, Data for the formats"
        )
    need(frame, source, [*models, *(model + COST_SUFFIX for model in models)])
    quality, cost = [], []
    for model in models:

        def place(i: int, name: str, model: str = model) -> str:
            column = model + COST_SUFFIX if name == "cost" else model
            return f"{source}, column {column!r}, row {i} (query {described['query_id'][i]!r})"

        written = numbers(frame[model], "quality", place)
        billed = numbers(frame[model + COST_SUFFIX], "cost", place)
        checked = _checked(written, billed, quality_range, place)
        quality.append(checked[0])
        cost.append(checked[1])
    table = _table(described, tuple(models), np.stack(quality, 1), np.stack(cost, 1), source, source, None)
    known = ("sample_id", "eval_name", *models, *(model + COST_SUFFIX for model in models))
    return replace(table, context=_beside(frame, (*described, *known)))


def check(table: Table) -> None:
    """Refuse a table whose arrays do not fit each other; readers make none, but anybody can.

    Raises:
        InputError: no prompts, an array of another length or width, a model named twice, or an answer whose quality is
            not in [0, 1] or whose cost cannot be.
    """
    count, width = len(table), len(table.models)
    if len(set(table.models)) < width:
        raise InputError(f"models of the table are {', '.join(table.models)}; name each once")
    if not count:
        raise InputError("the table has no prompts; give at least one")
    arrays: dict[str, Any] = {"features": table.features, "outcomes.quality": table.outcomes.quality}
    arrays |= {"outcomes.cost": table.outcomes.cost, "available": table.available}
    for name, array in arrays.items():
        shape, wanted = np.shape(array), (count,) if name == "features" else (count, width)
        if shape[: len(wanted)] != wanted or len(shape) != 2:
            raise InputError(
                f"{name} of the table has shape {shape}; it must be [{count}, {'D' if name == 'features' else width}] "
                f"for {count} prompts and {width} models"
            )
    for name in ("prompt", "group"):
        if len(getattr(table, name)) != count:
            raise InputError(f"{name} of the table has {len(getattr(table, name))} rows; it must have {count}")
    if np.asarray(table.available).dtype != bool:
        raise InputError(f"available of the table is {np.asarray(table.available).dtype}; it must be of booleans")
    quality, cost = (np.asarray(part) for part in table.outcomes)
    for name, values, odd, rule in (
        ("quality", quality, ~np.isfinite(quality), "a number, or available False for an answer that is missing"),
        ("quality", quality, (quality < 0) | (quality > 1), "one in [0, 1]: (quality - worst) / (best - worst)"),
        ("cost", cost, np.isinf(cost) | (cost < 0), "a finite number of at least 0, or NaN where it is unknown"),
    ):
        for row, column in np.argwhere(table.available & odd)[:1]:
            raise InputError(
                f"row {row} of the table: {table.models[column]} is available and its {name} is {values[row, column]}; "
                f"give {rule}"
            )


def _describe(frame: pd.DataFrame, source: str, columns: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """query_id, prompt, task and group of every prompt; ``columns`` holds the names of the first three."""
    import pandas as pd

    need(frame, source, columns)
    names = ("query_id", "prompt", "task")
    described = {name: text(frame, column, source) for name, column in zip(names, columns, strict=True)}
    ids = described["query_id"]
    refuse(
        pd.Series(ids).duplicated().to_numpy(),
        lambda i: f"{source}, column {columns[0]!r}, row {i}: the id {ids[i]!r} occurs twice; make ids unique",
    )
    group = np.arange(len(frame))
    if "group" in frame.columns:
        group = pd.factorize(text(frame, "group", source))[0].astype(int)
    return {**described, "group": group}


def _beside(frame: pd.DataFrame, known: Iterable[str]) -> dict[str, np.ndarray]:
    """The columns of the prompts that have no meaning of their own here: None is unknown, a list counts by its length.

    So ``data.logs`` reads context columns.
    """
    found = {}
    for name in frame.columns:
        if name not in set(known):
            values: list[Any] = frame[name].astype(object).where(frame[name].notna(), None).tolist()
            counted = [len(value) if isinstance(value, list | np.ndarray) else value for value in values]
            found[str(name)] = np.array([*counted, None], object)[:-1]
    return found


def _checked(
    quality: np.ndarray,
    cost: np.ndarray,
    quality_range: tuple[float, float],
    place: Place,
    unknown_costs: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Quality in [0, 1] and cost, both NaN where the quality is missing; arrays of one axis."""
    worst, best = quality_range
    low, high = sorted(quality_range)
    missing = np.isnan(quality)
    refuse(
        ~missing & ~((quality >= low) & (quality <= high)),
        lambda i: (
            f"{place(i, 'quality')}: {quality[i]} is outside [{low:g}, {high:g}]; "
            "correct it, or give the scale as quality_range"
        ),
    )
    # An answer that was billed but never judged counts as missing; one that was judged must have a cost.
    unknown = np.isnan(cost) & (missing | unknown_costs)
    refuse(
        ~unknown & ~(np.isfinite(cost) & (cost >= 0)),
        lambda i: f"{place(i, 'cost')}: {cost[i]} is not a finite number of at least 0; correct it or drop the row",
    )
    return (quality - worst) / (best - worst), np.where(missing, np.nan, cost)


def _table(
    described: dict[str, Any],
    models: tuple[str, ...],
    quality: Any,  # [N, K]; Any, because the record declares JAX arrays and holds NumPy arrays on the host
    cost: Any,
    queries: str,
    outcomes: str,
    expected: Outcomes | None,
    alone: bool = False,
) -> Table:
    if len(models) < 2 and not alone:
        raise InputError(f"{outcomes}: there is only one model ({models[0]!r}); routing needs at least two")
    available = ~np.isnan(quality)
    refuse(
        ~available.any(1),
        lambda i: (
            f"{queries}, row {i}: no model answered query {described['query_id'][i]!r}; "
            f"add answers to {outcomes} or drop the query"
        ),
    )
    return Table(
        **described,
        features=np.zeros((len(quality), 0), np.float32),
        models=models,
        outcomes=Outcomes(quality, cost),
        available=available,
        expected=expected,
    )
