"""Weave: calls as its client gives them, ``call.to_dict()`` a line, or the JSON lines of ``get_calls().to_pandas()``.

A call of a model is one of the kind ``llm``, or, before Weave wrote kinds, one whose output names a model and its
usage. What it used is read from its output, as the provider said it: in the summary of a call of Anthropic's,
``input_tokens`` has the cached ones in some versions of Weave and not in others, so that it then counts as unknown. Its
server's costs are not read. Feedback is of the call itself, or of another one of its trace, which then must hold a
single call of a model.

Reference:
    Weave's Python package: ``weave.trace.call.Call`` and ``weave.trace.feedback``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import convert, layouts
from jaxroute.data.logs.entries import (
    ELSE,
    FAILED,
    LOST,
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

HELD = ("id", "trace_id", "parent_id", "op_name", "inputs", "output", "exception", "summary", "attributes",
        "started_at", "ended_at", "thread_id", "display_name")  # fmt: skip
REFERENCE = "weave:///"
"""How values begin that are stored elsewhere."""
KINDS = ("wandb.annotation.", "wandb.runnable.")
"""What stands before the name of a person's annotation, and of a scorer's."""
REACTION = "wandb.reaction."
REACTIONS = {"👍": 1.0, "👎": 0.0}


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns, or a record's keys, are those of calls."""
    return {"op_name", "trace_id", "inputs", "started_at"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """What a call says: the request that it is, and its feedback; or why it is none."""
    trace = str(record.get("trace_id") or "")
    key, parent = keyed(trace, record.get("id"), record.get("parent_id"))
    inputs, output, summary, about = (
        opened(record.get(name)) for name in ("inputs", "output", "summary", "attributes")
    )
    kind = opened(about.get("weave")).get("kind")
    scores = list(_scores(opened(summary.get("weave")).get("feedback")))
    name = first(record, ("display_name",)) or str(record.get("op_name")).rpartition("/")[2].partition(":")[0]
    if isinstance(record.get("inputs"), str) and not inputs:
        yield Entry({}, LOST, key, parent)
    elif kind != "llm" and not (kind is None and output.get("model") and opened(output.get("usage"))):
        fields = {"endpoint": name, "group": record.get("thread_id")} | carried(about) | own(record, asked)
        yield Entry(fields, ELSE, key, parent)
        for title, value, time in scores:
            yield Entry({}, judged=Judgement({"trace": trace}, title, value, time))
    else:
        counted = opened(summary.get("usage"))
        failed = bool(record.get("exception"))
        fields = usage(output.get("usage")) or _summed(counted)
        fields |= {
            "asked": inputs.get("model"),
            "answered": output.get("model") or (next(iter(counted)) if len(counted) == 1 else None),
            "endpoint": name,
            "timestamp": record.get("started_at"),
            "latency": convert.seconds(record.get("started_at"), record.get("ended_at")),
            "group": record.get("thread_id"),
            "request_id": output.get("id") or record.get("id"),
            "spare_id": record.get("id"),
            "trace": hash(trace),
            "failed": failed,
            "scores": [(title, value) for title, value, _ in scores],
        }
        fields |= carried(about)
        fields |= own(record, asked)
        read_prompt(fields, [{k: v for k, v in inputs.items() if not _elsewhere(v)}], asked)
        yield Entry(fields, FAILED if failed else "", key, parent)


def _elsewhere(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(REFERENCE)


def _summed(counted: Row) -> Row:
    """The usage of the only model of a call; none where it cannot be told whether cached tokens are in it."""
    found = opened(next(iter(counted.values()))) if len(counted) == 1 else {}
    cached = any(found.get(f"cache_{what}_input_tokens") for what in ("read", "creation"))
    return {} if cached and "prompt_tokens" not in found else usage(found)


def _scores(feedback: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, time) of the feedback of a call, the latest last."""
    told = [one for one in layouts.listed(feedback) if isinstance(one, dict)]
    for one in sorted(told, key=lambda one: str(one.get("created_at") or "")):
        title, payload, time = str(one.get("feedback_type") or ""), opened(one.get("payload")), one.get("created_at")
        if title.startswith(REACTION):
            if (value := REACTIONS.get(str(payload.get("emoji")))) is not None:
                yield "reaction", value, time
            continue
        name = next((title.removeprefix(kind) for kind in KINDS if title.startswith(kind)), title)
        said = first(payload, ("value", "output", "score"))
        parts = {f"{name}.{k}": v for k, v in said.items()} if isinstance(said, dict) else {name: said}
        yield from ((called, v, time) for called, v in parts.items() if isinstance(v, int | float))


FORMAT = Format(
    "weave",
    "Weave's calls",
    detect,
    lambda name: name in HELD,
    entries,
    hint="write each call as a line of JSON: json.dumps(call.to_dict(), default=str)",
)
