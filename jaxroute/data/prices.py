"""Prices per million tokens, and the cost of an answer from its token counts.

The table is the file prices.csv beside this module: model, input, output (US dollars per million tokens), source
and date. A price that changes is a change of that file, or of a file of the same columns that is given instead.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxroute.data.frames import need, numbers, read, refuse, text
from jaxroute.types import InputError

PRICES = Path(__file__).with_name("prices.csv")


class Price(NamedTuple):
    """US dollars per million tokens read and written, with where and when that was the price."""

    input: float
    output: float
    source: str
    date: str


def load(path: str | os.PathLike[str] | None = None) -> dict[str, Price]:
    """Prices by model.

    Args:
        path: a .csv or .parquet file of columns model, input, output, source, date. Default: the packaged table.

    Returns:
        model -> Price.

    Raises:
        InputError: a column that is missing, a model that occurs twice, or a price that is not a number of at
            least 0; names file, column and row.

    Example:
        >>> load()["openai-gpt-4o-mini"][:2]
        (0.15, 0.6)
    """
    source = str(path or PRICES)
    frame = read(Path(path or PRICES).expanduser(), ("model", "source", "date"))
    need(frame, source, ("model", *Price._fields))
    names = text(frame, "model", source)
    refuse(
        frame["model"].duplicated().to_numpy(),
        lambda i: f"{source}, column 'model', row {i}: {names[i]!r} occurs twice; keep one price",
    )

    def dollars(name: str) -> np.ndarray:
        def place(i: int, column: str) -> str:
            return f"{source}, column {column!r}, row {i} (model {names[i]!r})"

        values = numbers(frame[name], name, place)
        refuse(
            ~(np.isfinite(values) & (values >= 0)),
            lambda i: f"{place(i, name)}: {values[i]} is not a price; give US dollars per million tokens",
        )
        return values

    rows = zip(
        dollars("input").tolist(),
        dollars("output").tolist(),
        text(frame, "source", source),
        text(frame, "date", source),
        strict=True,
    )
    return {str(name): Price(*row) for name, row in zip(names, rows, strict=True)}


def cost(
    model: str, input_tokens: np.ndarray, output_tokens: np.ndarray, prices: dict[str, Price], source: str
) -> np.ndarray:
    """US dollars of N answers of one model.

        cost = (input tokens * input price + output tokens * output price) / 1e6

    Args:
        model: whose price to use.
        input_tokens, output_tokens: counts [N], NaN where unknown.
        prices: see ``load``.
        source: what to call the data in the message.

    Returns:
        float64 [N], NaN where a count is.

    Raises:
        InputError: no price for the model.

    Example:
        >>> cost("m", np.array([1000.0]), np.array([500.0]), {"m": Price(2.0, 4.0, "list", "2025-01")}, "answers")
        array([0.004])
    """
    if model not in prices:
        raise InputError(f"{source}: no price for model {model!r}; add it to {PRICES.name} or give a price table")
    price = prices[model]
    return (np.asarray(input_tokens) * price.input + np.asarray(output_tokens) * price.output) / 1e6
