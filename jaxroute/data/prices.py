"""Prices per million tokens, and costs computed from token counts.

The packaged table is the file prices.csv beside this module. Every price file has the same columns:

    model, input, output                    US dollars per million tokens
    cached_input, cache_write, reasoning    the same, if they differ from input and output (optional)
    source, date                            origin and date of the price (optional)

A file in the layout of LiteLLM's price map (``model_prices_and_context_window.json``) is read as it is.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
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
BEDROCK = re.compile(r"^(?:(?:us|eu|apac|global)\.)?(?:anthropic|amazon|meta|mistral|cohere|deepseek|openai)\.", re.I)
DEPLOYED = re.compile(r"-v\d+:\d+$")
APART = {"total": "total_tokens", "cached": "cached_tokens", "written": "cache_write_tokens",
         "reasoning": "reasoning_tokens"}  # fmt: skip
"""What ``bill`` counts apart, by the fields of a log."""
DATE = re.compile(r"[-@:](20\d\d-?[01]\d-?[0-3]\d|latest)$")


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


class Apart(NamedTuple):
    """Tokens [N] that are billed apart: input that is new, from a cache and written to one; output, and reasoning."""

    fresh: np.ndarray
    cached: np.ndarray
    written: np.ndarray
    output: np.ndarray
    reasoning: np.ndarray


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


def named(prices: Mapping[str, Any], model: str) -> str | None:
    """The name of a model in a price table: its own, or without the date, the provider or both; None if it has none.

    Where the table alone names a provider, a name that one provider has is found. Last, names are compared as
    ``spelled``; several that are then the same must have the same price.

    Example:
        >>> named({"gpt-4o": 1, "azure/gpt-4o": 2}, "azure/gpt-4o-2024-08-06"), named({"gpt-4o": 1}, "openai/gpt-4o")
        ('azure/gpt-4o', 'gpt-4o')
        >>> named({"mistral/large": 1}, "large"), named({"a/large": 1, "b/large": 2}, "large")
        ('mistral/large', None)
        >>> named({"claude-sonnet-4-5": 1}, "us.anthropic.Claude-Sonnet-4.5-20250929-v1:0")
        'claude-sonnet-4-5'
    """
    names = [model, DATE.sub("", model)]
    for name in list(names):
        parts = name.split("/")
        names += ["/".join(parts[k:]) for k in range(1, len(parts))]
    if (found := next((name for name in names if name in prices), None)) is not None:
        return found
    offered = [name for name in prices if name.rpartition("/")[2] in names[:2]]
    if not offered:
        offered = [name for name in prices if spelled(name) == spelled(model)]
        if len({tuple(prices[name][:2]) if isinstance(prices[name], tuple) else name for name in offered}) == 1:
            return offered[0]
    return offered[0] if len(offered) == 1 else None


def spelled(name: str) -> str:
    """A model's name without provider, region, date and version of the deployment, in one spelling.

    Example:
        >>> spelled("openrouter/anthropic/Claude-Sonnet-4.5"), spelled("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
        ('claude-sonnet-4-5', 'claude-sonnet-4-5')
        >>> spelled("Mixtral-8x7B-Instruct-v0.1") == spelled("Mixtral-8x7B-Instruct-v0.3")
        False
    """
    short = name.rpartition("/")[2].strip()
    short = BEDROCK.sub("", short)
    return re.sub(r"[\s._]+", "-", DATE.sub("", DEPLOYED.sub("", short)).lower())


def close(prices: Mapping[str, Any], model: str) -> list[str]:
    """Up to three names of a price table that look like a model's."""
    known = {spelled(name): name for name in prices}
    return [known[name] for name in difflib.get_close_matches(spelled(model), known, 3)]


def find(prices: Mapping[str, Any], model: str) -> Any:
    """The price of a model under one of the names that ``named`` allows; None if there is none."""
    name = named(prices, model)
    return None if name is None else prices[name]


def bill(
    price: Sequence[Any],
    input_tokens: np.ndarray,
    output_tokens: np.ndarray,
    *,
    total: np.ndarray | float = np.nan,
    cached: np.ndarray | float = np.nan,
    written: np.ndarray | float = np.nan,
    reasoning: np.ndarray | float = np.nan,
) -> np.ndarray:
    """US dollars of N answers of one model.

        output = max(output tokens, total - input tokens)      (reasoning tokens may be counted in the total only)
        cost   = ((input - cached - written) p_input + cached p_cached + written p_written
                  + (output - reasoning) p_output + reasoning p_reasoning) / 1e6

    If there are more cached and written tokens than input tokens, they are additional, as Anthropic counts them. A part
    without its own price is billed like the rest.

    Args:
        price: (input, output, ...) per million tokens, or a Price.
        input_tokens, output_tokens: counts [N], NaN where unknown.
        total, cached, written, reasoning: counts [N]; NaN where unknown, and then not billed separately.

    Returns:
        float64 [N], NaN where the input or output count is NaN.

    Example:
        >>> bill(Price(1.0, 4.0), np.array([92.0]), np.array([79.0]), total=np.array([2671.0])).round(6)
        array([0.010408])
    """
    known = Price(*price) if len(price) == len(Price._fields) else Price(price[0], price[1])
    of = apart(input_tokens, output_tokens, total=total, cached=cached, written=written, reasoning=reasoning)

    def or_else(own: float, other: float) -> float:
        return other if math.isnan(own) else own

    spent = of.fresh * known.input + of.cached * or_else(known.cached_input, known.input)
    spent = spent + of.written * or_else(known.cache_write, known.input) + of.output * known.output
    return (spent + of.reasoning * or_else(known.reasoning, known.output)) / 1e6


def apart(
    input_tokens: np.ndarray,
    output_tokens: np.ndarray,
    *,
    total: np.ndarray | float = np.nan,
    cached: np.ndarray | float = np.nan,
    written: np.ndarray | float = np.nan,
    reasoning: np.ndarray | float = np.nan,
) -> Apart:
    """The tokens of N answers as ``bill`` bills them, each in one part; a bill is linear in these, and in their means.

    Args and NaN: as for ``bill``.

    Example:
        >>> of = apart(np.array([92.0]), np.array([79.0]), total=np.array([2671.0]), cached=np.array([50.0]))
        >>> print(*(part.tolist() for part in of))
        [42.0] [50.0] [0.0] [2579.0] [0.0]
    """
    inputs, outputs = np.asarray(input_tokens, float), np.asarray(output_tokens, float)
    parts = (np.nan_to_num(np.asarray(y, float)) for y in (cached, written, reasoning))
    read, kept, thought = (np.broadcast_to(part, inputs.shape) for part in parts)
    beside = read + kept > inputs
    fresh = inputs - np.where(beside, 0, read + kept)
    beyond = np.asarray(total, float) - inputs - np.where(beside, read + kept, 0)
    outputs = np.where(beyond > outputs, beyond, outputs)  # never where one of them is unknown
    thought = np.fmin(thought, outputs)
    return Apart(fresh, read, kept, outputs - thought, thought)


def cost(
    model: str, input_tokens: np.ndarray, output_tokens: np.ndarray, prices: Mapping[str, Price], source: str
) -> np.ndarray:
    """US dollars of N answers of one model, from the input and output counts alone; see ``bill``.

    Args:
        model: the model whose price is used; see ``find``.
        input_tokens, output_tokens: counts [N], NaN where unknown.
        prices: see ``load``.
        source: name of the data in the message.

    Returns:
        float64 [N], NaN where a count is.

    Raises:
        InputError: there is no price for the model.

    Example:
        >>> cost("m", np.array([1000.0]), np.array([500.0]), {"m": Price(2.0, 4.0, "list", "2025-01")}, "answers")
        array([0.004])
    """
    if (price := find(prices, model)) is None:
        raise InputError(
            f"{source}: there is no price for model {model!r}; add it to {PRICES.name} or give a price table"
        )
    return bill(price, input_tokens, output_tokens)
