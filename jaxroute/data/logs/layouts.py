"""Records of OpenTelemetry's spans and logs in every layout, as spans with their attributes.

    to_json lines          one span a line: name, context, parent_id, start_time, attributes, events
    ConsoleSpanExporter    the same, printed over several lines
    OTLP JSON              resourceSpans or resourceLogs, many a line (the collector's file exporter); also with the
                           names of the protocol, resource_spans
    tables                 a column an attribute, ``attributes.x`` or ``x``, or a column ``attributes`` of structs, maps
                           or JSON texts; ids as ``context.span_id`` or ``span_id``; also ClickHouse's exporter's names
    records in memory      what the library for JavaScript holds, as Gemini CLI writes it to a file

Reference:
    OpenTelemetry, "OTLP specification".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from jaxroute.data.logs.convert import seconds
from jaxroute.data.logs.entries import Row, first, keyed
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
PARTS = "hrTime"
"""Seconds and nanoseconds of a log record, as OpenTelemetry's library for JavaScript holds it in memory."""
LENGTH = "Duration"
"""Nanoseconds, where ClickHouse's exporter writes no end."""
TRACE = ("traceId", "trace_id", "context.trace_id", "TraceId")
SPAN = ("spanId", "span_id", "context.span_id", "SpanId")
PARENT = ("parentSpanId", "parent_span_id", "parent_id", "ParentSpanId")
SCOPE = "instrumentationScope"
SCOPED = "otel.scope.name"
"""The attribute in which OpenTelemetry has the name of what wrote a span, where a layout has no other place for it."""
GIVEN = "traceloop.association.properties."
GROUP = ("user.id", "enduser.id", GIVEN + "user_id", "gen_ai.conversation.id", "session.id",
         *(GIVEN + name for name in ("conversation_id", "session_id", "chat_id", "thread_id")))  # fmt: skip
"""Whose a span is, by OpenTelemetry's names and Traceloop's: a user, else a conversation."""
HOLDERS = ("attributes", "SpanAttributes", "LogAttributes", "span_attributes")
SCALARS = {"stringValue", "intValue", "doubleValue", "boolValue"}
EVENT = ("eventName", "event_name")
NAME = ("name", "SpanName", "span_name")
OTHERS = ("scope", SCOPE, PARTS, "ScopeName", "events", "context", "status", "status_code", "StatusCode", "body",
          "Body", "event.name")  # fmt: skip
COLUMNS = {*START, *END, LENGTH, *TRACE, *SPAN, *PARENT, *HOLDERS, *EVENT, *NAME, *OTHERS, *(name for name, *_ in OTLP)}
ROOTS = ("gen_ai", "ai", "llm", "openinference", "langfuse", "mlflow", "mastra", "traceloop", "litellm", "input",
         "embedding")  # fmt: skip
OWNERS = ("gen_ai.", "llm.", "openinference.", "langfuse.", "mlflow.", "logfire.", "langsmith.", "mastra.", "haystack.",
          "ai.operationId")  # fmt: skip
"""How attributes begin by which the columns of a table are told to be spans."""
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
    if any(holder in names for holder in HOLDERS) and any(start in names for start in (*START, PARTS)):
        return True
    return any(name.removeprefix("attributes.").startswith(OWNERS) for name in names)


def reads(name: str) -> bool:
    """Whether a column of a table is looked at: each with a dot may be an attribute, whoever wrote it."""
    return name in COLUMNS or "." in name


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
    scope = first(record, ("scope", SCOPE))
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


def took(record: Row) -> float | None:
    """Seconds from a span's start to its end; None where it has no end, or one that is no later."""
    length = record.get(LENGTH)
    found = length / 1e9 if isinstance(length, int | float) else seconds(first(record, START), first(record, END))
    return found if found is not None and found > 0 else None


def _hexadecimal(value: Any) -> str:
    """An identifier as other records of the same span write it: no 0x, small letters."""
    return value.removeprefix("0x").lower() if isinstance(value, str) else ""
