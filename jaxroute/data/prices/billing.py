"""What answers cost, from their counts of tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data.prices.naming import find
from jaxroute.data.prices.table import PRICES, Price
from jaxroute.types import InputError

APART = {"total": "total_tokens", "cached": "cached_tokens", "written": "cache_write_tokens",
         "reasoning": "reasoning_tokens"}  # fmt: skip
"""What ``bill`` counts apart, by the fields of a log."""


class Apart(NamedTuple):
    """Tokens [N] that are billed apart: input that is new, from a cache and written to one; output, and reasoning."""

    fresh: np.ndarray
    cached: np.ndarray
    written: np.ndarray
    output: np.ndarray
    reasoning: np.ndarray


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

    Cached and written tokens are additional, as Anthropic and Bedrock count them, if there are more of them than input
    tokens, or if the total is the sum of all four. A part without its own price is billed like the rest.

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
    four = np.where(thought > outputs, np.nan, inputs + outputs + read + kept)  # then reasoning is what is beside them
    beside = (read + kept > inputs) | (read + kept > 0) & (np.asarray(total, float) == four)
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
