"""From a log to a router and to what it is worth: the functions that ``import jaxroute as jr`` offers.

Whatever takes a log takes a path, a table in memory or what ``read_log`` returned, and whatever takes a table likewise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jax

from jaxroute.data import logs as people
from jaxroute.data import shadow as shadows
from jaxroute.data import tables, tabular
from jaxroute.learn import fitting
from jaxroute.recipe import GRID
from jaxroute.serving import evaluation
from jaxroute.serving.router import Router
from jaxroute.types import Table

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
    """
    return source if isinstance(source, LogTable) else people.load(source, **options)


def read_table(source: Any, **options: Any) -> Table:
    """Read and check a table: prompts that every model answered.

    Args:
        source: a folder or a file (see ``data.tables.load``), or a table in memory (see ``data.tabular.table``).
        options: features, encoder, quality_range.

    Returns:
        Table.

    Raises:
        InputError: one line that names file, column, row and value.
    """
    if isinstance(source, Table):
        return source
    read = tables.load if isinstance(source, str | os.PathLike) else tabular.table
    return read(source, **options)


def fit(
    log: Any, *, shadow: Any = None, encoder: str = "hashed", members: int = 1, seed: int = 0, **options: Any
) -> Router:
    """The recommended router of a log, with what the log says of it in ``summary``.

    Args:
        log: see ``read_log``.
        shadow: prompts like the log's that every model answered, see ``read_table``.
        encoder: of the prompts, where the log has no features.
        members: recipes with folds and networks of their own whose predictions are averaged.
        seed: of everything random.
        options: further ones of ``learn.fitting.fit``.

    Returns:
        Router.

    Raises:
        InputError: the log is bad or too small.
    """
    log = read_log(log)
    used = encoder if log.features is None else None
    answered = None if shadow is None else shadows.examples(read_table(shadow), log.models, encoder=used)
    router = fitting.fit(
        jax.random.key(seed),
        people.as_logs(log, encoder),
        log.models,
        shadow=answered,
        encoder=used,
        members=members,
        **options,
    )
    router.summary["chat"] = log.chat
    return router


def evaluate(
    router: Router | str | os.PathLike[str],
    data: Any,
    *,
    shadow: Any = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> evaluation.LogEvaluation | evaluation.TableEvaluation:
    """What a log, or a full table, that a router has not seen says of it, by cost weight.

    Args:
        router: a Router or its folder.
        data: a log (see ``read_log``), or a ``Table`` (of ``read_table``) for values and regret without estimation.
        shadow: beside a log, prompts like its own that every model answered; see ``read_table``.
        normalised_cost_weights: [L]; 1 is the break-even between the best and the cheapest model.

    Returns:
        LogEvaluation or TableEvaluation; ``to_frame()`` has a row per cost weight.

    Raises:
        InputError: bad data, or a model that the router does not know.
    """
    router = _loaded(router)
    if isinstance(data, Table):
        return evaluation.on_table(router, data, normalised_cost_weights=normalised_cost_weights)
    answered = None if shadow is None else read_table(shadow)
    return evaluation.on_log(router, read_log(data), shadow=answered, normalised_cost_weights=normalised_cost_weights)


def compare(
    first: Router | str | os.PathLike[str],
    second: Router | str | os.PathLike[str],
    log: Any,
    *,
    shadow: Any = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> evaluation.Comparison:
    """The value of the first router minus that of the second on a log that neither has seen, with paired intervals.

    Args:
        first, second: routers or their folders; cost weights are normalised by the first one's cost_scale.
        log, shadow, normalised_cost_weights: see ``evaluate``.

    Returns:
        Comparison; ``to_frame()`` has a row per cost weight.

    Raises:
        InputError: bad data, or a model that a router does not know.
    """
    answered = None if shadow is None else read_table(shadow)
    return evaluation.compare(
        _loaded(first),
        _loaded(second),
        read_log(log),
        shadow=answered,
        normalised_cost_weights=normalised_cost_weights,
    )


def _loaded(router: Router | str | os.PathLike[str]) -> Router:
    return router if isinstance(router, Router) else Router.load(router)
