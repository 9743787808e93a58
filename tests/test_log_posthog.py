"""PostHog: events that its package wrote of requests to a loopback server, by clients that it wraps and LangChain."""

import json

import numpy as np
import pytest
from platform_logs import COST, LISTED, expected, rows
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices
from jaxroute.types import InputError

EVENTS = HERE / "posthog-7.91.1.jsonl"
CLAUDE = prices.Price(2, 20, cached_input=0.2, cache_write=2.5)
PRICES = LISTED | {"claude-small": CLAUDE, "gemini-2.5-pro": LISTED["small"]}
ANSWERED = {
    "What is 2 + 2?": "small",
    "Capital of France?": "large",
    "Largest ocean?": "large",
    "Largest planet?": "large",
    "How many days has a week?": "small",
    "What is 3 * 3?": "small",
}


@pytest.fixture
def events():
    return records_of(EVENTS.name)


def of(events, trace):
    return next(e for e in events if e["event"] == "$ai_generation" and e["properties"]["$ai_trace_id"] == trace)


def test_generations_are_rows_and_metrics_their_qualities():
    log = logs.load(EVENTS, prices=PRICES)
    claude = 100 * 2 + 30 * 0.2 + 10 * 2.5 + 58 * 20  # its input leaves out what was cached
    assert rows(log) == expected(ANSWERED) | {"What is 10 - 4?": ("claude-small", pytest.approx(claude / 1e6))}
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [1, 0, -1, -1, -1, -1, -1]
    assert log.group.tolist() == [0, 0, 1, 1, 0, 2, 3]  # the last one names no user
    assert np.nan_to_num(log.propensity, nan=-1).tolist() == [0.25, *[-1] * 6]
    assert log.latency[:2] == pytest.approx([0.015892, 0.011605], abs=1e-6)
    assert log.left_out == {
        "failed requests": {"small": 2},
        "other calls than for text": {"embedder": 1},
        "prompts that were not recorded": {"small": 1},  # in privacy mode
        "records of another kind": {"no model": 2},
        "spans of other things": {"no model": 4},
    }


@pytest.mark.parametrize(
    ("more", "billed"),
    [  # 140 in, 30 of them cached; 58 out, 50 of them reasoning
        ({"$ai_total_cost_usd": 0.5}, 0.5),
        ({"$ai_total_cost_usd": 0}, COST["small"]),
        ({"$ai_input_tokens": 110, "$ai_cache_reporting_exclusive": True}, COST["small"]),
        ({"$ai_input_tokens": 110, "$ai_cache_reporting_exclusive": "true"}, COST["small"]),
        ({"$ai_output_tokens": 8, "$ai_model": "gemini-2.5-pro"}, COST["small"]),
        ({"$ai_model": "gemini-2.5-pro", "$ai_framework": "langchain"}, COST["small"]),
        ({"$ai_input_tokens": 110, "$ai_model": "small", "$ai_provider": "anthropic"}, COST["small"]),
        ({"$ai_provider": "anthropic", "$ai_cache_reporting_exclusive": False}, COST["small"]),
    ],
    ids=["cost", "no price", "apart", "text", "thoughts apart", "thoughts within", "anthropic", "within"],
)
def test_counts_of_every_provider(events, more, billed):
    of(events, "t1")["properties"] |= more
    log = logs.load(events, prices=PRICES)
    assert rows(log)["What is 2 + 2?"][1] == pytest.approx(billed)


@pytest.mark.parametrize(
    ("version", "provider", "told"),
    [("6.9.0", "openai", 110), ("6.9.0", "anthropic", 110), ("6.9.2", "openai", 140), ("7.4.0", "anthropic", 110),
     ("7.91.1", "anthropic", 100)],
)  # fmt: skip
def test_what_versions_of_the_handler_for_langchain_take_from_the_input(events, version, provider, told):
    """140 in, 30 of them read from a cache, and of Anthropic's model 10 written to it."""
    written = 10 if provider == "anthropic" else 0
    of(events, "t9")["properties"] |= {"$lib_version": version, "$ai_provider": provider, "$ai_input_tokens": told,
                                       "$ai_cache_creation_input_tokens": written}  # fmt: skip
    log = logs.load(events, prices=PRICES | {"small": prices.Price(1, 10, cached_input=0.1, cache_write=1)})
    assert rows(log)["How many days has a week?"][1] == pytest.approx(COST["small"])


