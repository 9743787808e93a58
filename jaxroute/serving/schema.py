"""JSON against a JSON schema of this package: the keywords that `router.schema.json` uses, and no others.

A process that only decides needs no library for this; a test holds it against the library `jsonschema`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}


@cache
def read(name: str) -> dict[str, Any]:
    """A schema of this package, by the name of its file."""
    found: dict[str, Any] = json.loads(resources.files("jaxroute.serving").joinpath(name).read_text(encoding="utf-8"))
    return found


def check(value: Any, schema: dict[str, Any], where: str) -> None:
    """ValueError that names the first place in ``value`` that the schema does not allow, and what it asks for.

    >>> check({"models": ["a", 3]}, {"properties": {"models": {"items": {"type": "string"}}}}, "router.json")
    Traceback (most recent call last):
    ValueError: router.json, models, 1: is 3; it must be of type string
    """
    for says in _asked(value, schema):
        shown = json.dumps(value)
        raise ValueError(f"{where}: is {shown if len(shown) <= 80 else shown[:77] + '...'}; it must {says}")
    if isinstance(value, dict):
        if missing := [name for name in schema.get("required", ()) if name not in value]:
            raise ValueError(f"{where}: {missing[0]} is missing")
        for name, part in schema.get("properties", {}).items():
            if name in value:
                check(value[name], part, f"{where}, {name}")
    if isinstance(value, list) and "items" in schema:
        for number, part in enumerate(value):
            check(part, schema["items"], f"{where}, {number}")


def _asked(value: Any, schema: dict[str, Any]) -> Iterator[str]:
    """What is asked of the value itself, and not met."""
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"be of type {' or '.join(kinds)}"
    elif value not in schema.get("enum", [value]):
        yield f"be one of {', '.join(schema['enum'])}"
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"hold at least {schema['minItems']}"
        if schema.get("uniqueItems") and len({json.dumps(part) for part in value}) < len(value):
            yield "give each once"
    elif isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value):
            yield f"match {schema['pattern']}"
    elif _is(value, "number"):
        if value < schema.get("minimum", -math.inf) or value > schema.get("maximum", math.inf):
            yield f"be at least {schema.get('minimum')} and at most {schema.get('maximum', 'any number')}"
        if value <= schema.get("exclusiveMinimum", -math.inf):
            yield f"be above {schema['exclusiveMinimum']}"


def _is(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    finite = not isinstance(value, float) or math.isfinite(value)
    return isinstance(value, TYPES[kind]) and not isinstance(value, bool) and finite
