"""Price tables: US dollars per million tokens, by model.

The packaged table is the file prices.csv beside this module. Every price file has the same columns:

    model, input, output                    US dollars per million tokens
    cached_input, cache_write, reasoning    the same, if they differ from input and output (optional)
    source, date                            origin and date of the price (optional)

A file in the layout of LiteLLM's price map (``model_prices_and_context_window.json``) is read as it is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute import settings
from jaxroute.data import files
from jaxroute.data.frames import need, numbers, read, refuse, text
from jaxroute.types import InputError

PRICES = Path(__file__).with_name("prices.csv")
OPTIONAL = ("cached_input", "cache_write", "reasoning")
MAP = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
}


class Price(NamedTuple):
    """US dollars per million input and output tokens, with the origin and date of the price.

    cached_input, cache_write, reasoning: NaN if they are billed like input, input and output.
    """

    input: float
    output: float
    source: str = ""
    date: str = ""
    cached_input: float = math.nan
    cache_write: float = math.nan
    reasoning: float = math.nan


def load(path: str | os.PathLike[str] | None = None) -> dict[str, Price]:
    """Prices by model.

    Args:
        path: a .csv or .parquet file with the columns above, or LiteLLM's price map as .json. Default: the packaged
            table.

    Returns:
        model -> Price.

    Raises:
        InputError: a column is missing, a model occurs twice, or a price is not a number of at least 0; names file,
            column and row.

    Example:
        >>> from jaxroute.data.prices.naming import find
        >>> load()["openai-gpt-4o-mini"][:2], find(load(), "openai/gpt-4o-mini-2024-07-18")[:2]
        ((0.15, 0.6), (0.15, 0.6))
    """
    source = str(path or PRICES)
    if source.endswith(".json"):
        return _price_map(Path(source).expanduser())
    frame = read(Path(source).expanduser(), ("model", "source", "date"))
    need(frame, source, ("model", "input", "output"))
    names = text(frame, "model", source)
    refuse(
        frame["model"].duplicated().to_numpy(),
        lambda i: f"{source}, column 'model', row {i}: {names[i]!r} occurs twice; keep one price",
    )

    def dollars(name: str) -> np.ndarray:
        def place(i: int, column: str) -> str:
            return f"{source}, column {column!r}, row {i} (model {names[i]!r})"

        if name not in frame:
            return np.full(len(frame), np.nan)
        values = numbers(frame[name], name, place)
        given = ~np.isnan(values) if name in OPTIONAL else np.ones(len(values), bool)
        refuse(
            given & ~(np.isfinite(values) & (values >= 0)),
            lambda i: f"{place(i, name)}: {values[i]} is not a price; give US dollars per million tokens",
        )
        return values

    def words(name: str) -> list[str]:
        return frame[name].fillna("").astype(str).tolist() if name in frame else [""] * len(frame)

    required = zip(dollars("input").tolist(), dollars("output").tolist(), strict=True)
    optional = zip(*(dollars(name).tolist() for name in OPTIONAL), strict=True)
    rows = zip(required, zip(words("source"), words("date"), strict=True), optional, strict=True)
    return {str(name): Price(*paid, *said, *apart) for name, (paid, said, apart) in zip(names, rows, strict=True)}


def listed(prices: Mapping[str, Any] | str | os.PathLike[str] | None) -> Any:
    """Prices by model as they are, or those of a file, or (``"default"``) of this package.

    Example:
        >>> listed({"own": (1, 2)}), listed("default")["gpt-4o"].input
        ({'own': (1, 2)}, 2.5)

    Raises:
        InputError: see ``load``; or a price of a mapping that is none.
    """
    if prices is None:
        return None
    if not isinstance(prices, Mapping):
        if not isinstance(prices, str | os.PathLike):
            raise settings.refused("prices", prices, "a price table: a file, 'default', or {model: (input, output)}")
        return load(None if prices == "default" else prices)
    for model, price in prices.items():
        if not isinstance(price, Price):
            _check_pair(model, price)
    return prices


def _check_pair(model: str, price: Any) -> None:
    name, rule = f"prices[{model!r}]", "(input, output), US dollars per million tokens"
    pair = settings.several(name, price, rule)[:2]
    try:
        settings.numbers(name, pair, "at least 0", lambda dollars: 0 <= dollars < math.inf)
    except InputError:
        pair = []
    if len(pair) < 2:
        raise settings.refused(name, price, rule)


def _price_map(path: Path) -> dict[str, Price]:
    """LiteLLM's price map, without the entries that have no price per token (images, speech)."""
    try:
        found = files.parse(files.text(path))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as a price map ({error}); write or copy it again") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds a {type(found).__name__}; a price map must be an object with models as keys")
    prices = {}
    for model, said in found.items():
        if model == "sample_spec" or not isinstance(said, dict) or not {MAP["input"], MAP["output"]} <= said.keys():
            continue
        price: dict[str, Any] = {}
        for name, key in MAP.items():
            try:
                value = math.nan if said.get(key) is None else 1e6 * float(said[key])
            except (TypeError, ValueError):
                value = -1.0
            if value < 0 or math.isinf(value) or (math.isnan(value) and name in ("input", "output")):
                raise InputError(
                    f"{path}, model {model!r}, {key}: {said[key]!r} is not a price; give US dollars per token"
                )
            price[name] = float(f"{value:.10g}")
        prices[model] = Price(**price, source=str(path))
    if not prices:
        raise InputError(
            f"{path}: no model has {MAP['input']} and {MAP['output']}; check that this is LiteLLM's price map"
        )
    return prices
