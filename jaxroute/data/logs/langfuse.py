"""Langfuse: the spans of its SDK, and observations as its interface and its exports give them.

Reference:
    Langfuse, "OpenTelemetry" (attributes of its spans) and "Public API", observations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.convert import seconds
from jaxroute.data.logs.entries import (
    FAILED,
    OTHER,
    Asked,
    Convention,
    Entry,
    Format,
    Judgement,
    Row,
    carried,
    first,
    keyed,
    opened,
    own,
    ranked,
    read_prompt,
)
from jaxroute.data.logs.feedback import KIND, TIME, WORD, said
from jaxroute.data.logs.usages import usage
from jaxroute.data.records import parsed

START = "langfuse.observation."
NAMES = {
    "answered": (START + "model.name",),
    "group": ("user.id", "langfuse.user.id", "session.id", "langfuse.session.id"),
    "endpoint": (START + "type",),
}


def told(attributes: Row) -> bool:
    return START + "type" in attributes


def left(attributes: Row) -> str:
    return "" if attributes[START + "type"] == "generation" and attributes.get(START + "model.name") else OTHER


def more(attributes: Row) -> Row:
    found = usage(attributes.get(START + "usage_details"))
    found["cost"] = cost(attributes.get(START + "cost_details"))
    return found


def cost(details: Any) -> Any:
    """The total of a cost object, or the sum of its parts.

    Example:
        >>> cost('{"input": 0.001, "output": 0.002, "total": 0.003}'), cost({"input": 0.5, "output": 0.25}), cost(None)
        (0.003, 0.75, None)
    """
    details = parsed(details)
    if not isinstance(details, dict):
        return None
    if details.get("total") is not None:
        return details["total"]
    parts = [value for value in details.values() if isinstance(value, int | float)]
    return sum(parts) if parts else None


def chat(attributes: Row) -> Iterator[Any]:
    yield attributes.get(START + "input")


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)

BEGAN, ENDED = ("startTime", "start_time"), ("endTime", "end_time")
OBSERVATION = {
    "answered": ("providedModelName", "model", "internalModelId"),
    "cost": ("calculatedTotalCost", "totalCost", "total_cost"),
    "timestamp": BEGAN,
    "request_id": ("id",),
    "group": ("userId", "user_id", "sessionId", "session_id"),
    "endpoint": ("type",),
}
HELD = (*ENDED, "type", "level", "input", "usage", "usageDetails", "usage_details", "costDetails", "cost_details",
        "traceId", "trace_id", "parentObservationId", "parent_observation_id", "scores", "metadata")  # fmt: skip


def detect(names: Collection[str]) -> bool:
    parent = "parentObservationId" in names or "parent_observation_id" in names
    return parent and "type" in names and ("traceId" in names or "trace_id" in names)


def observation(record: Row, asked: Asked) -> Iterator[Entry]:
    """An observation as the interface gives it."""
    trace = str(first(record, ("traceId", "trace_id")) or "")
    around = first(record, ("parentObservationId", "parent_observation_id"))
    key, parent = keyed(trace, record.get("id"), around)
    fields = {field: first(record, names) for field, names in OBSERVATION.items()}
    about = opened(record.get("metadata"))
    told = carried(about | opened(about.get("attributes")))  # where its server puts what a span has beside its own
    told |= own({k: v for k, v in record.items() if k != "cost"}, asked)
    scores = list(_scores(record))
    if str(record.get("type")).upper() != "GENERATION" or not fields["answered"]:
        yield Entry(fields | told, OTHER, key, parent)
        for name, value, time in scores:
            yield Entry({}, judged=Judgement({"trace": trace}, name, value, time))
        return
    fields |= usage(first(record, ("usageDetails", "usage_details", "usage")))
    if fields["cost"] is None:
        fields["cost"] = cost(first(record, ("costDetails", "cost_details")))
    fields["latency"] = seconds(first(record, BEGAN), first(record, ENDED))
    fields["failed"] = record.get("level") == "ERROR"
    fields["spare_id"], fields["trace"] = record.get("id"), hash(trace)
    fields["scores"] = [(name, value) for name, value, _ in scores]
    fields |= told
    read_prompt(fields, [record.get("input")], asked)
    yield Entry(fields, FAILED if fields["failed"] else "", key, parent)


def _scores(record: Row) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, time) of each score, the latest last, which counts."""
    scores = [score for score in layouts.listed(record.get("scores")) if isinstance(score, dict)]
    for one in sorted(scores, key=lambda score: str(first(score, TIME) or "")):
        value = said(*(first(one, names) for names in (("value",), KIND, WORD)))
        yield str(one.get("name") or ""), value, first(one, TIME)


OBSERVATIONS = Format(
    "langfuse-observations",
    "Langfuse's observations",
    detect,
    lambda name: name in HELD or any(name in several for several in OBSERVATION.values()),
    observation,
)
