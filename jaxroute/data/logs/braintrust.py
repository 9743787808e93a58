"""Braintrust: spans of a project's logs, as its API and its queries return them and as its package sends them.

A span of the type ``llm`` is a call of a model; ``metadata.model`` is the one that answered where its client says so,
else the one that was asked. Counts of input have the cached tokens in them. Scores are of the span itself, or of
another one of its trace, which then must hold a single call. Calls that a scorer makes are no requests. A request that
failed in OpenAI's client has no error, no answer and no counts.

Reference:
    Braintrust, "Logs" of its API; the package ``braintrust``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs.convert import number_or_nan, seconds
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
from jaxroute.data.records import parsed

HELD = ("id", "span_id", "root_span_id", "span_parents", "span_attributes", "input", "output", "error", "scores",
        "metadata", "metrics", "created", "experiment_id")  # fmt: skip
USERS = ("user_id", "user", "session_id", "conversation_id", "thread_id")
JUDGES = "requests of scorers"
APART = ("Embedding", "Moderation")
COUNTS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "tokens",
    "cached_tokens": "prompt_cached_tokens",
    "cache_write_tokens": "prompt_cache_creation_tokens",
    "reasoning_tokens": "completion_reasoning_tokens",
}


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of a project's spans, and not of an experiment's."""
    spans = {"span_id", "root_span_id", "span_attributes"} <= set(names)
    return spans and ("log_id" in names or "experiment_id" not in names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """What a span says: the request that it is, and its scores; or why it is none."""
    kind, about, counts = (opened(record.get(name)) for name in ("span_attributes", "metadata", "metrics"))
    if not kind:
        yield Entry({}, FOREIGN)
        return
    trace, around = str(record.get("root_span_id") or ""), parsed(record.get("span_parents"))
    parent = around[0] if isinstance(around, list) and around else None
    key, above = keyed(trace, record.get("span_id"), parent)
    fields: Row = {"answered": about.get("model"), "endpoint": kind.get("name"), "group": first(about, USERS)}
    judging = kind.get("type") == "score" or kind.get("purpose") == "scorer"
    given = {} if judging else opened(record.get("scores"))
    scores = [(name, value) for name, value in given.items() if value is not None]
    if kind.get("type") != "llm" or judging:
        yield Entry(fields, JUDGES if judging and kind.get("type") == "llm" else ELSE, key, above)
        for name, value in scores:
            yield Entry({}, judged=Judgement({"trace": trace}, name, value))
        return
    if kind.get("name") in APART or not fields["answered"]:
        yield Entry(fields, OTHER, key, above)
        return
    told = {field: counts.get(name) for field, name in COUNTS.items()}
    failed = bool(record.get("error")) or (record.get("output") is None and all(n is None for n in told.values()))
    fields |= told | {
        "cost": counts.get("estimated_cost"),
        "timestamp": first(counts, ("start",)) or record.get("created"),
        "latency": seconds(counts.get("start"), counts.get("end")),
        "request_id": record.get("id"),
        "spare_id": record.get("id"),
        "trace": hash(trace),
        "failed": failed,
        "scores": [(name, number_or_nan(value)) for name, value in scores],
    }
    fields |= carried(about)
    fields |= own({name: value for name, value in record.items() if name not in HELD}, asked, record)
    read_prompt(fields, [_chat(record.get("input"))], asked)
    yield Entry(fields, FAILED if failed else "", key, above)


def _chat(said: Any) -> Any:
    """The messages: of LangChain a list for each prompt of a batch, of which a span has one."""
    said = parsed(said)
    return said[0] if isinstance(said, list) and len(said) == 1 and isinstance(said[0], list) else said


FORMAT = Format("braintrust", "Braintrust's spans", detect, lambda name: name in HELD, entries)
