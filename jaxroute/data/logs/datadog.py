"""Datadog: spans of its LLM Observability, as its export returns them or as its packages send them, and evaluations.

A span of the kind ``llm`` is a call of a model; those around it, and embeddings, are none. The export has an estimate
of the cost in billionths of a dollar, a package what its caller knew of it, in dollars. Input has the cached tokens in
it, also of Anthropic's models. Evaluations are in the export; a package sends them apart, of a span, or of a trace,
which then must hold a single call.

Reference:
    Datadog, "Export API", "HTTP API Reference" and "Cost" of LLM Observability; ddtrace: ``ddtrace.llmobs``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import (
    ELSE,
    FAILED,
    FOREIGN,
    OTHER,
    Asked,
    Entry,
    Format,
    Judgement,
    Row,
    carried,
    first,
    keyed,
    opened,
    own,
    read_prompt,
)

HELD = ("id", "type", "attributes", "data", "spans", "event_type", "_dd.stage")
USERS = ("user_id", "user_handle", "usr.id", "usr.email")
NAMELESS = ("unknown", "custom")
"""What the packages write where a caller named no model."""
BILLIONTH = 1e-9
DROPPED = "[This value has been dropped because"
"""What the packages write instead of texts of a span that is too large."""
TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cache_read_input_tokens": "cached_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "reasoning_output_tokens": "reasoning_tokens",
}
VALUES = ("score_value", "boolean_value", "numerical_value", "categorical_value")
VERDICTS = {"pass": 1.0, "fail": 0.0}


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of an exported span, or of spans that a package sends."""
    return {"id", "type", "attributes"} <= set(names) or {"event_type", "spans", "_dd.stage"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The spans and evaluations of a record."""
    body = opened(record.get("data")) or record
    about = opened(body.get("attributes"))
    if body.get("type") == "evaluation_metric":
        for one in layouts.listed(about.get("metrics")):
            yield Entry({}, judged=_judgement(opened(one)))
        return
    several = layouts.listed(record.get("spans")) or layouts.listed(about.get("spans"))
    for span in several or [about]:
        span = {name: about[name] for name in ("session_id", "tags") if name in about} | opened(span)
        meta = opened(span.get("meta"))
        kind = span.get("span_kind") or opened(meta.get("span")).get("kind") or meta.get("kind")
        if kind is None or "span_id" not in span:
            yield Entry({}, FOREIGN)
        else:
            yield _entry(meta | span, str(kind), record, asked)


def _entry(span: Row, kind: str, record: Row, asked: Asked) -> Entry:
    trace, around = str(span.get("trace_id") or ""), span.get("parent_id")
    key, parent = keyed(trace, span["span_id"], None if around == "undefined" else around)
    tags = _tags(span)
    fields: Row = {
        "answered": None if span.get("model_name") in NAMELESS else span.get("model_name"),
        "endpoint": span.get("name"),
        "group": first(tags, USERS) or span.get("session_id") or tags.get("session_id"),
    }
    if kind != "llm" or not fields["answered"]:
        return Entry(fields, OTHER if kind in ("llm", "embedding") else ELSE, key, parent)
    counts, said = opened(span.get("metrics")), opened(span.get("input"))
    failed = span.get("status") == "error" or tags.get("error") == "1"
    estimate, taken = number_or_nan(counts.get("estimated_total_cost")), number_or_nan(span.get("duration"))
    fields |= {field: counts.get(name) for name, field in TOKENS.items()} | {
        "cost": counts.get("total_cost") if math.isnan(estimate) else estimate * BILLIONTH,
        "timestamp": first(span, ("start_ns", "start_ms")),
        "latency": taken * BILLIONTH if taken > 0 else None,
        "request_id": span["span_id"],
        "spare_id": span["span_id"],
        "trace": hash(trace),
        "failed": failed,
        "scores": list(_scores(opened(span.get("evaluation")))),
    }
    fields |= carried(tags) | carried(opened(span.get("metadata")))
    fields |= own({k: v for k, v in record.items() if k not in HELD}, asked, span, record)
    read_prompt(fields, [None if _dropped(text) else text for text in (said.get("messages"), said.get("value"))], asked)
    return Entry(fields, FAILED if failed else "", key, parent)


def _tags(span: Row) -> dict[str, str]:
    """Tags, each a name and a value with a colon between."""
    found = (str(tag).partition(":") for tag in layouts.listed(span.get("tags")))
    return {name: value for name, _, value in found if value}


def _dropped(text: Any) -> bool:
    return isinstance(text, str) and text.startswith(DROPPED)


def _scores(judged: Row) -> Iterator[tuple[str, Any]]:
    """(name, value) of evaluations in an export: a number or a truth value, else what a verdict says."""
    for name, one in judged.items():
        value = number_or_nan(opened(one).get("value"))
        value = VERDICTS.get(str(opened(one).get("assessment")).lower(), math.nan) if math.isnan(value) else value
        if not math.isnan(value):
            yield name, value


def _judgement(one: Row) -> Judgement:
    of = opened(opened(one.get("join_on")).get("span"))
    ids = {kind: str(of[name]) for kind, name in (("span", "span_id"), ("trace", "trace_id")) if of.get(name)}
    value = next((one[name] for name in VALUES if one.get(name) is not None), None)
    if isinstance(value, str):
        value = VERDICTS.get(str(one.get("assessment")).lower(), value)
    return Judgement(ids, str(one.get("label") or ""), value, one.get("timestamp_ms"))


FORMAT = Format(
    "datadog",
    "Datadog's LLM Observability",
    detect,
    lambda name: name in HELD,
    entries,
    hint="spans above 5 MB are written without their texts",
)
