"""Portkey: the export of its logs as JSON lines.

Costs are in cents, though ``cost_currency`` says USD, and times in milliseconds. Failed requests and answers from the
cache are rows like others, told by columns of their own.

Reference:
    Portkey, "Logs Export".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import CACHED, FAILED, Asked, Entry, Format, Row, opened, own, read_prompt
from jaxroute.data.logs.usages import usage
from jaxroute.data.records import at

HELD = ("id", "trace_id", "created_at", "request", "response", "request.body", "response.body", "is_success",
        "ai_model", "req_units", "res_units", "total_units", "cost", "cost_currency", "response_time", "cache_status",
        "response_status_code", "metadata")  # fmt: skip
CENTS = 100


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of a logged request."""
    return {"ai_model", "created_at"} <= set(names) and not {"req_units", "is_success"}.isdisjoint(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The request that a record is.

    Example:
        >>> record = {"ai_model": "small", "created_at": "2026-12-01T00:00:00Z", "is_success": 1, "cost": 0.25,
        ...     "request": {"body": {"messages": [{"role": "user", "content": "hi"}]}}, "response_time": 900}
        >>> [entry] = entries(record, Asked({}))
        >>> [entry.fields[name] for name in ("prompt", "cost", "latency")]
        ['hi', 0.0025, 0.9]
    """
    said, answer = _body(record, "request"), _body(record, "response")
    model = answer.get("model") or record.get("ai_model")
    if str(record.get("cache_status")).upper().endswith("HIT"):  # HIT, SEMANTIC HIT
        yield Entry({"model": model}, CACHED)
        return
    cost, taken = number_or_nan(record.get("cost")), number_or_nan(record.get("response_time"))
    fields: Row = {
        "answered": model,
        "asked": said.get("model") or record.get("ai_model"),
        "cost": cost / CENTS if cost == cost else None,
        "timestamp": record.get("created_at"),
        "latency": taken / 1000 if taken > 0 else None,
        "group": opened(record.get("metadata")).get("_user"),
        "request_id": record.get("id"),
        "failed": _failed(record),
        "input_tokens": record.get("req_units"),
        "output_tokens": record.get("res_units"),
        "total_tokens": record.get("total_units"),
    }
    if counts := usage(answer.get("usage")):
        fields |= {"total_tokens": None} | counts
    fields |= own({name: value for name, value in record.items() if name not in HELD}, asked, record)
    read_prompt(fields, [said.get(name) for name in ("messages", "input", "contents", "prompt")], asked)
    yield Entry(fields, FAILED if fields["failed"] else "")


def _body(record: Row, name: str) -> Row:
    """A body, in a column of its own or within the request or the response, which may be the body itself."""
    whole = opened(record.get(name))
    return opened(at(record, f"{name}.body")) or opened(whole.get("body")) or whole


def _failed(record: Row) -> bool:
    told: Any = record.get("is_success")
    status = number_or_nan(record.get("response_status_code"))
    return str(told).lower() in ("0", "0.0", "false") or status >= 400


FORMAT = Format(
    "portkey",
    "Portkey's logs",
    detect,
    lambda name: name in HELD or name.startswith(("request.", "response.")),
    entries,
    hint="export Portkey's logs with the fields request and response",
)
