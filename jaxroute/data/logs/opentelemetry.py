"""OpenTelemetry's semantic conventions for generative AI, newest and older names; Traceloop's and OpenLIT's as well.

An operation name says which spans are calls for text. Spans of older instrumentations have none: they count where
they say what was answered (a response's id or model, numbered messages), and not where they name an agent, a tool or
a workflow, as a framework's spans do, whose usage is the sum of the calls within.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.logs import layouts
from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import OTHER, Convention, Row, first, ranked
from jaxroute.data.records import parsed

NAMES = {
    "asked": ("gen_ai.request.model",),
    "answered": ("gen_ai.response.model",),
    "cost": ("gen_ai.usage.cost", "gen_ai.cost.total_cost", "operation.cost"),  # OpenLIT's, LiteLLM's and logfire's
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
    "cached_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
                      "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.cached_tokens",
                      "gen_ai.usage.input_tokens.cached"),
    "cache_write_tokens": ("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
                           "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.details.cache_write_tokens",
                           "gen_ai.usage.cache_write_input_tokens", "gen_ai.usage.input_tokens.cache_write"),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
                         "gen_ai.usage.details.reasoning_tokens", "gen_ai.usage.output_tokens.reasoning"),
    "group": layouts.GROUP,
    "request_id": ("gen_ai.response.id",),
    "endpoint": ("gen_ai.operation.name",),
}  # fmt: skip
OPERATIONS = ("chat", "text_completion", "generate_content", "completion", "responses", "response")
AROUND = ("gen_ai.agent.name", "gen_ai.agent.id", "gen_ai.tool.name", "gen_ai.workflow.name", "traceloop.span.kind")
ANSWER = ("gen_ai.response.id", "gen_ai.response.model", "gen_ai.response.finish_reasons", "llm.request.type",
          "gen_ai.prompt.0.content", "gen_ai.prompt", "gen_ai.completion.0.content", "gen_ai.completion")  # fmt: skip
PROVIDER = ("gen_ai.provider.name", "gen_ai.system")
TRACELOOP = "@traceloop/instrumentation-anthropic"
LANGCHAIN = layouts.GIVEN + "ls_provider"
"""What Traceloop's package for LangChain writes, which counts as LangChain does."""
PIPECAT = "param.model"
"""What begins the settings of a service in Pipecat's spans."""
APART = ("anthropic", "aws.bedrock")
"""Providers whose counts of input leave out the cache."""


def told(attributes: Row) -> bool:
    return "gen_ai.request.model" in attributes or any(name.startswith("gen_ai.") for name in attributes)


def left(attributes: Row) -> str:
    if not (attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model")):
        return OTHER
    operation = attributes.get("gen_ai.operation.name") or attributes.get("llm.request.type")
    if operation is not None:
        return "" if operation in OPERATIONS else OTHER
    around = any(name in attributes for name in AROUND)
    return "" if not around and any(name in attributes for name in ANSWER) else OTHER


def chat(attributes: Row) -> Iterator[Any]:
    """The messages: one attribute, or those of conventions before 1.37, whole or numbered."""
    yield _unwrapped(attributes.get("gen_ai.input.messages"))
    yield attributes.get("gen_ai.prompt")
    numbered: list[Row] = []
    while f"gen_ai.prompt.{len(numbered)}.content" in attributes or f"gen_ai.prompt.{len(numbered)}.role" in attributes:
        start = f"gen_ai.prompt.{len(numbered)}."
        content = parsed(attributes.get(start + "content"))
        numbered.append({"role": attributes.get(start + "role"), "content": content})
    yield numbered
    yield attributes.get("input")  # Pipecat's
    yield parsed(attributes.get("gen_ai.request.messages"))  # Sentry's


def _unwrapped(messages: Any) -> Any:
    """Messages; or those whose JSON is the text of the only one, as Traceloop's JavaScript packages write a list that
    the responses interface got.
    """
    if not isinstance(messages, str) or '\\"role\\"' not in messages:
        return messages
    match parsed(messages):
        case [{"role": "user", "parts": [{"type": "text", "content": str(text)}]}]:
            inner = parsed(text)
            if isinstance(inner, list) and any(isinstance(one, dict) and "role" in one for one in inner):
                return inner
    return messages


def more(attributes: Row) -> Row:
    """Counts of input with the cache, where a package leaves it out of them as Anthropic and Bedrock do."""
    if not _apart(attributes):
        return {}
    counts = [first(attributes, NAMES[name]) for name in ("input_tokens", "cached_tokens", "cache_write_tokens")]
    whole = None if counts[0] is None else sum(number_or_nan(count) for count in counts if count is not None)
    return {"input_tokens": whole, "total_tokens": None}


def _apart(attributes: Row) -> bool:
    """Traceloop's package for Anthropic in JavaScript, OpenLIT's and Pipecat's spans, and those that write Bedrock's
    counts as they are: OpenTelemetry's for botocore and Traceloop's.
    """
    provider = first(attributes, PROVIDER)
    if provider in APART and (attributes.get("telemetry.sdk.name") == "openlit" or PIPECAT in attributes):
        return True
    if provider == "aws.bedrock":
        traceloop = "gen_ai.usage.total_tokens" in attributes and LANGCHAIN not in attributes
        return traceloop or attributes.get("rpc.system") == "aws-api"
    return attributes.get(layouts.SCOPED) == TRACELOOP


CONVENTION = Convention(told, left, ranked(NAMES), more, chat)
