"""Decides requests, keeps the decisions until the answers are known, and writes the rows: what every gateway shares."""

from __future__ import annotations

import atexit
import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxroute.gateway import metrics, requests, rows
from jaxroute.gateway.gate import Gate
from jaxroute.gateway.requests import Request, Store
from jaxroute.gateway.writing import LOG, LogWriter


class Recorder:
    """A gate, the requests under way, and their log. writer: None makes the one that the settings name."""

    def __init__(self, gate: Gate, writer: LogWriter | None = None) -> None:
        self.gate, self.store = gate, Store()
        settings = gate.settings
        if writer is None and settings.log is not None:
            writer = LogWriter(
                settings.log,
                megabytes=settings.log_megabytes,
                daily=settings.log_daily,
                compress=settings.log_compress,
            )
        self.writer = writer
        atexit.register(self.close)

    def take(self, gate: Gate) -> None:
        """Decide with another gate from now on; requests under way keep their decisions."""
        self.gate = gate

    def close(self) -> None:
        """Write the rows of requests of which LiteLLM has not said how they ended."""
        for request in self.store.stale(everything=True):
            self.end(request, "unknown")

    def ready(self) -> dict[str, Any]:
        """Whether decisions are made as the settings say and rows are written; what readiness answers."""
        writer = self.writer
        healthy = writer is None or writer.healthy
        return {
            "ready": healthy and self.gate.problem is None,
            "router": self.gate.problem or ("loaded" if self.gate.router is not None else "none"),
            "rows_written": 0 if writer is None else writer.written,
            "rows_lost": 0 if writer is None else writer.lost,
        }

    def text(self, call: str, body: Mapping[str, Any]) -> str | None:
        """What the router sees of a request."""
        gate = self.gate
        return requests.text(call, body, gate.chat, gate.settings.max_characters)

    def route(
        self,
        call: str,
        body: Mapping[str, Any],
        text: str | None,
        id: Any,
        *metadata: Mapping[str, Any] | None,
        features: np.ndarray | None = None,
        candidates: Collection[str] | None = None,
    ) -> Request:
        """Decide a request, and keep the decision until its row is written.

        Args:
            call: one of ``requests.ENDPOINTS``. body: of the request. text: of it.
            id: the key that the gateway gave it; a new one is made where it has none.
            metadata: in which LiteLLM names users. features: [D] in the text's place.
            candidates: the models that may answer; None: all.

        Raises:
            InputError: none of the candidates is known.
        """
        gate = self.gate  # one gate decides and is named in the row, whatever replaces it meanwhile
        needs = requests.needs(body)
        clock = time.perf_counter()
        able = gate.settings.able(needs)
        if candidates is not None:
            able = tuple(m for m in able if m in candidates) or tuple(candidates)
        choice = gate.choose(text if features is None else features, able)
        metrics.decided(choice.model, choice.by, time.perf_counter() - clock)
        n = body.get("n")
        request = Request(
            id=id if isinstance(id, str) and id else str(uuid.uuid4()),
            choice=choice,
            text=text,
            endpoint=requests.ENDPOINTS[call][0],
            begun=time.time(),
            stream=call.endswith("_stream") or body.get("stream") is True,
            n=n if isinstance(n, int) else 1,
            group=requests.group(body, *metadata),
            facts=gate.facts | {"needs": sorted(needs)},
            tried=[choice.model],
        )
        self.store.add(request)
        for old in self.store.stale():
            self.end(old, "unknown")
        return request

    def give_up(self, id: Any, status: str) -> None:
        """Write the row of a request that was not answered."""
        if (request := self.store.finish(id)) is not None:
            self.end(request, status)

    def private(self, request: Request) -> bool:
        """Whether nothing of the request's text may be in its row, whatever the settings say."""
        return False

    def end(self, request: Request, status: str, **known: Any) -> None:
        """Write the row of a request that is finished; known: see ``rows.row``."""
        if self.private(request):
            request.text = None
        self.write(rows.row(request, status, texts=self.gate.settings.log_prompts, **known))

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; a failure is counted and said, and never affects an answer."""
        if self.writer is None:
            return
        try:
            metrics.row(self.writer.write(**row))
        except (TypeError, ValueError):
            LOG.exception("a row of the log could not be written and is lost")
            metrics.row(False)
