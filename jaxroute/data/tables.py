"""Full-feedback tables, in which every model answered every prompt: reading, checking and writing.

Two shapes are read:

    a folder    queries.parquet   query_id, prompt, task, optional group (conversation or user), and others
                outcomes.parquet  query_id, model, quality, cost; one row per answer
                features*.npy     optional [N, D]; row i belongs to row i of queries.parquet
    one file    .parquet or .csv in the wide shape of RouterBench: sample_id, prompt, eval_name, optional group, and
                for every model a column ``<model>`` (quality) and one ``<model>|total_cost``

Missing is not zero. In a folder a missing answer is a missing row, and an empty number is an error. A wide file cannot
leave a row out, so there an empty quality marks a missing answer. Missing answers are NaN and not available.
Messages count rows from 0, as pandas does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.data import encoders, saving
from jaxroute.data.frames import Place, need, numbers, read, read_features, refuse, text
from jaxroute.data.units import cost_scale as cost_scale
from jaxroute.types import InputError, Outcomes, Table

if TYPE_CHECKING:
    import pandas as pd

COST_SUFFIX = "|total_cost"
WIDE_TEXT = ("sample_id", "prompt", "eval_name", "group")


def load(
    path: str | os.PathLike[str],
    *,
    features: str | os.PathLike[str] | None = None,
    encoder: str = "hashed",
    quality_range: tuple[float, float] = (0.0, 1.0),
    unknown_costs: bool = False,
    alone: bool = False,
    at_most: int | None = None,
) -> Table:
    """Read and check a full-feedback table.

        quality = (quality as written - worst) / (best - worst)

    Args:
        path: a folder or a wide file, as described at the top of the module.
        features: an .npy file [N, D] to use. Default: the only features*.npy of the folder; if there is none, the
            prompts are encoded by ``encoder``.
        encoder: see ``encoders.encode``; used only if there are no features.
        quality_range: (worst, best) of the qualities as written, (5, 1) where less is better.
        unknown_costs: read an empty cost in a folder as unknown, as results of evaluations often have none:
            outcomes.cost is NaN there and the model stays available. Otherwise it is an error.
        alone: accept a folder with the answers of one model, as a shadow sample may hold.
        at_most: keep so many prompts, drawn at random (always the same ones), and encode no others.

    Returns:
        Table with float64 outcomes, float32 features and models in order of appearance. ``expected`` is filled if the
        outcomes have the columns expected_quality and expected_cost (saved synthetic tables).

    Raises:
        InputError: one line that names the file, column, row and value, and says what to do.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "wide.csv"
        >>> _ = file.write_text(
        ...     "sample_id,prompt,eval_name,small,large,small|total_cost,large|total_cost\\n"
        ...     "a,What is 2+2?,maths,1,1,0.001,0.02\\n"
        ...     "b,Prove it.,maths,0,,0.001,\\n"
        ... )
        >>> table = load(file)
        >>> table.models, table.available.tolist()
        (('small', 'large'), [[True, True], [True, False]])
    """
    path = Path(path).expanduser()
    worst, best = quality_range
    if worst == best or not np.isfinite(quality_range).all():
        raise InputError(f"quality_range is {quality_range}; give two different numbers, (worst, best)")
    if path.is_dir():
        found = sorted(path.glob("features*.npy"))
        if features is None and len(found) > 1:
            names = ", ".join(f.name for f in found)
            raise InputError(f"{path}: the folder has several feature files ({names}); choose one with features=")
        if features is None and found:
            features = found[0]
        queries, outcomes = path / "queries.parquet", path / "outcomes.parquet"
        table = from_long(
            read(queries),
            read(outcomes),
            quality_range,
            queries=str(queries),
            outcomes=str(outcomes),
            unknown_costs=unknown_costs,
            alone=alone,
        )
    else:
        table = from_wide(read(path, WIDE_TEXT), quality_range, source=str(path))
    if features is not None:
        table = replace(table, features=read_features(Path(features), len(table)))
    if at_most is not None and at_most < len(table):
        table = table.rows(np.sort(np.random.default_rng(0).choice(len(table), at_most, replace=False)))
    return table if features is not None else replace(table, features=encoders.encode(table.prompt, encoder))


def save(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a table as the folder that ``load`` reads, completely or not at all.

    Args:
        table: any table; missing answers are left out, ``expected`` is kept.
        path: a folder that does not exist yet, or an empty one.

    Raises:
        InputError: the folder is not empty, or a model has no answer and would be lost.

    Example:
        >>> import tempfile, jax
        >>> from jaxroute.data import synthetic
        >>> folder = tempfile.mkdtemp()
        >>> save(synthetic.make(jax.random.key(0), num_prompts=10), folder)
        >>> load(folder).outcomes.quality.shape
        (10, 10)
    """
    import pandas as pd

    if not table.available.any(0).all():
        lost = table.models[int(np.argmin(table.available.any(0)))]
        raise InputError(f"{path}: model {lost!r} has no answer and would be lost; leave it out before saving")
    # Model by model, so that models are read back in the same order even if answers are missing.
    model, row = np.nonzero(table.available.T)
    columns = {
        "query_id": table.query_id[row],
        "model": np.array(table.models, object)[model],
        "quality": table.outcomes.quality[row, model],
        "cost": table.outcomes.cost[row, model],
    }
    if table.expected is not None:
        columns["expected_quality"] = table.expected.quality[row, model]
        columns["expected_cost"] = table.expected.cost[row, model]
    names = ("query_id", "prompt", "task", "group")
    queries = pd.DataFrame({**{name: getattr(table, name) for name in names}, **table.context})
    write(path, queries, pd.DataFrame(columns), table.features)


