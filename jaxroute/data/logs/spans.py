"""What spans and log records of OpenTelemetry say, as entries.

``layouts`` opens them; what their attributes mean is said by conventions (``entries.Convention``), one for each
instrumentation.

Reference:
    OpenTelemetry, "Semantic conventions for generative AI".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from jaxroute.data.logs import coding_agents
from jaxroute.data.logs.entries import (
    CARRIED,
    ELSE,
    FAILED,
    OTHER,
    Asked,
    Convention,
    Entry,
    Judgement,
    Row,
    carried,
    first,
    named,
    own,
)
from jaxroute.data.logs.entries import read_prompt as _read_prompt
from jaxroute.data.logs.layouts import GROUP, NAME, START, Span, attributes_of, listed, opened, spans_of, took, typed
from jaxroute.data.records import parsed

MESSAGES = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")
DETAILS, MODEL = "gen_ai.client.inference.operation.details", ("gen_ai.request.model", "gen_ai.response.model")
EVALUATION = "gen_ai.evaluation.result"
EMBEDDINGS = ".embeddings"
"""How Langfuse's client in JavaScript ends the names of calls for embeddings, which it calls generations."""


def reader(conventions: Sequence[Convention]) -> Callable[[Row, Asked], Iterator[Entry]]:
    """The function that reads a record's entries, spans being told apart by the conventions."""

    def entries(record: Row, asked: Asked) -> Iterator[Entry]:
        for found in spans_of(record):
            yield from entries_of(found, conventions, asked)

    return entries


def entries_of(record: Row, conventions: Sequence[Convention], asked: Asked) -> Iterator[Entry]:
    """What a span says: the request that it is, and the evaluations in its events; or why it is none."""
    span = opened(record)
    if span.event and (notes := list(_notes(span))):
        yield from notes
        return
    place, convention = next(((i, one) for i, one in enumerate(conventions) if one.told(span.attributes)), (0, None))
    attributes = span.attributes
    called = str(first(record, NAME))
    if convention is None:
        fields, left = {"group": first(attributes, GROUP)}, ELSE
    else:
        fields = named(attributes, convention.names) | convention.more(attributes)
        left = convention.left(attributes) or (OTHER if called.endswith(EMBEDDINGS) else "")
    if not CARRIED.keys().isdisjoint(attributes):
        fields |= carried(attributes)
    scores = list(chain.from_iterable(map(_scores, span.events)))
    if "gen_ai.evaluation.score.value" in attributes:
        scores.append(
            (str(attributes.get("gen_ai.evaluation.name") or ""), attributes["gen_ai.evaluation.score.value"])
        )
    if left or convention is None:
        yield Entry(fields | own(record, asked, attributes), left, span.key, span.parent)
        for name, value in scores:
            yield Entry({}, judged=Judgement(_ids(span), name, value, first(record, START)))
        return
    if span.failed:
        fields["failed"] = True
    key = fields.pop("key", span.key)
    fields["timestamp"] = first(record, START) or attributes.get("event.timestamp")
    if fields.get("latency") is None and not fields.get("stream"):
        fields["latency"] = took(record)
    fields["spare_id"] = span.id
    fields["trace"], fields["told"] = hash(span.trace) if span.trace else 0, place
    fields["called"] = hash(called)
    if fields.get("request_id") is None:
        fields["request_id"] = span.id
    fields |= own(record, asked, attributes)
    _read_prompt(fields, chain(convention.chat(attributes), _in_events(span)), asked)
    if scores:
        fields["scores"] = scores + fields.get("scores", [])
    yield Entry(fields, FAILED if fields.get("failed") else "", key, span.parent)


def _notes(span: Span) -> Iterator[Entry]:
    """A log record that belongs to a span: messages of the chat, or an evaluation of the answer."""
    body = parsed(span.record.get("body", span.record.get("Body")))
    body = typed(body) if isinstance(body, dict) and len(body) == 1 and next(iter(body)).endswith("alue") else body
    body = body if isinstance(body, dict) else {}
    if span.event in MESSAGES:
        content = first(body, ("content", "parts"))
        content = span.attributes.get("content") if content is None else content
        yield Entry({}, key=span.key, said=[{"role": span.event.split(".")[1], "content": parsed(content)}])
    elif span.event == DETAILS and first(span.attributes, MODEL) is None:  # the span alone says who was asked
        said = listed(span.attributes.get("gen_ai.input.messages"))
        yield Entry({}, key=span.key, said=[one for one in said if isinstance(one, dict)])
    elif span.event == EVALUATION:
        for name, value in _scores({"name": EVALUATION, "attributes": span.attributes}):
            yield Entry({}, judged=Judgement(_ids(span), name, value, first(span.record, START)))
    elif (wrote := coding_agents.prompted(span.attributes)) is not None:
        yield Entry({}, key=coding_agents.turn(span.attributes), said=wrote)
    elif span.event.startswith("gen_ai.") and span.event.endswith((".message", ".choice")):
        yield Entry({}, key=span.key, said=[])


def _ids(span: Span) -> dict[str, str]:
    """By which the request may be known that an evaluation is of."""
    ids = {"request": span.attributes.get("gen_ai.response.id"), "span": span.id, "trace": span.trace}
    return {kind: value for kind, value in ids.items() if isinstance(value, str) and value}


def _scores(event: Row) -> Iterator[tuple[str, Any]]:
    """(name, value) of an evaluation, where it came to a number."""
    if event.get("name") == EVALUATION:
        attributes = attributes_of(event.get("attributes"))
        value = attributes.get("gen_ai.evaluation.score.value")
        if value is not None:
            yield str(attributes.get("gen_ai.evaluation.name") or ""), value


def _in_events(span: Span) -> Iterator[Any]:
    """Messages in a span's events, as the older conventions have them: all in one of them, or one each."""
    said = []
    for event in span.events:
        name, attributes = str(event.get("name")), attributes_of(event.get("attributes"))
        if name in MESSAGES:
            content = first(attributes, ("content", "gen_ai.event.content"))
            said.append({"role": name.split(".")[1], "content": parsed(content)})
        elif whole := first(attributes, ("gen_ai.input.messages", "gen_ai.prompt")):
            yield whole
    yield said
