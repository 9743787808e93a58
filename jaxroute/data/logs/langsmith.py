"""LangSmith: runs as its client gives them, ``run.model_dump_json()`` a line, the columns of its bulk export, and the
spans that its client writes of runs (``LANGSMITH_OTEL_ENABLED``).

A run of the kind ``llm`` is a call of a model, by LangChain or by a client that LangSmith wraps. Its usage is written
as LangChain has it, in which ``input_tokens`` are all of them, cached ones too. Feedback is of the run itself, or of
another run of its trace, which then must hold a single call.

Reference:
    LangSmith's Python package, ``langsmith.schemas.Run``, and LangChain's ``UsageMetadata``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import convert, opentelemetry
from jaxroute.data.logs.entries import (
    ELSE,
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
from jaxroute.data.records import at, parsed

HELD = ("id", "trace_id", "parent_run_id", "name", "run_type", "inputs", "outputs", "extra", "error", "status",
        "start_time", "end_time", "total_cost", "prompt_tokens", "completion_tokens", "total_tokens",
        "prompt_token_details", "completion_token_details", "feedback_stats")  # fmt: skip
THREAD = ("thread_id", "session_id", "conversation_id")


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns, or a record's keys, are those of runs."""
    return {"run_type", "trace_id", "inputs", "start_time"} <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """What a run says: the request that it is, and its feedback; or why it is none."""
    trace = str(record.get("trace_id") or "")
    key, parent = keyed(trace, record.get("id"), record.get("parent_run_id"))
    scores = list(_scores(record.get("feedback_stats")))
    inputs, outputs, extra = (opened(record.get(name)) for name in ("inputs", "outputs", "extra"))
    about = opened(extra.get("metadata"))
    fields = {"endpoint": record.get("name"), "group": first(about, THREAD)}
    told = own({k: v for k, v in record.items() if k not in HELD}, asked, record)
    if record.get("run_type") != "llm":
        yield Entry(fields | carried(about) | told, ELSE, key, parent)
        for title, value in scores:
            yield Entry({}, judged=Judgement({"trace": trace}, title, value))
        return
    reply = replied(outputs)
    failed = bool(record.get("error")) or record.get("status") == "error"
    usage = first(about, ("usage_metadata",)) or reply["usage"]
    fields |= _counts(record, opened(usage)) | {
        "cost": record.get("total_cost"),
        "asked": about.get("ls_model_name"),
        "answered": reply["answered"] or about.get("ls_model_name"),
        "timestamp": record.get("start_time"),
        "latency": convert.seconds(record.get("start_time"), record.get("end_time")),
        "request_id": reply["request_id"] or record.get("id"),
        "spare_id": record.get("id"),
        "trace": hash(trace),
        "failed": failed,
        "scores": scores,
    }
    fields |= carried(about)
    fields |= told
    read_prompt(fields, _chats(inputs), asked)
    yield Entry(fields, FAILED if failed else "", key, parent)


def replied(outputs: Row) -> Row:
    """Who answered, the answer's identifier and what was used, by what a client returned, or LangChain: then by the
    first message of the first prompt.
    """
    inside: Any = outputs.get("generations")
    while isinstance(inside, list) and inside:
        inside = inside[0]
    message = _message(opened(inside).get("message"))
    return {
        "answered": outputs.get("model") or at(message, "response_metadata.model_name"),
        "request_id": outputs.get("id") or at(message, "response_metadata.id"),
        "usage": outputs.get("usage_metadata") or message.get("usage_metadata"),
    }


def _message(said: Any) -> Row:
    """A message as LangChain stores it, without the name of its class."""
    said = opened(said)
    return said["kwargs"] if isinstance(said.get("kwargs"), dict) else said


def _counts(record: Row, usage: Row) -> Row:
    read, written = (opened(usage.get(f"{way}_token_details")) for way in ("input", "output"))
    if not usage:  # what the server made of it
        usage = {"input_tokens": record.get("prompt_tokens"), "output_tokens": record.get("completion_tokens"),
                 "total_tokens": record.get("total_tokens")}  # fmt: skip
        read, written = (opened(record.get(f"{way}_token_details")) for way in ("prompt", "completion"))
    found = {name: usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens")}
    lasting = [
        value for name, value in read.items() if name.startswith("ephemeral_") and isinstance(value, int | float)
    ]
    found |= {"cached_tokens": read.get("cache_read"), "reasoning_tokens": written.get("reasoning")}
    return found | {"cache_write_tokens": read.get("cache_creation") or sum(lasting) or None}


def _chats(inputs: Row) -> Iterator[Any]:
    """The messages: of LangChain a list for each prompt of a batch, of which a run has one."""
    said = parsed(inputs.get("messages"))
    if isinstance(said, list) and said and isinstance(said[0], list):
        said = said[0]
    if isinstance(said, list):
        yield [_message(one) if isinstance(one, dict) else one for one in said]
    prompts = parsed(inputs.get("prompts"))
    if isinstance(prompts, list) and len(prompts) == 1:
        yield prompts[0]
    yield {k: v for k, v in inputs.items() if k != "messages"}


def _scores(stats: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of feedback: the average of what was said under a name."""
    for name, one in opened(stats).items():
        value = opened(one).get("avg")
        if isinstance(value, int | float):
            yield name, value


FORMAT = Format("langsmith", "LangSmith's runs", detect, lambda name: name in HELD, entries)


KIND, ABOUT = "langsmith.span.kind", "langsmith.metadata."
NAMES = opentelemetry.NAMES | {"group": (*(ABOUT + name for name in THREAD), *opentelemetry.NAMES["group"])}


def told(attributes: Row) -> bool:
    return KIND in attributes


def left(attributes: Row) -> str:
    return opentelemetry.left(attributes) if attributes[KIND] == "llm" else OTHER


def more(attributes: Row) -> Row:
    """What a span's own attributes do not say: it has the whole outputs, and LangChain's usage as metadata."""
    reply = replied(opened(attributes.get("gen_ai.completion")))
    usage = opened(attributes.get(ABOUT + "usage_metadata")) or opened(reply["usage"])
    found = _counts({}, usage) | {name: reply[name] for name in ("answered", "request_id")}
    return {field: value for field, value in found.items() if value is not None}


def chat(attributes: Row) -> Iterator[Any]:
    inputs = parsed(attributes.get("gen_ai.prompt"))
    yield from _chats(inputs) if isinstance(inputs, dict) else opentelemetry.chat(attributes)


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)
