"""The command ``llm``: its log as ``llm logs --count 0 --json`` writes it. A call that failed is in no log of it.

``model`` is the name by which ``llm`` knows the model that was asked; the response names the one that answered. Counts
beside ``input_tokens`` and ``output_tokens`` have the names of the provider. Fragments are in the prompt already.

Reference:
    llm, "Logging to SQLite", and ``Response.set_usage`` of the plugins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jaxroute.data.logs.entries import LOST, TOOLS, Asked, Entry, Format, Row, first, opened, own, read_prompt
from jaxroute.data.logs.usages import usage

GEMINI = {"cachedContentTokenCount": "cached_tokens", "thoughtsTokenCount": "reasoning_tokens"}
HELD = ("id", "model", "resolved_model", "prompt", "response_json", "conversation_id", "duration_ms", "datetime_utc",
        "input_tokens", "output_tokens", "token_details", "tool_results")  # fmt: skip


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of a response in the log."""
    return {"resolved_model", "response_json", "datetime_utc", "token_details"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The request that a response answered; a turn that only returns results of tools is none of its own."""
    about = opened(record.get("response_json"))
    details = {GEMINI.get(name, name): value for name, value in opened(record.get("token_details")).items()}
    taken = record.get("duration_ms")
    fields = usage(details | {name: record.get(name) for name in ("input_tokens", "output_tokens")})
    fields |= {
        "asked": record.get("model"),
        "answered": first(record, ("resolved_model",)) or about.get("model") or record.get("model"),
        "timestamp": record.get("datetime_utc"),
        "latency": taken / 1000 if isinstance(taken, int | float) else None,
        "group": record.get("conversation_id"),
        "request_id": about.get("id") or record.get("id"),
        "spare_id": record.get("id"),
    }
    fields |= own({k: v for k, v in record.items() if k not in HELD}, asked, record)
    read_prompt(fields, [record.get("prompt")], asked)
    if fields.get("lost") == LOST and record.get("tool_results"):
        fields["lost"] = TOOLS
    yield Entry(fields)


FORMAT = Format("llm", "the log of the command llm", detect, lambda name: name in HELD, entries)
