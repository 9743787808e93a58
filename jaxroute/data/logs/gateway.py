"""The rows of jaxroute's own gateway; see ``jaxroute.gateway.rows``.

A request that nobody answered counts as failed, by the model that was chosen. What a client did not wait for, a cached
answer, and a request whose end is unknown are no outcomes of a model. The gateway's fallback may be a model that it
never chooses itself: its answers say nothing of the candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jaxroute.data.logs.entries import CACHED, FAILED, LOST, Asked, Entry, Format, Row, own

KEPT = ("prompt", "features", "model", "quality", "cost", "input_tokens", "output_tokens", "propensity", "timestamp",
        "group", "request_id", "available", "endpoint", "weight", "latency")  # fmt: skip
KEYS = ("request_id", "chosen", "status", "by", "attempts")
MORE = ("response_id", "cache_hit")
REDACTED = "redacted-by-litellm"
LEFT = "requests whose client did not wait"
UNKNOWN = "requests whose end is unknown"
OUTSIDE = "answers of a fallback that was no candidate"


def detect(names: Collection[str]) -> bool:
    return set(KEYS) <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """A row of the gateway.

    Example:
        >>> row = {"request_id": "1", "chosen": "a", "model": "a", "status": "failed", "by": "router", "attempts": 2}
        >>> [entry] = entries(row | {"prompt": "hi"}, Asked({}))
        >>> entry.left, entry.fields["model"], entry.fields["failed"]
        ('failed requests', 'a', True)
    """
    fields = {name: record.get(name) for name in KEPT} | {"spare_id": record.get("response_id")}
    status = record.get("status")
    if record.get("cache_hit") is True:
        yield Entry(fields, CACHED)
        return
    if status in ("left", "unknown"):
        yield Entry(fields, LEFT if status == "left" else UNKNOWN)
        return
    available = record.get("available")
    if record.get("by") == "fallback" and isinstance(available, list) and record.get("model") not in available:
        yield Entry(fields, OUTSIDE)
        return
    fields["failed"] = status == "failed"
    fields["fallback"] = record.get("by") == "fallback"
    fields |= {name: value for name, value in own(record, asked).items() if value is not None}
    prompt = fields["prompt"]
    if prompt in (None, REDACTED) or (isinstance(prompt, str) and not prompt.strip()):
        fields["prompt"] = None
        fields["lost"] = LOST if fields["features"] is None else None
    yield Entry(fields, FAILED if fields["failed"] else "")


FORMAT = Format(
    "gateway",
    "jaxroute's gateway",
    detect,
    lambda name: name in KEPT + KEYS + MORE,
    entries,
    hint="rows have no prompt where a request has no text, and features where the gateway's settings name a router",
)
