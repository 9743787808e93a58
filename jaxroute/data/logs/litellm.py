"""LiteLLM: rows of its spend logs, its standard logging payload (one a line, one a file, or the generic callback's
batches), and the spans of its OpenTelemetry callback.

Which model: the one that LiteLLM's own router chose (``routing_decision``), else the model group, which is what a
router chooses; ``model`` is the deployment that LiteLLM took from the group. A span of the callback has the group
as ``litellm.model_group``.

Reference:
    LiteLLM, "StandardLoggingPayload Specification" and schema.prisma, model LiteLLM_SpendLogs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import opentelemetry
from jaxroute.data.logs.convert import seconds
from jaxroute.data.logs.entries import (
    CACHED,
    FAILED,
    OTHER,
    Asked,
    Convention,
    Entry,
    Format,
    Row,
    first,
    opened,
    own,
    ranked,
    read_prompt,
)
from jaxroute.data.logs.usages import usage
from jaxroute.data.records import at

# The first that is there counts.
NAMES = {
    "model": ("model_group", "model"),
    "paid": ("model",),
    "cost": ("response_cost", "spend"),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "total_tokens": ("total_tokens",),
    "latency": ("response_time",),
    "timestamp": ("startTime",),
    "group": ("end_user", "session_id", "trace_id"),
    "request_id": ("request_id", "id"),
    "spare_id": ("litellm_call_id",),
    "deployment": ("model_id",),
    "endpoint": ("call_type",),
}
HELD = (
    "endTime",
    "messages",
    "proxy_server_request",
    "status",
    "cache_hit",
    "metadata",
    "hidden_params",
    "trace_id",
    "session_id",
)
CACHE = ("litellm.cache_hit", "metadata.cache_hit")
"""By which a span says that its answer is from a cache: from release 1.110 on, and before."""
CALLS = ("completion", "responses", "messages", "generate_content")


def detect(names: Collection[str]) -> bool:
    return ("spend" in names or "response_cost" in names) and ("startTime" in names or "call_type" in names)


def reads(name: str) -> bool:
    return name in HELD or any(name in several for several in NAMES.values())


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """A payload or a row of the spend logs.

    Example:
        >>> record = {"request_id": "1", "call_type": "acompletion", "spend": 0.01, "model_group": "small",
        ...     "startTime": "2025-01-01T00:00:00Z", "messages": [{"role": "user", "content": "hi"}]}
        >>> [entry] = entries(record, Asked({}))
        >>> entry.fields["prompt"], entry.fields["model"], entry.fields["cost"]
        ('hi', 'small', 0.01)
    """
    fields = {field: first(record, names) for field, names in NAMES.items()}
    metadata = opened(record.get("metadata"))
    decision = opened(metadata.get("routing_decision"))
    if decision.get("routed_model"):
        fields["model"] = decision["routed_model"]
        fields["deployment"] = None  # of the routed group, not of the alias beside it
    call = fields["endpoint"]
    if isinstance(call, str) and call and not any(name in call for name in CALLS):
        yield Entry({"model": fields["model"], "endpoint": call}, OTHER)
        return
    if str(record.get("cache_hit")).lower() == "true":
        yield Entry({"model": fields["model"], "endpoint": call}, CACHED)
        return
    failed = (record.get("status") or metadata.get("status")) == "failure"
    fields["failed"] = failed
    fields |= usage(metadata.get("usage_object")) if metadata.get("usage_object") else {}
    fields |= {field: value for field in ("input_tokens", "output_tokens", "total_tokens")
               if (value := first(record, NAMES[field])) is not None}  # fmt: skip
    if fields["latency"] is None:
        fields["latency"] = seconds(record.get("startTime"), record.get("endTime"))
    fields |= own(record, asked)
    read_prompt(fields, _chats(record), asked)
    # Failure and fallback of one request share the trace; the proxy's share the call's id, too.
    trace = first(record, ("trace_id", "session_id")) or fields["spare_id"]
    fields["chain"] = hash((trace, fields["prompt"])) if isinstance(trace, str) else 0
    headers = at(record, "hidden_params.additional_headers")
    fallbacks = headers.get("x-litellm-attempted-fallbacks") if isinstance(headers, dict) else None
    fields["fallback"] = bool(fallbacks) and str(fallbacks) != "0"
    yield Entry(fields, FAILED if failed else "")


def _chats(record: Row) -> Iterator[Any]:
    yield record.get("messages")
    # A proxy may keep the request here, where the spend log leaves the messages out.
    yield record.get("proxy_server_request")


FORMAT = Format(
    "litellm",
    "LiteLLM's payloads or spend logs",
    detect,
    lambda name: reads(name),
    entries,
    hint="LiteLLM's spend logs keep prompts only with general_settings: store_prompts_in_spend_logs: true",
)


def _left(attributes: Row) -> str:
    call = first(attributes, ("llm.request.type", "gen_ai.operation.name"))
    if not isinstance(call, str) or not any(name in call for name in (*CALLS, *opentelemetry.OPERATIONS)):
        return OTHER
    return CACHED if str(first(attributes, CACHE)).lower() == "true" else ""


def _more(attributes: Row) -> Row:
    """The call's identifier, and the usage as the provider said it, with what was cached and thought of."""
    return usage(attributes.get("metadata.usage_object")) | {"spare_id": attributes.get("litellm.call_id")}


CALLBACK = Convention(
    lambda attributes: "litellm.model_group" in attributes or "litellm.call_id" in attributes,
    _left,
    ranked(opentelemetry.NAMES | {"model": ("litellm.model_group",), "deployment": ("litellm.model_id",)}),
    _more,
    opentelemetry.chat,
)
