"""Sentry: items that its package sends, a line each: spans of language models, and transactions with spans in them.

Its package keeps the last message of a chat alone, and 10,000 characters of it. Where LangChain is installed it
switches its integrations of OpenAI's and Anthropic's packages off, unless they are named in ``integrations``.

Reference:
    Sentry, "Span Protocol" and "Event Payloads"; sentry-sdk: ``sentry_sdk.ai.utils``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.entries import CUT, Asked, Entry, Row, opened
from jaxroute.data.records import parsed

MESSAGES = "gen_ai.request.messages"
LONGEST, MARK = 10_000, "..."
Reader = Callable[[Row, Asked], Iterator[Entry]]


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of a batch of spans, or of a transaction."""
    return {"version", "items"} <= set(names) or {"transaction", "spans", "contexts"} <= set(names)


def reader(read: Reader) -> Reader:
    """The function that reads a record's entries, spans being read by ``read``."""

    def entries(record: Row, asked: Asked) -> Iterator[Entry]:
        for span in spans_of(record):
            for entry in read(span, asked):
                if entry.fields.get("prompt") is not None and _cut(opened(span["attributes"]).get(MESSAGES)):
                    entry.fields["lost"] = CUT
                yield entry

    return entries


def spans_of(record: Row) -> Iterator[Row]:
    """The spans of a record as OpenTelemetry has them.

    Example:
        >>> span = {"span_id": "a", "status": "ok", "attributes": {"x": {"value": 1, "type": "integer"}}}
        >>> [one["attributes"] for one in spans_of({"version": 2, "items": [span]})]
        [{'x': 1}]
    """
    for item in layouts.listed(record.get("items")):
        span = opened(item)
        attributes = {name: opened(value).get("value") for name, value in opened(span.get("attributes")).items()}
        yield _span(span, attributes, span.get("end_timestamp"))
    whole = opened(opened(record.get("contexts")).get("trace"))
    user = {"user.id": opened(record.get("user")).get("id")}
    if whole:
        yield _span(record | whole, user | opened(whole.get("data")), record.get("timestamp"))
    for item in layouts.listed(record.get("spans")):
        yield _span(opened(item), user | opened(opened(item).get("data")), opened(item).get("timestamp"))


def _span(span: Row, attributes: Row, end: Any) -> Row:
    status = span.get("status") or opened(span.get("tags")).get("status")
    return {
        "trace_id": span.get("trace_id"),
        "span_id": span.get("span_id"),
        "parent_id": span.get("parent_span_id"),
        "name": span.get("name") or span.get("description"),
        "start_time": span.get("start_timestamp"),
        "end_time": end,
        "status": "OK" if status in (None, "ok") else "ERROR",
        "attributes": {name: value for name, value in attributes.items() if value is not None},
    }


def _cut(said: Any) -> bool:
    """Whether a text of the messages is as long as the package leaves one, with its mark at the end."""
    texts: list[Any] = []
    for message in layouts.listed(said):
        content = parsed(message.get("content")) if isinstance(message, dict) else message
        parts = content if isinstance(content, list) else [content]
        texts += [part.get("text") if isinstance(part, dict) else part for part in parts]
    return any(isinstance(text, str) and len(text) >= LONGEST and text.endswith(MARK) for text in texts)
