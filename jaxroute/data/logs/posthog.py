"""PostHog: events of its LLM analytics, as batch exports, the events API and queries of whole events give them.

An event ``$ai_generation`` is a call of a model; traces and spans around it know no more, and embeddings are no
text. Metrics and evaluations are events too: of a generation, or of its trace, which then must hold a single call. So
are answers to surveys, whose scale no event says: the thumbs of posthog-js are 1 for up and 2 for down, a quality range
of 2,1. ``$ai_model`` is the model that was asked, where PostHog's package for Python writes it. A request that names no
user has its trace's identifier for one.

Whether the input counts what is cached depends on the provider, and the rule is the server's. Gemini's counts of output
leave out the reasoning, but for LangChain's.

Reference:
    PostHog, "Generations" and "Manual capture"; its repository: ``ingestion/pipelines/ai/costs``; posthog-js:
    ``useThumbSurvey``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data import values
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

HELD = ("uuid", "id", "event", "distinct_id", "properties", "timestamp")
CALL, EMBEDDING, AROUND = "$ai_generation", "$ai_embedding", ("$ai_trace", "$ai_span")
METRIC, VERDICT, SURVEY = "$ai_metric", "$ai_evaluation", "survey sent"
RESPONSE = "$survey_response"
THINKING = re.compile(r"(?:.*/)?gemini-(?:2\.5|3)")
EVERY, READS = (6, 9, 2), (7, 4, 3)
"""From which versions on the handler for LangChain takes the cache from Anthropic's input alone, and from which on what
was written to it too."""
NOBODY = "unknown"
"""The user of events whose processor knows none."""
COUNTS = {
    "input_tokens": "$ai_input_tokens",
    "output_tokens": "$ai_output_tokens",
    "cached_tokens": "$ai_cache_read_input_tokens",
    "cache_write_tokens": "$ai_cache_creation_input_tokens",
    "reasoning_tokens": "$ai_reasoning_tokens",
}


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns, or a record's keys, are those of events."""
    return {"event", "distinct_id", "properties"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The request or the judgement that an event is, or why it is none."""
    event, said = record.get("event"), opened(record.get("properties"))
    trace, name = str(said.get("$ai_trace_id") or ""), first(record, ("uuid", "id"))
    key, parent = keyed(trace, said.get("$ai_span_id") or name, said.get("$ai_parent_id"))
    if judged := list(_judged(event, said, trace, record.get("timestamp"))):
        yield from (Entry({}, judged=one) for one in judged)
        return
    fields: Row = {"asked": said.get("$ai_model"), "endpoint": said.get("$ai_span_name"), "group": _group(record, said)}
    if event != CALL:
        yield Entry(fields, ELSE if event in AROUND else OTHER if event == EMBEDDING else FOREIGN, key, parent)
        return
    taken, status = (number_or_nan(said.get(name)) for name in ("$ai_latency", "$ai_http_status"))
    failed = number_or_nan(said.get("$ai_is_error")) == 1 or status >= 400
    fields |= _counts(said) | {
        "cost": said.get("$ai_total_cost_usd"),
        "timestamp": _start(record.get("timestamp"), taken),
        "latency": taken if taken > 0 else None,
        "request_id": said.get("$ai_completion_id") or name,
        "spare_id": name,
        "trace": hash(trace) if trace else 0,
        "told": hash(str(said.get("$ai_framework") or "")),
        "called": 0,
        "failed": failed,
    }
    fields |= carried(said)
    fields |= own({k: v for k, v in record.items() if k not in HELD}, asked, said, record)
    read_prompt(fields, [said.get("$ai_input")], asked)
    yield Entry(fields, FAILED if failed else "", key, parent)


def _group(record: Row, said: Row) -> Any:
    """The user; where none is named, the session or the trace."""
    user = record.get("distinct_id")
    if user in (None, "", NOBODY, said.get("$ai_trace_id")):
        return first(said, ("$ai_session_id", "$ai_trace_id"))
    return user


def _start(time: Any, taken: float) -> Any:
    """When a call began: its event is of its end."""
    try:
        return values.moment(time) - taken if taken > 0 else time
    except (ValueError, TypeError, OverflowError):
        return time


def _counts(said: Row) -> Row:
    """Tokens, input with what was cached and written, output with the reasoning."""
    found = {field: said.get(name) for field, name in COUNTS.items()}
    found["input_tokens"] = _sum(found, "input_tokens", *_beside(said))
    if THINKING.match(str(said.get("$ai_model")).lower()) and said.get("$ai_framework") != "langchain":
        found["output_tokens"] = _sum(found, "output_tokens", "reasoning_tokens")
    return found


def _sum(found: Row, whole: str, *parts: str) -> Any:
    if found[whole] is None:
        return None
    return number_or_nan(found[whole]) + sum(number_or_nan(found[part]) for part in parts if found[part] is not None)


def _beside(said: Row) -> tuple[str, ...]:
    """Counts that the input leaves out: those of the cache, or what older handlers for LangChain took from it."""
    version = _handler(said)
    if version < EVERY:
        return ("cached_tokens",)
    if not _exclusive(said):
        return ()
    return ("cached_tokens",) if version < READS else ("cached_tokens", "cache_write_tokens")


def _handler(said: Row) -> tuple[int, ...]:
    """The version of the package for Python whose handler for LangChain wrote an event; the newest for others."""
    parts = str(said.get("$lib_version") or "").split(".")
    ours = said.get("$ai_framework") == "langchain" and said.get("$lib") == "posthog-python"
    return tuple(map(int, parts)) if ours and all(part.isdecimal() for part in parts) else READS


def _exclusive(said: Row) -> bool:
    """Whether the input leaves out the cache, as PostHog's server has it."""
    if (told := said.get("$ai_cache_reporting_exclusive")) is not None:
        return number_or_nan(told) == 1
    provider, model = (str(said.get(name) or "").lower() for name in ("$ai_provider", "$ai_model"))
    if provider != "anthropic" and "anthropic" not in model and not model.startswith("claude"):
        return False
    if provider != "gateway" or str(said.get("$ai_framework")).lower() != "vercel":
        return True
    whole, *parts = (number_or_nan(said.get(COUNTS[name]) or 0) for name in COUNTS if "output" not in name)
    return whole < sum(parts[:2])


def _judged(event: Any, said: Row, trace: str, time: Any) -> Iterator[Judgement]:
    """What an event says of a generation or a trace."""
    ids = {"trace": trace}
    if event == METRIC:
        yield Judgement(ids, str(said.get("$ai_metric_name") or ""), said.get("$ai_metric_value"), time)
    elif event == VERDICT and said.get("$ai_evaluation_applicable") not in (False, "false"):
        if said.get("$ai_target_event_id") and said.get("$ai_target_event_type") in (None, CALL):
            ids = {"request": str(said["$ai_target_event_id"])}
        value = first(said, ("$ai_evaluation_result", "$ai_evaluation_numeric_result"))
        if value is not None:
            yield Judgement(ids, str(said.get("$ai_evaluation_name") or ""), value, time)
    elif event == SURVEY and trace:
        told = {name: number_or_nan(value) for name, value in said.items() if name.startswith(RESPONSE)}
        if len(told) > 1:  # what the first question was answered is there twice
            told.pop(RESPONSE, None)
        title = str(first(said, ("$survey_name", "$survey_id")) or "survey")
        told = {name: number for name, number in told.items() if not math.isnan(number)}
        for name, number in told.items():
            yield Judgement(ids, title if len(told) == 1 else title + name.removeprefix(RESPONSE), number, time)


FORMAT = Format(
    "posthog",
    "PostHog's events",
    detect,
    lambda name: name in HELD,
    entries,
    hint="export the events with their property $ai_input, which privacy mode leaves out",
)
