"""Braintrust: spans that its package logged of requests to a loopback server, by clients it wraps and LangChain."""

import json

import numpy as np
import pytest
from platform_logs import LISTED, expected, rows
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices
from jaxroute.types import InputError

LOGGED = HERE / "braintrust-0.48.1.jsonl"
PRICES = LISTED | {"claude-small": prices.Price(2, 20, cached_input=0.2, cache_write=2.5)}
ANSWERED = {"What is 2 + 2?": "small", "Capital of France?": "large", "Largest planet?": "large",
            "How many days has a week?": "small"}  # fmt: skip
APART = {
    "What is 10 - 4?": ("claude-small", pytest.approx((100 * 2 + 30 * 0.2 + 10 * 2.5 + 58 * 20) / 1e6)),
    "Deepest lake?": ("small", pytest.approx((140 + 580) / 1e6)),  # by hand, without its cached tokens
}


def load(source, **more):
    return logs.load(source, prices=PRICES, drop_bad=True, **more)


def quality(log):
    return dict(zip(log.prompt, np.nan_to_num(log.quality, nan=-1).tolist(), strict=True))


@pytest.fixture
def spans():
    return records_of(LOGGED.name)


def test_calls_of_models_and_scores_of_the_spans_around_them():
    log = load(LOGGED)
    assert rows(log) == expected(ANSWERED) | APART
    rated = {"What is 2 + 2?": 1, "Capital of France?": 0, "Deepest lake?": 0.5}
    assert quality(log) == dict.fromkeys(ANSWERED | APART, -1) | rated
    assert len(set(log.group.tolist())) == 6  # the span around the first one names its user
    assert np.nanmax(log.propensity) == 0.25
    assert log.latency[0] == pytest.approx(0.014160, abs=1e-6)
    assert log.left_out == {
        "failed requests": {"small": 1},  # which no error tells
        "input_tokens is empty, infinite or negative": {"large": 1},  # a stream without its usage
        "other calls than for text": {"embedder": 1},
        "records of another kind": {"no model": 1},  # a comment
        "spans of other things": {"no model": 4},
    }


def test_requests_of_scorers_and_their_scores_are_left_out(spans):
    judge = json.loads(json.dumps(spans[-2])) | {"id": "j", "span_id": "j", "scores": {"mean": 1}}
    judge["span_attributes"]["purpose"] = "scorer"
    around = judge | {"id": "k", "span_id": "k", "span_attributes": {"type": "score", "name": "judge"}}
    log = load([*spans, judge, around])
    assert log.left_out["requests of scorers"] == {"small": 1}
    assert (len(log.prompt), log.read_as["score"]) == (6, "correct")


def test_an_error_and_a_cost_are_told_where_they_are(spans):
    first = next(one for one in spans if one["metrics"].get("prompt_tokens"))
    first["metrics"]["estimated_cost"] = 0.5
    assert rows(load(spans))["What is 2 + 2?"] == ("small", 0.5)
    first["error"] = "Error code: 529"
    assert load(spans).left_out["failed requests"] == {"small": 2}


@pytest.mark.parametrize("wrapped", [{"events": [], "cursor": "c"}, {"data": [], "schema": {}, "freshness_state": {}}])
def test_pages_of_the_api(tmp_path, spans, wrapped):
    name = next(iter(wrapped))
    (tmp_path / "spans.json").write_text(json.dumps(wrapped | {name: spans}))
    assert rows(load(tmp_path)) == expected(ANSWERED) | APART


def test_an_experiment_is_refused_by_its_name(spans):
    rows = [{k: v for k, v in one.items() if k != "log_id"} | {"experiment_id": "e"} for one in spans]
    with pytest.raises(InputError, match="an experiment of Braintrust: every example's answers"):
        load(rows)
