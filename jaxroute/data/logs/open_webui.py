"""Open WebUI: the feedback that its administrators export, and chats as it exports them.

A record of feedback is a rating of one answer, with the chat around it; a chat is a tree of messages, in which each
answer has its usage and its rating. A thumb is 1 or -1, taken as 1 and 0. Where the user asked several models side by
side, a rating compares their answers, and these are left out.

An answer that called tools is several requests: ``input_tokens`` and ``output_tokens`` are their sums, and
``prompt_tokens`` and ``completion_tokens`` those of the last. Of a server that repeats its usage so far in every part
of a stream they are sums over the parts; then only those of the last are right.

Reference:
    Open WebUI: ``models/feedbacks.py``, ``utils/response.py`` and ``ResponseMessage.svelte`` of its repository.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import (
    FAILED,
    FOREIGN,
    LOST,
    Asked,
    Entry,
    Format,
    Row,
    carried,
    first,
    keyed,
    opened,
    own,
    read_prompt,
)
from jaxroute.data.logs.usages import usage

COMPARED = "answers beside those of other models, which a rating compares"
UNNAMED = "answers of an arena that do not say by which model"
UNENDED = "answers that had not ended"
HELD = ("id", "user_id", "title", "chat", "version", "type", "data", "meta", "snapshot", "created_at", "updated_at")
SUMS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
"""Counts that are sums over an answer's requests, and those of the last beside them."""


def detect(names: Collection[str]) -> bool:
    """Whether a record's keys are those of feedback or of a chat."""
    chat, feedback = {"user_id", "title", "chat", "archived"}, {"user_id", "version", "type", "data", "meta"}
    return chat <= set(names) or feedback <= set(names)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The answer that was rated, or all answers of a chat."""
    if "chat" in record:
        messages = _messages(record)
        for message in messages.values():
            if isinstance(message, dict) and message.get("role") == "assistant":
                yield _entry(message, messages, str(record.get("id")), record, {}, asked)
        return
    said, about = opened(record.get("data")), opened(record.get("meta"))
    if record.get("type") != "rating" or not about.get("message_id"):
        yield Entry({"model": said.get("model_id")}, FOREIGN)
        return
    messages = _messages(opened(opened(record.get("snapshot")).get("chat")))
    name, models = str(about["message_id"]), opened(about.get("base_models"))
    message = {"id": name, "model": about.get("model_id"), "arena": about.get("arena"), "timestamp":
               record.get("created_at")} | opened(messages.get(name)) | {"annotation": said}  # fmt: skip
    if said.get("model_id") != about.get("model_id"):
        message["selectedModelId"] = said.get("model_id")
    if name not in messages:  # by the siblings alone: they may be later answers to the same message
        others = set(layouts.listed(said.get("sibling_model_ids"))) - {said.get("model_id")}
        message["siblings"] = bool(others)
    yield _entry(
        message, messages, str(about.get("chat_id")), record, {"paid": models.get(str(said.get("model_id")))}, asked
    )


def _messages(chat: Row) -> Row:
    """The messages of a chat, by identifier."""
    return opened(opened(opened(chat.get("chat")).get("history")).get("messages"))


def _entry(message: Row, messages: Row, chat: str, record: Row, more: Row, asked: Asked) -> Entry:
    name = str(message.get("id"))
    question = opened(messages.get(str(message.get("parentId"))))
    key, _ = keyed(chat, name, None)
    failed = bool(message.get("error"))
    fields: Row = {"answered": first(message, ("selectedModelId", "model"))} | more
    if message.get("arena") and not message.get("selectedModelId"):
        return Entry({}, UNNAMED, key)
    if message.get("siblings") or len(set(layouts.listed(question.get("models")))) > 1:
        return Entry(fields, COMPARED, key)
    if message.get("done") is False and not failed:
        return Entry(fields, UNENDED, key)
    rating = number_or_nan(opened(message.get("annotation")).get("rating"))
    fields |= _counts(message) | {
        "timestamp": message.get("timestamp"),
        "group": record.get("user_id"),
        "request_id": name,
        "spare_id": name,
        "failed": failed,
        "scores": [("rating", (rating + 1) / 2)] if not math.isnan(rating) else [],
    }
    fields |= carried(opened(message.get("meta")))
    fields |= own({k: v for k, v in record.items() if k not in HELD}, asked, record, message)
    read_prompt(fields, [_before(message, messages)], asked)
    if "lost" in fields and not messages:
        fields["lost"] = LOST
    return Entry(fields, FAILED if failed else "", key)


def _before(message: Row, messages: Row) -> list[Row]:
    """The messages that an answer answers, the first one first."""
    found: list[Row] = []
    seen = set()
    at = message.get("parentId")
    while at not in seen and isinstance(before := messages.get(str(at)), dict):
        seen.add(at)
        found.append(before)
        at = before.get("parentId")
    return found[::-1]


def _counts(message: Row) -> Row:
    """Tokens and cost of an answer, of all its requests."""
    counts = dict(opened(message.get("usage")))
    apart = any(name.startswith("cache_") for name in counts)  # by Anthropic's names
    if "prompt_tokens" not in counts:
        counts.pop("total_tokens", None)  # Open WebUI's sum, which leaves out the cache where the provider does
    found = usage(counts) | {"cost": _cost(counts)}
    whole, last = (number_or_nan(counts.get(name)) for name in ("input_tokens", "prompt_tokens"))
    if whole == last or math.isnan(whole) or math.isnan(last):
        return found
    if any(opened(item).get("type") == "function_call" for item in layouts.listed(message.get("output"))):
        return found | {field: None if apart else counts.get(field) for field in SUMS}
    parts, cached = whole / last if last else 0.0, number_or_nan(found.get("cached_tokens"))
    of_last = cached / parts if parts and parts == round(parts) else None
    return {field: counts.get(name) for field, name in SUMS.items()} | {"cached_tokens": of_last}


def _cost(counts: Row) -> Any:
    """What the provider says; OpenRouter's own part alone, where the key for the provider is one's own."""
    if number_or_nan(counts.get("is_byok")) != 1:
        return counts.get("cost")
    parts = (counts.get("cost"), opened(counts.get("cost_details")).get("upstream_inference_cost"))
    return sum(map(number_or_nan, parts))


FORMAT = Format(
    "open_webui",
    "Open WebUI's feedback or chats",
    detect,
    lambda name: name in HELD,
    entries,
    hint="export feedback of a version that has the chats in it, or give the exported chats in the same folder",
)
