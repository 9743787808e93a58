"""Coding agents: the events that Claude Code and Gemini CLI write as OpenTelemetry's log records.

A turn is an event with what the user wrote, and every request that the agent makes for it is another, with the turn's
identifier. Only requests that answer the user count: an agent has others made for itself, often by another model, that
name a session, sum it up or choose a model, and their prompts are in no event. Spans and further events that are
written beside these know no more.

Claude Code does not say that it has no price for a model: it writes the cost of Opus then, also of models of other
providers, so its costs count for Claude alone. Its counts of input leave out the cache, Gemini's counts of output the
thoughts.

Reference:
    Claude Code, "Monitoring"; Gemini CLI, "Observability with OpenTelemetry".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import ELSE, HIDDEN, Convention, Row, ranked
from jaxroute.data.logs.layouts import SCOPED
from jaxroute.data.logs.usages import usage

CLAUDE, GEMINI, CODEX = "com.anthropic.claude_code.", "gemini-cli", "codex."
UNTIED = "events of Codex, whose answers do not name their prompts"
BESIDE = "spans of coding agents, whose requests are in their log records"
ITSELF = "requests that an agent made for itself"
EVENT, PREFIX = "event.name", "gemini_cli."
ANSWERED = {CLAUDE: "api_request", GEMINI: "gemini_cli.api_response"}
FAILURES = {CLAUDE: "api_error", GEMINI: "gemini_cli.api_error"}
PROMPTS = {CLAUDE: "user_prompt", GEMINI: "gemini_cli.user_prompt"}
PURPOSE = {CLAUDE: "query_source", GEMINI: "role"}
USER = ("sdk", "repl_main_thread", "main")
"""What begins the purposes of requests that answer the user."""
COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_creation_tokens": "cache_creation_input_tokens",
    "output_token_count": "candidatesTokenCount",
    "cached_content_token_count": "cachedContentTokenCount",
    "thoughts_token_count": "thoughtsTokenCount",
    "total_token_count": "totalTokenCount",
}
"""Names of counts, and those that ``usages.usage`` knows them by."""
INPUT = ("input_token_count", "tool_token_count")
"""Gemini's counts of input, which the total has both of."""
NAMES = {"model": ("model",), "group": ("session.id",), "request_id": ("request_id",)}


def agent(attributes: Row) -> str:
    """Which coding agent wrote a span or an event; "" where none did."""
    if str(attributes.get(SCOPED)).startswith(CLAUDE):
        return CLAUDE
    event = str(attributes.get(EVENT))
    if attributes.get(SCOPED) == GEMINI or event.startswith(PREFIX):
        return GEMINI
    return CODEX if event.startswith(CODEX) else ""


def turn(attributes: Row) -> int:
    """The turn that an event belongs to; 0 where it names none."""
    prompt = attributes.get("prompt.id") or attributes.get("prompt_id")
    return hash((str(attributes.get("session.id")), str(prompt))) if prompt else 0


def prompted(attributes: Row) -> list[Row] | None:
    """What the user wrote, as messages; none where it was hidden, None where the event is another."""
    who = agent(attributes)
    if who not in PROMPTS or attributes.get(EVENT) != PROMPTS[who]:
        return None
    text = attributes.get("prompt")
    return [{"role": "user", "content": text}] if isinstance(text, str) and not HIDDEN.fullmatch(text) else []


def left(attributes: Row) -> str:
    who, event = agent(attributes), attributes.get(EVENT)
    if who == CODEX:
        return UNTIED
    if event not in (ANSWERED[who], FAILURES[who]):
        return ELSE if event else BESIDE
    return "" if str(attributes.get(PURPOSE[who])).startswith(USER) else ITSELF


def more(attributes: Row) -> Row:
    who, event = agent(attributes), attributes.get(EVENT)
    if left(attributes):
        return {}
    counts = {known: attributes[name] for name, known in COUNTS.items() if name in attributes}
    numbers: Row = {name: number_or_nan(count) for name, count in counts.items()}
    if parts := [number_or_nan(attributes[name]) for name in INPUT if name in attributes]:
        numbers["promptTokenCount"] = sum(parts)
    taken = number_or_nan(attributes.get("duration_ms"))
    of = turn(attributes)
    return usage(numbers) | {
        "cost": attributes.get("cost_usd") if "claude" in str(attributes.get("model")).lower() else None,
        "latency": None if taken != taken else taken / 1000,
        "failed": event == FAILURES[who],
        "turn": of,
        # An event is in the span of its whole turn, or in none.
        "key": hash((of, attributes.get("event.sequence"), attributes.get("event.timestamp"))),
    }


def chat(attributes: Row) -> Iterator[Any]:
    yield from ()


CONVENTION = Convention(lambda attributes: bool(agent(attributes)), left, ranked(NAMES), more, chat)
