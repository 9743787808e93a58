"""Sentry: what its package sends of requests to a loopback server, in two versions."""

import json

import pytest
from platform_logs import COST, LISTED, expected, rows
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices

SENT, OLDER = HERE / "sentry-sdk-2.75.0.jsonl", HERE / "sentry-sdk-2.45.0.jsonl"
CLAUDE = prices.Price(2, 20, cached_input=0.2, cache_write=2.5)


def load(source, **more):
    return logs.load(source, prices=LISTED | {"claude-small": CLAUDE}, drop_bad=True, **more)


def test_spans_beside_their_transactions():
    log = load(SENT, feedback=[{"request_id": "msg_40", "quality": 1}])
    answered = {"What is 2 + 2?": "small", "Capital of France?": "large", "Largest planet?": "large"}
    claude = (100 * 2 + 30 * 0.2 + 10 * 2.5 + 58 * 20) / 1e6
    # The last one was told by LangChain and by its client, whose span is within it and knows no tokens.
    assert rows(log) == expected(answered | {"How many days has a week?": "small"}) | {
        "What is 10 - 4?": ("claude-small", pytest.approx(claude))
    }
    assert [q for q in log.quality if q == q] == [1]
    assert set(log.group.tolist()) == {0}
    assert log.left_out == {
        "failed requests": {"small": 1},
        "input_tokens is empty, infinite or negative": {"large": 1},  # a stream without its usage
        "other calls than for text": {"embedder": 1},
        "spans of other things": {"no model": 10},
    }
    assert log.latency[0] == pytest.approx(0.022125, abs=1e-6)


def test_transactions_with_their_spans_as_older_versions_have_them():
    log = load(OLDER, feedback=[{"request_id": "a537000ec93b1625", "quality": 1}])
    whole = (140 + 580) / 1e6  # without the cached tokens, which it does not write of chat completions
    assert rows(log) == {
        "What is 2 + 2?": ("small", pytest.approx(whole)),
        "Largest planet?": ("large", pytest.approx(COST["large"])),
    }
    assert log.quality.tolist()[0] == 1
    assert log.latency[0] == pytest.approx(0.030144, abs=1e-6)
    assert log.left_out["failed requests"] == {"small": 1}
    assert log.left_out["input_tokens is empty, infinite or negative"] == {"large": 2}


def test_texts_that_were_cut_are_no_prompts():
    sent = records_of(SENT.name)
    for text in ("x" * 10_000, "x" * 10_000 + "..."):
        span = sent[1]["items"][0]
        span["attributes"]["gen_ai.request.messages"]["value"] = json.dumps([{"role": "user", "content": text}])
        log = load(sent, feedback=[{"request_id": "msg_40", "quality": 1}])
        cut = text.endswith(".")
        assert log.left_out.get("prompts that were cut") == ({"small": 1} if cut else None)
        assert (text in log.prompt) is not cut
