"""Ratings of answers that come over HTTP, checked before they are written."""

from __future__ import annotations

import math
import time
from typing import Any

from jaxroute import settings
from jaxroute.data import sources
from jaxroute.data.values import moment
from jaxroute.types import InputError

FIELDS = sources.RATING
MOST = 10_000


def ratings(said: Any) -> list[dict[str, Any]]:
    """The rows of the feedback log that a request's body asks for, all of them or none.

    Args:
        said: one rating, or {"ratings": a list of them}. request_id is the call id or the answer's id; quality is a
            number on any one scale (`--quality-range`); name says of what, where there are several; timestamp, seconds
            since 1970, is now if left out.

    Raises:
        InputError: names the first that is wrong.

    Example:
        >>> ratings({"request_id": "a", "quality": 1, "timestamp": 5})
        [{'request_id': 'a', 'quality': 1, 'timestamp': 5}]
    """
    several = isinstance(said, dict) and said.keys() == {"ratings"}
    given = said["ratings"] if several else [said]
    if not isinstance(given, list) or not 0 < len(given) <= MOST:
        raise InputError(f"feedback: ratings must be a list of 1 to {MOST}")
    for place, one in enumerate(given):
        where = f"feedback {place}" if several else "feedback"
        if not isinstance(one, dict):
            raise InputError(f"{where}: is no object; send request_id and quality")
        if unknown := [key for key in one if key not in FIELDS]:
            raise InputError(f"{where}: unknown field {unknown[0]!r}; the fields are: {', '.join(FIELDS)}")
        if not isinstance(one.get("request_id"), str) or not one["request_id"].strip():
            raise InputError(f"{where}: request_id must be the call id (x-litellm-call-id) or the answer's id")
        settings.number(f"{where}: quality", one.get("quality"))
        settings.number(f"{where}: timestamp", one.get("timestamp", 0), "seconds since 1970", _readable)
        if not isinstance(one.get("name", ""), str):
            raise InputError(f"{where}: name is {one['name']!r}; it must be a text")
    return [{**one, "timestamp": one.get("timestamp", time.time())} for one in given]


def _readable(timestamp: float) -> bool:
    """Whether a log is read that holds this time: one that is beyond any calendar spoils the whole file."""
    return math.isfinite(timestamp) and math.isfinite(moment(timestamp))
