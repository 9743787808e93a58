"""Small files that real tools wrote of the same eleven requests to a loopback server, and every row's truth.

The server answered request k (counted from 1) to a prompt of n words with 10 + n tokens in, 4 of them cached, and
5 + k % 7 out; responses have 6 out and none cached. Names of files have the tools' versions.
"""

import json

import numpy as np
import pytest
from tool_logs import HERE, PRICE, last_user, records_of

from jaxroute.data import logs, prices

SUM = "Question {0}: what is {0} + {0}?"
ASKED = [("gpt-4o-mini", SUM.format(0)), ("gpt-4o", SUM.format(1)), ("gpt-4o-mini", SUM.format(2)),
         ("gpt-4o", SUM.format(3)), ("gpt-4o", "Second turn"), ("gpt-4o-mini", "What is on the picture?"),
         ("gpt-4o", "Streamed with usage")]  # fmt: skip
RESPONSES = ("gpt-4o-mini", "A question to the responses interface")
FAILED = {"gpt-4o": 1}


def cost(model, prompt, k):
    read, written, cached = PRICE[model]
    n = len(prompt.split())
    if k == 11:
        return ((10 + n) * read + 6 * written) / 1e6
    return ((10 + n - 4) * read + 4 * cached + (5 + k % 7) * written) / 1e6


TRUTH = {prompt: (model, cost(model, prompt, k + 1)) for k, (model, prompt) in enumerate(ASKED)}
TRUTH[RESPONSES[1]] = (RESPONSES[0], cost(*RESPONSES, 11))
FILES = {
    "openinference-openai-0.1.66.jsonl": set(),
    "langfuse-5.0.4.jsonl": set(),
    "logfire-5.4.0.jsonl": set(),
    "logfire-4.15.0.jsonl": {"Streamed with usage"},  # before release 5 the usage of streams is not written
    "mlflow-3.17.2.jsonl": set(),
    "mlflow-3.17.2_search.jsonl": set(),
    "traceloop-openai-0.62.4.jsonl": {"What is on the picture?"},  # the instrumentation lost its prompt
    "traceloop-and-openinference.jsonl": set(),
}


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_tool(name):
    log = logs.load(HERE / name, prices=prices.load(), reprice=True, drop_bad=True)
    found = {p: (log.models[k], c) for p, k, c in zip(log.prompt, log.action, log.cost, strict=True)}
    assert len(found) == len(log)
    assert found.keys() == TRUTH.keys() - FILES[name]
    for prompt, (model, dollars) in found.items():
        assert model == TRUTH[prompt][0]
        assert dollars == pytest.approx(TRUTH[prompt][1], rel=1e-9), prompt
    assert log.left_out["failed requests"] == FAILED
    # The stream whose usage nobody counted.
    assert log.counts["dropped"] == 1 + ("Streamed with usage" in FILES[name])
    assert (np.diff(np.sort(log.timestamp)) < 100).all()
    if "What is on the picture?" in FILES[name]:
        assert log.left_out["prompts that were not recorded"] == {"gpt-4o-mini": 1}


def test_openlit_guesses_the_tokens_of_a_stream_without_usage():
    """And it bills cached tokens in full: its own cost is the tokens at the prices it was given."""
    log = logs.load(HERE / "openlit-1.45.0.jsonl")
    found = {p: (log.models[k], c) for p, k, c in zip(log.prompt, log.action, log.cost, strict=True)}
    guessed = {"Streamed without usage": ("gpt-4o", pytest.approx((14 * 2.5 + 16 * 10) / 1e6))}
    spans = {last_user(json.loads(a["gen_ai.input.messages"])): a for span in records_of("openlit-1.45.0.jsonl")
             if "gen_ai.response.id" in (a := span["attributes"])}  # fmt: skip
    own = {
        prompt: (model, pytest.approx(dot((PRICE[model][0], PRICE[model][1]), spans[prompt])))
        for prompt, (model, _) in TRUTH.items()
    }
    assert found == own | guessed
    assert log.left_out == {"other calls than for text": {"text-embedding-3-small": 1}, "failed requests": FAILED}
    again = logs.load(HERE / "openlit-1.45.0.jsonl", prices=prices.load(), reprice=True)
    for prompt, k, dollars in zip(again.prompt, again.action, again.cost, strict=True):
        if prompt in TRUTH:
            assert (again.models[k], dollars) == (TRUTH[prompt][0], pytest.approx(TRUTH[prompt][1]))


def dot(price, attributes):
    used = attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]
    return (used[0] * price[0] + used[1] * price[1]) / 1e6


def test_what_two_instrumentations_saw_is_merged_and_counted():
    log = logs.load(HERE / "traceloop-and-openinference.jsonl", prices=prices.load(), drop_bad=True)
    assert log.counts["spans around another span of the same call"] == 9
    assert log.counts["records merged into another of the same request"] == 1  # the response, in traces of its own


