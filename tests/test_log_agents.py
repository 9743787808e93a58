"""Events of coding agents in the layouts of Claude Code 2.1.197, Gemini CLI 0.61.0 and Codex 0.171.0."""

import json

import numpy as np
import pytest

from jaxroute.data import logs, prices
from jaxroute.types import InputError

CLAUDE = "com.anthropic.claude_code.events"
LISTED = {
    "gemini-2.5-flash": prices.Price(0.3, 2.5, cached_input=0.03),
    "gemini-2.5-pro": prices.Price(1.25, 10.0, cached_input=0.125),
    "qwen3-coder": prices.Price(0.2, 0.8),
}


def typed(value):
    if isinstance(value, bool):
        return {"boolValue": value}
    kinds = {int: "intValue", float: "doubleValue"}
    return {kinds.get(type(value), "stringValue"): str(value) if isinstance(value, int) else value}


def record(attributes, *, span=None, time=None):
    """A log record of OTLP; protojson writes whole numbers as texts."""
    found = {"attributes": [{"key": k, "value": typed(v)} for k, v in attributes.items()]}
    found["timeUnixNano"] = str(time or 1_796_000_000_000_000_000)
    return found | ({"traceId": "a" * 32, "spanId": span} if span else {})


def batch(scope, records, kind="Logs"):
    inner, items = ("scopeLogs", "logRecords") if kind == "Logs" else ("scopeSpans", "spans")
    return {f"resource{kind}": [{"resource": {}, inner: [{"scope": {"name": scope}, items: records}]}]}


def event(name, number, prompt="p1", session="s1", **more):
    return record(
        {"event.name": name, "session.id": session, "user.id": "u", "prompt.id": prompt,
         "event.timestamp": f"2026-12-01T03:19:3{number}.000Z", "event.sequence": number, **more},
        span="b" * 16,  # that of the whole turn, where traces are switched on
    )  # fmt: skip


