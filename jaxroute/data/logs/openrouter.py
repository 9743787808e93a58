"""OpenRouter: its activity by request (CSV), to which its owner has added the prompts.

OpenRouter keeps no prompts: they come from one's own records, by ``generation_id``, which is the ``id`` of the
response. Of requests with a key of one's own, ``cost_total`` is what OpenRouter takes alone, and
``byok_usage_inference`` what the provider bills beside it. A variant of a model, such as ``free``, is a model.

Reference:
    OpenRouter, "Activity Export" and "BYOK".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import FAILED, Asked, Entry, Format, Row, own, read_prompt
from jaxroute.data.logs.gateway import LEFT

HELD = ("generation_id", "created_at", "model_permaslug", "variant", "cost_total", "byok_usage_inference",
        "tokens_prompt", "tokens_completion", "tokens_cached", "tokens_reasoning", "cancelled", "user",
        "finish_reason_normalized", "generation_time_ms", "messages")  # fmt: skip
COUNTS = {
    "input_tokens": "tokens_prompt",
    "output_tokens": "tokens_completion",
    "cached_tokens": "tokens_cached",
    "reasoning_tokens": "tokens_reasoning",
}
STANDARD = ("", "standard", "None")


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns are those of the activity."""
    return {"generation_id", "model_permaslug"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The request that a row is.

    Example:
        >>> row = {"generation_id": "g", "model_permaslug": "m", "cost_total": "0.01", "byok_usage_inference": "0.2"}
        >>> [entry] = entries(row | {"prompt": "hi"}, Asked({}))
        >>> round(entry.fields["cost"], 6)
        0.21
    """
    variant = str(record.get("variant") or "")
    fields: Row = {"answered": record.get("model_permaslug")}
    if variant not in STANDARD:
        fields["answered"] = f"{record.get('model_permaslug')}:{variant}"
    if number_or_nan(record.get("cancelled")) == 1:
        yield Entry(fields, LEFT)
        return
    taken = number_or_nan(record.get("generation_time_ms"))
    failed = record.get("finish_reason_normalized") == "error"
    parts = [number_or_nan(record.get(name)) for name in ("cost_total", "byok_usage_inference")]
    fields |= {field: record.get(name) for field, name in COUNTS.items()} | {
        "cost": None if math.isnan(parts[0]) else parts[0] + (0 if math.isnan(parts[1]) else parts[1]),
        "timestamp": record.get("created_at"),
        "latency": taken / 1000 if taken > 0 else None,
        "group": record.get("user"),
        "request_id": record.get("generation_id"),
        "failed": failed,
    }
    fields |= own({name: value for name, value in record.items() if name not in HELD}, asked, record)
    read_prompt(fields, [record.get("messages")], asked)
    yield Entry(fields, FAILED if failed else "")


FORMAT = Format(
    "openrouter",
    "OpenRouter's activity",
    detect,
    lambda name: name in HELD,
    entries,
    hint="OpenRouter's activity has no prompts; add a column prompt from your own records, by generation_id",
)
