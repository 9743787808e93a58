"""Spans that frameworks for agents write, of the same requests to a loopback server, and every row's truth.

The server counts 140 tokens in, 100 more after a tool was called, 30 of them cached and (as Anthropic and Bedrock) 20
written to the cache, and 58 out, of which (not as these two) 50 are reasoning. The last request failed.
"""

import json
import re

import numpy as np
import pytest
from tool_logs import HERE, records_of

from jaxroute.data import logs, messages, prices
from jaxroute.data.logs import vercel
from jaxroute.data.prices.billing import apart
from jaxroute.types import InputError

PRICE = {"small": (1.0, 10.0, 0.1, 2.0, 20.0), "large": (5.0, 50.0, 0.5, 10.0, 100.0)}
LISTED = {
    model: prices.Price(read, written, cached_input=cached, cache_write=kept, reasoning=thought)
    for model, (read, written, cached, kept, thought) in PRICE.items()
}
ASKED = [("What is 2 + 2?", "small", 0), ("What is 3 + 3?", "small", 0), ("What is the weather in Paris?", "large", 0),
         ("What is the weather in Paris?", "large", 100), ("What is 5 + 5?", "large", 0)]  # fmt: skip
THOUGHT = (110, 8, 30, 0, 50)
# file: tokens of a request without tools (fresh, out, cached, written, reasoning), which of ASKED, groups by prompt
FILES = {
    "strands-1.40.0_bedrock.jsonl": ((90, 58, 30, 20, 0), range(5), [0, 0, 1, 1, 1]),
    "strands-1.62.0.jsonl": ((90, 58, 30, 20, 0), range(5), [0, 0, 1, 1, 1]),
    "botocore-0.66b2": ((90, 58, 30, 20, 0), range(5), [0, 0, 1, 1, 2]),
    "traceloop-bedrock-0.62.4.jsonl": ((90, 58, 30, 20, 0), range(5), [0, 0, 1, 1, 2]),
    "openlit-1.45.0_bedrock.jsonl": ((90, 58, 30, 20, 0), range(5), [0, 0, 1, 1, 2]),
    "google-adk-1.18.0.jsonl": (THOUGHT, range(5), [0, 0, 1, 1, 2]),
    "google-adk-2.13.0": (THOUGHT, range(5), [0, 0, 1, 1, 2]),
    "openinference-google-adk-1.0.5.jsonl": (THOUGHT, (0, 1, 3, 4), [0, 0, 1, 2]),
    "openinference-llama-index-4.6.1.jsonl": (THOUGHT, range(5), None),
    "openinference-langchain-0.1.80-and-openai.jsonl": (THOUGHT, range(5), [0, 0, 1, 1, 2]),
    "openinference-langchain-0.1.80-and-anthropic.jsonl": ((90, 58, 30, 20, 0), range(5), [0, 0, 1, 1, 2]),
    "langsmith-0.15.1_otel.jsonl": (THOUGHT, range(5), [0, 0, 1, 1, 2]),
    "haystack-3.4.1.jsonl": (THOUGHT, range(5), None),
    "azure-ai-inference-1.0.0b9.jsonl": ((140, 58, 0, 0, 0), (0, 1, 4), None),
    "agent-framework-1.23.0": ((140, 58, 0, 0, 0), range(5), None),
    "semantic-kernel-1.45.0": ((140, 58, 0, 0, 0), range(5), None),
    "logfire-5.4.0_agents.jsonl": ((140, 58, 0, 0, 0), range(4), None),
}
FAILURES = {"azure-ai-inference-1.0.0b9.jsonl": {"chat": 1}, "haystack-3.4.1.jsonl": None,
            "openlit-1.45.0_bedrock.jsonl": None}  # fmt: skip
"""Azure's package calls the model so if the client names it; failed components of Haystack, and failed requests of
OpenLIT's package for Bedrock, name none."""


def cost(model, used):
    fresh, out, cached, written, thought = used
    return np.dot((fresh, out, cached, written, thought), PRICE[model]) / 1e6


@pytest.mark.parametrize("name", FILES)
def test_every_request_of_a_framework_once(name):
    used, which, groups = FILES[name]
    log = logs.load(HERE / name, prices=LISTED, drop_bad=True)
    found = sorted(zip(log.prompt, (log.models[k] for k in log.action), log.cost.tolist(), strict=True))
    asked = [(p, model, cost(model, (used[0] + more, *used[1:]))) for p, model, more in (ASKED[i] for i in which)]
    assert [row[:2] for row in found] == [row[:2] for row in sorted(asked)]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in sorted(asked)], rtol=1e-9)
    assert log.left_out.get("failed requests") == FAILURES.get(name, {"small": 1})
    assert log.counts.get("spans around another span of the same call", 0) == (
        5 if name == "google-adk-1.18.0.jsonl" else 0
    )
    if groups is None:
        assert log.group is None
    else:
        order = np.lexsort((log.cost, [[p for p, *_ in ASKED].index(p) for p in log.prompt]))
        assert np.unique(log.group[order], return_inverse=True)[1].tolist() == groups


