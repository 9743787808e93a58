"""What the proxy answers beside LiteLLM's own: ratings of answers, behind the proxy's authentication, and readiness.

POST /jaxroute/feedback    {"request_id": ..., "quality": ..., "name": ..., "timestamp": ...}, or many as
                           {"ratings": [...]}
GET  /jaxroute/ready       200, or 503 while rows of the log are lost
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

from jaxroute.gateway.feedback import ratings
from jaxroute.gateway.writing import LogWriter
from jaxroute.types import InputError


def add(app: FastAPI, feedback: LogWriter | None, ready: Callable[[], dict[str, Any]]) -> None:
    """Add the endpoints to the proxy, before its own, some of which take any path.

    Args:
        app: the proxy's.
        feedback: of the ratings; None where nothing is logged.
        ready: what readiness says; ``ready`` in it decides.
    """

    async def rate(request: Request) -> JSONResponse:
        if feedback is None:
            return JSONResponse({"error": "feedback: models.yaml names no log"}, 404)
        try:
            rows = ratings(await request.json())
        except (InputError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        written = sum(feedback.write(**row) for row in rows)
        return JSONResponse({"written": written, "lost": len(rows) - written}, 200 if written == len(rows) else 507)

    async def readiness() -> JSONResponse:
        said = ready()
        return JSONResponse(said, 200 if said["ready"] else 503)

    own = [
        APIRoute("/jaxroute/feedback", rate, methods=["POST"], dependencies=[Depends(user_api_key_auth)]),
        APIRoute("/jaxroute/ready", readiness, methods=["GET"]),
    ]
    app.router.routes[:0] = own
