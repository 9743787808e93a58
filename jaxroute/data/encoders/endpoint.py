"""Features from an OpenAI-compatible embeddings endpoint: POST {base URL}/embeddings.

Uses the HTTP client of the standard library. The key is read from the environment for each request and appears in no
message, file or cache name.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxroute.types import InputError

KEY_VARIABLE, URL_VARIABLE = "OPENAI_API_KEY", "OPENAI_BASE_URL"
DEFAULT_URL = "https://api.openai.com/v1"
TIMEOUT = 60.0  # seconds for one request
ATTEMPTS = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; doubled after every failure
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # statuses that may succeed when tried again


def base_url() -> str:
    """The endpoint's base URL: OPENAI_BASE_URL, or OpenAI's own."""
    url = os.environ.get(URL_VARIABLE, "").strip().rstrip("/") or DEFAULT_URL
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{URL_VARIABLE} is {url!r}; it must begin with http:// or https://")
    return url


def embed(texts: Sequence[str], model: str, url: str) -> np.ndarray:
    """Features of the texts of one request, with retries.

        wait before attempt n = min(60 s, 2^(n-1) s) * uniform(0.5, 1), or as long as Retry-After asks

    Timeouts, broken connections, unreadable answers and temporary statuses (429, 5xx) are tried again. Any other
    status is an error at once.

    Args:
        texts: B strings (an empty one is sent as a space, because endpoints refuse empty input).
        model: the endpoint's name of the model.
        url: base URL, for example "http://127.0.0.1:8000/v1".

    Returns:
        float32 [B, D] in the order of the texts.

    Raises:
        InputError: the endpoint refuses, all attempts fail, or the answer has the wrong number or width of vectors.
    """
    body = json.dumps({"model": model, "input": [text or " " for text in texts], "encoding_format": "float"})
    address = f"{url}/embeddings"
    wait = 0.0
    for attempt in range(ATTEMPTS):
        time.sleep(wait)
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
        try:
            return _vectors(_post(address, body), len(texts), address)
        except urllib.error.HTTPError as error:
            problem = f"status {error.code}: {_excerpt(error)}"
            if error.code not in PASSING:
                raise InputError(f"{address}: {problem}{_hint(error.code)}") from None
            wait = min(LONGEST_WAIT, max(wait, _seconds(error.headers.get("Retry-After"))))
        except json.JSONDecodeError:
            problem = "the answer is not JSON"
        except (OSError, http.client.HTTPException) as error:  # timeouts, refused and broken connections
            problem = f"{type(error).__name__}: {_redacted(str(error))}"
    raise InputError(
        f"{address}: {ATTEMPTS} attempts failed, the last with: {problem}; check the endpoint and {URL_VARIABLE}"
    )


def _post(address: str, body: str) -> Any:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(address, body.encode(), headers, method="POST")
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT) as answer:
        return json.loads(answer.read().decode(errors="replace"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are treated as error statuses, because following one would send the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _vectors(answer: Any, count: int, address: str) -> np.ndarray:
    try:
        by_index = {int(item["index"]): np.asarray(item["embedding"], np.float32) for item in answer["data"]}
        vectors = [by_index[row] for row in range(count)]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{address}: the answer does not hold {count} embeddings in data[].embedding, numbered by index; "
            "is this an OpenAI-compatible endpoint?"
        ) from error
    shapes = {vector.shape for vector in vectors}
    if len(by_index) != count or len(shapes) != 1 or len(next(iter(shapes))) != 1 or not vectors[0].size:
        raise InputError(
            f"{address}: the answer holds {len(by_index)} embeddings of shapes {sorted(shapes)} for {count} texts; "
            "expected one per text, all of the same width"
        )
    return np.stack(vectors)


def _excerpt(error: urllib.error.HTTPError) -> str:
    try:
        content = error.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return str(error.reason)
    return " ".join(_redacted(content).split())[:200] or str(error.reason)


def _redacted(message: str) -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return message.replace(key, "***") if key else message


def _hint(status: int) -> str:
    return f"; put a valid key into {KEY_VARIABLE}" if status in (401, 403) else ""


def _seconds(retry_after: str | None) -> float:
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:  # the header may hold a date; the usual wait is used then
        return 0.0
