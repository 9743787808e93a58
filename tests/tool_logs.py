"""Files that real tools wrote of requests to a loopback server, and how tests read them."""

import json
from pathlib import Path

HERE = Path(__file__).parent / "data" / "logs"
PRICE = {"gpt-4o-mini": (0.15, 0.6, 0.075), "gpt-4o": (2.5, 10, 1.25)}


def records_of(name):
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def last_user(messages):
    """The text of the user's last message, else of the last message that has one."""

    def text(message):
        content = message.get("parts") or message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        return "".join(p.get("text") or p.get("content") or "" for p in parts if p.get("type") == "text")

    said = [(m["role"], text(m)) for m in messages if m["role"] != "tool" and text(m)]
    return ([t for role, t in said if role == "user"] or [t for _, t in said] or [None])[-1]
