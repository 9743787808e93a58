"""Requests under way: what was decided for each, kept on our side by LiteLLM's call id until its row is written.

Nothing of a decision travels with the request, so no client can write one, and none reaches a provider.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxroute.data.messages import text_of
from jaxroute.data.values import is_chat
from jaxroute.gateway.gate import Choice

ENDPOINTS = {
    "acompletion": ("chat", "messages"),
    "completion": ("chat", "messages"),
    "atext_completion": ("completions", "prompt"),
    "text_completion": ("completions", "prompt"),
    "aresponses": ("responses", "input"),
    "responses": ("responses", "input"),
    "anthropic_messages": ("messages", "messages"),
    "aanthropic_messages": ("messages", "messages"),
    "agenerate_content": ("generate_content", "contents"),
    "agenerate_content_stream": ("generate_content", "contents"),
}
"""LiteLLM's names of the calls for text: the endpoint's name in the log, and the field that holds the text."""
ANONYMOUS = ("default_user_id", "")
REDACTED = "redacted-by-litellm"


@dataclass(slots=True)
class Request:
    """A routed request. id: its key. choice: the latest decision. begun: when it arrived, seconds since 1970.

    facts: further fields of the row. tried: models chosen so far, the retries of a `litellm.Router` included. failed:
    models whose attempts failed, in order. attempts: at a deployment. asked: how often a deployment was picked. done:
    its row has been written. weight: how many answered requests its row stands for, 0 where it is not to have one.
    conversation: that it belongs to.
    """

    id: str
    choice: Choice
    text: str | None
    endpoint: str
    begun: float
    stream: bool = False
    n: int = 1
    group: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    attempts: int = 0
    asked: int = 0
    weight: float = 1.0
    conversation: str | None = None
    done: bool = False

    @property
    def version(self) -> str | None:
        """Of the router that decided."""
        found: str | None = self.choice.facts.get("router_version", self.facts.get("router_version"))
        return found


class Store:
    """Requests by id; safe to call from several threads. The oldest are given up when there are too many.

    Example:
        >>> store = Store()
        >>> one = Request("a", Choice("small", 0.9, ("small", "large"), "router"), "hi", "chat", 0.0)
        >>> store.add(one), store.get("a") is one, store.finish("a") is one, store.finish("a")
        ('a', True, True, None)
    """

    def __init__(self, size: int = 20_000, seconds: float = 7200.0) -> None:
        """size: requests that are kept, answered ones included. seconds: after which one is given up."""
        self.size, self.seconds = size, seconds
        self._held: OrderedDict[str, Request] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, request: Request) -> str:
        """Keep a request, under a new id if its own is taken: clients may choose theirs, and repeat it."""
        with self._lock:
            if request.id in self._held:
                request.id = str(uuid.uuid4())
            self._held[request.id] = request
        return request.id

    def get(self, id: Any) -> Request | None:
        return self._held.get(id) if isinstance(id, str) else None

    def finish(self, id: Any) -> Request | None:
        """The request whose row is to be written now; None if there is none, or it has been written."""
        with self._lock:
            request = self.get(id)
            if request is None or request.done:
                return None
            slim = replace(request.choice, features=None)  # the headers of the answer still ask for the rest
            self._held[request.id] = replace(request, choice=slim, text=None, done=True)
            return request

    def stale(self, everything: bool = False) -> Iterator[Request]:
        """Take out what is too old or too much, or everything; those of it that have no row."""
        oldest = time.time() if everything else time.time() - self.seconds
        while True:
            with self._lock:
                first = next(iter(self._held.values()), None)
                if first is None or (len(self._held) <= self.size and first.begun > oldest):
                    return
                del self._held[first.id]
            if not first.done:
                yield first


def text(endpoint: str, body: Mapping[str, Any], chat: str, limit: int) -> str | None:
    """What the router sees of a request, at most ``limit`` characters of its end; None without a text.

    A text that is no chat is the prompt, whatever the rule: so tables are read that routers are fitted to. As there, a
    text of nothing but white space is none.

    Example:
        >>> text("acompletion", {"messages": [{"role": "user", "content": "Hello"}]}, "last", 3)
        'llo'
    """
    held = body.get(ENDPOINTS[endpoint][1])
    try:
        found = held if isinstance(held, str) and not is_chat(held) else text_of(held, chat)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None
    seen = found[-limit:] if found else ""
    return seen if seen.strip() else None


def needs(body: Mapping[str, Any]) -> set[str]:
    """What a model must be able to do for a request: "tools", "json" (a format of its answer), "images".

    Example:
        >>> sorted(needs({"tools": [{"type": "function"}], "response_format": {"type": "json_object"}}))
        ['json', 'tools']
    """
    found = {"tools"} if body.get("tools") or body.get("functions") else set()
    text = body.get("text")  # of a response
    asked = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    if isinstance(asked, dict) and str(asked.get("type")).startswith("json"):
        found.add("json")
    for name in ("messages", "input", "contents"):
        for message in body[name] if isinstance(body.get(name), list) else ():
            content = message.get("content") or message.get("parts") if isinstance(message, dict) else None
            for part in content if isinstance(content, list) else ():
                kind = str(part.get("type")) if isinstance(part, dict) else ""
                if "image" in kind or (isinstance(part, dict) and {"inlineData", "inline_data"} & part.keys()):
                    found.add("images")
    return found


BYTES_A_TOKEN = 3
"""Of UTF-8, fewer than most texts have (English 4, Chinese 3), so that a prompt near a limit counts as too long."""
ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens")
IMAGE = 1000
"""Tokens of a picture, whose bytes are no text."""


def tokens(body: Mapping[str, Any]) -> int:
    """About how many tokens a request takes, prompt and answer together; rather too many than too few.

    Example:
        >>> tokens({"messages": [{"role": "user", "content": "Hello, world"}], "max_tokens": 100})
        104
    """
    size, pictures = 0, 0
    left = [body.get(name) for name in ("messages", "input", "contents", "prompt", "system", "instructions", "tools")]
    while left:
        one = left.pop()
        if isinstance(one, str):
            size += len(one) if one.isascii() else len(one.encode("utf-8", "replace"))
        elif isinstance(one, list | tuple):
            left.extend(one)
        elif isinstance(one, dict):
            if "image" in str(one.get("type")) or {"inlineData", "inline_data"} & one.keys():
                pictures += 1
            else:
                left.extend(value for name, value in one.items() if name not in ("role", "type"))
    asked = next((body[name] for name in ANSWER if isinstance(body.get(name), int)), 0)
    return size // BYTES_A_TOKEN + IMAGE * pictures + max(asked, 0)


def group(body: Mapping[str, Any], *metadata: Mapping[str, Any] | None) -> str | None:
    """Whose request it is: the client's ``user``, else the key's; None where LiteLLM only says that it knows none."""
    said = [body.get("user")]
    for one in metadata:
        if isinstance(one, dict):
            said += [one.get("user_api_key_end_user_id"), one.get("user_api_key_user_id")]
    return next((name for name in said if isinstance(name, str) and name not in ANONYMOUS), None)


def context(body: Mapping[str, Any], names: Collection[str], *metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values of context columns that a request says in its ``metadata``; None where it says none.

    ``tools`` is their number where the metadata say nothing of it, as in a log whose column holds the tools.

    Example:
        >>> context({"metadata": {"tier": "gold"}, "tools": [{"type": "function"}]}, ("tier", "tools", "language"))
        {'tier': 'gold', 'tools': 1, 'language': None}
    """
    found: dict[str, Any] = dict.fromkeys(names)
    for one in (*metadata, body.get("metadata")):
        if isinstance(one, dict):
            found |= {name: one[name] for name in names if isinstance(one.get(name), str | int | float)}
    if "tools" in found and found["tools"] is None and isinstance(body.get("tools"), list):
        found["tools"] = len(body["tools"])
    return found
