"""Lunary: runs as its export has them (JSON lines, CSV), also traces with their runs inside, and pages of its API.

A run of the type ``llm`` is a call of a model. Of streams its package counts the parts and its server guesses the
input, without a mark, so that neither these counts nor their cost are taken; those of Anthropic's client are the
provider's. Counts of Anthropic's input leave out the cache, which is in the metadata, and Lunary's cost leaves it out
too. A thumb is of the run, or of one around it, whose trace then must hold a single call.

Reference:
    Lunary's repository: ``packages/backend/src/api/v1/runs``; the package ``lunary``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.convert import number_or_nan, seconds
from jaxroute.data.logs.entries import (
    ELSE,
    FAILED,
    Asked,
    Entry,
    Format,
    Judgement,
    Row,
    carried,
    keyed,
    opened,
    own,
    read_prompt,
)

HELD = ("id", "type", "name", "createdAt", "endedAt", "tokens", "cost", "input", "output", "error", "status", "params",
        "metadata", "user", "traceId", "feedback", "parentFeedback", "scores", "children", "parentRunId")  # fmt: skip
HIDDEN = "__NOT_INGESTED__"
"""What stands in the place of texts that a rule of the project keeps out."""
THUMBS = {"up": 1.0, "down": 0.0}
COUNTS = {"input_tokens": "prompt", "output_tokens": "completion", "cached_tokens": "cachedPrompt"}
CACHE = {"cached_tokens": "cacheReadInputTokens", "cache_write_tokens": "cacheCreationInputTokens"}


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns, or a record's keys, are those of runs."""
    return {"type", "createdAt", "endedAt", "tokens", "traceId"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The run, with its feedback, and those inside of it; or why it is none."""
    yield from _run(record, None, record, asked)


def _run(run: Row, around: Any, record: Row, asked: Asked) -> Iterator[Entry]:
    name, trace = run.get("id"), str(run.get("traceId") or record.get("traceId") or record.get("id") or "")
    key, parent = keyed("", name, around)
    user = opened(run.get("user"))
    fields: Row = {"endpoint": run.get("name"), "group": user.get("externalId") or user.get("id")}
    scores = list(_scores(run))
    if run.get("type") == "llm":
        yield _call(fields, run, scores, trace, record, asked, key, parent)
    else:
        yield Entry(fields, ELSE, key, parent)
        for title, value in scores:
            yield Entry({}, judged=Judgement({"trace": trace}, title, value))
    thumb = opened(run.get("parentFeedback")).get("thumb")
    if thumb in THUMBS:
        yield Entry({}, judged=Judgement({"trace": trace}, "thumb", THUMBS[thumb]))
    for inner in layouts.listed(run.get("children")):
        yield from _run(opened(inner), name, record, asked)


def _call(
    fields: Row, run: Row, scores: list[tuple[str, Any]], trace: str, record: Row, asked: Asked, key: int, parent: int
) -> Entry:
    about = opened(run.get("metadata"))
    failed = run.get("status") == "error" or bool(run.get("error"))
    fields |= _counts(run, about) | {
        "asked": run.get("name"),
        "timestamp": run.get("createdAt"),
        "latency": seconds(run.get("createdAt"), run.get("endedAt")),
        "request_id": run.get("id"),
        "spare_id": run.get("id"),
        "trace": hash(trace),
        "failed": failed,
        "scores": scores,
    }
    fields |= carried(about)
    fields |= own({name: value for name, value in record.items() if name not in HELD}, asked, run, record)
    said = run.get("input")
    read_prompt(fields, [None if said == HIDDEN else said], asked)
    return Entry(fields, FAILED if failed else "", key, parent)


def _counts(run: Row, about: Row) -> Row:
    """Tokens and cost; none of what was guessed."""
    counts, cache = opened(run.get("tokens")), {field: about.get(name) for field, name in CACHE.items()}
    found = {field: counts.get(name) for field, name in COUNTS.items()}
    parts = [number_or_nan(count) for count in cache.values() if count is not None]
    if parts and sum(parts) > 0:
        return found | cache | {"input_tokens": number_or_nan(found["input_tokens"]) + sum(parts)}
    if number_or_nan(opened(run.get("params")).get("stream")) == 1 and not parts:
        return {}
    return found | {"cost": run.get("cost")}


def _scores(run: Row) -> Iterator[tuple[str, Any]]:
    """(name, value) of the thumb and of scores."""
    thumb = opened(run.get("feedback")).get("thumb")
    if thumb in THUMBS:
        yield "thumb", THUMBS[thumb]
    for one in layouts.listed(run.get("scores")):
        if (value := opened(one).get("value")) is not None:
            yield str(opened(one).get("label") or ""), value


FORMAT = Format("lunary", "Lunary's runs", detect, lambda name: name in HELD, entries)