def test_a_count_that_is_no_number_is_unknown(tmp_path):
    """Where counts are added up, the file could not be read because of it."""
    spans = records_of("traceloop-bedrock-0.62.4.jsonl")
    spans[0]["attributes"]["gen_ai.usage.input_tokens"] = "many"
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, spans)))
    log = logs.load(tmp_path / "log.jsonl", prices=LISTED, drop_bad=True)
    assert len(log) == 4
    assert log.left_out["input_tokens is empty, infinite or negative"] == {"small": 1}
    span = {"ai.operationId": "ai.generateText.doGenerate", "gen_ai.system": "amazon-bedrock"}
    assert np.isnan(
        vercel.more(span | {"ai.usage.inputTokens": "many", "ai.usage.cachedInputTokens": 3})["input_tokens"]
    )


def test_traces_of_the_agents_sdk_are_refused_by_their_name():
    span = {"object": "trace.span", "id": "span_1", "trace_id": "trace_1", "parent_id": None, "error": None,
            "span_data": {"type": "response", "response_id": "resp_1", "usage": {"input_tokens": 1}}}  # fmt: skip
    with pytest.raises(InputError, match=r"traces of OpenAI's Agents SDK: responses without their models and prompts"):
        logs.load([span, span | {"id": "span_2"}])


def test_cached_tokens_are_beside_the_input_where_the_total_says_so():
    """Strands 1.40 wrote Bedrock's counts as they are: 90 in, 30 cached, 20 written, 58 out, 198 in total."""
    counts = {"total": np.array([198.0]), "cached": np.array([30.0]), "written": np.array([20.0])}
    assert [float(part[0]) for part in apart(np.array([90.0]), np.array([58.0]), **counts)] == [90, 30, 20, 58, 0]
    assert [float(part[0]) for part in apart(np.array([140.0]), np.array([58.0]), **counts)] == [90, 30, 20, 58, 0]
    for cached in (30, 50):  # of Gemini, the total has thoughts that the output leaves out
        counts = {"total": np.array([198.0]), "cached": np.array([cached * 1.0]), "reasoning": np.array([50.0])}
        found = [float(part[0]) for part in apart(np.array([140.0]), np.array([8.0]), **counts)]
        assert found == [140 - cached, cached, 0, 8, 50]


def test_a_stream_whose_tokens_are_counted_as_none_has_no_price():
    """The Agents SDK writes 0 tokens in and 0 out of a stream without usage; the answer was free. Where an Anthropic
    stream's last event has no input, LangChain (langchain-anthropic 1.7.10) counts 0 in and 58 out.
    """
    name = "logfire-5.4.0_agents.jsonl"
    log = logs.load(HERE / name, prices=LISTED, drop_bad=True)
    assert log.left_out["no tokens of the input were counted, so the cost is unknown"] == {"large": 1}
    with pytest.raises(
        InputError, match=r"no tokens of the input were counted, so the cost is unknown: 1 row\(s\) \(large 1\)"
    ):
        logs.load(HERE / name, prices=LISTED)
    counted = {"prompt": "hi", "model": "small", "quality": 1, "input_tokens": 0, "output_tokens": 58}
    whole = [{}, {"total_tokens": 198}, {"cached_tokens": 140}]
    log = logs.load([counted | more for more in whole] + [counted | {"model": "large", "input_tokens": 140}],
                    prices=LISTED, drop_bad=True)  # fmt: skip
    assert log.left_out == {"no tokens of the input were counted, so the cost is unknown": {"small": 1}}
    free = [
        {"prompt": "hi", "model": m, "quality": 1, "input_tokens": 0, "output_tokens": 0} for m in ("small", "large")
    ]
    assert logs.load([free[0] | {"cost": 0}, free[1] | {"cost": 0}]).cost.tolist() == [0, 0]


def test_messages_of_googles_client_in_log_records():
    """A content is in the body of a record, whole: with its parts, and a role that the record's name need not have.

    Its counts leave thoughts out; of a request whose functions the client calls itself, the last answer's count.
    """
    log = logs.load(HERE / "google-genai-0.7b2", prices=LISTED)
    asked = [p for p, *_ in ASKED[:3]] + ["What is 4 + 4?", "What is 5 + 5?", "What is on the picture?"]
    assert sorted(log.prompt) == sorted(asked)
    chat = [{"role": "user", "content": {"role": "model", "parts": [{"text": "Hi."}]}}]
    assert messages.text_of([{"role": "user", "content": {"text": "Hello."}}, *chat]) == "Hello."
    answered = [{"role": "user", "parts": [{"function_response": {"name": "weather"}, "text": None}]}]
    assert messages.only_tools(answered)
    asked = [{"role": "user", "parts": [{"function_response": None, "text": None}]}]
    assert not messages.only_tools(asked)


def test_details_of_no_span_are_messages_of_no_request():
    with pytest.raises(InputError, match=r"messages of requests whose spans are elsewhere; give both, in one folder"):
        logs.load(HERE / "google-adk-2.13.0" / "logs.jsonl", prices=LISTED)


