"""The tokens of a usage object, by anyone's names."""

from __future__ import annotations

import re
from typing import Any

from jaxroute.data.logs.entries import Row, first
from jaxroute.data.records import parsed


def usage(counts: Any) -> Row:
    """Tokens of a usage object by anyone's names: OpenAI's, Anthropic's, Gemini's, LiteLLM's, Langfuse's or MLflow's.

    Input includes what was cached and written, and output the reasoning, as ``prices.bill`` counts them. Langfuse's
    ``input`` and ``output`` leave out the parts beside them, Anthropic's ``input_tokens`` what is cached, and
    Gemini's ``candidatesTokenCount`` the reasoning. Where a total is given with Anthropic's names, a tool has added
    them up already.

    Example:
        >>> usage({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}})
        {'input_tokens': 9, 'output_tokens': 2, 'cached_tokens': 4}
        >>> usage({"input": 5, "input_cache_read": 4, "output": 2, "total": 11})
        {'input_tokens': 9, 'output_tokens': 2, 'total_tokens': 11, 'cached_tokens': 4}
        >>> usage({"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2})
        {'input_tokens': 9, 'output_tokens': 2, 'cached_tokens': 4}
    """
    counts = parsed(counts)
    if not isinstance(counts, dict):
        return {}
    inside = [parsed(counts.get(name)) for name in DETAILS if counts.get(name)]
    flat = counts | {k: v for details in inside if isinstance(details, dict) for k, v in details.items()}
    for whole, parts in BESIDE.items():
        if isinstance(counts.get(whole), int | float) and first(counts, SUMS[whole]) is None:
            beside = {k: v for k, v in counts.items() if parts.match(k) and isinstance(v, int | float)}
            flat[whole] = counts[whole] + sum(beside.values())
            for field, kind in KINDS.items():
                if told := [value for name, value in beside.items() if kind.search(name)]:
                    flat[field] = sum(told)
    found = {field: first(flat, names) for field, names in USAGE.items()}
    return {field: value for field, value in found.items() if value is not None}


DETAILS = ("prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details")
USAGE = {
    "input_tokens": ("prompt_tokens", "input_tokens", "input", "promptTokenCount"),
    "output_tokens": ("completion_tokens", "output_tokens", "output", "candidatesTokenCount"),
    "total_tokens": ("total_tokens", "total", "totalTokenCount"),
    "cached_tokens": ("cached_tokens", "cache_read_input_tokens", "input_cached_tokens", "cachedContentTokenCount"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens",
                           "input_cache_creation"),
    "reasoning_tokens": ("reasoning_tokens", "output_reasoning_tokens", "thoughtsTokenCount"),
}  # fmt: skip
_CACHE = "cache_(?:read|creation)_input_tokens$"
BESIDE = {
    "input": re.compile(f"(?:input_(?!priority|tokens)|{_CACHE})"),
    "output": re.compile("output_(?!priority|tokens)"),
    "input_tokens": re.compile(_CACHE),
    "candidatesTokenCount": re.compile("thoughtsTokenCount$"),
}
"""Counts that leave out their parts, and the names of these beside them."""
SUMS = {
    "input": ("prompt_tokens", "input_tokens"),
    "output": ("completion_tokens", "output_tokens"),
    "input_tokens": ("total_tokens", "total", "prompt_tokens"),
    "candidatesTokenCount": (),
}
"""Names beside which a count of ``BESIDE`` is no such count."""
KINDS = {
    "cached_tokens": re.compile("cache_read|cached"),
    "cache_write_tokens": re.compile("cache_(?:creation|write)|ephemeral"),
    "reasoning_tokens": re.compile("reasoning"),
}
