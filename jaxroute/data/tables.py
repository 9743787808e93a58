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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxroute import settings
from jaxroute.data import encoders, saving, shapes
from jaxroute.data.frames import read, read_features
from jaxroute.data.units import cost_scale as cost_scale
from jaxroute.system.wording import here
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd


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
    settings.quality_range(quality_range)
    if path.is_dir():
        found = sorted(path.glob("features*.npy"))
        if features is None and len(found) > 1:
            names = ", ".join(f.name for f in found)
            raise InputError(f"{path}: the folder has several feature files ({names}); choose one with features=")
        if features is None and found:
            features = found[0]
        queries, outcomes = path / "queries.parquet", path / "outcomes.parquet"
        table = shapes.from_long(
            read(queries),
            read(outcomes),
            quality_range,
            queries=str(queries),
            outcomes=str(outcomes),
            unknown_costs=unknown_costs,
            alone=alone,
        )
    else:
        table = shapes.from_wide(read(path, shapes.WIDE_TEXT), quality_range, source=str(path))
    if features is not None:
        table = replace(table, features=read_features(Path(features), len(table)))
    table = table if at_most is None else some(table, at_most)
    return table if features is not None else replace(table, features=encoders.encode(table.prompt, encoder))


def save(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a table as the folder that ``load`` reads, completely or not at all.

    Args:
        table: any table; missing answers are left out, ``expected`` is kept.
        path: a folder that does not exist yet, or an empty one.

    Raises:
        InputError: the folder is not empty, the table is none (``shapes.check``), or a model has no answer and would be
            lost.

    Example:
        >>> import tempfile, jax
        >>> from jaxroute.data import synthetic
        >>> folder = tempfile.mkdtemp()
        >>> save(synthetic.make(jax.random.key(0), num_prompts=10), folder)
        >>> load(folder).outcomes.quality.shape
        (10, 10)
    """
    import pandas as pd

    shapes.check(table)
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


def some(table: Table, count: int) -> Table:
    """``count`` prompts drawn at random, always the same ones; all of them if there are no more.

    >>> import jax
    >>> from jaxroute.data import synthetic
    >>> len(some(synthetic.make(jax.random.key(0), num_prompts=100), 30))
    30
    """
    if count >= len(table):
        return table
    return table.rows(np.sort(np.random.default_rng(0).choice(len(table), count, replace=False)))


def like_a_log(table: Table) -> list[str]:
    """What to say of a table in which most prompts have the answer of one model alone; nothing of other tables."""
    count = int((np.asarray(table.available).sum(1) == 1).sum())
    if 2 * count <= len(table):
        return []
    log = here("jr.fit(jr.read_log(FILE))", "jaxroute fit LOG")
    return [
        f"{count:,} of the {len(table):,} prompts have the answer of one model alone, as in a log of requests. They "
        "leave nothing to choose, so the values say little of the router. If these are requests that a service "
        f"answered, fit to them as a log: {log}."
    ]


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
