"""Pydantic Logfire's spans, and pydantic-ai's through it.

A request that is streamed is two records of Logfire: the span that ends when the stream begins, and a log when it has
ended, with usage, cost and the response's id. They need not share a trace, so the log is joined to the first span
before it that asked the same model the same and has no end yet.

Before release 5 the messages are in ``request_data`` (those of the responses interface in ``events``, with the answer),
details of the usage in ``response_data``, and no operation is named: a request with ``input`` is one for embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs import opentelemetry
from jaxroute.data.logs.entries import OTHER, Convention, Row, opened, ranked
from jaxroute.data.records import parsed

ENDED = "streaming response from"


def told(attributes: Row) -> bool:
    return "logfire.span_type" in attributes and opentelemetry.told(attributes)


def left(attributes: Row) -> str:
    if "gen_ai.operation.name" not in attributes and "input" in opened(attributes.get("request_data")):
        return OTHER
    return opentelemetry.left(attributes)


def more(attributes: Row) -> Row:
    """Which stream a record belongs to, by a number that is positive at its start and negative at its end; or its
    cached tokens, where no attribute of their own has them.
    """
    asked = attributes.get("request_data")
    if asked is None:
        return {}
    content = (asked, attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.request.model"))
    which = abs(hash(tuple(map(str, content)))) or 1
    ended = str(attributes.get("logfire.msg_template", "")).startswith(ENDED)
    open_ = "gen_ai.response.id" not in attributes and "gen_ai.usage.output_tokens" not in attributes
    if ended or open_:
        return {"stream": -which if ended else which}
    if "gen_ai.operation.name" in attributes:
        return {}
    usage = opened(attributes.get("response_data")).get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return {"cached_tokens": details.get("cached_tokens")} if isinstance(details, dict) else {}


def chat(attributes: Row) -> Iterator[Any]:
    yield from opentelemetry.chat(attributes)
    yield opened(attributes.get("request_data")).get("messages")
    events = parsed(attributes.get("events"))
    if isinstance(events, list) and events:
        answered = isinstance(events[-1], dict) and events[-1].get("role") == "assistant"
        yield events[:-1] if answered else events


CONVENTION = Convention(told, left, ranked(opentelemetry.NAMES), more, chat)
