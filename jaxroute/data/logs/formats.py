"""Logs as gateways and tracers write them, a record at a time, into the fields of people's logs.

    LiteLLM         rows of its spend logs, or its standard logging payload: one record a request
    OpenTelemetry   spans with GenAI attributes: one span a record (as SDKs print them, or a table with a column an
                    attribute), or OTLP JSON (resourceSpans or resourceLogs), many a record

Neither knows what an answer was worth, unless an evaluation was recorded with the span: map a field of the record
to quality, as ``metadata.feedback``, or leave it missing.

Reference:
    LiteLLM, "StandardLoggingPayload Specification" and schema.prisma, model LiteLLM_SpendLogs;
    OpenTelemetry, "Semantic conventions for generative client AI spans".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from jaxroute.data.messages import text_of
from jaxroute.data.records import at, outermost, parsed
from jaxroute.types import InputError

FORMATS = ("plain", "litellm", "opentelemetry")

Row = tuple[dict[str, Any] | None, str]
"""Fields of people's logs and "", or None and why the record is no answered request."""

# The first that is there counts. A router chooses a model group; `model` is the deployment that LiteLLM took from it.
LITELLM = {
    "model": ("model_group", "model"),
    "cost": ("response_cost", "spend"),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "timestamp": ("startTime",),
    "group": ("end_user", "session_id", "trace_id"),
    "request_id": ("request_id", "id"),
}
LITELLM_READ = ("messages", "proxy_server_request", "call_type", "status", "cache_hit", "metadata")
LITELLM_CALLS = ("completion", "responses", "messages", "generate_content")

OPENTELEMETRY = {
    "model": ("gen_ai.request.model", "gen_ai.response.model"),
    "cost": ("gen_ai.usage.cost", "gen_ai.cost.total_cost"),  # not in the conventions; OpenLIT's and LiteLLM's names
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "group": ("user.id", "enduser.id", "gen_ai.conversation.id", "session.id"),
    "request_id": ("gen_ai.response.id",),
    "quality": ("gen_ai.evaluation.score.value",),
}
OPERATIONS = ("chat", "text_completion", "generate_content")
START = ("startTimeUnixNano", "start_time", "timeUnixNano", "timestamp")
OTLP = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
SPAN = (*START, "attributes", "events", "context", "status", "name", "spanId", "span_id", *(names[0] for names in OTLP))


def format_of(names: Collection[str]) -> str:
    """Which of ``FORMATS`` a file's columns, or a record's keys, belong to.

    Example:
        >>> format_of(["request_id", "spend", "model", "startTime"]), format_of(["prompt", "model", "quality", "cost"])
        ('litellm', 'plain')
    """
    if ("spend" in names or "response_cost" in names) and ("startTime" in names or "call_type" in names):
        return "litellm"
    spans = "attributes" in names and any(start in names for start in START)
    if any(outer in names for outer, _, _ in OTLP) or spans or any(name.startswith("gen_ai.") for name in names):
        return "opentelemetry"
    return "plain"


def wanted(names: Collection[str], also: Iterable[str]) -> list[str]:
    """The columns of a table that ``rows`` looks at; ``also``: fields that the caller maps."""
    known = {*LITELLM_READ, *SPAN}
    for mapping in (LITELLM, OPENTELEMETRY):
        known |= {name for several in mapping.values() for name in several}
    known |= {start for name in also if (start := outermost(name, names))}
    return [name for name in names if name in known or name.startswith(("gen_ai.", "attributes.", "error."))]


def rows(record: dict[str, Any], form: str, columns: Mapping[str, str]) -> Iterator[Row]:
    """What a record says, in the fields of people's logs.

    Args:
        record: as read.
        form: "litellm" or "opentelemetry".
        columns: {field: name or dotted path in the record, or a span's attribute}; goes before the known names.

    Returns:
        A row for every request in the record, or why it is none.

    Example:
        >>> record = {"request_id": "1", "call_type": "acompletion", "spend": 0.01, "model_group": "small",
        ...     "startTime": "2025-01-01T00:00:00Z", "messages": [{"role": "user", "content": "hi"}]}
        >>> [(row, why)] = rows(record, "litellm", {})
        >>> row["prompt"], row["model"], row["cost"]
        ('hi', 'small', 0.01)
    """
    if form == "litellm":
        yield _litellm(record, columns)
    elif batches := [names for names in OTLP if names[0] in record]:
        for names in batches:
            for span in _nested([record], names):
                yield _span(span, columns)
    else:
        yield _span(record, columns)