def request(number, model, source="sdk", prompt="p1", **more):
    used = {"input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 1000, "cache_creation_tokens": 200}
    return event("api_request", number, prompt, model=model, query_source=source, duration_ms=1500, **used, **more)


def said(number, text, turn):
    return record({"event.name": "user_prompt", "session.id": "s1", "prompt.id": turn, "prompt": text,
                   "event.timestamp": f"2026-12-01T03:19:3{number}.000Z", "event.sequence": number})  # fmt: skip


CODE = [
    said(0, "Which files are here?", "p1"),
    request(1, "claude-haiku-4-5", cost_usd=0.0007),  # no gateway gives identifiers of requests
    event("tool_result", 2, tool_name="Bash"),
    request(3, "claude-haiku-4-5", cost_usd=0.0008),
    request(4, "claude-haiku-4-5", "generate_session_title", cost_usd=0.0001),
    said(5, "Sort them.", "p2"),
    event("api_error", 6, "p2", model="claude-sonnet-4-5", query_source="sdk", status_code=500, duration_ms=9),
    request(7, "qwen3-coder", prompt="p2", cost_usd=0.0035),  # of a gateway: the price of Opus
    said(8, "/help", "p3"),
]


def test_every_request_of_claude_code_has_the_prompt_of_its_turn():
    log = logs.load([batch(CLAUDE, CODE[:4]), batch(CLAUDE, CODE[4:])], prices=LISTED)
    rows = [(p, log.models[k], round(c, 9)) for p, k, c in zip(log.prompt, log.action, log.cost, strict=True)]
    assert rows == [("Which files are here?", "claude-haiku-4-5", 0.0007), ("Which files are here?", "claude-haiku-4-5",
                    0.0008), ("Sort them.", "qwen3-coder", (1300 * 0.2 + 50 * 0.8) / 1e6)]  # fmt: skip
    assert log.left_out["failed requests"] == {"claude-sonnet-4-5": 1}
    assert log.left_out["requests that an agent made for itself"] == {"claude-haiku-4-5": 1}
    assert log.usage["claude-haiku-4-5"] | {"cost": 0} == {
        "rows": 2, "cost": 0, "input_tokens": 1300, "output_tokens": 50, "cached_tokens": 1000,
        "cache_write_tokens": 200}  # fmt: skip
    assert log.latency.tolist() == [1.5, 1.5, 1.5]
    assert len(set(log.group.tolist())) == 1
    with pytest.raises(InputError, match=r"cost is empty.*1 row.*qwen3-coder 1"):
        logs.load([batch(CLAUDE, CODE)])


def test_a_hidden_prompt_is_none_and_spans_beside_the_events_are_no_requests():
    hidden = [said(0, "<REDACTED>", "p1"), CODE[1], said(5, "<REDACTED>", "p2"), CODE[7]]
    with pytest.raises(InputError, match=r"prompts that were not recorded: 2 .*\n.*OTEL_LOG_USER_PROMPTS=1"):
        logs.load([batch(CLAUDE, hidden)], prices=LISTED)
    about = {"gen_ai.request.model": "qwen3-coder", "gen_ai.response.id": "r1"}  # the counts have other names
    span = record(about | {"model": "qwen3-coder", "input_tokens": 100}, span="c" * 16)
    beside = batch("com.anthropic.claude_code.tracing", [span], "Spans")
    log = logs.load([batch(CLAUDE, CODE), beside], prices=LISTED)
    assert len(log) == 3
    assert log.left_out["spans of coding agents, whose requests are in their log records"] == {"qwen3-coder": 1}


def gemini(prompt, model, role="main", *, turn, failed=False):
    """What Gemini CLI writes of a request: its own events, and twice as many by OpenTelemetry's conventions."""
    asked = {"gen_ai.operation.name": "generate_content", "gen_ai.request.model": model,
             "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "context"}]}]),
             "event.name": "gen_ai.client.inference.operation.details"}  # fmt: skip
    about = {"model": model, "prompt_id": turn, "role": role, "session.id": "s1", "duration_ms": 250,
             "event.timestamp": "2026-12-01T03:20:25.000Z"}  # fmt: skip
    used = {"input_token_count": 1000, "output_token_count": 50, "cached_content_token_count": 600,
            "thoughts_token_count": 30, "tool_token_count": 0, "total_token_count": 1080}  # fmt: skip
    written = [{"event.name": "gemini_cli.user_prompt", "session.id": "s1", "prompt_id": turn, "prompt": prompt}]
    written += [{"event.name": "gemini_cli.api_request"} | about, asked]
    if failed:
        return [*written, {"event.name": "gemini_cli.api_error", "error.type": "ApiError"} | about,
                asked | {"gen_ai.response.model": model}]  # fmt: skip
    return [*written, {"event.name": "gemini_cli.api_response"} | about | used,
            asked | {"gen_ai.response.id": turn, "gen_ai.usage.output_tokens": 50}]  # fmt: skip


@pytest.mark.parametrize("layout", ["collector", "file"])
def test_every_request_of_gemini_cli_once_with_its_thoughts(tmp_path, layout):
    said = [*gemini("France?", "gemini-2.5-flash", turn="t1"), *gemini("Spain?", "gemini-2.5-pro", turn="t2"),
            *gemini("Italy?", "gemini-2.5-pro", turn="t3", failed=True)]  # fmt: skip
    said += gemini("Spain?", "gemini-2.5-flash", "utility_router", turn="t2")[1:]
    if layout == "collector":
        file = tmp_path / "logs.jsonl"
        file.write_text(json.dumps(batch("gemini-cli", [record(one) for one in said])))
    else:
        file = tmp_path / "telemetry.json"
        scope = {"instrumentationScope": {"name": "gemini-cli"}}
        records = [{"hrTime": [1796095225, 0], "_body": "", "attributes": one} | scope for one in said]
        file.write_text("\n".join(json.dumps(one, indent=2) for one in records))
    log = logs.load(file, prices=LISTED)
    assert list(zip(log.prompt, (log.models[k] for k in log.action), strict=True)) == [
        ("France?", "gemini-2.5-flash"), ("Spain?", "gemini-2.5-pro")]  # fmt: skip
    np.testing.assert_allclose(log.cost, [338e-6, 1375e-6])  # 400 fresh, 600 cached, 80 out
    assert log.left_out["failed requests"] == {"gemini-2.5-pro": 1}
    assert log.left_out["requests that an agent made for itself"] == {"gemini-2.5-flash": 1}
    assert np.isfinite(log.timestamp).all()
    assert log.latency.tolist() == [0.25, 0.25]


def test_events_of_codex_are_refused_by_their_name():
    used = {"event.name": "codex.sse_event", "event.kind": "response.completed", "input_token_count": 1000}
    with pytest.raises(InputError, match="1 events of Codex, whose answers do not name their prompts"):
        logs.load([batch("codex_otel.log_only", [record(used | {"model": "gpt-5-codex"})])])
