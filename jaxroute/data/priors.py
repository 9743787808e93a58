"""What is known of the models beside a log: their expected quality, from a CSV or from other prompts' answers.

    model, quality, sd        quality expected on prompts like the log's, in [0, 1], and its standard deviation
    cost                      optional: mean cost of a request, in the log's unit

or a table (`tables`, `harness`): the models' mean quality over its prompts, equally trusted; or comparisons of two
answers, as an arena publishes them (`standings`). A model of a CSV that the log never shows becomes a candidate of the
router (`serving.new_models`), so its cost has to be known: from the column cost, or from a price table and the mean
tokens of the log's requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data import harness, standings
from jaxroute.data import prices as price_table
from jaxroute.data.frames import need, numbers, read, refuse, text
from jaxroute.data.logs.naming import bare
from jaxroute.data.memory import indexed
from jaxroute.recipe import Prior
from jaxroute.settings import refused
from jaxroute.system.wording import here
from jaxroute.types import InputError, Table

UNNAMED = 3.0
"""Deviation of a model that the file does not name, over the largest of those that it names."""
LEAST_ELO = 500
ELO = "write an Elo rating as the chance to win against an average model, 1 / (1 + 10 ** ((average - rating) / 400))"
"""What is said of qualities that look like ratings of an arena."""

PricedBy = Callable[[str], float | None]
"""Mean cost of a request that a model answers, by its name; None where unknown."""


class NewModel(NamedTuple):
    """A model that the log never shows: its expected quality and standard deviation, and mean cost of a request."""

    model: str
    expected: float
    deviation: float
    cost: float


class Known(NamedTuple):
    """A prior of a log's models, and the names that did not meet.

    prior: [K]; None: nothing is known. missing: models of the log that the source does not name; the others' mean is
    expected of them. unused: names of a table that the log does not have. new: those of a file, which can be routed to.
    """

    prior: Prior | None
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    new: tuple[NewModel, ...] = ()

    def keep(self, summary: dict[str, Any]) -> None:
        """Add the names that did not meet to a router's summary of its prior."""
        if self.prior is not None:
            summary["prior"] |= {"missing": list(self.missing), "unused": list(self.unused)}


def by_tokens(prices: Mapping[str, Any] | None, usage: Mapping[str, Mapping[str, float]]) -> PricedBy:
    """Costs from a price table, for a model that is asked as the log's requests are: of their mean tokens.

    Args:
        prices: of ``prices.load``; None: no model has a price. usage: of a log (``LogTable.usage``).

    Example:
        >>> usage = {"a": {"rows": 3, "input_tokens": 100.0, "output_tokens": 10.0},
        ...          "b": {"rows": 1, "input_tokens": 100.0, "output_tokens": 50.0}}
        >>> cost = by_tokens({"c": (1.0, 5.0)}, usage)
        >>> round(1e6 * cost("c")), cost("d")
        (200, None)
    """
    rows = [used["rows"] for used in usage.values()]

    def cost(model: str) -> float | None:
        price = None if prices is None or not rows else price_table.find(prices, model)
        if price is None:
            return None
        tokens = [
            np.average([[u[name]] for u in usage.values()], 0, rows) for name in ("input_tokens", "output_tokens")
        ]
        return float(price_table.bill(price, *tokens)[0])

    return cost


