"""The part of a chat that is the prompt: one rule for fitting, routing and the gateway.

    last    the user's last message (the default)
    user    all messages of the user, in order
    all     the whole chat including answers and system message; results of tools are never part of the text

A limit on characters may follow, as in ``user:4000``. Of a longer text the end is kept, because the question comes
last.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jaxroute.data.records import parsed
from jaxroute.types import InputError

CHAT = "last"
TURNS = ("last", "user", "all")
TOOLS = ("tool", "function", "toolresult")
HOLDERS = ("messages", "input", "contents", "prompt")
"""Fields in which the body of a request holds its messages: chat completions, responses, Gemini, text completions."""


@lru_cache
def rule(chat: str) -> tuple[str, int | None]:
    """(turns, limit on characters) of a rule.

    Raises:
        InputError: the rule is unknown.

    Example:
        >>> rule("last"), rule("user:4000")
        (('last', None), ('user', 4000))
    """
    turns, colon, limit = str(chat).partition(":")
    if turns not in TURNS or (colon and not (limit.isdecimal() and int(limit))):
        raise InputError(
            f"chat rule {chat!r}: write one of {', '.join(TURNS)}, with a limit on characters if wanted, as in "
            "user:4000"
        )
    return turns, int(limit) if colon else None


def text_of(messages: Any, chat: str = CHAT) -> str | None:
    """The part of a chat that a router sees.

    Args:
        messages: a text; a list of messages with role and content (a text or typed parts), as OpenAI, Anthropic,
            Gemini and OpenTelemetry write them; or the body of a request that holds them.
        chat: the rule, see the module. Without a message of the user, the last message that is not a tool's counts.

    Returns:
        The text; None if there is none.

    Example:
        >>> chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello."},
        ...     {"role": "assistant", "content": "Hi."}, {"role": "user", "content": [
        ...     {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}]}]
        >>> text_of(chat), text_of(chat, "user"), text_of(chat, "user:5")
        ('What is this?', 'Hello.\\n\\nWhat is this?', 'this?')
    """
    turns, limit = rule(chat)
    found = _opened(messages)
    if isinstance(found, str):
        text = found or None
    else:
        said = [(role, text) for role, text in _said(found) if role not in TOOLS and text]
        users = [text for role, text in said if role in ("user", "human")]
        if turns == "all":
            users = [text for _, text in said]
        elif turns == "last" or not users:
            users = users[-1:] or [text for _, text in said[-1:]]
        text = "\n\n".join(users) or None
    return text[-limit:] if text and limit else text


def only_tools(messages: Any) -> bool:
    """Whether a chat holds only results of tools: a later turn of an agent, whose question is in another record.

    Example:
        >>> only_tools([{"role": "tool", "content": "21 degrees"}]), only_tools([{"role": "user", "content": None}])
        (True, False)
    """
    found = _opened(messages)
    said = [] if isinstance(found, str) else list(_said(found))
    tools = [role in TOOLS for role, _ in said]
    return any(tools) and not any(text and not tool for (_, text), tool in zip(said, tools, strict=True))


def _opened(value: Any) -> Any:
    """A text or a list of messages. A text that is JSON but holds no message is itself the prompt."""
    found = parsed(value)
    if isinstance(found, list) and found and isinstance(found[0], dict) and "role" in found[0]:
        return found
    if isinstance(found, dict):
        held = next((parsed(found[name]) for name in HOLDERS if found.get(name)), None)
        held = [found] if held is None and "role" in found else held
    else:
        held = found
    if isinstance(value, str) and found and not isinstance(held, str):
        messages = held if isinstance(held, list) else []
        if not any(isinstance(m, dict) and m.keys() & {"role", "content", "parts", "type"} for m in messages):
            return value
    return held


def _said(messages: Any) -> Iterator[tuple[str, str]]:
    """(role, text) of every message; a result of a tool counts as a message of the tool, whatever its role."""
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, str):
            yield "user", message
        elif isinstance(message, dict):
            message = _whole(message)
            role = str(message.get("role") or "").lower()
            content = message.get("content")
            content = message.get("parts") if content is None else content
            if text := _text(content):
                yield role or str(message.get("type") or ""), text
            elif not role and str(message.get("type")).endswith(("_call_output", "tool_result")):
                yield "tool", ""
            else:
                results = isinstance(content, list) and any(map(_is_result, content))
                yield "tool" if results else role, ""


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is the message itself, as events of some instrumentations have it, or its only part."""
    content = message.get("content")
    if not isinstance(content, dict):
        return message
    inside = not content.keys().isdisjoint(("role", "content", "parts"))
    return {**message, "content": None, **content} if inside else {**message, "content": [content]}


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and (
        part.get("type") in ("tool_result", "tool_call_response")
        or "functionResponse" in part
        or part.get("function_response") is not None
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, dict) and part.get("type") in ("text", "input_text", None):
            text = part.get("text") or part.get("content")
            if isinstance(text, str):
                texts.append(text)
    return "\n".join(texts)
