"""Spans and log records of OpenTelemetry in every layout, as entries.

    to_json lines          one span a line: name, context, parent_id, start_time, attributes, events
    ConsoleSpanExporter    the same, printed over several lines
    OTLP JSON              resourceSpans or resourceLogs, many a line (the collector's file exporter); also with the
                           names of the protocol, resource_spans
    tables                 a column an attribute, ``attributes.x`` or ``x``, or a column ``attributes`` of structs, maps
                           or JSON texts; ids as ``context.span_id`` or ``span_id``; also ClickHouse's exporter's names

What the attributes mean is said by conventions (``entries.Convention``), one for each instrumentation.

Reference:
    OpenTelemetry, "OTLP specification" and "Semantic conventions for generative AI".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from jaxroute.data.logs.convert import seconds
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
    first,
    keyed,
    named,
    own,
)
from jaxroute.data.logs.entries import read_prompt as _read_prompt
from jaxroute.data.records import parsed

OTLP = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resourceLogs", "scopeLogs", "logRecords"),
    ("resource_spans", "scope_spans", "spans"),
    ("resource_logs", "scope_logs", "log_records"),
    ("resourceSpans", "instrumentationLibrarySpans", "spans"),
)
START = ("startTimeUnixNano", "start_time_unix_nano", "start_time", "timeUnixNano", "time_unix_nano", "timestamp",
         "Timestamp", "observedTimeUnixNano", "observed_time_unix_nano", "observed_timestamp")  # fmt: skip
END = ("endTimeUnixNano", "end_time_unix_nano", "end_time")
LENGTH = "Duration"
"""Nanoseconds, where ClickHouse's exporter writes no end."""
TRACE = ("traceId", "trace_id", "context.trace_id", "TraceId")
SPAN = ("spanId", "span_id", "context.span_id", "SpanId")
PARENT = ("parentSpanId", "parent_span_id", "parent_id", "ParentSpanId")
SCOPED = "otel.scope.name"
"""The attribute in which OpenTelemetry has the name of what wrote a span, where a layout has no other place for it."""
HOLDERS = ("attributes", "SpanAttributes", "LogAttributes", "span_attributes")
SCALARS = {"stringValue", "intValue", "doubleValue", "boolValue"}
EVENT = ("eventName", "event_name")
NAME = ("name", "SpanName", "span_name")
OTHERS = ("scope", "ScopeName", "events", "context", "status", "status_code", "StatusCode", "body", "Body",
          "event.name")  # fmt: skip
COLUMNS = {*START, *END, LENGTH, *TRACE, *SPAN, *PARENT, *HOLDERS, *EVENT, *NAME, *OTHERS, *(name for name, *_ in OTLP)}
ROOTS = ("gen_ai", "ai", "llm", "openinference", "langfuse", "mlflow", "mastra", "traceloop", "litellm", "input",
         "embedding")  # fmt: skip
MESSAGES = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")
DETAILS, MODEL = "gen_ai.client.inference.operation.details", ("gen_ai.request.model", "gen_ai.response.model")
EVALUATION = "gen_ai.evaluation.result"
EMBEDDINGS = ".embeddings"
"""How Langfuse's client in JavaScript ends the names of calls for embeddings, which it calls generations."""
KIND = "openinference.span.kind"
KINDS = ("LLM", "CHAIN", "TOOL", "RETRIEVER", "EMBEDDING", "AGENT", "RERANKER", "GUARDRAIL", "EVALUATOR", "PROMPT")
"""What OpenInference calls kinds of spans; Phoenix's own records of spans have them outside the attributes."""


class Span(NamedTuple):
    """A span or a log record, whatever its layout. event: a log record's name, "" for a span."""

    record: Row
    attributes: Row
    events: list[Row]
    event: str
    failed: bool
    trace: str
    key: int
    parent: int
    id: str | None


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns, or a record's keys, are those of spans or log records."""
    if any(batch[0] in names for batch in OTLP):
        return True
    return any(holder in names for holder in HOLDERS) and any(start in names for start in START)


