"""The kinds of logs that can be read, one line each; the first that a file's columns or keys belong to reads it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxroute.data.logs import (
    adk,
    bandits,
    braintrust,
    coding_agents,
    comparisons,
    datadog,
    gateway,
    haystack,
    helicone,
    langfuse,
    langsmith,
    layouts,
    litellm,
    llm,
    logfire,
    lunary,
    mastra,
    mlflow,
    open_webui,
    openinference,
    openrouter,
    opentelemetry,
    opik,
    portkey,
    posthog,
    router_replay,
    sentry,
    spans,
    tensorzero,
    vercel,
    weave,
)
from jaxroute.data.logs.entries import FIELDS, Convention, Format
from jaxroute.types import InputError

CONVENTIONS: Sequence[Convention] = (
    coding_agents.CONVENTION,
    mlflow.CONVENTION,
    langfuse.CONVENTION,
    vercel.CONVENTION,
    mastra.CONVENTION,
    openinference.CONVENTION,
    litellm.CALLBACK,
    logfire.CONVENTION,
    langsmith.CONVENTION,
    adk.CONVENTION,
    haystack.CONVENTION,
    opentelemetry.CONVENTION,
)
"""How spans may name things; the first that a span's attributes are of says what it means."""
SPANS = Format(
    "opentelemetry",
    "OpenTelemetry spans",
    layouts.detect,
    layouts.reads,
    spans.reader(CONVENTIONS),
    "switch the capture of message content on in the instrumentation (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_"
    "CONTENT=true, or SPAN_ONLY where that is refused; OpenInference: unset OPENINFERENCE_HIDE_INPUTS and "
    "OPENINFERENCE_HIDE_INPUT_MESSAGES; Vercel's AI SDK: recordInputs: true; Claude Code: OTEL_LOG_USER_PROMPTS=1), or "
    "give the log records beside the spans",
)
SENTRY = Format(
    "sentry",
    "Sentry's spans",
    sentry.detect,
    lambda name: True,
    sentry.reader(spans.reader(CONVENTIONS)),
    "let the package record messages: send_default_pii=True, and include_prompts of its integrations",
)
PLAIN = Format("plain", "a table of our own columns", lambda names: True, lambda name: name in FIELDS, None)
FORMATS = (
    gateway.FORMAT,
    comparisons.FORMAT,
    litellm.FORMAT,
    router_replay.FORMAT,
    bandits.DSJSON,
    bandits.FEEDBACK,
    mlflow.TRACES,
    opik.FORMAT,
    weave.FORMAT,
    llm.FORMAT,
    helicone.FORMAT,
    portkey.FORMAT,
    braintrust.FORMAT,
    lunary.FORMAT,
    openrouter.FORMAT,
    open_webui.FORMAT,
    posthog.FORMAT,
    datadog.FORMAT,
    tensorzero.FORMAT,
    langsmith.FORMAT,
    langfuse.OBSERVATIONS,
    SENTRY,
    SPANS,
    PLAIN,
)
NAMES = tuple(form.name for form in FORMATS)

OTHERS = (
    ("OpenTelemetry metrics", {"resourceMetrics"}, "sums over requests; export traces or logs instead"),
    ("an output file of OpenAI's batch interface", {"custom_id", "response"}, "answers without their prompts"),
    ("results of Anthropic's message batches", {"custom_id", "result"}, "answers without their prompts"),
    (
        "traces of OpenAI's Agents SDK",
        {"object", "trace_id", "span_data"},
        "responses without their models and prompts; write spans with an instrumentation (OpenInference, Logfire, "
        "OpenLLMetry)",
    ),
    ("results of promptfoo", {"evalId", "results"}, "every model's answers; read them with jaxroute table"),
    (
        "the outcomes of a table",
        {"query_id", "model", "quality"},
        "every model's answers; use jaxroute fit --table, or read_table",
    ),
    ("samples of lm-eval", {"doc_id", "doc", "target"}, "every document's answers; read them with jaxroute table"),
    (
        "an export of Opik as CSV",
        {"trace_id", "trace_project_id", "span_id"},
        "its lists of messages are no JSON; export with --format json",
    ),
    ("details of lighteval", {"doc", "metric", "model_response"}, "documents; read them with jaxroute table"),
    (
        "an experiment of Phoenix",
        {"example_id", "repetition_number", "reference_output"},
        "every example's answers; read them with jaxroute table",
    ),
    (
        "an experiment of LangSmith",
        {"example_id", "execution_time"},
        "every example's answers; read them with jaxroute table",
    ),
    (
        "OpenRouter's generations",
        {"native_tokens_prompt", "tokens_prompt"},
        "requests without their prompts; add a column prompt from your own records, by id",
    ),
    (
        "analytics of aider",
        {"event", "properties", "user_id", "time"},
        "requests without their prompts, and with models as REDACTED; write rows of prompt, model and cost",
    ),
    (
        "a run of OpenAI's Evals",
        {"spec", "run_id", "event_id"},
        "every sample's answers; read them with jaxroute table",
    ),
    ("a log of Inspect", {"eval", "samples"}, "every sample's answers; read them with jaxroute table"),
    ("a report of SWE-bench", {"submitted_ids", "resolved_ids"}, "verdicts on issues; read it with jaxroute table"),
    ("results of EvalPlus or BigCodeBench", {"date", "eval"}, "answers to problems; read them with jaxroute table"),
    (
        "scores of BFCL",
        {"accuracy", "correct_count", "total_count"},
        "wrong answers; read them with jaxroute table",
    ),
    ("a report of Pydantic Evals", {"cases", "failures"}, "every case's answers; read them with jaxroute table"),
    (
        "an experiment of Braintrust",
        {"experiment_id", "span_attributes"},
        "every example's answers; read them with jaxroute table",
    ),
    ("an experiment of Langfuse", {"item_results"}, "every item's answers; read them with jaxroute table"),
    ("an experiment of Langfuse", {"itemResults"}, "every item's answers; read them with jaxroute table"),
    (
        "an experiment of Opik",
        {"experiment_id", "test_results"},
        "every item's answers; read them with jaxroute table",
    ),
    ("an experiment of Opik", {"experiment", "items"}, "every item's answers; read them with jaxroute table"),
)
"""Files that are known and are no logs of requests: what they are, keys that tell them, and what they hold."""


def format_of(names: Collection[str]) -> Format:
    """Which of ``FORMATS`` a file's columns, or a record's keys, belong to.

    Example:
        >>> format_of(["request_id", "spend", "model", "startTime"]).name, format_of(["prompt", "model", "cost"]).name
        ('litellm', 'plain')
    """
    return next(form for form in FORMATS if form.detect(names))


def named(name: str) -> Format:
    """A format by its name.

    Raises:
        InputError: no such format.
    """
    if name not in NAMES:
        raise InputError(f"log format {name!r} is unknown; use one of: auto, {', '.join(NAMES)}")
    return FORMATS[NAMES.index(name)]


def unusable(names: Collection[str]) -> str | None:
    """What a file is, and why it cannot be read as a log, where its keys tell it; None where they do not."""
    return next((f"{title}: {why}" for title, keys, why in OTHERS if keys <= set(names)), None)
