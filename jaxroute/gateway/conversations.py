"""Conversations that stay with the model of their first decision: which requests belong together, and what was decided.

A conversation is what the client names: ``litellm_session_id``, ``conversation``, or ``session_id`` or
``conversation_id`` of its metadata. A response that continues another (``previous_response_id``) belongs to the same. A
chat that names none is known by how it begins: its user, and its messages up to the first of the user. Two chats of one
user that begin with the same words count as one.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxroute.gateway.gate import Choice

NAMES = ("litellm_session_id", "conversation", "session_id", "conversation_id")
CHATS = ("messages", "input", "contents")


def opening(body: Mapping[str, Any]) -> list[Any] | None:
    """A chat's messages up to the first of the user; None where the body holds no list of messages.

    Example:
        >>> chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, {"role": "assistant"}]
        >>> [message["role"] for message in opening({"messages": chat})]
        ['system', 'user']
    """
    for name in CHATS:
        messages = body.get(name)
        if isinstance(messages, list):
            roles = [m.get("role") if isinstance(m, dict) else "user" for m in messages]
            users = [place for place, role in enumerate(roles) if role in ("user", None)]
            return messages[: users[0] + 1] if users else None
    return None


def name_of(body: Mapping[str, Any], user: str | None, *metadata: Mapping[str, Any] | None) -> str | None:
    """The conversation that a request says or shows it belongs to; None for one that stands alone.

    Example:
        >>> name_of({"metadata": {"session_id": "s1"}}, None), name_of({"prompt": "Once upon"}, None)
        ('s1', None)
        >>> first = {"messages": [{"role": "user", "content": "Hi"}]}
        >>> later = {"messages": [*first["messages"], {"role": "assistant", "content": "Hello"}]}
        >>> name_of(first, "alice") == name_of(later, "alice") != name_of(later, "bob")
        True
    """
    for holder in (body, body.get("metadata"), *metadata):
        if not isinstance(holder, Mapping):
            continue
        for name in NAMES:
            said = holder.get(name)
            said = said.get("id") if isinstance(said, Mapping) else said
            if isinstance(said, str) and said:
                return said
    if (begun := opening(body)) is None:
        return None
    try:
        text = json.dumps([user, begun], sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


class Conversations:
    """The first decision of every conversation; the least recently used are forgotten where there are too many.

    Example:
        >>> known = Conversations(size=2)
        >>> for name in ("a", "b", "a", "c"):
        ...     if known.get(name) is None:
        ...         known.put(name, Choice("small", 0.9, ("small", "large"), "router"))
        >>> known.get("a").by, known.get("b")
        ('sticky', None)
    """

    def __init__(self, size: int = 50_000) -> None:
        """size: conversations that are kept, a few hundred bytes each; as many responses are traced to theirs."""
        self.size = size
        self._first: OrderedDict[str, Choice] = OrderedDict()
        self._of_response: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Choice | None:
        """The first decision, as a later request of the conversation has it."""
        with self._lock:
            if (found := self._first.get(name)) is not None:
                self._first.move_to_end(name)
            return found

    def put(self, name: str, choice: Choice) -> None:
        """Keep a first decision; features are those of its own request, so they are left out."""
        self._keep(self._first, name, replace(choice, by="sticky", features=None))

    def answered(self, response: str, name: str) -> None:
        """Remember which conversation a response belongs to."""
        self._keep(self._of_response, response, name)

    def continued(self, response: Any) -> str | None:
        """The conversation of a response; the response itself where it is not known."""
        return self._of_response.get(response, response) if isinstance(response, str) and response else None

    def _keep(self, held: OrderedDict[str, Any], key: str, value: Any) -> None:
        with self._lock:
            held[key] = value
            held.move_to_end(key)
            if len(held) > self.size:
                held.popitem(last=False)
