"""Mastra's spans, as its exporter for OpenTelemetry writes them.

A request is a span of type ``model_inference``, with what it used. Its messages are in the span of type ``model_step``
around it, one for each turn of an agent; the spans around these are the agent's.

Reference:
    Mastra, "AI tracing": types of spans, and its package ``@mastra/otel-exporter``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs import opentelemetry
from jaxroute.data.logs.entries import Convention, Row, opened, ranked

TYPE = "mastra.span.type"
STEP = "model_step"
METADATA = "mastra.metadata."
GROUP = (METADATA + "userId", *opentelemetry.NAMES["group"], METADATA + "sessionId")


def told(attributes: Row) -> bool:
    return TYPE in attributes


def left(attributes: Row) -> str:
    return "" if attributes[TYPE] == STEP else opentelemetry.left(attributes)


def more(attributes: Row) -> Row:
    """The model of a turn, and whether it failed, which its span says by an empty answer alone."""
    if attributes[TYPE] != STEP:
        return {}
    answer = opened(attributes.get(f"mastra.{STEP}.output"))
    asked = opened(attributes.get(METADATA + "modelMetadata")).get("modelId")
    return {"asked": asked, "failed": bool(answer) and not any(answer.values())}


def chat(attributes: Row) -> Iterator[Any]:
    yield attributes.get(f"mastra.{STEP}.input")
    yield from opentelemetry.chat(attributes)


CONVENTION = Convention(told, left, ranked({**opentelemetry.NAMES, "group": GROUP}), more, chat)