def load(source: Any, models: Sequence[str], cost_of: PricedBy | None = None) -> Known:
    """The prior of these models, and the new models that it names.

    Args:
        source: a CSV or Parquet file, a DataFrame or a dictionary with columns model, quality and sd; or a table, as a
            path (the folder that `jaxroute table` writes, or results of an evaluation tool) or a ``Table``; or
            comparisons, with columns model_a, model_b and winner; None: nothing is known.
        models: K names of the log. Names meet without provider and date where they do not meet as they are.
        cost_of: of a new model for which the file has no cost, see ``by_tokens``; None: the file has the costs.

    Returns:
        Known.

    Raises:
        InputError: a missing column, a bad number, a model that stands there twice, a new model whose cost is unknown,
            or fewer than two models of the log; names file, row and column.

    Example:
        >>> known = load({"model": ["a", "b"], "quality": [0.5, 0.7], "sd": [0.05, 0.1]}, ["b", "a", "c"])
        >>> print(known.prior.quality, known.prior.deviation, known.missing)
        [0.7 0.5 0.6] [0.1  0.05 0.3 ] ('c',)
    """
    if source is None:
        return Known(None)
    compared = standings.told(source)
    of_table = not compared and _is_table(source)
    reader = _of_comparisons if compared else _of_table if of_table else _of_file
    names, quality, deviation, cost, where = reader(source)
    at = np.array([_place(model, names) for model in models])
    met = at >= 0
    if met.sum() < 2:
        raise InputError(
            f"{where}: names {int(met.sum())} of the log's models ({', '.join(models)}); a prior needs at least two"
        )
    mean = np.where(met, quality[at], quality[at[met]].mean())
    sd = np.where(met, deviation[at], UNNAMED * deviation[at[met]].max())
    missing = tuple(m for m, here in zip(models, met, strict=True) if not here)
    left = [i for i in range(len(names)) if i not in at]
    if of_table or compared:
        return Known(Prior(mean, sd), missing, tuple(names[i] for i in left))
    new = []
    for i in left:
        if _place(names[i], models) >= 0:
            raise InputError(
                f"{where}, column 'model', row {i} ({names[i]}): a model of the log under another name; keep one row"
            )
        paid: float | None = float(cost[i])
        if np.isnan(cost[i]):
            paid = None if cost_of is None else cost_of(names[i])
        if paid is None:
            known = "" if cost_of is None else f"or its price ({here('prices=', '--prices')}) for a log with tokens, "
            raise InputError(
                f"{where}, row {i} ({names[i]}): the log never shows this model, so its cost is unknown; give its mean "
                "cost of a request in a column cost of the prior, "
                f"{known}or drop the row"
            )
        new.append(NewModel(names[i], float(quality[i]), float(deviation[i]), paid))
    return Known(Prior(mean, sd), missing, new=tuple(new))


def _place(model: str, names: Sequence[str]) -> int:
    """Where a model stands among the names; -1: nowhere, or at several places without provider and date."""
    for short in (str, bare):
        places = [i for i, name in enumerate(names) if short(name) == short(model)]
        if len(places) == 1:
            return places[0]
    return -1


Read = tuple[list[str], np.ndarray, np.ndarray, np.ndarray, str]


def _is_table(source: Any) -> bool:
    if isinstance(source, str | os.PathLike):
        return Path(source).suffix not in (".csv", ".parquet")
    return isinstance(source, Table)


def _of_table(source: Any) -> Read:
    where = "the table" if isinstance(source, Table) else str(source)
    table = source if isinstance(source, Table) else harness.load(source, alone=True)
    answers = np.where(np.asarray(table.available), np.asarray(table.outcomes.quality), np.nan)
    kept = np.flatnonzero(np.isfinite(answers).any(0))
    ones = np.ones(len(kept))
    return [table.models[k] for k in kept], np.nanmean(answers[:, kept], 0), ones, np.nan * ones, where


def _of_comparisons(source: Any) -> Read:
    found = standings.load(source)
    where = str(source) if isinstance(source, str | os.PathLike) else "the comparisons"
    return list(found.models), found.quality, found.deviation, np.full(len(found.models), np.nan), where


def _frame(source: Any) -> Any:
    import pandas as pd

    try:
        return indexed(pd.DataFrame(source))
    except (ValueError, TypeError):
        raise refused("prior", source, "a file, a table, or columns model, quality and sd") from None


def _of_file(source: Any) -> Read:
    import pandas as pd

    path = isinstance(source, str | os.PathLike)
    where = str(source) if path else "the prior"
    frame = read(Path(source), as_text=("model",)) if path else _frame(source)
    need(frame, where, ("model", "quality", "sd"))
    names = text(frame, "model", where)

    def place(row: int, column: str) -> str:
        return f"{where}, column {column!r}, row {row} ({names[row]})"

    quality, deviation = (numbers(frame[column], column, place) for column in ("quality", "sd"))
    cost = numbers(frame["cost"], "cost", place) if "cost" in frame else np.full(len(frame), np.nan)
    refuse(pd.Series(names).duplicated().to_numpy(), lambda i: f"{place(i, 'model')}: stands there twice; keep one row")
    elo = f"; {ELO}" if (quality > LEAST_ELO).any() else ""
    refuse(~((quality >= 0) & (quality <= 1)), lambda i: f"{place(i, 'quality')}: {quality[i]} is not in [0, 1]{elo}")
    odd = ~(np.isfinite(deviation) & (deviation > 0))
    refuse(odd, lambda i: f"{place(i, 'sd')}: {deviation[i]} is not a number above 0")
    odd = ~np.isnan(cost) & ~(np.isfinite(cost) & (cost > 0))
    refuse(odd, lambda i: f"{place(i, 'cost')}: {cost[i]} is not a number above 0")
    return list(names), quality, deviation, cost, where
