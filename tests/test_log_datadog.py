"""Datadog: what its package sent of requests to a loopback server, and its export, as its documentation has it."""

import json

import numpy as np
import pytest
from platform_logs import LISTED, expected, rows
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices

SENT = HERE / "ddtrace-4.16.0.jsonl"
PRICES = LISTED | {"claude-small": prices.Price(2, 20, cached_input=0.2, cache_write=2.5)}
ANSWERED = {
    "What is 2 + 2?": "small",
    "Capital of France?": "large",
    "Largest ocean?": "large",
    "Largest planet?": "large",
    "How many days has a week?": "small",
}
APART = {
    "What is 10 - 4?": ("claude-small", pytest.approx((100 * 2 + 30 * 0.2 + 10 * 2.5 + 58 * 20) / 1e6)),
    "Deepest lake?": ("large", pytest.approx((140 * 5 + 58 * 50) / 1e6)),  # by hand, without its cached tokens
}


@pytest.fixture
def spans():
    """The spans that were sent, as the export returns them."""
    found = []
    for sent in records_of(SENT.name):
        for span in [span for one in sent for span in one["spans"]] if isinstance(sent, list) else []:
            meta = span.pop("meta")
            session = span.pop("session_id", None)  # a tag there
            del span["_dd"]
            span |= {name: meta[name] for name in ("input", "output", "metadata", "model_name") if name in meta}
            span |= {"span_kind": meta["span"]["kind"], "ml_app": "shop"}
            assert session is None or f"session_id:{session}" in span["tags"]
            found.append({"id": span["span_id"], "type": "span", "attributes": span})
    return found


def of(spans, prompt):
    calls = [one["attributes"] for one in spans if "messages" in one["attributes"].get("input", {})]
    return next(one for one in calls if one["input"]["messages"][-1]["content"] == prompt)


def test_spans_and_evaluations_as_the_package_sends_them():
    log = logs.load(SENT, prices=PRICES)
    assert rows(log) == expected(ANSWERED) | APART
    quality = dict(zip(log.prompt, np.nan_to_num(log.quality, nan=-1), strict=True))
    assert {p: q for p, q in quality.items() if q >= 0} == {
        "What is 2 + 2?": 1,  # of the span around it
        "Capital of France?": 0,  # of its trace
        "Deepest lake?": 1,
    }
    group = dict(zip(log.prompt, log.group.tolist(), strict=True))
    assert group["What is 2 + 2?"] == group["Capital of France?"]  # one session
    assert len(set(group.values())) == 6
    assert log.latency[:2] == pytest.approx([0.012496, 0.049424], abs=1e-6)
    assert np.nanmax(log.propensity) == 0.25
    assert log.left_out == {
        "failed requests": {"small": 1},
        "other calls than for text": {"embedder": 1},
        "spans of other things": {"no model": 4},
    }


def test_the_export_says_the_same_and_estimates_billionths_of_a_dollar(tmp_path, spans):
    of(spans, "Largest ocean?")["metrics"] |= {"estimated_total_cost": 7500, "total_cost": 0.1}
    of(spans, "Largest planet?")["metrics"] |= {"total_cost": 0.25}
    of(spans, "Capital of France?")["metrics"] |= {"estimated_total_cost": 0}  # of a model without a price
    judged = {
        "right": {"eval_metric_type": "score", "value": 0.5, "status": "OK"},
        "answered": {"eval_metric_type": "categorical", "value": "answered", "assessment": "pass"},
        "mood": {"eval_metric_type": "categorical", "value": "sad"},
    }
    of(spans, "Largest ocean?")["evaluation"] = judged
    path = tmp_path / "spans.json"
    path.write_text(json.dumps({"data": spans, "links": {"next": "..."}, "meta": {"status": "done"}}))
    log = logs.load(path, prices=PRICES, score="answered")
    known = {"Largest ocean?": ("large", pytest.approx(7.5e-6)), "Largest planet?": ("large", 0.25)}
    assert rows(log) == expected(ANSWERED) | APART | known
    assert {p: q for p, q in zip(log.prompt, log.quality, strict=True) if q == q} == {"Largest ocean?": 1}
    assert np.nanmax(logs.load(path, prices=PRICES, score="right").quality) == 0.5
    assert len(set(log.group.tolist())) == 6


def test_texts_that_were_dropped_and_calls_of_no_model_are_left_out(spans):
    of(spans, "Largest ocean?")["input"] = {
        "value": "[This value has been dropped because this span's size exceeds the 5MB size limit.]"
    }
    of(spans, "Largest planet?")["model_name"] = "unknown"
    log = logs.load(spans, prices=PRICES, feedback=[{"span_id": of(spans, "Deepest lake?")["span_id"], "quality": 0}])
    assert log.left_out["prompts that were not recorded"] == {"large": 1}
    assert log.left_out["other calls than for text"] == {"embedder": 1, "no model": 1}
    assert {p: q for p, q in zip(log.prompt, log.quality, strict=True) if q == q} == {"Deepest lake?": 0}


def test_a_call_within_another_one_counts_once_and_users_before_sessions(spans):
    outer = json.loads(json.dumps(of(spans, "What is 10 - 4?")))
    of(spans, "What is 10 - 4?")["parent_id"] = "1"
    outer |= {"span_id": "1", "name": "litellm.request", "tags": ["user_id:bob", "session_id:s3"]}
    of(spans, "Largest ocean?")["tags"] += ["user_id:bob", "jaxroute.propensity:0.5"]
    log = logs.load([*spans, {"id": "1", "type": "span", "attributes": outer}], prices=PRICES, feedback=[
        {"trace_id": outer["trace_id"], "quality": 1}])  # fmt: skip
    assert rows(log) == expected(ANSWERED) | APART
    assert len(log.prompt) == 7
    group = dict(zip(log.prompt, log.group.tolist(), strict=True))
    assert group["What is 10 - 4?"] == group["Largest ocean?"]
    assert log.propensity[log.prompt.tolist().index("Largest ocean?")] == 0.5
