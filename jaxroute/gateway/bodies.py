"""The JSON of the sidecar (`service`): requests that are asked and answered for, and what became of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxroute import settings
from jaxroute.gateway import rows
from jaxroute.gateway.recorder import Asked, Recorder
from jaxroute.gateway.requests import Request
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


def many(body: dict[str, Any], name: str) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a body is a list of objects, under this name, and the objects; else it is one itself.

    Raises:
        InputError: no list, or one of too many or of none.
    """
    several = body.keys() == {name}
    given = body[name] if several else [body]
    if not isinstance(given, list) or not 0 < len(given) <= MOST or not all(isinstance(one, dict) for one in given):
        raise InputError(f"{name}: must be a list of 1 to {MOST} objects")
    return several, given


def asked(recorder: Recorder, body: dict[str, Any]) -> Asked:
    """The request of a body.

    Raises:
        InputError: names the field that is wrong.
    """
    gate = recorder.gate
    features = body.get("features")
    if features is not None:
        wanted = None if gate.router is None else gate.router.text_features
        try:
            features = np.asarray(features, np.float32)
        except (TypeError, ValueError, OverflowError):
            features = np.empty((0, 0))
        if features.ndim != 1 or not np.isfinite(features).all() or wanted not in (None, len(features)):
            raise InputError(f"features: must be a list of {wanted or 'finite'} numbers")
    candidates = body.get("candidates")
    if candidates is not None and not (isinstance(candidates, list) and all(isinstance(m, str) for m in candidates)):
        raise InputError("candidates: must be a list of names")
    call = next((call for name, call in CALLS.items() if body.get(name)), "acompletion")
    text, id = recorder.text(call, body), body.get("request_id")
    return recorder.asked(call, body, text, id, features=features, candidates=candidates)


def said(request: Request) -> dict[str, Any]:
    """What is answered of a decision."""
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


def checked(recorder: Recorder, body: dict[str, Any]) -> None:
    """Refuse an outcome that cannot be written.

    Raises:
        InputError: names the field that is wrong. LookupError: no such request is under way.
    """
    if unknown := sorted(set(body) - OUTCOME):
        raise InputError(f"outcome: unknown field {unknown[0]!r}; the fields are: {', '.join(sorted(OUTCOME))}")
    status, model = body.get("status", "answered"), body.get("model")
    if status not in rows.STATUS or not isinstance(model, str | None) or (model and not model.strip()):
        raise InputError(f"outcome: status must be one of {', '.join(rows.STATUS)}, and model a name")
    for name in ("cost", "input_tokens", "output_tokens", "attempts"):
        if body.get(name) is not None:
            settings.number(f"outcome: {name}", body[name], "a finite number of at least 0", _counts)
    if not isinstance(body.get("response_id"), str | None) or not isinstance(body.get("cache_hit"), bool | None):
        raise InputError("outcome: response_id must be a text, and cache_hit true or false")
    failed = body.get("failed", [])
    if not isinstance(failed, list) or not all(isinstance(name, str) for name in failed):
        raise InputError("outcome: failed must be a list of names")
    request = recorder.store.get(body.get("request_id"))
    if request is None or request.done:
        raise LookupError(f"outcome: no request {body.get('request_id')!r} is under way")


def _counts(value: float) -> bool:
    return 0 <= value < math.inf


def ended(recorder: Recorder, body: dict[str, Any]) -> bool:
    """Write the row of a checked outcome; False where the request already has one."""
    request = recorder.store.finish(body["request_id"])
    if request is None:  # twice in one list
        return False
    request.failed, request.attempts = body.get("failed", []), int(body.get("attempts") or 1)
    status = body.get("status", "answered")
    answered = body.get("model") or request.choice.model if status == "answered" else None
    recorder.end(request, status, model=answered, answer={name: body.get(name) for name in ANSWER})
    return True
