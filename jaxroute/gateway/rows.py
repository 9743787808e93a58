"""The row of a routed request in the log. It holds only the fields listed here, so it cannot hold an API key.

request_id      LiteLLM's call id, which the client has in the header x-litellm-call-id
response_id     the provider's id of the answer, which some providers repeat
prompt          the text that the router saw; or features and prompt_hash where texts are not logged
model           that answered; of a request that nobody answered, the chosen one
propensity      of the chosen model among ``available``; null where another model answered
status          answered, failed (nobody answered), left (the client did not wait), unknown (LiteLLM never said)
by              router, exploration, default, only, sticky (a later request of a conversation, with the propensity of
                the first), or fallback where another model answered than the chosen one
weight          how many requests the row stands for: 1 / share where a share of the answered ones is written, else 1
latency         seconds from the request's arrival to the end of the answer, all attempts together
explore         the policy of exploration, where models.yaml names one, and the number of its ``simulations``
explore_width   of thompson: what the posterior's deviation of each model of ``available`` was multiplied by
rollout         which router decided, new or old, while a new one is tried; router_version is that router's
candidate       version of the new router, in rows of either
rollout_contrast  (p_new - p_old) / propensity of the chosen model: what `rollout` multiplies the utility with
quality         null: ratings come as feedback
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxroute.gateway.requests import Request

STATUS = ("answered", "failed", "left", "unknown")


def row(
    request: Request,
    status: str,
    *,
    texts: bool,
    end: float | None = None,
    model: str | None = None,
    answer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The row of one request.

    Args:
        request: what was decided.
        status: one of ``STATUS``.
        texts: whether prompts are logged.
        end: when the answer ended, seconds since 1970; None: now.
        model: that answered, None if none did.
        answer: further fields of the answer: response_id, cost, input_tokens, output_tokens, cache_hit.
    """
    choice, answer = request.choice, answer or {}
    body: dict[str, Any] = {"prompt": request.text}
    if not texts:
        known = None if choice.features is None else np.round(choice.features.astype(float), 6).tolist()
        body = {"features": known, "prompt_hash": None if request.text is None else _hash(request.text)}
    fallen = model is not None and model != choice.model
    return {
        "request_id": request.id,
        "response_id": answer.get("response_id"),
        **body,
        "model": choice.model if model is None else model,
        "chosen": choice.model,
        "quality": None,
        "cost": answer.get("cost"),
        "input_tokens": answer.get("input_tokens"),
        "output_tokens": answer.get("output_tokens"),
        "propensity": None if fallen else choice.propensity,
        "available": list(choice.candidates),
        "status": status,
        "by": "fallback" if fallen else choice.by,
        "weight": request.weight if status == "answered" else 1.0,
        "exploration": choice.exploration,
        "attempts": max(request.attempts, request.asked, 1),
        "failed": list(request.failed),
        "cache_hit": bool(answer.get("cache_hit")),
        "endpoint": request.endpoint,
        "stream": request.stream,
        "n": request.n,
        "timestamp": request.begun,
        "latency": round((time.time() if end is None else end) - request.begun, 6),
        "group": request.conversation or request.group,
        **request.facts,
        **choice.facts,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def tokens(usage: Any) -> tuple[int | None, int | None]:
    """(input, output) tokens of a usage record of any endpoint; None where it does not say.

    Example:
        >>> tokens({"input_tokens": 5, "output_tokens": 2}), tokens(None)
        ((5, 2), (None, None))
    """

    def first(*names: str) -> int | None:
        for name in names:
            found: Any = usage.get(name) if isinstance(usage, Mapping) else getattr(usage, name, None)
            if isinstance(found, int):
                return found
        return None

    return first("prompt_tokens", "input_tokens"), first("completion_tokens", "output_tokens")
