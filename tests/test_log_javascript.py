"""Logs that tools in JavaScript wrote, and every row's truth.

The server counts 140 tokens in, 30 of them cached, and 58 out, 50 of them reasoning; as Anthropic's, 20 of those in
are also written to the cache. A tool that records no cached tokens is billed for all as fresh ones.
"""

import json
from collections import Counter

import numpy as np
import pytest
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices
from jaxroute.data.logs.usages import usage
from jaxroute.types import InputError

WHOLE, FRESH, WRITTEN = 693, 720, 713
"""What an answer of the small model costs, in millionths: with the cached tokens, without, and Anthropic's."""
FACTOR = {"small": 1, "large": 5, "claude-small": 1, "claude-large": 5}
TABLE = {
    name: prices.Price(times, 10 * times, cached_input=0.1 * times, cache_write=2 * times)
    for name, times in FACTOR.items()
}
TWO, FRANCE = ("What is 2 + 2?", "small"), ("Capital of France?", "large")
MINUS, PLANET = ("What is 10 - 4?", "small"), ("Largest planet?", "large")
PARIS = ("What is the weather in Paris?", "large")
FAUST, HAMLET = ("Who wrote Faust?", "small"), ("Who wrote Hamlet?", "large")
SUM, EIGHT, STREAM = ("What is 3 + 3?", "small"), ("What is 7 + 1?", "small"), ("A stream without usage?", "large")
BROKEN = {"failed requests": {"small": 1}}
EMBEDDED = {"other calls than for text": {"text-embedding-3-small": 1}}
UNCOUNTED = "input_tokens is empty, infinite or negative"

FILES = {  # rows of each file: (what was asked, cost); and what is left out
    "vercel-ai-4.3.19.jsonl": (
        [(TWO, WRITTEN), (FRANCE, WRITTEN), (TWO, WHOLE), (FRANCE, WHOLE)],
        {"spans of other things": {"no model": 4}},
    ),
    "vercel-ai-5.0.277.jsonl": (
        [(TWO, WRITTEN), (FRANCE, WRITTEN), (TWO, WHOLE), (FRANCE, WHOLE), (TWO, FRESH), (FRANCE, WHOLE)],
        {"spans of other things": {"no model": 6}},
    ),
    "vercel-ai-6.0.326.jsonl": (
        [(TWO, WHOLE), (FRANCE, WHOLE), (MINUS, FRESH), (PARIS, WHOLE), (PARIS, WHOLE)],
        {"spans of other things": {"no model": 7}, **BROKEN, **EMBEDDED},
    ),
    "vercel-ai-6.0.326_failures.jsonl": (  # one asked again, a stream with an error in it, and one that was left
        [(("A flaky question?", "small"), WHOLE), (("The last?", "large"), WHOLE)],
        {"spans of other things": {"no model": 4}, "failed requests": {"small": 1, "large": 1}},
    ),
    "vercel-ai-7.0.173.jsonl": ([(TWO, WHOLE), (FRANCE, WHOLE), (PARIS, WHOLE), (PARIS, WHOLE)], BROKEN),
    "vercel-7-and-openinference.jsonl": ([(TWO, WHOLE), (FRANCE, WHOLE), (PLANET, WHOLE)], BROKEN),
    "vercel-and-openinference.jsonl": ([(TWO, WHOLE), (FRANCE, WHOLE)], {}),
    "vercel-and-traceloop.jsonl": ([(TWO, WHOLE), (FRANCE, WHOLE)], {}),
    "openai-js-0.21.0": (
        [(TWO, FRESH), (FRANCE, FRESH), (PLANET, FRESH), (PARIS, FRESH), (PARIS, FRESH), (MINUS, FRESH), (SUM, FRESH),
         (EIGHT, FRESH)],
        {UNCOUNTED: {"large": 1}, **BROKEN, **EMBEDDED},
    ),
    "openinference-js-4.2.7.jsonl": (
        [(TWO, WHOLE), (PLANET, WHOLE), (PARIS, WHOLE), (PARIS, WHOLE), (MINUS, WHOLE), (SUM, WHOLE), (EIGHT, WHOLE)],
        {UNCOUNTED: {"large": 2}, "other calls than for text": {"no model": 1}},
    ),
    "traceloop-js-0.27.0.jsonl": (
        [(TWO, FRESH), (PLANET, FRESH), (PARIS, FRESH), (PARIS, FRESH), (MINUS, FRESH), (SUM, FRESH),
         (("Who wrote Faust?", "claude-small"), WRITTEN), (("Who wrote Hamlet?", "claude-large"), WRITTEN)],
        {UNCOUNTED: {"large": 2, "small": 1}},
    ),
    "traceloop-and-openinference-js.jsonl": ([(TWO, WHOLE), (PLANET, WHOLE), (SUM, WHOLE)], {UNCOUNTED: {"large": 1}}),
    "langfuse-js-5.11.1.jsonl": (
        [(TWO, WHOLE), (FRANCE, WHOLE), (PLANET, WHOLE), (PARIS, WHOLE), (PARIS, WHOLE), (MINUS, WHOLE),
         (FAUST, WHOLE), (HAMLET, WHOLE)],
        {"failed requests": {"small": 2}, "other calls than for text": {"text-embedding-3-small": 1, "no model": 1}},
    ),
    "langsmith-js-0.12.0.jsonl": (
        [(TWO, WHOLE), (FRANCE, WHOLE), (PLANET, WHOLE), (MINUS, WHOLE), (FAUST, WHOLE), (HAMLET, WHOLE)],
        {"failed requests": {"small": 2}},
    ),
    "mastra-1.71.0.jsonl": ([(TWO, WHOLE), (FRANCE, WHOLE), (PARIS, WHOLE), (PARIS, WHOLE)], BROKEN),
}  # fmt: skip


