"""OpenInference's spans (Arize): its instrumentations' attributes, and the data frames that Phoenix gives of them.

Its processors of spans add its attributes to those of OpenTelemetry's conventions, which say more: messages as they
were, cached tokens, and the identifier of the answer.

Reference:
    Arize, "OpenInference semantic conventions".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data import messages
from jaxroute.data.logs import langsmith, layouts, opentelemetry
from jaxroute.data.logs.entries import OTHER, Convention, Row, opened, ranked
from jaxroute.data.records import parsed

OWN = {
    "answered": ("llm.model_name",),
    "cost": ("llm.cost.total",),
    "input_tokens": ("llm.token_count.prompt",),
    "output_tokens": ("llm.token_count.completion",),
    "total_tokens": ("llm.token_count.total",),
    "cached_tokens": ("llm.token_count.prompt_details.cache_read",),
    "cache_write_tokens": ("llm.token_count.prompt_details.cache_write",),
    "reasoning_tokens": ("llm.token_count.completion_details.reasoning",),
    "group": ("user.id", "session.id"),
    "endpoint": (layouts.KIND,),
}
NAMES = {field: (*OWN.get(field, ()), *names) for field, names in opentelemetry.NAMES.items()}
"""A framework's span to which an instrumentation adds its own may say more under the names of OpenTelemetry."""
MESSAGES, PROMPTS = "llm.input_messages", "llm.prompts"
CALLED = (MESSAGES, PROMPTS, "llm.output_messages", "llm.token_count", "llm.cost")
"""Attributes of which a call of a model has one; a function of a framework around it need not."""


def told(attributes: Row) -> bool:
    return layouts.KIND in attributes or "llm.model_name" in attributes


def left(attributes: Row) -> str:
    kind = attributes.get(layouts.KIND, "LLM")
    if kind != "LLM" or not (attributes.get("llm.model_name") or more(attributes).get("asked")):
        return OTHER
    if any(name.startswith(CALLED) for name in attributes):
        return ""
    sent = _sent(attributes)
    return OTHER if isinstance(sent, dict) and messages.text_of(sent) is None else ""


def more(attributes: Row) -> Row:
    """The model that was asked, and the answer's identifier and model, from the request and the response as they were
    sent.
    """
    asked = opened(attributes.get("llm.invocation_parameters"))
    if not asked.get("model"):
        asked = opened(attributes.get("input.value"))
    found = {"asked": asked.get("model") or asked.get("model_name")}
    answer = attributes.get("output.value")
    start = '{"id":"'
    if isinstance(answer, str) and answer[:200].replace('": "', '":"').startswith(start):
        found["request_id"] = answer.split('"')[3]
    elif attributes.get(layouts.KIND) == "LLM" and attributes.get("output.mime_type") == "application/json":
        body = opened(answer)
        if isinstance(body.get("generations") or body.get("choices"), list):  # LangChain's, or a stream put together
            found |= {field: value for field, value in langsmith.replied(body).items() if field != "usage"}
    return {field: value for field, value in found.items() if value is not None}


def chat(attributes: Row) -> Iterator[Any]:
    """The messages: OpenTelemetry's, numbered attributes, which need not start at 0, a list of them, or the request as
    it was sent.
    """
    yield from opentelemetry.chat(attributes)
    listed = attributes.get(MESSAGES)
    if listed is None:
        found: dict[int, Row] = {}
        for name, value in attributes.items():
            if name.startswith(MESSAGES + "."):
                number, _, rest = name[len(MESSAGES) + 1 :].partition(".")
                if number.isdecimal():
                    _put(found.setdefault(int(number), {}), rest, value)
        yield [_message(found[number]) for number in sorted(found)]
    else:
        yield [_message(one) for one in layouts.listed(listed) if isinstance(one, dict)]
    prompts = layouts.listed(attributes.get(PROMPTS)) or [attributes.get(PROMPTS + ".0.prompt.text")]
    yield prompts[0] if len(prompts) == 1 and PROMPTS + ".1.prompt.text" not in attributes else None
    yield _sent(attributes)


def _sent(attributes: Row) -> Any:
    """What was sent: a text, or a body that may have messages. JSON is no text: it may be a function's arguments."""
    value = attributes.get("input.value")
    return parsed(value) if attributes.get("input.mime_type") == "application/json" else value


def _put(message: Row, name: str, value: Any) -> None:
    """One attribute of a numbered message: its role, its text, or a text among its parts."""
    if name.startswith("message.contents."):
        number, _, rest = name.removeprefix("message.contents.").partition(".")
        message.setdefault("parts", {}).setdefault(number, {})[rest] = value
    else:
        message[name] = value


def _message(found: Row) -> Row:
    inner = found.get("message")
    found = {**found, **{f"message.{k}": v for k, v in inner.items()}} if isinstance(inner, dict) else found
    parts = found.get("parts") or found.get("message.contents") or []
    parts = parts.values() if isinstance(parts, dict) else layouts.listed(parts)
    texts = [
        {"type": "text", "text": text}
        for part in parts
        if isinstance(part, dict) and (text := part.get("message_content.text"))
    ]
    content = found.get("message.content")
    return {"role": found.get("message.role"), "content": texts if content is None else content}


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)