def write(
    path: str | os.PathLike[str], queries: pd.DataFrame, outcomes: pd.DataFrame, features: np.ndarray | None = None
) -> None:
    """Write the frames of a table as the folder that ``load`` reads, completely or not at all.

    Args:
        path: a folder that does not exist yet, or an empty one.
        queries: columns query_id, prompt, task, optional group.
        outcomes: columns query_id, model, quality, cost and what else is to be kept.
        features: [N, D] of the queries; None: the folder has none.

    Raises:
        InputError: the folder holds something.
    """
    with saving.folder(refuse_occupied(path), ("queries.parquet",)) as folder:
        queries.to_parquet(folder / "queries.parquet")
        outcomes.to_parquet(folder / "outcomes.parquet")
        if features is not None:
            np.save(folder / "features.npy", features)


def refuse_occupied(path: str | os.PathLike[str]) -> Path:
    """The path, if a table can be written there; commands ask before they work.

    Raises:
        InputError: something is there that is not an empty folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: already exists and is not an empty folder; choose another path or remove it")
    saving.check_folder(path, ("queries.parquet",))
    return path


def with_task(table: Table, prefix: str) -> Table:
    """The rows whose task starts with ``prefix``, such as one benchmark of a table that holds several.

    Args:
        table: any table.
        prefix: the start of the task names, such as ``"bbh/"``.

    Returns:
        The smaller table.

    Raises:
        InputError: no task starts with the prefix.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=100)
        >>> set(with_task(table, "topic_2").task) == {"topic_2"}
        True
    """
    match = np.array([str(task).startswith(prefix) for task in table.task], bool)
    if not match.any():
        some = ", ".join(sorted({str(task) for task in table.task})[:5])
        raise InputError(f"no task starts with {prefix!r}; the tasks are: {some}, ...")
    return table.rows(np.flatnonzero(match))


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
    """Table without features (D = 0) from the two frames of the folder format; see ``load``.

    Args:
        query: columns query_id, prompt, task, optional group; further ones are the table's context.
        answer: columns query_id, model, quality, cost.
        quality_range: (worst, best) of the qualities as written.
        queries, outcomes: names of the two frames in messages.
        holes: read an empty quality as an answer that was never judged (published tables have them); otherwise it is
            an error, because a missing answer should be a missing row.
        unknown_costs, alone: see ``load``.

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
    """Table without features (D = 0) from one wide frame in RouterBench's shape; see ``load``.

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