def read(source, **settings):
    return logs.load(source, prices=TABLE, drop_bad=True, **settings)


def found(log):
    return Counter(
        (prompt, log.models[k], round(cost * 1e6 / FACTOR[log.models[k]], 6))
        for prompt, k, cost in zip(log.prompt, log.action, log.cost, strict=True)
    )


@pytest.mark.parametrize("name", FILES)
def test_every_request_once_with_what_it_used(name):
    rows, left = FILES[name]
    log = read(HERE / name)
    assert found(log) == Counter((*asked, cost) for asked, cost in rows)
    assert left.items() <= log.left_out.items()
    assert np.isfinite(log.timestamp).all()
    assert ((log.latency > 0) & (log.latency < 1)).all()


def spans_of(name):
    """The spans of a file, with their attributes as a dictionary."""
    for batch in records_of(name):
        for scope in batch["resourceSpans"][0]["scopeSpans"]:
            for span in scope["spans"]:
                attributes = {a["key"]: next(iter(a["value"].values()), None) for a in span["attributes"]}
                yield span | {"attributes": attributes, "ScopeName": scope["scope"]["name"]}


@pytest.mark.parametrize("name", [name for name in FILES if name != "openai-js-0.21.0" and "langsmith" not in name])
def test_spans_one_a_line_are_read_alike(name):
    assert found(read(list(spans_of(name)))) == found(read(HERE / name))


@pytest.mark.parametrize(
    ("name", "groups"),
    [("vercel-ai-6.0.326.jsonl", 4), ("vercel-and-traceloop.jsonl", 1), ("langfuse-js-5.11.1.jsonl", 3),
     ("langsmith-js-0.12.0.jsonl", 5), ("mastra-1.71.0.jsonl", 4)],
)  # fmt: skip
def test_users_and_conversations_are_groups(name, groups):
    """Two requests of one user, and others that are of none."""
    log = read(HERE / name)
    assert len(set(log.group.tolist())) == groups


@pytest.mark.parametrize("name", ["vercel-and-openinference.jsonl", "vercel-7-and-openinference.jsonl"])
def test_identifiers_of_the_response_count_beside_openinference(name):
    """Written by its processor 2.8.1, which writes the picture of a message as a text of JSON."""
    assert read(HERE / name).request_id.tolist()[:2] == ["resp_1", "resp_2"]


def test_metadata_of_a_vercel_call_carry_its_propensity():
    spans = list(spans_of("vercel-ai-6.0.326.jsonl"))
    for span in spans:
        span["attributes"]["ai.telemetry.metadata.jaxroute.propensity"] = 0.25
    assert set(read(spans).propensity.tolist()) == {0.25}


