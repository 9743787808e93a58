"""Opik: traces with their spans, as ``opik export WORKSPACE PROJECT traces`` writes them, a JSON file each.

The span of a call has the model that answered and what the call used: ``prompt_tokens`` and ``completion_tokens`` as
Opik counts them, in which cached and reasoning tokens are, and the provider's own counts under ``original_usage``.
A call's metadata can carry what Opik has no name for, such as ``jaxroute.propensity``. Scores are of a span, or of its
trace, which then must hold a single call.

Reference:
    Opik's Python package: ``opik.cli.exports``, ``opik.llm_usage`` and ``opik.rest_api.types.SpanPublic``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import convert, layouts
from jaxroute.data.logs.entries import (
    ELSE,
    FAILED,
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
from jaxroute.data.logs.usages import usage

WRITTEN = "original_usage."
GOOGLE = {"cached_content_token_count": "cached_tokens", "thoughts_token_count": "reasoning_tokens"}
"""Google's names of counts that others have in their own."""


def detect(names: Collection[str]) -> bool:
    """Whether a file is a trace, or the file beside traces that says which project they are of."""
    return {"trace", "spans"} <= set(names) or set(names) == {"id", "name"}


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The spans of a trace, and its scores."""
    if not (trace := opened(record.get("trace"))):
        return
    name = str(trace.get("id") or "")
    for span in layouts.listed(record.get("spans")):
        if isinstance(span, dict):
            yield _entry(span, trace, record, asked)
    for title, value, time in _scores(trace):
        yield Entry({}, judged=Judgement({"trace": name}, title, value, time))


def _entry(span: Row, trace: Row, record: Row, asked: Asked) -> Entry:
    name = str(trace.get("id") or "")
    key, parent = keyed(name, span.get("id"), span.get("parent_span_id"))
    fields: Row = {"answered": span.get("model"), "endpoint": span.get("name")}
    if span.get("type") != "llm":
        return Entry({"endpoint": span.get("name")}, ELSE, key, parent)
    if not fields["answered"]:
        return Entry(fields, OTHER, key, parent)
    about = opened(span.get("metadata"))
    failed = bool(span.get("error_info"))
    fields |= usage(_counts(opened(span.get("usage")))) | {
        "cost": span.get("total_estimated_cost"),
        "timestamp": span.get("start_time"),
        "latency": convert.seconds(span.get("start_time"), span.get("end_time")),
        "group": trace.get("thread_id"),
        "request_id": first(about, ("id",)) or span.get("id"),
        "spare_id": span.get("id"),
        "trace": hash(name),
        "failed": failed,
        "scores": [(title, value) for title, value, _ in _scores(span)],
    }
    fields |= carried(about)
    fields |= own(record, asked, span, trace)
    read_prompt(fields, [span.get("input")], asked)
    return Entry(fields, FAILED if failed else "", key, parent)


def _counts(counted: Row) -> Row:
    """A usage as the provider named it, with Opik's sums before it."""
    inner = {k.removeprefix(WRITTEN).rpartition(".")[2]: v for k, v in counted.items() if k.startswith(WRITTEN)}
    inner = {GOOGLE.get(k, k): v for k, v in inner.items()}
    return inner | {k: v for k, v in counted.items() if not k.startswith(WRITTEN)}


def _scores(judged: Row) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, time) of each feedback score."""
    for one in layouts.listed(judged.get("feedback_scores")):
        if isinstance(one, dict) and one.get("value") is not None:
            yield str(one.get("name") or ""), one["value"], first(one, ("last_updated_at", "created_at"))


FORMAT = Format(
    "opik",
    "Opik's traces",
    detect,
    lambda name: name in ("trace", "spans"),
    entries,
    hint="export the traces with their spans: opik export WORKSPACE PROJECT traces",
)
