"""Google's Agent Development Kit: the spans ``call_llm`` of its releases before 2, and of its telemetry schema 1.

The whole request and response are JSON texts in two attributes. Attributes beside them count what was thought of in no
output, and nothing of what was cached: the usage is read in the response. Later releases write spans that follow
OpenTelemetry's conventions, with the messages in log records beside them.

Reference:
    google-adk 1.18, ``google.adk.telemetry.tracing``, and the Gemini API's ``UsageMetadata``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs import opentelemetry
from jaxroute.data.logs.entries import Convention, Row, opened, ranked

REQUEST, RESPONSE = "gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response"
NAMES = opentelemetry.NAMES | {"group": ("gcp.vertex.agent.session_id", *opentelemetry.NAMES["group"])}
INPUT = ("prompt_token_count", "tool_use_prompt_token_count")
USAGE = {
    "output_tokens": "candidates_token_count",  # of Gemini without its thoughts, which the total has
    "total_tokens": "total_token_count",
    "cached_tokens": "cached_content_token_count",
    "reasoning_tokens": "thoughts_token_count",
}


def told(attributes: Row) -> bool:
    return REQUEST in attributes


def left(attributes: Row) -> str:
    calls = "gen_ai.operation.name" not in attributes and attributes.get("gen_ai.request.model")
    return "" if calls else opentelemetry.left(attributes)


def more(attributes: Row) -> Row:
    """The model that answered and the usage, where the response is written with them."""
    answer = opened(attributes.get(RESPONSE))
    counts = opened(answer.get("usage_metadata"))
    found = {field: counts.get(name) for field, name in USAGE.items()} | {"answered": answer.get("model_version")}
    if parts := [count for name in INPUT if isinstance(count := counts.get(name), int | float)]:
        found["input_tokens"] = sum(parts)
    return {field: value for field, value in found.items() if value is not None}


def chat(attributes: Row) -> Iterator[Any]:
    yield opened(attributes.get(REQUEST)).get("contents")
    yield from opentelemetry.chat(attributes)


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)
