"""The gate without LiteLLM: "which model?" over HTTP, for gateways of other kinds, with the same rows.

    python -m jaxroute.gateway.service models.yaml --port 8100

    POST /v1/route      {"prompt": ..., or "messages", "input", "contents", "features": ...,
                        "candidates", "user", "request_id", "tools", ...: optional}
                        -> {"request_id", "model", "propensity", "by", "candidates", "logged", "version"}
                        or {"requests": [...]} -> {"decisions": [...]}
    POST /v1/outcome    {"request_id", "model", "status", "cost", "input_tokens", "output_tokens", "response_id",
                        "failed", "attempts", "cache_hit"}, or {"outcomes": [...]}: what became of it, which is its row
    POST /v1/feedback   a rating or {"ratings": [...]}, as on LiteLLM's proxy
    GET  /health        the process lives;   GET /ready   rows are written, the router is loaded;   GET /metrics

A bad request is 400 with {"error": ...}; an outcome of no request under way is 404. If JAXROUTE_KEY is set, every POST
needs the header ``Authorization: Bearer <key>``. One process; start several behind a load balancer that keeps a
request's route and outcome together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from jaxroute._lazy import install
from jaxroute.gateway import bodies, watching
from jaxroute.gateway.feedback import ratings
from jaxroute.gateway.gate import Gate
from jaxroute.gateway.recorder import Asked, Recorder, one_thread
from jaxroute.gateway.requests import Request
from jaxroute.gateway.settings import load_settings
from jaxroute.gateway.writing import LogWriter
from jaxroute.system import parsing
from jaxroute.types import InputError

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request as Http
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ModuleNotFoundError as error:
    lacking = f"this needs {str(error.name).partition('.')[0]}; {install('sidecar')}"
    if __name__ == "__main__":
        print(f"error: {lacking}", file=sys.stderr)
        sys.exit(2)
    raise ModuleNotFoundError(lacking, name=error.name) from None

BRIEF = 4000
"""Characters that are encoded at once; longer requests leave the event loop free."""


def app(recorder: Recorder, feedback: LogWriter | None = None) -> Starlette:
    """The service.

    Args:
        recorder: gate and log. feedback: log of the ratings; None: they are refused.
    """

    together = Together(recorder)

    async def route(body: dict[str, Any]) -> Any:
        several, given = bodies.many(body, "requests")
        asked = [bodies.asked(recorder, one) for one in given]
        long = sum(len(one.text or "") for one in asked) > BRIEF
        if long or not recorder.gate.quick:
            decided = await run_in_threadpool(recorder.decide, asked)
        else:
            decided = await together.decided(asked)
        said = [bodies.said(request) for request in decided]
        return {"decisions": said} if several else said[0]

    async def outcome(body: dict[str, Any]) -> Any:
        _, given = bodies.many(body, "outcomes")
        for one in given:
            bodies.checked(recorder, one)
        return {"written": sum(bodies.ended(recorder, one) for one in given)}

    async def rate(body: dict[str, Any]) -> Any:
        if feedback is None:
            raise InputError("feedback: models.yaml names no log")
        given = ratings(body)
        return {"written": sum(feedback.write(**row) for row in given)}

    async def health(http: Http) -> Response:
        return JSONResponse({"alive": True})

    async def ready(http: Http) -> Response:
        said = recorder.ready()
        return JSONResponse(said, 200 if said["ready"] else 503)

    async def measured(http: Http) -> Response:
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
        except ModuleNotFoundError:
            return JSONResponse({"error": "metrics need prometheus-client"}, 404)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        recorder.close()  # uvicorn ends the process by the signal that it got, and nothing is run at its exit

    return Starlette(
        routes=[
            Route("/v1/route", _answering(route), methods=["POST"]),
            Route("/v1/outcome", _answering(outcome), methods=["POST"]),
            Route("/v1/feedback", _answering(rate), methods=["POST"]),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", measured),
        ],
        lifespan=lifespan,
    )


def _answering(answer: Callable[[dict[str, Any]], Awaitable[Any]]) -> Callable[[Http], Awaitable[Response]]:
    async def endpoint(http: Http) -> Response:
        key = os.environ.get("JAXROUTE_KEY")
        sent = http.headers.get("authorization", "")
        if key and not hmac.compare_digest(sent.encode(), f"Bearer {key}".encode()):
            return JSONResponse({"error": "the key is missing or wrong"}, 401)
        try:
            body = await http.json()
            if not isinstance(body, dict):
                raise InputError("the body must be a JSON object")
            return JSONResponse(await answer(body))
        except LookupError as error:
            return JSONResponse({"error": str(error.args[0])}, 404)
        except RecursionError:
            return JSONResponse({"error": "the body is nested too deeply"}, 400)
        except (InputError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


class Together:
    """Decides at once what arrives at once: a pass over several texts takes little longer than one over a single one.

    What comes in while the event loop is busy with other requests waits for it anyway.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.waiting: list[tuple[list[Asked], asyncio.Future[list[Request]]]] = []

    async def decided(self, asked: list[Asked]) -> list[Request]:
        """The requests, once they are decided with all others that are waiting now."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self._decide)
        self.waiting.append((asked, loop.create_future()))
        return await self.waiting[-1][1]

    def _decide(self) -> None:
        waiting, self.waiting = self.waiting, []
        try:
            found = iter(self.recorder.decide([one for asked, _ in waiting for one in asked]))
            for asked, told in waiting:
                own = [next(found) for _ in asked]
                if not told.done():  # its client has left
                    told.set_result(own)
        except Exception as error:
            for _, told in waiting:
                if not told.done():
                    told.set_exception(error)


def from_file(path: str | os.PathLike[str]) -> Starlette:
    """The service of a ``models.yaml``.

    Raises:
        InputError: the file is invalid, or its log cannot be opened.
    """
    path = Path(path)
    settings = load_settings(path)
    gate = Gate(settings)
    gate.apart()
    recorder = Recorder(gate)
    if settings.reload_seconds:
        watching.watch(path, lambda: recorder.gate, recorder.take, lambda settings: settings, settings.reload_seconds)
    file = settings.feedback_file
    return app(recorder, None if file is None else LogWriter(file))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    import uvicorn

    parser = parsing.Parser(prog="python -m jaxroute.gateway.service", description='Answers "which model?".')
    parser.add_argument("settings", help="models.yaml")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    asked = parser.parse_args(arguments)
    one_thread()
    try:
        service = from_file(asked.settings)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    uvicorn.run(service, host=asked.host, port=asked.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