@pytest.mark.parametrize("name", ["google-genai-0.7b2", "google-adk-2.13.0"])
def test_a_text_that_was_hidden_in_a_log_record_is_no_prompt(tmp_path, name):
    """Google's ADK writes <elided> (2.13.0, where no content is captured); it was the prompt of every request."""
    for file in (HERE / name).iterdir():
        text = re.sub(r'("(?:content|text)": )"(?:[^"\\]|\\.)*"', r'\1"<elided>"', file.read_text())
        (tmp_path / file.name).write_text(text)
    with pytest.raises(InputError, match=r"prompts that were not recorded: [567] "):
        logs.load(tmp_path, prices=LISTED)


@pytest.mark.parametrize("mark", ["__REDACTED__", "[REDACTED]", "redacted-by-litellm", "<elided>"])
def test_a_text_that_was_hidden_is_no_prompt(tmp_path, mark):
    spans = records_of("openinference-llama-index-4.6.1.jsonl")
    for span in spans:
        hidden = {k: mark for k in span["attributes"] if k.endswith("message.content") or k == "input.value"}
        span["attributes"] |= hidden
        span["attributes"].pop("llm.prompts", None)
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, spans)))
    with pytest.raises(InputError, match=r"prompts that were not recorded: 7 .large 5, small 2"):
        logs.load(tmp_path / "log.jsonl", prices=LISTED)


def test_arguments_of_a_function_are_no_prompt(tmp_path):
    """Without the prompts of a call for a completion, its input is the JSON of the arguments of a function."""
    spans = records_of("openinference-llama-index-4.6.1.jsonl")
    for span in spans:
        span["attributes"].pop("llm.prompts", None)
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, spans)))
    log = logs.load(tmp_path / "log.jsonl", prices=LISTED)
    assert log.left_out["prompts that were not recorded"] == {"small": 1}
    assert len(log) == 4
    two = records_of("openinference-llama-index-4.6.1.jsonl")
    next(span for span in two if "llm.prompts" in span["attributes"])["attributes"]["llm.prompts"] = ["One?", "Two?"]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, two)))
    assert logs.load(tmp_path / "log.jsonl", prices=LISTED).left_out == log.left_out  # of a batch, none is the prompt
    flat = records_of("openinference-llama-index-4.6.1.jsonl")
    for span in flat:
        if prompts := span["attributes"].pop("llm.prompts", None):
            span["attributes"]["llm.prompts.0.prompt.text"] = prompts[0]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, flat)))
    assert "What is 3 + 3?" in logs.load(tmp_path / "log.jsonl", prices=LISTED).prompt


def test_pipecat_has_the_prompt_in_an_attribute_of_its_own_and_input_without_the_cache():
    """Pipecat 1.14.0; what it counts of Anthropic's input is 2,000, beside 1,000 from the cache and 200 written."""

    def span(name, provider, **counted):
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Who is {name}?"}]
        used = {f"gen_ai.usage.{kind}_tokens": count for kind, count in counted.items()}
        return {"name": "llm", "context": {"trace_id": "1", "span_id": name}, "start_time": "2026-12-01T03:47:46Z",
                "attributes": {"gen_ai.provider.name": provider, "gen_ai.request.model": name, "param.model": name,
                               "gen_ai.operation.name": "chat", "input": json.dumps(chat)} | used}  # fmt: skip

    parts = {"cache_read.input": 1000, "cache_creation.input": 200}
    spans = [span("small", "openai", input=1000, output=58, **{"cache_read.input": 600}),
             span("large", "anthropic", input=2000, output=58, **parts)]  # fmt: skip
    log = logs.load(spans, prices=LISTED)
    assert log.prompt.tolist() == ["Who is small?", "Who is large?"]
    np.testing.assert_allclose(log.cost, [cost("small", (400, 58, 600, 0, 0)), cost("large", (2000, 58, 1000, 200, 0))])


def test_an_answer_after_another_model_failed_below_the_same_span_is_a_fallback():
    """As LiveKit Agents 1.8.9 writes it, whose adapter asks one model after another with the same messages."""

    def span(number, model, around, text="Why?", **more):
        chat = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "jaxroute.propensity": 0.5,
                      "gen_ai.input.messages": chat, "gen_ai.usage.cost": 0.1} | more  # fmt: skip
        return {"context": {"trace_id": "1", "span_id": f"s{number}"}, "parent_id": around, "name": "llm_request",
                "start_time": "2026-12-01T03:47:46Z", "attributes": attributes}  # fmt: skip

    broken = {"error.type": "500"}
    spans = [span(0, "small", "a", **broken), span(1, "large", "a"), span(2, "small", "b", **broken),
             span(3, "small", "b"), span(4, "small", "c", **broken), span(5, "large", "c", text="And why?"),
             span(6, "large", "d")]  # fmt: skip
    log = logs.load(spans)
    np.testing.assert_array_equal(log.propensity, [np.nan, 0.5, 0.5, 0.5])
    assert log.counts["answers after a fallback, propensity unknown"] == 1
