"""A log or a table, read and checked, from whatever holds it."""

from __future__ import annotations

import os
from typing import Any

from jaxroute.data import harness, tables, tabular
from jaxroute.data import logs as people
from jaxroute.types import InputError, Table

LogTable = people.LogTable


def read_log(source: Any, **options: Any) -> LogTable:
    """Read and check a log: one row per request, each answered by one model.

    Args:
        source: a file, a folder of files, or a table in memory; see ``data.logs.load``.
        options: of ``data.logs.load``: columns, prices, quality_range, feedback, drop_bad and others.

    Returns:
        LogTable.

    Raises:
        InputError: every problem, with file, row and column.

    Example:
        >>> rows = [{"prompt": "2+2?", "model": "small", "stars": 5, "cost": 0.001},
        ...         {"prompt": "Why?", "model": "large", "stars": 3, "cost": 0.02}]
        >>> log = read_log(rows, columns={"quality": "stars"}, quality_range=(1, 5))
        >>> log.models, log.quality.tolist()
        (('large', 'small'), [1.0, 0.5])
    """
    return source if isinstance(source, LogTable) else people.load(source, **options)


def read_table(source: Any, **options: Any) -> Table:
    """Read and check a table: prompts that every model answered.

    Args:
        source: a folder or a file (see ``data.tables.load``), results of an evaluation tool (see
            ``data.harness.load``), or a table in memory (see ``data.tabular.table``).
        options: features, encoder, quality_range, unknown_costs; of results, those of ``data.harness.join``.

    Returns:
        Table.

    Raises:
        InputError: one line that names file, column, row and value.

    Example:
        >>> rows = [{"query_id": "a", "prompt": "2+2?", "model": name, "quality": 1, "cost": cost}
        ...     for name, cost in (("small", 0.001), ("large", 0.02))]
        >>> read_table(rows).models
        ('small', 'large')
    """
    if isinstance(source, Table):
        return source
    if not isinstance(source, str | os.PathLike):
        return tabular.table(source, **options)
    return (harness.load if harness.is_run(source) else tables.load)(source, **options)


def shadow_table(source: Any) -> Table:
    """The table of a shadow sample, whose costs may be unknown."""
    if isinstance(source, str | os.PathLike):
        return harness.load(source, alone=True)
    try:
        return read_table(source)
    except InputError as error:
        raise InputError(f"shadow: {error}") from None