def reads(name: str) -> bool:
    """Whether a column of a table is looked at."""
    return name in COLUMNS or name.startswith(("attributes.", "error."))


def reader(conventions: Callable[[], Sequence[Convention]]) -> Callable[[Row, Asked], Iterator[Entry]]:
    """The function that reads a record's entries, spans being told apart by the conventions."""

    def entries(record: Row, asked: Asked) -> Iterator[Entry]:
        known = conventions()
        for found in spans_of(record):
            yield from entries_of(found, known, asked)

    return entries


def spans_of(record: Row) -> Iterator[Row]:
    """The spans and log records of a record, which may be a batch of them; each with the scope that it is in."""
    batched = False
    for names in OTLP:
        if names[0] in record:
            batched = True
            inside = [record]
            for name in names:
                inside = [
                    item | {"scope": outer["scope"]} if "scope" in outer else item
                    for outer in inside
                    for item in listed(outer.get(name))
                    if isinstance(item, dict)
                ]
            yield from inside
    if not batched:
        yield record


def entries_of(record: Row, conventions: Sequence[Convention], asked: Asked) -> Iterator[Entry]:
    """What a span says: the request that it is, and the evaluations in its events; or why it is none."""
    span = opened(record)
    if span.event and (notes := list(_notes(span))):
        yield from notes
        return
    place, convention = next(((i, one) for i, one in enumerate(conventions) if one.told(span.attributes)), (0, None))
    if convention is None:
        yield Entry({}, ELSE, span.key, span.parent)
        return
    attributes = span.attributes
    fields = named(attributes, convention.names)
    fields |= convention.more(attributes)
    if not CARRIED.keys().isdisjoint(attributes):
        fields |= {field: attributes[name] for name, field in CARRIED.items() if name in attributes}
    called = str(first(record, NAME))
    left = convention.left(attributes) or (OTHER if called.endswith(EMBEDDINGS) else "")
    if span.failed and not left:
        fields["failed"] = True
    elif left:
        yield Entry({name: fields.get(name) for name in ("model", "asked", "answered", "endpoint")}, left, span.key,
                    span.parent)  # fmt: skip
        return
    fields["timestamp"] = first(record, START)
    if fields.get("latency") is None and not fields.get("stream"):
        fields["latency"] = _took(record)
    fields["spare_id"] = span.id
    fields["trace"], fields["told"] = hash(span.trace) if span.trace else 0, place
    fields["called"] = hash(called)
    if fields.get("request_id") is None:
        fields["request_id"] = span.id
    fields |= own(record, asked, attributes)
    _read_prompt(fields, chain(convention.chat(attributes), _in_events(span)), asked)
    scores = [score for event in span.events for score in _scores(event)]
    if "gen_ai.evaluation.score.value" in attributes:
        scores.append(
            (str(attributes.get("gen_ai.evaluation.name") or ""), attributes["gen_ai.evaluation.score.value"])
        )
    if scores:
        fields["scores"] = scores + fields.get("scores", [])
    yield Entry(fields, FAILED if fields.get("failed") else "", span.key, span.parent)


def opened(record: Row) -> Span:
    """A record of any layout as a span."""
    attributes: Row = {}
    for holder in HOLDERS:
        if holder in record:
            attributes = attributes_of(record[holder])
            break
    for name, value in record.items():
        if "." in name and value is not None:
            attributes[name.removeprefix("attributes.")] = value
    scope = record.get("scope")
    if writer := scope.get("name") if isinstance(scope, dict) else record.get("ScopeName"):
        attributes.setdefault(SCOPED, writer)
    if record.get("span_kind") in KINDS:
        attributes.setdefault(KIND, record["span_kind"])
    context = record.get("context")
    if context is None:
        ids = record
    else:
        context = parsed(context)
        ids = {**context, **record} if isinstance(context, dict) else record
    shown = first(ids, SPAN)
    trace, own_id = _hexadecimal(first(ids, TRACE)), _hexadecimal(shown)
    parent = _hexadecimal(first(ids, PARENT))
    events = record.get("events")
    events = [one for one in listed(events) if isinstance(one, dict)] if events is not None else []
    event = first(record, EVENT) or attributes.get("event.name") or ""
    return Span(
        record,
        attributes,
        events,
        event if isinstance(event, str) else "",
        _failed(record, attributes),
        trace,
        *keyed(trace, own_id, parent if parent.strip("0") else ""),  # zeros are how some exporters write no parent
        shown if isinstance(shown, str) else None,
    )


