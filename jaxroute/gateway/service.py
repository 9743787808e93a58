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

import argparse
import hmac
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as Http
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jaxroute.gateway import rows, watching
from jaxroute.gateway.feedback import ratings
from jaxroute.gateway.gate import Gate
from jaxroute.gateway.recorder import Recorder
from jaxroute.gateway.settings import load_settings
from jaxroute.gateway.writing import LogWriter
from jaxroute.types import InputError

MOST = 1000
CALLS = {
    "messages": "acompletion",
    "prompt": "atext_completion",
    "input": "aresponses",
    "contents": "agenerate_content",
}
ANSWER = ("response_id", "cost", "input_tokens", "output_tokens", "cache_hit")
OUTCOME = {*ANSWER, "request_id", "model", "status", "failed", "attempts"}


def app(recorder: Recorder, feedback: LogWriter | None = None) -> Starlette:
    """The service.

    Args:
        recorder: gate and log. feedback: log of the ratings; None: they are refused.
    """

    async def route(body: dict[str, Any]) -> Any:
        several, given = _many(body, "requests")
        long = sum(len(str(one.get("prompt") or one.get("messages") or "")) for one in given) > 4000
        if long or not recorder.gate.quick:
            decided = await run_in_threadpool(lambda: [_decided(recorder, one) for one in given])
        else:
            decided = [_decided(recorder, one) for one in given]
        return {"decisions": decided} if several else decided[0]

    async def outcome(body: dict[str, Any]) -> Any:
        _, given = _many(body, "outcomes")
        for one in given:
            _checked(recorder, one)
        return {"written": sum(_ended(recorder, one) for one in given)}

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

    return Starlette(
        routes=[
            Route("/v1/route", _answering(route), methods=["POST"]),
            Route("/v1/outcome", _answering(outcome), methods=["POST"]),
            Route("/v1/feedback", _answering(rate), methods=["POST"]),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", measured),
        ]
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
        except (InputError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


def _many(body: dict[str, Any], name: str) -> tuple[bool, list[dict[str, Any]]]:
    several = body.keys() == {name}
    given = body[name] if several else [body]
    if not isinstance(given, list) or not 0 < len(given) <= MOST or not all(isinstance(one, dict) for one in given):
        raise InputError(f"{name}: must be a list of 1 to {MOST} objects")
    return several, given


def _decided(recorder: Recorder, body: dict[str, Any]) -> dict[str, Any]:
    gate = recorder.gate
    features = body.get("features")
    if features is not None:
        wanted = None if gate.router is None else gate.router.text_features
        features = np.asarray(features, np.float32)
        if features.ndim != 1 or not np.isfinite(features).all() or wanted not in (None, len(features)):
            raise InputError(f"features: must be a list of {wanted or 'finite'} numbers")
    candidates = body.get("candidates")
    if candidates is not None and not (isinstance(candidates, list) and all(isinstance(m, str) for m in candidates)):
        raise InputError("candidates: must be a list of names")
    call = next((call for name, call in CALLS.items() if body.get(name)), "acompletion")
    request = recorder.route(
        call, body, recorder.text(call, body), body.get("request_id"), features=features, candidates=candidates
    )
    choice = request.choice
    return {
        "request_id": request.id,
        "model": choice.model,
        "propensity": choice.propensity,
        "by": choice.by,
        "candidates": list(choice.candidates),
        "logged": request.weight > 0,
        "version": request.version,
    }


def _checked(recorder: Recorder, body: dict[str, Any]) -> None:
    if unknown := sorted(set(body) - OUTCOME):
        raise InputError(f"outcome: unknown field {unknown[0]!r}; the fields are: {', '.join(sorted(OUTCOME))}")
    status, model = body.get("status", "answered"), body.get("model")
    if status not in rows.STATUS or not isinstance(model, str | None):
        raise InputError(f"outcome: status must be one of {', '.join(rows.STATUS)}, and model a name")
    for name in ("cost", "input_tokens", "output_tokens", "attempts"):
        if not isinstance(body.get(name), int | float | None) or isinstance(body.get(name), bool):
            raise InputError(f"outcome: {name} is {body[name]!r}; it must be a number")
    failed = body.get("failed", [])
    if not isinstance(failed, list) or not all(isinstance(name, str) for name in failed):
        raise InputError("outcome: failed must be a list of names")
    request = recorder.store.get(body.get("request_id"))
    if request is None or request.done:
        raise LookupError(f"outcome: no request {body.get('request_id')!r} is under way")


def _ended(recorder: Recorder, body: dict[str, Any]) -> bool:
    request = recorder.store.finish(body["request_id"])
    if request is None:  # twice in one list
        return False
    request.failed, request.attempts = body.get("failed", []), int(body.get("attempts") or 1)
    status = body.get("status", "answered")
    answered = body.get("model") or request.choice.model if status == "answered" else None
    recorder.end(request, status, model=answered, answer={name: body.get(name) for name in ANSWER})
    return True


def from_file(path: str | os.PathLike[str]) -> Starlette:
    """The service of a ``models.yaml``.

    Raises:
        InputError: the file is invalid, or its log cannot be opened.
    """
    path = Path(path)
    settings = load_settings(path)
    recorder = Recorder(Gate(settings))
    if settings.reload_seconds:
        watching.watch(path, lambda: recorder.gate, recorder.take, lambda settings: settings, settings.reload_seconds)
    file = settings.feedback_file
    return app(recorder, None if file is None else LogWriter(file))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m jaxroute.gateway.service", description='Answers "which model?".')
    parser.add_argument("settings", help="models.yaml")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    asked = parser.parse_args(arguments)
    try:
        service = from_file(asked.settings)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    uvicorn.run(service, host=asked.host, port=asked.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