@pytest.mark.parametrize(("name", "merged"), [("anthropic-2.14.0.jsonl", 0), ("anthropic-and-traceloop.jsonl", 4)])
def test_requests_in_the_spans_that_anthropics_package_writes_itself(name, merged):
    """1,300 tokens in, of which 1,000 were read from the provider's cache and 200 written to it, and 50 out.

    Traceloop writes a second span of each request, in a trace of its own; of a stream, its count is one token more.
    """
    log = logs.load(HERE / name, prices=prices.load(), reprice=True)
    found = [(p, log.models[k], dollars) for p, k, dollars in zip(log.prompt, log.action, log.cost, strict=True)]
    price = {"claude-sonnet-4-5": (3, 0.3, 3.75, 15), "claude-haiku-4-5": (1, 0.1, 1.25, 5)}
    asked = [("00", "claude-sonnet-4-5", 0), ("01", "claude-sonnet-4-5", 1), ("10", "claude-haiku-4-5", 0),
             ("11", "claude-haiku-4-5", 1)]  # fmt: skip
    used = {stream: np.array([100, 1000, 200, 50 + (stream and merged > 0)]) for stream in (0, 1)}
    assert found == [(f"Question {number}: what is it?", model, pytest.approx(used[stream] @ price[model] / 1e6))
                     for number, model, stream in asked]  # fmt: skip
    assert log.counts.get("records merged into another of the same request", 0) == merged


def test_one_identifier_of_several_answers_joins_no_spans_of_one_instrumentation(tmp_path):
    """A server that calls every response alike, or one that answers from a cache, is asked the same twice."""
    one = records_of("anthropic-2.14.0.jsonl")[0]
    for other in ({}, {"gen_ai.request.model": "claude-haiku-4-5", "gen_ai.response.model": "claude-haiku-4-5"}):
        spans = [one, json.loads(json.dumps(one))]
        spans[1]["context"] = {"trace_id": "0x" + "1" * 32, "span_id": "0x" + "2" * 16}
        spans[1]["attributes"] |= other
        spans[1]["name"] = "another name" if other else one["name"]
        third = records_of("anthropic-2.14.0.jsonl")[2]
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(span) + "\n" for span in [*spans, third]))
        assert len(logs.load(tmp_path / "log.jsonl", prices=prices.load(), reprice=True)) == 3


def test_judgements_of_a_trace_are_qualities():
    for name in ("mlflow-3.17.2.jsonl", "mlflow-3.17.2_search.jsonl"):
        log = logs.load(HERE / name, prices=prices.load(), drop_bad=True)
        assert log.quality[log.prompt == RESPONSES[1]] == 0.75
        assert log.counts["missing quality"] == 7


def test_an_agents_run_is_no_request_and_conversations_are_groups():
    log = logs.load(HERE / "pydantic-ai-2.68.0.jsonl")
    assert log.prompt.tolist() == [f"Agent question {i}" for i in range(3)]
    assert [log.models[k] for k in log.action] == ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"]
    assert log.group.tolist() == [0, 1, 2]
    assert log.counts["other calls than for text"] == 3


def test_payloads_of_litellms_router():
    log = logs.load(HERE / "litellm-1.110.2.jsonl", drop_bad=True)
    said = dict(zip(log.prompt, [log.models[k] for k in log.action], strict=True))
    assert said == {SUM.format(0): "fast", SUM.format(1): "smart", SUM.format(2): "fast", RESPONSES[1]: "fast",
                    "Streamed with usage": "smart", "Streamed without usage": "smart"}  # fmt: skip
    assert log.cost[0] == pytest.approx(cost("gpt-4o-mini", SUM.format(0), 1))
    assert log.left_out["cost is 0 though tokens were used, so unknown"] == {"own": 1}
    again = logs.load(HERE / "litellm-1.110.2.jsonl", prices=prices.load(), reprice=True, drop_bad=True)
    np.testing.assert_allclose(again.cost[:3], log.cost[:3])  # a group's price is its deployment's


def test_answers_from_litellms_cache_in_its_spans():
    """1.110.2 says it by litellm.cache_hit, earlier releases by metadata.cache_hit; it counted as an answer.

    The usage of the provider, 30 of 140 tokens cached and 50 of 58 of reasoning, is in the metadata alone.
    """
    price = prices.Price(1, 1e3, cached_input=1e6, reasoning=1e9)
    log = logs.load(HERE / "litellm-1.110.2_otel.jsonl", prices={"small": price, "large": price}, reprice=True)
    assert log.prompt.tolist() == ["What is 3 + 3?", "What is 9 + 9?", "What is 5 + 5?"]
    assert log.left_out["answers from a cache"] == {"small": 1}
    np.testing.assert_allclose(log.cost, (110 + 8e3 + 30e6 + 50e9) / 1e6)