def attributes_of(value: Any) -> Row:
    """Attributes as a dictionary of dotted names: it may be one, also nested, its JSON text, or OTLP's typed list."""
    value = parsed(value)
    if isinstance(value, list):
        said: Row = {}
        for pair in value:
            if isinstance(pair, dict) and isinstance(name := pair.get("key"), str):
                inner = pair.get("value")
                # The most frequent kind at once: there are a dozen attributes in each of a million spans.
                if isinstance(inner, dict) and "stringValue" in inner:
                    said[name] = inner["stringValue"]
                else:
                    said[name] = typed(inner)
        return said
    if not isinstance(value, dict):
        return {}
    found = dict(value)
    for root in ROOTS:
        if isinstance(found.get(root), dict):
            found |= _flat(found.pop(root), root)
    return found


def typed(value: Any) -> Any:
    """OTLP's AnyValue: {"stringValue": ...}, {"intValue": "12"}, {"arrayValue": {"values": [...]}}, ..."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(kind, inner)] = value.items()
    if kind in SCALARS:
        return inner
    if kind in ("arrayValue", "array_value"):
        return [typed(item) for item in listed(inner.get("values") if isinstance(inner, dict) else None)]
    if kind in ("kvlistValue", "kvlist_value"):
        return attributes_of(inner.get("values")) if isinstance(inner, dict) else None
    return inner


def listed(value: Any) -> list[Any]:
    """A list, or the list in a JSON text or an array; anything else is none."""
    value = parsed(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, list) else []


def _flat(nested: Row, start: str) -> Row:
    found: Row = {}
    for name, value in nested.items():
        found |= _flat(value, f"{start}.{name}") if isinstance(value, dict) else {f"{start}.{name}": value}
    return found


def _failed(record: Row, attributes: Row) -> bool:
    status = parsed(record.get("status"))
    code = first(status, ("code", "status_code")) if isinstance(status, dict) else status
    code = first(record, ("status_code", "StatusCode")) if code is None else code
    if "error.type" in attributes or attributes.get("langfuse.observation.level") == "ERROR":
        return True
    reasons = attributes.get("gen_ai.response.finish_reasons")
    if reasons is not None and "error" in listed(reasons):
        return True
    return code == 2 or (code is not None and str(code).upper().endswith("ERROR"))


def _took(record: Row) -> float | None:
    """Seconds from a span's start to its end; None where it has no end, or one that is no later."""
    length = record.get(LENGTH)
    found = length / 1e9 if isinstance(length, int | float) else seconds(first(record, START), first(record, END))
    return found if found is not None and found > 0 else None


def _hexadecimal(value: Any) -> str:
    """An identifier as other records of the same span write it: no 0x, small letters."""
    return value.removeprefix("0x").lower() if isinstance(value, str) else ""


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
            ids = {"request": span.attributes.get("gen_ai.response.id"), "span": span.id, "trace": span.trace}
            known = {kind: value for kind, value in ids.items() if isinstance(value, str) and value}
            yield Entry({}, judged=Judgement(known, name, value, first(span.record, START)))
    elif span.event.startswith("gen_ai.") and span.event.endswith((".message", ".choice")):
        yield Entry({}, key=span.key, said=[])


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
