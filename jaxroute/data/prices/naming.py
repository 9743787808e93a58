"""Under which name a price table has a model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

BEDROCK = re.compile(r"^(?:(?:us|eu|apac|global)\.)?(?:anthropic|amazon|meta|mistral|cohere|deepseek|openai)\.", re.I)
DEPLOYED = re.compile(r"-v\d+:\d+$")
DATE = re.compile(r"[-@:](20\d\d-?[01]\d-?[0-3]\d|latest)$")


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
