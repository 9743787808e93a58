"""A log or a table, read and checked, from whatever holds it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxroute.data import harness, shapes, tables, tabular
from jaxroute.data import logs as people
from jaxroute.data.prices import listed
from jaxroute.types import InputError, Table

LogTable = people.LogTable


def read_log(source: Any, **options: Any) -> LogTable:
    """Read and check a log: one row per request, each answered by one model.

    Args:
        source: a file, a folder of files, or a table in memory; see ``data.logs.load``. What was read before is
            returned as it is, and takes no options.
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
    if isinstance(source, LogTable):
        _as_it_is(options)
        return source
    return people.load(source, **options)


def as_asked(log: Any, prices: Any = None, *, other_use: bool = False, **fitted: Any) -> LogTable:
    """The log of a fit or of a judgement.

    Args:
        log: see ``read_log``.
        prices: of the caller; None: none. other_use: whether they are for something beside the log too.
        fitted: how routers have a log read (``asking.as_fitted``); one that was read before stays as it is.

    Raises:
        InputError: bad data; or prices for a log that was read before, of no other use.
    """
    if isinstance(log, Table):
        raise InputError("a table of every model's answers is no log; evaluate judges one router on it at a time")
    if not isinstance(log, LogTable):
        return read_log(log, prices=prices, **fitted)
    if prices is not None and not other_use:
        _as_it_is({"prices": prices})
    for field in dataclasses.fields(log):
        values = getattr(log, field.name)
        if isinstance(values, np.ndarray) and len(values) != len(log):
            raise InputError(f"{field.name} of the log has {len(values)} rows and action {len(log)}; give one a row")
    if not np.issubdtype(np.asarray(log.action).dtype, np.integer):
        raise InputError(f"action of the log is {np.asarray(log.action).dtype}; it must hold the places of models")
    return log


def _as_it_is(options: Mapping[str, Any]) -> None:
    if options:
        names = ", ".join(f"{name}=" for name in options)
        raise InputError(f"{names} would change nothing, as these data were read before; give it where they are read")


def read_table(source: Any, **options: Any) -> Table:
    """Read and check a table: prompts that every model answered.

    Args:
        source: a folder or a file (see ``data.tables.load``), results of an evaluation tool (see
            ``data.harness.load``), or a table in memory (see ``data.tabular.table``). What was read before is returned
            as it is, and takes no options.
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
        _as_it_is(options)
        shapes.check(source)
        return source
    if not isinstance(source, str | os.PathLike):
        return tabular.table(source, **options)
    return (harness.load if harness.is_run(source) else tables.load)(source, **options)


def shadow_table(source: Any, prices: Any = None) -> Table:
    """The table of a shadow sample, whose costs may be unknown; prices: for those of an evaluation tool's results."""
    if isinstance(source, str | os.PathLike):
        return harness.load(source, alone=True, prices=listed(prices))
    try:
        return read_table(source)
    except InputError as error:
        raise InputError(f"shadow: {error}") from None
