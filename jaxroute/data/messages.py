"""The text of a chat that a router sees."""

from __future__ import annotations

from typing import Any

from jaxroute.data.records import parsed


def text_of(messages: Any) -> str | None:
    """The text that a router sees of a chat: that of the user's last message, of the last message where none is.

    Args:
        messages: a text, or messages of role and content (a text or typed parts), OpenTelemetry's parts included.

    Returns:
        The text; None where there is none.

    Example:
        >>> text_of([{"role": "system", "content": "Be kind."}, {"role": "user", "content": [
        ...     {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}]}])
        'What is this?'
    """
    messages = parsed(messages)
    if isinstance(messages, str):
        return messages or None
    said = []
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            content = message.get("content") if message.get("content") is not None else message.get("parts")
            if text := _text(content):
                said.append((message.get("role") == "user", text))
    return next((text for user, text in reversed(said) if user), said[-1][1] if said else None)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part.get("text") or part.get("content") for part in parts if part.get("type") in ("text", "input_text")]
    return "\n".join(text for text in texts if isinstance(text, str))
