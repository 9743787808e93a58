"""Answers that carry their prompts, one a row, into a Table; and costs where the data have none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxroute.data import encoders, shapes
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd

Costs = Mapping[str, float] | float
"""US dollars of a query by model, or the same for all."""


def from_answers(answers: pd.DataFrame, source: str, encoder: str) -> Table:
    """Table of answers that carry their prompts: query_id, prompt, task, model, quality, cost."""
    query = answers.drop_duplicates("query_id")[["query_id", "prompt", "task"]].reset_index(drop=True)
    return encoded(shapes.from_long(query, answers, queries=source, outcomes=source, holes=True), encoder)


def encoded(table: Table, encoder: str) -> Table:
    """The same table with the features of its prompts; see ``encoders.encode``."""
    return replace(table, features=encoders.encode(table.prompt, encoder))


def priced(models: list[str], cost: Costs, source: str) -> dict[str, float]:
    """Cost of a query by model, one for each of them; ``source`` is what a message calls the data."""
    if not isinstance(cost, Mapping):
        return dict.fromkeys(models, float(cost))
    if missing := [model for model in models if model not in cost]:
        raise InputError(f"{source}: no cost for model {missing[0]!r}; give one for each of: {', '.join(models)}")
    return {model: float(cost[model]) for model in models}
