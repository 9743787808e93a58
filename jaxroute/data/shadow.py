"""A shadow sample: prompts like those of a log, each answered by several models, beside the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxroute.data import context as contexts
from jaxroute.data import encoders
from jaxroute.system.wording import here
from jaxroute.types import Examples, InputError, Logs, Outcomes, Table


def examples(
    table: Table,
    models: Sequence[str],
    *,
    encoder: str | None = None,
    revision: str | None = None,
    columns: contexts.Columns = (),
) -> Examples:
    """A table's prompts and outcomes, with the models of a log in its order; see ``matched``.

    Args:
        table: S prompts; an answer may be missing.
        models: the K names of the log's models.
        encoder: the encoder of the log's prompts, see ``encoders.encode``; None if the table has features of the log's
            width.
        revision: revision of the encoder.
        columns: the log's context columns, as ``data.context.fit`` made them; the table has them too.

    Returns:
        Examples: features [S, D], outcomes and available [S, K].

    Raises:
        InputError: the table and the log have no model in common, or the table lacks a context column.
    """
    table = matched(table, models)
    features = table.features if encoder is None else encoders.encode(table.prompt, encoder, revision=revision)
    if lost := [name for name in contexts.names(columns) if name not in table.context]:
        raise InputError(
            f"the shadow sample lacks the context column {lost[0]!r}: put it beside the prompts of its table (in "
            "queries.parquet), or leave out the column or the sample"
        )
    if columns:
        features = np.concatenate([features, contexts.encode(columns, table.context, len(table))], 1)
    return Examples(features, table.outcomes, table.available)  # type: ignore[arg-type]


def matched(table: Table, models: Sequence[str]) -> Table:
    """The table with the models of a log: one that it lacks has no answer, and its other models are left out.

    Prompts that only those others answered are left out too. What is left out is said by ``unmatched``.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=3, num_models=3)
        >>> matched(table, (table.models[2], "another")).available[0].tolist()
        [True, False]
        >>> unmatched(table, (table.models[2], "another"))[1]
        ['another']
    """
    if not set(models) & set(table.models):
        raise InputError(
            f"the shadow sample and the log have no model in common: it has {', '.join(table.models)}, the log "
            f"{', '.join(models)}; call the models alike"
        )
    place = np.array([table.models.index(name) if name in table.models else -1 for name in models])
    available = table.available[:, place] & (place >= 0)
    quality, cost = (np.where(available, np.asarray(y)[:, place], np.nan) for y in table.outcomes)
    found = replace(table, models=tuple(models), outcomes=Outcomes(quality, cost), available=available, expected=None)  # type: ignore[arg-type]
    return found.rows(np.flatnonzero(available.any(1)))


def unmatched(table: Table, models: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the table's models that a log does not have, the log's models that the table does not have)."""
    return [name for name in table.models if name not in models], [name for name in models if name not in table.models]


def unpriced(outcomes: Outcomes, available: np.ndarray) -> np.ndarray:
    """[S, K] answers with a quality and without a cost."""
    quality, cost = (np.asarray(y) for y in outcomes)
    return np.asarray(available) & np.isfinite(quality) & ~np.isfinite(cost)


def priced(shadow: Examples, logs: Logs, models: Sequence[str]) -> Examples:
    """The shadow sample with the model's mean cost in the log where an answer has no cost, to learn from.

    Values are never read from such costs: ``estimators.shadow_rows`` counts an answer without a cost at cost weight 0
    alone, so it gets the sample as it was.

    Raises:
        InputError: no cost of a model's answers, and no row of it in the log.
    """
    unknown = unpriced(shadow.outcomes, shadow.available)  # type: ignore[arg-type]
    if not unknown.any():
        return shadow
    rows = np.bincount(logs.action, minlength=len(models))
    if (lost := unknown.any(0) & (rows == 0)).any():
        name = models[int(np.argmax(lost))]
        raise InputError(
            f"the shadow sample has no cost of answers of {name!r}, and the log no row of it: give costs or prices "
            f"({here('read_table(prices=...)', '--prices')})"
        )
    times = np.ones(len(logs.action)) if logs.weight is None else np.asarray(logs.weight, float)
    spent, requests = (np.bincount(logs.action, y, len(models)) for y in (times * np.asarray(logs.cost, float), times))
    mean = spent / np.where(rows > 0, requests, 1)
    cost = np.where(unknown, mean[None], np.asarray(shadow.outcomes.cost))
    return shadow._replace(outcomes=shadow.outcomes._replace(cost=cost))  # type: ignore[arg-type]