def test_gateways_of_vercel_count_the_cache_in(events):
    change = {"$ai_model": "anthropic/claude", "$ai_provider": "gateway", "$ai_framework": "vercel"}
    listed = PRICES | {"anthropic/claude": LISTED["small"]}
    of(events, "t1")["properties"] |= change
    assert rows(logs.load(events, prices=listed))["What is 2 + 2?"][1] == pytest.approx(COST["small"])
    of(events, "t1")["properties"] |= {"$ai_input_tokens": 20}  # fewer than were cached: then not
    assert rows(logs.load(events, prices=listed))["What is 2 + 2?"][1] == pytest.approx((20 + 3 + 580) / 1e6)


def test_what_the_package_for_javascript_writes():
    rated = [{"request_id": "chatcmpl-88", "quality": 1}]  # its events have the responses' identifiers
    log = logs.load(HERE / "posthog-js-8.13.1.jsonl", prices=PRICES, feedback=rated, drop_bad=True)
    answered = {prompt: ANSWERED[prompt] for prompt in ANSWERED if prompt not in ("Largest ocean?", "What is 3 * 3?")}
    assert rows(log) == expected(answered) | {"What is 10 - 4?": ("claude-small", pytest.approx(0.001391))}
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [1, -1, -1, -1, -1]
    assert log.left_out == {
        "failed requests": {"small": 1},
        "input_tokens is empty, infinite or negative": {"large": 1},  # a stream without its usage
    }


def judged(event, trace="t1", **properties):
    said = {f"${name}": value for name, value in properties.items()} | {"$ai_trace_id": trace}
    return {"event": event, "uuid": "j", "distinct_id": "u", "properties": said, "timestamp": "2026-12-02T00:00:00Z"}


def test_evaluations_are_of_their_generation_and_surveys_of_a_trace_of_one_call(events):
    call = of(events, "t3")
    evaluation = {"ai_evaluation_name": "right", "ai_evaluation_result": True, "ai_target_event_type": "$ai_generation"}
    events += [
        judged("$ai_evaluation", "t3", **evaluation, ai_target_event_id=call["uuid"], ai_model="large"),
        judged("$ai_evaluation", "t4", **evaluation, ai_target_event_id="not in the log"),
        judged("$ai_evaluation", "t4", **evaluation, ai_evaluation_applicable=False),
        judged("survey sent", "t1", survey_name="helpful", survey_response=1, survey_response_q=1),
        judged("survey sent", "t2", survey_name="helpful", survey_response="2"),
        judged("survey sent", "t4", survey_name="helpful", survey_response="Fine."),
    ]
    with pytest.raises(InputError, match=r"several evaluations; .*: correct, helpful, right"):
        logs.load(events, prices=PRICES)
    right = logs.load(events, prices=PRICES, score="right")
    assert dict(zip(right.prompt, right.quality, strict=True))["Largest ocean?"] == 1
    assert (right.counts["missing quality"], right.counts["feedback on no request of the log"]) == (6, 1)
    thumbs = logs.load(events, prices=PRICES, score="helpful", quality_range=(2, 1))
    assert np.nan_to_num(thumbs.quality, nan=-1).tolist() == [1, 0, -1, -1, -1, -1, -1]


def test_a_call_that_a_framework_and_its_client_tell_is_one_row(events):
    inner = json.loads(json.dumps(of(events, "t9")))
    inner |= {"uuid": "another"}
    inner["properties"] |= {"$ai_trace_id": "its own", "$ai_latency": 0.009, "$ai_span_id": None, "$ai_parent_id": None}
    del inner["properties"]["$ai_framework"]
    log = logs.load([*events, inner], prices=PRICES)
    assert log.prompt.tolist().count("How many days has a week?") == 1
    assert "another" in log.request_id


@pytest.mark.parametrize("layout", ["page", "query", "parquet"])
def test_events_as_the_api_and_exports_give_them(tmp_path, events, layout):
    path = tmp_path / ("events.parquet" if layout == "parquet" else "events.json")
    if layout == "page":
        listed = [{"id": e["uuid"], "elements": []} | {k: v for k, v in e.items() if k != "uuid"} for e in events]
        path.write_text(json.dumps({"next": None, "results": listed}))
    else:
        names = ["uuid", "event", "properties", "distinct_id", "timestamp"]
        table = [[json.dumps(e[k]) if k == "properties" else e[k] for k in names] for e in events]
        if layout == "query":
            path.write_text(json.dumps({"columns": names, "results": table, "hasMore": False, "types": []}))
        else:
            import pandas as pd

            pd.DataFrame(table, columns=names).to_parquet(path)
    assert logs.load(path, prices=PRICES).request_id.tolist() == logs.load(EVENTS, prices=PRICES).request_id.tolist()
