"""Helicone: requests as its API returns them (``/v1/request/query``), one a line or an array, as its exporter writes.

A body that was not exported is a note in its place, and no prompt. The counts of a row may leave out what was cached;
those of the provider, in the body, are taken where they are there.

Reference:
    Helicone, "Get Requests", and ``HeliconeRequest`` in its repository.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import CACHED, FAILED, OTHER, Asked, Entry, Format, Row, first, opened, own, read_prompt
from jaxroute.data.logs.usages import usage as counted

SESSION = "Helicone-Session-Id"
UNCACHED = "00000000-0000-0000-0000-000000000000"
HELD = ("request_id", "request_created_at", "request_body", "response_body", "response_status", "request_model",
        "response_model", "model", "request_user_id", "request_properties", "request_path", "target_url", "delay_ms",
        "cost", "costUSD", "scores", "feedback_rating", "cache_reference_id", "prompt_tokens", "completion_tokens",
        "total_tokens", "prompt_cache_read_tokens", "prompt_cache_write_tokens")  # fmt: skip


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of a request."""
    return {"request_id", "request_created_at", "request_body", "response_status"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The request that a record is, with its scores; answers from the cache were not asked of the model."""
    said, answer = opened(record.get("request_body")), opened(record.get("response_body"))
    model = first(record, ("response_model",)) or answer.get("model") or first(record, ("request_model", "model"))
    place = str(first(record, ("target_url", "request_path")) or "")
    if place.rstrip("/").endswith("/embeddings"):
        yield Entry({"model": model, "endpoint": place}, OTHER)
        return
    if record.get("cache_reference_id") not in (None, "", UNCACHED):
        yield Entry({"model": model}, CACHED)
        return
    taken = number_or_nan(record.get("delay_ms"))
    status = number_or_nan(record.get("response_status"))
    fields: Row = {
        "answered": model,
        "asked": said.get("model") or first(record, ("request_model", "model")),
        "cost": first(record, ("cost", "costUSD")),
        "timestamp": record.get("request_created_at"),
        "latency": taken / 1000 if taken > 0 else None,
        "group": record.get("request_user_id") or opened(record.get("request_properties")).get(SESSION),
        "request_id": record.get("request_id"),
        "failed": not 200 <= status < 300,
    }
    fields |= counted(answer.get("usage")) or _counts(record)
    if scores := list(_scores(record)):
        fields["scores"] = scores
    fields |= own({name: value for name, value in record.items() if name not in HELD}, asked, record)
    read_prompt(fields, [said.get(name) for name in ("messages", "input", "contents", "prompt")], asked)
    yield Entry(fields, FAILED if fields["failed"] else "")


def _counts(record: Row) -> Row:
    """Counts of the row, where nothing was cached: whether they include the cache depends on the provider."""
    if any(number_or_nan(record.get(f"prompt_cache_{kind}_tokens")) > 0 for kind in ("read", "write")):
        return {}
    return {"input_tokens": record.get("prompt_tokens"), "output_tokens": record.get("completion_tokens")}


def _scores(record: Row) -> Iterator[tuple[str, Any]]:
    """Scores by name, each a number or a value with its type; and the rating of the user."""
    for name, value in opened(record.get("scores")).items():
        yield name, value.get("value") if isinstance(value, dict) else value
    if record.get("feedback_rating") is not None:
        yield "feedback_rating", record["feedback_rating"]


FORMAT = Format(
    "helicone",
    "Helicone's requests",
    detect,
    lambda name: name in HELD,
    entries,
    hint="export Helicone's requests with their bodies (npx @helicone/export --include-body)",
)
