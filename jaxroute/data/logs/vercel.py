"""The AI SDK of Vercel: the spans of its ``experimental_telemetry``, and of ``LegacyOpenTelemetry`` since release 7.

Each request is a span ``ai.*.doGenerate`` or ``ai.*.doStream``; the span around it is the call of the program, whose
usage is the sum of its requests. From release 7 on its other spans follow OpenTelemetry's conventions.

Before release 6 the counts of input are those of the provider: Anthropic's and Bedrock's leave out what was read from
and written to the cache, OpenAI's and Google's include it. What the provider counted is in its metadata. The spans of
objects (``generateObject``) have no other counts in release 6 either.

Reference:
    Vercel, "AI SDK Core: Telemetry", and ``ai/src/telemetry`` of releases 4 to 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs import opentelemetry
from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import ELSE, OTHER, Convention, Row, carried, first, opened, ranked
from jaxroute.data.logs.usages import usage

OPERATION = "ai.operationId"
METADATA = "ai.telemetry.metadata."
COUNTS = "ai.usage."
DETAILS = COUNTS + "inputTokenDetails."
NAMES = {
    "asked": ("gen_ai.request.model",),
    "answered": ("gen_ai.response.model", "ai.response.model"),
    "input_tokens": (COUNTS + "inputTokens", "gen_ai.usage.input_tokens", COUNTS + "promptTokens"),
    "output_tokens": (COUNTS + "outputTokens", "gen_ai.usage.output_tokens", COUNTS + "completionTokens"),
    "total_tokens": (COUNTS + "totalTokens",),
    "cached_tokens": (DETAILS + "cacheReadTokens", COUNTS + "cachedInputTokens"),
    "cache_write_tokens": (DETAILS + "cacheWriteTokens",),
    "reasoning_tokens": (COUNTS + "outputTokenDetails.reasoningTokens", COUNTS + "reasoningTokens"),
    "group": (METADATA + "userId", *opentelemetry.NAMES["group"], METADATA + "sessionId"),
    "request_id": ("gen_ai.response.id", "ai.response.id"),
    "endpoint": (OPERATION,),
}
COUNTED = (("anthropic", "usage"), ("google", "usageMetadata"), ("vertex", "usageMetadata"))
"""Where the metadata of a provider has its own counts."""
APART = ("anthropic", "bedrock")
"""What is in the names of providers whose counts of input leave out the cache."""


def told(attributes: Row) -> bool:
    return str(attributes.get(OPERATION)).startswith("ai.")


def left(attributes: Row) -> str:
    _, _, call = str(attributes[OPERATION]).rpartition(".")
    return "" if call in ("doGenerate", "doStream") else OTHER if call.startswith("do") else ELSE


def more(attributes: Row) -> Row:
    """Of a call for text the counts that its provider's metadata has, and what the program's metadata carries; of
    another request its model.
    """
    if left(attributes):
        return {"asked": attributes.get("ai.model.id")} if left(attributes) == OTHER else {}
    return carried(attributes, METADATA) | _counts(attributes)


def _counts(attributes: Row) -> Row:
    if any(name.startswith(DETAILS) for name in attributes):
        return {}
    metadata = opened(attributes.get("ai.response.providerMetadata"))
    for provider, place in COUNTED:
        counted = usage(opened(metadata.get(provider)).get(place))
        if "input_tokens" in counted:
            return {"total_tokens": None} | counted
    if any(name in str(attributes.get("gen_ai.system")) for name in APART):
        return _with_cache(attributes, metadata)
    openai = opened(metadata.get("openai"))
    found = {"cached_tokens": openai.get("cachedPromptTokens"), "reasoning_tokens": openai.get("reasoningTokens")}
    return {field: value for field, value in found.items() if value is not None}


def _with_cache(attributes: Row, metadata: Row) -> Row:
    """Counts of input with what is beside them; unknown where a release cannot be told that has them inside."""
    beside = opened(opened(metadata.get("bedrock")).get("usage")) or opened(metadata.get("anthropic"))
    parts = {
        "cached_tokens": first({**attributes, **beside}, (COUNTS + "cachedInputTokens", "cacheReadInputTokens")),
        "cache_write_tokens": first(beside, ("cacheCreationInputTokens", "cacheWriteInputTokens")),
    }
    fresh = first(attributes, NAMES["input_tokens"])
    numbers = [number_or_nan(one) for one in (fresh, *parts.values()) if one is not None]
    if fresh is None or not any(numbers[1:]):
        return {}
    whole = None if "Object" in str(attributes[OPERATION]) else sum(numbers)
    return parts | {"input_tokens": whole, "total_tokens": None}


def chat(attributes: Row) -> Iterator[Any]:
    yield attributes.get("ai.prompt.messages")
    yield from opentelemetry.chat(attributes)  # where Traceloop's package has renamed them


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)
