"""Spans that two instrumentations wrote of one request, around each other or side by side, and those that are two."""

import json

import numpy as np
import pytest

from jaxroute.data import logs, prices

PRICE = dict.fromkeys(("small", "large"), prices.Price(1, 1))


def span(number, name, start, end, trace="t", parent=None, **more):
    chat = json.dumps([{"role": "user", "content": more.pop("prompt", "hi")}])
    return {"name": name, "context": {"trace_id": trace, "span_id": f"s{number}"}, "parent_id": parent,
            "start_time": f"2026-01-01T00:00:{start:06.3f}Z", "end_time": f"2026-01-01T00:00:{end:06.3f}Z",
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small",
                           "gen_ai.input.messages": chat, "gen_ai.usage.input_tokens": 9,
                           "gen_ai.usage.output_tokens": 3} | more}  # fmt: skip


LARGE = span(99, "chat", 50, 51, "u", **{"gen_ai.request.model": "large"})


def count(*spans):
    return len(logs.load([*spans, LARGE], prices=PRICE)) - 1


def test_calls_at_one_time_go_in_pairs():
    """Three requests of one prompt at once, each of them seen by a framework and by its client."""
    outer = [span(i, "framework", 1 + i / 10, 5 - i / 10) for i in range(3)]
    inner = [span(9 + i, "chat", 1.4 + i / 10, 4 - i / 10) for i in range(3)]
    assert count(*outer, *inner) == count(*inner, *outer) == 3
    assert count(*outer, *inner[:1]) == 3
    assert count(*inner) == 3  # the client alone
    assert count(span(1, "one callback", 1, 3), span(2, "the next callback", 1.01, 3.01)) == 1


NOT_ONE = {
    "another prompt": {"prompt": "ho"},
    "another model": {"gen_ai.request.model": "large"},
    "another response": {"gen_ai.response.id": "b"},
    "another trace, of which it is not the first": {"trace": "v", "parent": "s0"},
    "a failed call within": {"error.type": "timeout"},
}


@pytest.mark.parametrize("why", NOT_ONE)
def test_two_requests_stay_two(why):
    outer = span(1, "framework", 1, 3, **{"gen_ai.response.id": "a"})
    log = logs.load([outer, span(2, "chat", 1.5, 2.5, **NOT_ONE[why]), LARGE], prices=PRICE)
    assert len(log) + sum(log.left_out.get("failed requests", {}).values()) == 3
    assert count(outer, span(2, "chat", 2, 4)) == 2  # it ends later


def test_a_client_in_a_trace_of_its_own():
    outer, inner = span(1, "framework", 1, 3), span(2, "chat", 1.5, 2.5, "v")
    assert count(outer, inner) == count(inner, outer) == 1
    del inner["attributes"]["gen_ai.input.messages"]
    log = logs.load([outer, inner, LARGE], prices=PRICE)
    assert log.left_out == {"prompts that were not recorded": {"small": 1}}


def test_the_id_of_a_response_that_the_span_around_names_is_kept():
    outer = span(1, "framework", 1, 3, **{"gen_ai.response.id": "resp_1"})
    log = logs.load([outer, span(2, "chat", 1.5, 2.5, parent="s1"), LARGE], prices=PRICE)
    assert log.request_id.tolist() == ["resp_1", "s99"]
    assert log.latency.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("parent", ["s1", None])
def test_a_rating_of_the_span_around_a_call_is_of_the_call(parent):
    """Of Phoenix's annotations, say; where the trace had several calls, it was of no request."""
    calls = [span(1, "framework", 1, 3), span(2, "chat", 1.5, 2.5, parent=parent), span(3, "chat", 4, 5)]
    ratings = [{"span_id": "s1", "score": 1}, {"span_id": "s99", "score": 0}]
    log = logs.load([*calls, LARGE], prices=PRICE, feedback=ratings)
    np.testing.assert_array_equal(log.quality, [1, np.nan, 0])
    again = [calls[0], calls[0], *calls[2:], LARGE]  # a file that was exported twice
    log = logs.load(again, prices=PRICE, feedback=ratings[:1])
    np.testing.assert_array_equal(log.quality, [1, np.nan, np.nan])
