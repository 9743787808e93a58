"""MLflow's traces: ``trace.to_json()``, a row of ``mlflow.search_traces``, and MLflow's spans as OpenTelemetry's.

Every attribute of an MLflow span is the JSON text of its value. A search without spans has only previews of the
requests, cut to a thousand characters, which are not used.

Reference:
    MLflow, "Tracing: data model" and ``mlflow.entities.Trace``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import layouts, spans
from jaxroute.data.logs.entries import LOST, OTHER, Asked, Convention, Entry, Format, Row, first, own, ranked
from jaxroute.data.logs.usages import usage
from jaxroute.data.records import parsed

CALLS = ("CHAT_MODEL", "LLM")
NAMES = {"group": layouts.GROUP}
GROUP = ("mlflow.trace.user", "mlflow.trace.session")


def told(attributes: Row) -> bool:
    return "mlflow.spanType" in attributes


def left(attributes: Row) -> str:
    return "" if _value(attributes.get("mlflow.spanType")) in CALLS and _asked(attributes) else OTHER


def more(attributes: Row) -> Row:
    answer = _value(attributes.get("mlflow.spanOutputs"))
    paid = _value(attributes.get("mlflow.llm.cost"))
    return usage(_value(attributes.get("mlflow.chat.tokenUsage"))) | {
        "asked": _asked(attributes),
        "answered": answer.get("model") if isinstance(answer, dict) else None,
        "request_id": answer.get("id") if isinstance(answer, dict) else None,
        "cost": paid.get("total_cost") if isinstance(paid, dict) else None,
        "endpoint": _value(attributes.get("mlflow.spanType")),
    }


def chat(attributes: Row) -> Iterator[Any]:
    yield _value(attributes.get("mlflow.spanInputs"))


def _asked(attributes: Row) -> Any:
    body = _value(attributes.get("mlflow.spanInputs"))
    asked = body.get("model") if isinstance(body, dict) else None
    return asked or _value(first(attributes, ("model", "mlflow.llm.model")))


def _value(text: Any) -> Any:
    if isinstance(text, str):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)


def detect(names: Collection[str]) -> bool:
    return {"info", "data"} <= set(names) or (
        any(name in names for name in ("trace_metadata", "request_metadata"))
        and any(name in names for name in ("trace_id", "request_id"))
    )


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The spans of a trace, with what is said of the whole trace: whose it is, and how it was judged."""
    info, data = parsed(record.get("info")), parsed(record.get("data"))
    info = info if isinstance(info, dict) else record
    inside = data.get("spans") if isinstance(data, dict) else record.get("spans")
    inside = [span for span in layouts.listed(inside) if isinstance(span, dict)]
    if not inside:
        yield Entry({}, LOST)
        return
    held = [parsed(first(info, names)) for names in (("trace_metadata", "request_metadata"), ("tags",))]
    metadata = {k: v for one in held if isinstance(one, dict) for k, v in one.items()}
    scores = list(_scores(first(info, ("assessments",)) or record.get("assessments")))
    whole = own({k: v for k, v in record.items() if k not in ("request", "response")}, asked, info)
    for span in inside:
        for entry in spans.entries_of(span, (CONVENTION,), asked):
            if entry.fields.get("prompt") is not None or "lost" in entry.fields:
                found = {field: value for field, value in whole.items() if entry.fields.get(field) is None}
                entry.fields.update(found)
                if entry.fields.get("group") is None:
                    entry.fields["group"] = first(metadata, GROUP)
                entry.fields.setdefault("scores", []).extend(scores)
            yield entry


RATINGS = {"yes": 1.0, "no": 0.0}
"""What MLflow's own judges answer, beside "unknown"; yes is the good one of every judge."""


def _scores(assessments: Any) -> Iterator[tuple[str, Any]]:
    for one in layouts.listed(assessments):
        if isinstance(one, dict):
            feedback = parsed(one.get("feedback"))
            value = feedback.get("value") if isinstance(feedback, dict) else None
            value = RATINGS.get(value.lower()) if isinstance(value, str) else value
            if isinstance(value, int | float) and one.get("valid", True):
                yield str(first(one, ("assessment_name", "name")) or ""), value


TRACES = Format(
    "mlflow",
    "MLflow's traces",
    detect,
    lambda name: name in ("trace_id", "request_id", "info", "data", "spans", "trace_metadata", "request_metadata",
                          "tags", "assessments"),
    entries,
    hint="search with include_spans=True, or write trace.to_json()",
)  # fmt: skip
