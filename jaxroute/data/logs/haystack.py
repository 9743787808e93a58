"""Haystack's own spans, of its OpenTelemetryTracer with content tracing: runs of components, and steps of agents.

A run of a generator has the model and the usage in what it replied. A failed one has no reply, and names no model.

Reference:
    Haystack, "Tracing", and its packages haystack-ai and opentelemetry-haystack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.entries import OTHER, Convention, Row, opened, ranked
from jaxroute.data.logs.usages import usage

PLACES = ("haystack.component", "haystack.agent.step.llm")
NAMES = {"endpoint": ("haystack.component.type",)}


def told(attributes: Row) -> bool:
    return any(f"{place}.input" in attributes or f"{place}.output" in attributes for place in PLACES)


def left(attributes: Row) -> str:
    generates = str(attributes.get("haystack.component.type", "Generator")).endswith("Generator")
    return "" if generates and _about(attributes).get("model") else OTHER


def more(attributes: Row) -> Row:
    about = _about(attributes)
    return {"answered": about.get("model"), **usage(about.get("usage"))}


def chat(attributes: Row) -> Iterator[Any]:
    for place in PLACES:
        yield opened(attributes.get(f"{place}.input"))


def _about(attributes: Row) -> Row:
    """What is said of the first reply: in it, or beside replies that are texts."""
    answer = next((found for place in PLACES if (found := opened(attributes.get(f"{place}.output")))), {})
    replies, beside = (layouts.listed(answer.get(name)) for name in ("replies", "meta"))
    held = [opened(reply.get("meta")) for reply in replies[:1] if isinstance(reply, dict)]
    return next((one for one in [*held, *map(opened, beside[:1])] if one), {})


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)