def test_a_vercel_call_without_its_input_is_a_prompt_that_was_not_recorded():
    spans = [
        span | {"attributes": {k: v for k, v in span["attributes"].items() if not k.startswith("ai.prompt")}}
        for span in spans_of("vercel-ai-6.0.326.jsonl")
    ]
    with pytest.raises(
        InputError, match=r"(?s)prompts that were not recorded: 5 .*Vercel's AI SDK: recordInputs: true"
    ):
        read(spans)


CALL = {"name": "ai.streamText.doStream", "start_time": "2026-12-01T00:00:00Z", "trace_id": "a", "span_id": "b"}
BEDROCK = {
    "ai.operationId": "ai.streamText.doStream",
    "ai.prompt.messages": '[{"role":"user","content":[{"type":"text","text":"hi"}]}]',
    "gen_ai.system": "amazon-bedrock",
    "gen_ai.request.model": "small",
    "ai.usage.inputTokens": 90,
    "ai.usage.outputTokens": 58,
    "ai.usage.totalTokens": 148,
    "ai.usage.cachedInputTokens": 30,
    "ai.response.providerMetadata": '{"bedrock":{"usage":{"cacheWriteInputTokens":20}}}',
}


@pytest.mark.parametrize(
    ("change", "cost"),
    [({}, WRITTEN), ({"ai.operationId": "ai.streamObject.doStream"}, None),
     ({"ai.response.providerMetadata": "{}", "ai.usage.cachedInputTokens": 0}, 90 + 580)],
    ids=["beside", "which release wrote it is unknown", "nothing cached"],
)  # fmt: skip
def test_vercel_counts_of_bedrock_before_release_6(change, cost):
    """Written from its source: input leaves out the cache before release 6, and objects have no details after it."""
    counted = {"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1}
    asked = {"gen_ai.request.model": "large", "gen_ai.input.messages": '[{"role":"user","content":"ho"}]'}
    other = {"gen_ai.operation.name": "chat"} | asked | counted
    spans = [CALL | {"attributes": BEDROCK | change}, CALL | {"span_id": "c", "attributes": other}]
    if cost is None:
        with pytest.raises(InputError, match="input_tokens is empty"):
            logs.load(spans, prices=TABLE)
    else:
        assert found(logs.load(spans, prices=TABLE))["hi", "small", cost] == 1


def test_counts_of_gemini():
    counts = {"promptTokenCount": 140, "candidatesTokenCount": 8, "thoughtsTokenCount": 50, "totalTokenCount": 198}
    assert usage(counts | {"cachedContentTokenCount": 30}) == {
        "input_tokens": 140,
        "output_tokens": 58,
        "total_tokens": 198,
        "cached_tokens": 30,
        "reasoning_tokens": 50,
    }


@pytest.mark.parametrize("name", ["spans.jsonl", "spans.json"])
def test_what_javascript_prints_is_no_json(tmp_path, name):
    """As ConsoleSpanExporter of OpenTelemetry's SDK 2.12.1 writes it."""
    one = "{\n  resource: {\n    attributes: { 'service.name': 'app' }\n  },\n  name: 'chat small',\n  kind: 0\n}\n"
    (tmp_path / name).write_text(one * 2)
    with pytest.raises(InputError, match=r"an object as JavaScript prints it: .* spans with an OTLP exporter"):
        logs.load(tmp_path)


def test_messages_inside_of_a_text_are_the_prompt_only_as_traceloop_writes_them():
    inner = json.dumps([{"role": "user", "content": "inside"}])
    chats = {
        "inside": [{"role": "user", "parts": [{"type": "text", "content": inner}]}],
        "outside": [
            {"role": "user", "parts": [{"type": "text", "content": inner}]},
            {"role": "user", "parts": [{"type": "text", "content": "outside"}]},
        ],
        '[{"role": 1}, ...': [{"role": "user", "parts": [{"type": "text", "content": '[{"role": 1}, ...'}]}],
    }
    spans = [
        CALL | {"span_id": text, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "ab"[i % 2],
                "gen_ai.input.messages": json.dumps(chat), "gen_ai.usage.cost": 1}}
        for i, (text, chat) in enumerate(chats.items())
    ]  # fmt: skip
    assert logs.load(spans).prompt.tolist() == list(chats)
