"""Decides requests, keeps the decisions until the answers are known, and writes the rows: what every gateway shares."""

from __future__ import annotations

import atexit
import random
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from jaxroute.gateway import conversations, metrics, requests, rows
from jaxroute.gateway.conversations import Conversations
from jaxroute.gateway.gate import Choice, Gate
from jaxroute.gateway.requests import Request, Store
from jaxroute.gateway.routers import Question
from jaxroute.gateway.writing import LOG, LogWriter


def one_thread() -> None:
    """Let NumPy's linear algebra use one thread of this process, which is a gateway and nothing else.

    A router's products are too small to be shared, and threads of OpenBLAS that wait for one another keep the cores
    busy: 32 rows took ten times the work on cores that other processes used.
    """
    threadpoolctl.threadpool_limits(1, user_api="blas")


class Asked(NamedTuple):
    """A request before it is decided: by which gate, of which endpoint, with which body, text and key; what the gate is
    asked; what a model must be able to do for it; its user and conversation."""

    gate: Gate
    call: str
    body: Mapping[str, Any]
    text: str | None
    id: Any
    question: Question
    needs: set[str]
    user: str | None
    conversation: str | None


class Recorder:
    """A gate, the requests under way, and their log. writer: None makes the one that the settings name."""

    def __init__(self, gate: Gate, writer: LogWriter | None = None) -> None:
        self.gate, self.store, self.conversations = gate, Store(), Conversations()
        self.chance = random.SystemRandom()  # of this process alone: workers must not leave out the same rows
        settings = gate.settings
        if writer is None and settings.log is not None:
            writer = LogWriter(
                settings.log,
                megabytes=settings.log_megabytes,
                daily=settings.log_daily,
                compress=settings.log_compress,
            )
        self.writer = writer
        gate.warm()
        metrics.load()
        metrics.trying(gate.rollout)
        atexit.register(self.close)

    def take(self, gate: Gate) -> None:
        """Decide with another gate from now on; requests under way keep their decisions."""
        self.gate = gate
        metrics.trying(gate.rollout)

    def close(self) -> None:
        """Write the rows of requests of which nobody has said how they ended; called again, it writes none twice."""
        for request in self.store.stale(everything=True):
            self.end(request, "unknown")

    def ready(self) -> dict[str, Any]:
        """Whether decisions are made as the settings say and rows are written; what readiness answers."""
        writer = self.writer
        healthy = writer is None or writer.healthy
        return {
            "ready": healthy and self.gate.problem is None,
            "router": self.gate.problem or ("loaded" if self.gate.router is not None else "none"),
            "rollout": self.gate.rollout,
            "rows_written": 0 if writer is None else writer.written,
            "rows_lost": 0 if writer is None else writer.lost,
        }

    def text(self, call: str, body: Mapping[str, Any]) -> str | None:
        """What the router sees of a request."""
        gate = self.gate
        return requests.text(call, body, gate.chat, gate.settings.max_characters)

    def asked(
        self,
        call: str,
        body: Mapping[str, Any],
        text: str | None,
        id: Any,
        *metadata: Mapping[str, Any] | None,
        features: np.ndarray | None = None,
        candidates: Collection[str] | None = None,
    ) -> Asked:
        """A request that is to be decided.

        Args:
            call: one of ``requests.ENDPOINTS``. body: of the request. text: of it.
            id: the key that the gateway gave it; a new one is made where it has none.
            metadata: in which LiteLLM names users. features: [D] in the text's place.
            candidates: the models that may answer; None: all.

        Raises:
            InputError: none of the candidates is known.
        """
        gate = self.gate  # one gate decides and is named in the row, whatever replaces it meanwhile
        settings, needs = gate.settings, requests.needs(body)
        able = settings.able(needs, requests.tokens(body)) if settings.context else settings.able(needs)
        if settings.context and set(able) != set(settings.able(needs)):
            needs.add("context")
        if candidates is not None:
            able = tuple(m for m in able if m in candidates) or tuple(candidates)
            gate.allowed(able)
        user, conversation = requests.group(body, *metadata), None
        if settings.sticky is not None:
            continued = self.conversations.continued(body.get("previous_response_id"))
            conversation = continued or conversations.name_of(body, user, *metadata)
            if conversation is None and requests.ENDPOINTS[call][0] == "responses":
                conversation = uuid.uuid4().hex  # responses that continue this one will name it
        context = requests.context(body, gate.context, *metadata) if gate.context else {}
        prompt = text if features is None else features
        return Asked(gate, call, body, text, id, Question(prompt, able, None, context), needs, user, conversation)

    def route(self, *args: Any, **kwargs: Any) -> Request:
        """Decide one request; see `asked` for the arguments and errors."""
        return self.decide([self.asked(*args, **kwargs)])[0]

    def decide(self, asked: Sequence[Asked]) -> list[Request]:
        """Decide requests, all in one pass, and keep the decisions until their rows are written."""
        found = []
        for gate, given in groupby(asked, lambda one: one.gate):
            several, clock = list(given), time.perf_counter()
            alone = iter(gate.choose_all([one.question for one in several if one.conversation is None]))
            choices = [next(alone) if one.conversation is None else self._kept(one) for one in several]
            seconds = (time.perf_counter() - clock) / len(several)
            for one, choice in zip(several, choices, strict=True):
                metrics.decided(choice.model, choice.by, seconds)
                found.append(self._begun(one, choice))
        for old in self.store.stale():
            self.end(old, "unknown")
        return found

    def _begun(self, asked: Asked, choice: Choice) -> Request:
        """Keep a decision."""
        body, gate = asked.body, asked.gate
        share, n = gate.settings.share(choice.model), body.get("n")
        request = Request(
            id=asked.id if isinstance(asked.id, str) and asked.id.strip() else str(uuid.uuid4()),
            choice=choice,
            text=asked.text,
            endpoint=requests.ENDPOINTS[asked.call][0],
            begun=time.time(),
            stream=asked.call.endswith("_stream") or body.get("stream") is True,
            n=n if isinstance(n, int) else 1,
            group=asked.user,
            weight=1 / share if share == 1 or self.chance.random() < share else 0.0,
            conversation=asked.conversation,
            facts={**gate.facts, "needs": sorted(asked.needs), **(asked.question.context or {})},
            tried=[choice.model],
        )
        self.store.add(request)
        return request

    def _kept(self, asked: Asked) -> Choice:
        """The decision of a request's conversation: the first one, unless its model cannot serve this request.

        It is made on the text with which the conversation begins and drawn by its name, so that a worker that sees a
        later request of a chat first, decides as the worker of the first request did.
        """
        gate, (prompt, able, _, context), name = asked.gate, asked.question, asked.conversation
        assert name is not None
        first = self.conversations.get(name)
        if first is None or first.model not in (able or ()):
            begun, start = conversations.opening(asked.body), prompt
            if begun is not None and not isinstance(prompt, np.ndarray):
                start = self.text(asked.call, {**asked.body, requests.ENDPOINTS[asked.call][1]: begun})
            first = gate.choose(start, able, name, context)
            self.conversations.put(name, first)
            if start is prompt or start == prompt:
                return first
        return replace(first, features=None if gate.settings.log_prompts else gate.features(prompt, context))

    def give_up(self, id: Any, status: str) -> None:
        """Write the row of a request that was not answered."""
        if (request := self.store.finish(id)) is not None:
            self.end(request, status)

    def private(self, request: Request) -> bool:
        """Whether nothing of the request's text may be in its row, whatever the settings say."""
        return False

    def end(self, request: Request, status: str, **known: Any) -> None:
        """Write the row of a request that is finished; known: see ``rows.row``."""
        response = (known.get("answer") or {}).get("response_id")
        if request.conversation is not None and isinstance(response, str):
            self.conversations.answered(response, request.conversation)
        if status == "answered" and request.weight == 0:  # not of the share that has rows
            metrics.row("left out")
            return
        if self.private(request):
            request.text = None
        self.write(rows.row(request, status, texts=self.gate.settings.log_prompts, **known))

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; a failure is counted and said, and never affects an answer."""
        if self.writer is None:
            return
        try:
            metrics.row("written" if self.writer.write(**row) else "lost")
        except (TypeError, ValueError):
            LOG.exception("a row of the log could not be written and is lost")
            metrics.row("lost")