def _litellm(record: dict[str, Any], columns: Mapping[str, str]) -> Row:
    call = record.get("call_type")
    if isinstance(call, str) and call and not any(name in call for name in LITELLM_CALLS):
        return None, "other calls than for text"
    if record.get("status") == "failure":
        return None, "failed requests"
    if str(record.get("cache_hit")).lower() == "true":
        return None, "answers from a cache"
    row = {field: _first(record, names) for field, names in LITELLM.items()}
    # A proxy may keep the messages here, where the spend log leaves them out.
    row["prompt"] = text_of(record.get("messages")) or text_of(at(record, "proxy_server_request.messages"))
    return row | {field: at(record, name) for field, name in columns.items()}, ""


def _span(span: dict[str, Any], columns: Mapping[str, str]) -> Row:
    attributes = _attributes(span.get("attributes")) | {k: v for k, v in span.items() if v is not None and "." in k}
    attributes |= {k.removeprefix("attributes."): v for k, v in attributes.items() if k.startswith("attributes.")}
    events = [event for event in _list(span.get("events")) if isinstance(event, dict)]
    for event in events:
        attributes = _attributes(event.get("attributes")) | attributes
    if not any(name.startswith("gen_ai.") for name in attributes):
        return None, "spans of other things"
    named = _first(attributes, OPENTELEMETRY["model"])
    if not named or attributes.get("gen_ai.operation.name", "chat") not in OPERATIONS:
        return None, "other calls than for text"
    status = parsed(span.get("status"))
    code = status.get("code", status.get("status_code")) if isinstance(status, dict) else status
    if "error.type" in attributes or code == 2 or str(code).upper().endswith("ERROR"):
        return None, "failed requests"
    row = {field: _first(attributes, names) for field, names in OPENTELEMETRY.items()}
    row["prompt"] = text_of(attributes.get("gen_ai.input.messages")) or _older_prompt(attributes, events)
    row["timestamp"] = _first(span, START)
    context = parsed(span.get("context"))
    ids = {**(context if isinstance(context, dict) else {}), **span}
    row["request_id"] = row["request_id"] or _first(ids, ("spanId", "span_id"))
    return row | {field: at(attributes, name) for field, name in columns.items()}, ""


def _older_prompt(attributes: dict[str, Any], events: list[dict[str, Any]]) -> str | None:
    """The prompt by the names of conventions before 1.37: one attribute, numbered ones, or an event a message."""
    if whole := text_of(attributes.get("gen_ai.prompt")):
        return whole
    numbered: list[dict[str, Any]] = []
    while f"gen_ai.prompt.{len(numbered)}.content" in attributes:
        start = f"gen_ai.prompt.{len(numbered)}."
        content = parsed(attributes[start + "content"])
        numbered.append({"role": attributes.get(start + "role"), "content": content})
    said = [
        {"role": str(event["name"]).split(".")[1], **_attributes(event.get("attributes"))}
        for event in events
        if str(event.get("name")) in ("gen_ai.system.message", "gen_ai.user.message")
    ]
    return text_of(numbered) or text_of(said)


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes as a dictionary: it may be one, its JSON text, or OTLP's list of typed values."""
    value = parsed(value)
    if isinstance(value, list):
        pairs = [pair for pair in value if isinstance(pair, dict) and isinstance(pair.get("key"), str)]
        return {pair["key"]: _typed(pair.get("value")) for pair in pairs}
    return dict(value) if isinstance(value, dict) else {}


def _typed(value: Any) -> Any:
    """OTLP's AnyValue: {"stringValue": ...}, {"intValue": "12"}, {"arrayValue": {"values": [...]}}, ..."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(kind, inner)] = value.items()
    if kind == "arrayValue":
        return [_typed(item) for item in _list(inner.get("values") if isinstance(inner, dict) else None)]
    return _attributes(inner.get("values")) if kind == "kvlistValue" and isinstance(inner, dict) else inner


def _nested(inside: list[Any], names: Iterable[str]) -> list[dict[str, Any]]:
    """The objects in lists in objects in lists, by the names of the lists."""
    for name in names:
        inside = [item for outer in inside if isinstance(outer, dict) for item in _list(outer.get(name))]
    return [item for item in inside if isinstance(item, dict)]


def _list(value: Any) -> list[Any]:
    value = parsed(value)
    return value if isinstance(value, list) else []


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first of several that is there and not empty."""
    for name in names:
        value = values.get(name)
        if value is not None and not (isinstance(value, str) and not value):
            return value
    return None


def check(form: str) -> None:
    """Raise InputError unless the format is "auto" or one of ``FORMATS``."""
    if form not in ("auto", *FORMATS):
        raise InputError(f"log format {form!r} is unknown; use one of: auto, {', '.join(FORMATS)}")
