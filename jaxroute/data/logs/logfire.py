"""Pydantic Logfire's spans, and pydantic-ai's through it.

A request that is streamed is two records of Logfire: the span that ends when the stream begins, and a log when it has
ended, with usage, cost and the response's id. They need not share a trace, so the log is joined to the first span
before it that asked the same model the same and has no end yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxroute.data.logs import opentelemetry, spans
from jaxroute.data.logs.entries import Convention, Format, Row, ranked

ENDED = "streaming response from"


def told(attributes: Row) -> bool:
    return "logfire.span_type" in attributes and opentelemetry.told(attributes)


def more(attributes: Row) -> Row:
    """Which stream a record belongs to: a number that is positive at its start and negative at its end."""
    asked = attributes.get("request_data")
    if asked is None:
        return {}
    content = (asked, attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.request.model"))
    which = abs(hash(tuple(map(str, content)))) or 1
    ended = str(attributes.get("logfire.msg_template", "")).startswith(ENDED)
    open_ = "gen_ai.response.id" not in attributes and "gen_ai.usage.output_tokens" not in attributes
    return {"stream": -which if ended else which} if ended or open_ else {}


CONVENTION = Convention(told, opentelemetry.left, ranked(opentelemetry.NAMES), more, opentelemetry.chat)


def format_of(conventions: Callable[[], Sequence[Convention]]) -> Format:
    """The format of Logfire's spans."""
    return Format(
        "logfire",
        "Logfire's spans",
        lambda names: any(name.startswith(("attributes.logfire.", "logfire.")) for name in names),
        opentelemetry.reads,
        spans.reader(conventions),
        CONVENTION,
    )
