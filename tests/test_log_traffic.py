"""Small made-up traffic of the kinds that logs go wrong in; the truth is what a line reads in the raw records."""

import json
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from jaxroute.data import logs, prices
from jaxroute.nuisance import folding
from jaxroute.types import InputError

HERE = Path(__file__).parent / "data" / "logs" / "traffic"
RATING = {"quality": "metadata.rating"}
PRICES = {"mini": (0.2, 0.8), "base": (1, 4), "max": (5, 20)}


def records(name):
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def rows(log):
    """(prompt, model, quality, cost) of every row."""
    names = [log.models[k] for k in log.action]
    return list(zip(log.prompt.tolist(), names, log.quality.tolist(), log.cost.tolist(), strict=True))


def same(log, truth):
    found = rows(log)
    assert [row[:2] for row in found] == [row[:2] for row in truth]
    np.testing.assert_allclose([row[2:] for row in found], [row[2:] for row in truth], rtol=1e-9)


def said(attributes):
    return json.loads(attributes["gen_ai.input.messages"])[0]["parts"][0]["content"]


def of_span(span, model="gen_ai.response.model", quality=None):
    a = span["attributes"]
    score = a["gen_ai.evaluation.score.value"] if quality is None else quality
    return said(a), a[model], score, a["gen_ai.usage.cost"]


def correctness(span):
    return next(e["attributes"]["gen_ai.evaluation.score.value"] for e in span["events"]
                if e["attributes"]["gen_ai.evaluation.name"] == "correctness")  # fmt: skip


def of_payload(row, prompt=None, quality=None):
    text = row["messages"][0]["content"] if prompt is None else prompt(json.loads(row["proxy_server_request"]))
    return text, row["model_group"], row["metadata"]["rating"] if quality is None else quality, row["spend"]


def usage(row):
    return row["prompt_tokens"], row["metadata"]["usage_object"]["cache_read_input_tokens"], row["completion_tokens"]


# file: settings, and what a record says, None where it is no request
EVERY_ROW = {
    "otel_alias.jsonl": ({}, of_span),
    "otel_fallback.jsonl": ({}, of_span),
    "otel_failed_evaluator.jsonl": ({}, of_span),
    "otel_two_evaluations.jsonl": ({"score": "correctness"}, lambda r: of_span(r, quality=correctness(r))),
    "otel_agent_no_operation.jsonl": (
        {}, lambda r: of_span(r, "gen_ai.request.model") if r["name"] == "chat" else None),
    "otel_double_instrumentation.jsonl": (
        {}, lambda r: None if "framework" in r["name"] else of_span(r, "gen_ai.request.model")),
    "litellm_responses_input.jsonl": ({"columns": RATING}, lambda r: of_payload(r, lambda body: body["input"])),
    "litellm_generate_content.jsonl": (
        {"columns": RATING}, lambda r: of_payload(r, lambda body: body["contents"][0]["parts"][0]["text"])),
    "litellm_joined_quality.jsonl": ({}, lambda r: of_payload(r, quality=r["quality"])),
    "litellm_failures.jsonl": (
        {"columns": RATING}, lambda r: of_payload(r) if r["status"] == "success" else None),
    "litellm_cached_tokens.jsonl": ({"columns": RATING}, of_payload),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY_ROW)
def test_every_row(name):
    settings, of = EVERY_ROW[name]
    truth = [row for record in records(name) if (row := of(record)) is not None]
    log = logs.load(HERE / name, **settings)
    same(log, truth)
    assert {row[1] for row in truth} == {"mini", "base", "max"}


def test_a_fallback_is_credited_to_the_model_that_answered_and_has_no_propensity():
    log = logs.load(HERE / "otel_fallback.jsonl", columns={"propensity": "gen_ai.usage.cost"})
    fell = [r["attributes"]["gen_ai.request.model"] != r["attributes"]["gen_ai.response.model"]
            for r in records("otel_fallback.jsonl")]  # fmt: skip
    assert 0 < sum(fell) < len(log)
    np.testing.assert_array_equal(np.isnan(log.propensity), fell)
    assert log.counts["answers after a fallback, propensity unknown"] == sum(fell)


def test_several_evaluations_need_a_name():
    file = HERE / "otel_two_evaluations.jsonl"
    with pytest.raises(InputError, match=r"several evaluations.*score=NAME: correctness, toxicity"):
        logs.load(file)
    with pytest.raises(InputError, match="no evaluation is called 'kindness'; the log has: correctness, toxicity"):
        logs.load(file, score="kindness")


def test_messages_in_log_records_beside_the_spans():
    folder = HERE / "otel_spans_and_logs"
    spans, notes = records("otel_spans_and_logs/spans.jsonl"), records("otel_spans_and_logs/logs.jsonl")
    text = {note["span_id"]: note["body"]["content"] for note in notes}
    same(logs.load(folder), [
        (text[s["context"]["span_id"]], a["gen_ai.request.model"], a["gen_ai.evaluation.score.value"],
         a["gen_ai.usage.cost"]) for s in spans for a in [s["attributes"]]])  # fmt: skip
    with pytest.raises(InputError, match="12 messages of requests whose spans are elsewhere"):
        logs.load(folder / "logs.jsonl")
    with pytest.raises(InputError, match=r"prompts that were not recorded: 12 .*\n.*log records beside the spans"):
        logs.load(folder / "spans.jsonl")


def test_failures_are_counted_by_model_or_have_quality_zero():
    file, raw = HERE / "litellm_failures.jsonl", records("litellm_failures.jsonl")
    failed = [r["status"] == "failure" for r in raw]
    assert logs.load(file, columns=RATING).left_out == {"failed requests": {"base": sum(failed)}}
    log = logs.load(file, columns=RATING, failures="zero")
    assert len(log) == len(raw)
    np.testing.assert_array_equal(
        log.quality, [0 if f else r["metadata"]["rating"] for f, r in zip(failed, raw, strict=True)]
    )
    assert log.counts["failed requests, taken as quality 0"] == sum(failed)


def test_a_spend_of_zero_with_tokens_used_is_no_price():
    file, raw = HERE / "litellm_spend_zero.jsonl", records("litellm_spend_zero.jsonl")
    zero = [r for r in raw if r["spend"] == 0]
    with pytest.raises(InputError, match=rf"cost is 0 though tokens were used, so unknown: {len(zero)} row\(s\) \(max"):
        logs.load(file, columns=RATING)
    log = logs.load(file, columns=RATING, prices=prices.load(HERE / "prices.csv"))
    price = PRICES["max"]
    truth = [r["spend"] or (r["prompt_tokens"] * price[0] + r["completion_tokens"] * price[1]) / 1e6 for r in raw]
    np.testing.assert_allclose(log.cost, truth)


CUT = "begin... (litellm_truncated skipped 9 chars. Truncation is a DB storage safeguard.) ...end"  # of 1.108.7


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": CUT}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": CUT}]}]},
        {"input": CUT},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": CUT}]}]},
        {"prompt": CUT},
        {"contents": [{"parts": [{"text": CUT}]}]},
    ],
)
def test_prompts_that_the_spend_log_cut_are_counted_and_left_out(body):
    asked = [{"messages": [{"role": "system", "content": CUT}, {"role": "user", "content": "whole"}]}, body]
    common = {"spend": 0.1, "prompt_tokens": 9, "completion_tokens": 9, "startTime": "2026-11-01T00:00:00Z"}
    for written in (dict, json.dumps):
        found = [
            common | {"request_id": f"{k}{m}", "model": m, "messages": {}, "proxy_server_request": written(one)}
            for k, one in enumerate(asked)
            for m in ("mini", "max")
        ]
        log = logs.load(found)
        assert log.prompt.tolist() == ["whole", "whole"]
        assert log.left_out == {"prompts that were cut": {"mini": 1, "max": 1}}


def test_tokens_that_are_billed_apart(tmp_path):
    log = logs.load(HERE / "reasoning_tokens.jsonl", prices=prices.load(HERE / "prices.csv"))
    raw = records("reasoning_tokens.jsonl")
    rest = [r["total_tokens"] - r["input_tokens"] - r["output_tokens"] for r in raw]
    assert max(rest) > 2000
    truth = [(r["input_tokens"] * PRICES[r["model"]][0] + (r["output_tokens"] + n) * PRICES[r["model"]][1]) / 1e6
             for r, n in zip(raw, rest, strict=True)]  # fmt: skip
    np.testing.assert_allclose(log.cost, truth)
    (tmp_path / "cached.csv").write_text("model,input,output,cached_input\nmini,.2,.8,.02\nbase,1,4,.1\nmax,5,20,.5\n")
    file, raw = HERE / "litellm_cached_tokens.jsonl", records("litellm_cached_tokens.jsonl")
    for table, share in (HERE / "prices.csv", 1.0), (tmp_path / "cached.csv", 0.1):
        log = logs.load(file, columns=RATING, prices=prices.load(table), reprice=True)
        truth = [((n - c + share * c) * PRICES[r["model"]][0] + out * PRICES[r["model"]][1]) / 1e6
                 for r in raw for n, c, out in [usage(r)]]  # fmt: skip
        np.testing.assert_allclose(log.cost, truth)
    kept = logs.load(file, columns=RATING, prices=prices.load(HERE / "prices.csv"))
    assert kept.cost.tolist() == [r["spend"] for r in raw]


def test_the_latest_rating_counts_whatever_the_order():
    log = logs.load(HERE / "rated_later.jsonl", feedback=HERE / "ratings_newest_first.jsonl")
    said = records("ratings_newest_first.jsonl")
    latest = {r["request_id"]: r["quality"] for r in sorted(said, key=lambda r: r["timestamp"])}
    assert log.quality.tolist() == [latest[name] for name in log.request_id] == [1] * len(log)
    assert [r["quality"] for r in said].count(0) == len(log)
    backwards = logs.load(HERE / "rated_later.jsonl", feedback=said[::-1])
    assert backwards.quality.tolist() == log.quality.tolist()


def test_ids_of_a_provider_that_repeat_name_nobody_and_the_gateways_own_name_all():
    raw, ratings = records("repeated_ids.jsonl"), records("repeated_ids_feedback.jsonl")
    times = pd.Series([r["request_id"] for r in raw]).value_counts()
    log = logs.load(raw, feedback=ratings)
    assert len(log) == len(raw)
    own = {r["request_id"]: r["quality"] for r in ratings if times[r["request_id"]] == 1}
    truth = [own.get(r["request_id"], np.nan) for r in raw]
    np.testing.assert_array_equal(log.quality, truth)
    assert log.counts["rows without an identifier of their own"] == sum(n for n in times if n > 1)
    beside = [r | {"request_id": f"call-{i}", "response_id": r["request_id"]} for i, r in enumerate(raw)]
    np.testing.assert_array_equal(logs.load(beside, feedback=ratings).quality, truth)
    calls = [{"request_id": f"call-{i}", "quality": i % 2} for i in range(len(raw))]
    assert logs.load(beside, feedback=calls).quality.tolist() == [i % 2 for i in range(len(raw))]


def test_a_map_column_is_read_as_a_dictionary():
    file = HERE / "map.parquet"
    frame = pd.read_parquet(file)
    truth = [float(dict(cell)["rating"]) for cell in frame["metadata"]]
    assert logs.load(file, columns=RATING).quality.tolist() == truth
    with pytest.raises(InputError, match=r"no record has 'metadata.ratng', which is mapped to quality"):
        logs.load(file, columns={"quality": "metadata.ratng"})


def test_the_model_that_an_auto_router_chose():
    log = logs.load(HERE / "litellm_auto_router.jsonl")
    assert [log.models[k] for k in log.action] == ["cheap", "strong", "cheap"]


def grouped(groups):
    models, more = ("mini", "base", "max"), {"quality": 1, "cost": 1.0}
    return [{"features": [1.0], "model": models[i % 3], "group": group} | more for i, group in enumerate(groups)]


def test_groups_that_cannot_make_folds():
    """Too few groups, or one with every row of a model: every row stands alone."""
    one = logs.load(HERE / "one_group.jsonl")
    assert logs.folding(one, 5).startswith("1 group is fewer than 10: rows are folded one by one")
    assert logs.as_logs(one).group.tolist() == list(range(len(one)))
    nine = logs.load(grouped([f"u{i % 9}" for i in range(90)]))
    assert logs.folding(nine, 5).startswith("9 groups are fewer than 10")
    assert len(set(logs.as_logs(nine).group.tolist())) == 90
    ten = logs.load(grouped([f"u{i % 10}" for i in range(90)]))
    assert logs.folding(ten, 5) == ""
    assert logs.as_logs(ten).group.tolist() == ten.group.tolist()
    assert logs.folding(ten, 11).startswith("10 groups are fewer than 11 folds: rows are folded one by one")
    whole = logs.load(grouped(["alone" if i % 3 == 2 else f"u{i % 20}" for i in range(90)]))
    assert logs.folding(whole, 5).startswith("one group holds all 30 rows of max: rows are folded one by one, and")
    assert len(set(logs.as_logs(whole).group.tolist())) == 90
    for log, apart in (one, True), (nine, True), (ten, False), (whole, True):
        record = logs.as_logs(log)
        group = folding.foldable(record.group, record.action, 5)
        fold = folding.assign_folds(jax.random.key(0), len(log), 5, group)
        assert all(set(log.action[fold != f]) == {0, 1, 2} for f in range(5))  # every model can be learnt in every fold
        kept = all(len(set(fold[log.group == g])) == 1 for g in set(log.group.tolist()))
        assert kept != apart


def test_feedback_without_times_counts_in_natural_order_of_files(tmp_path):
    rows = [{"request_id": f"r{i}", "prompt": "x", "model": "ab"[i], "cost": 1} for i in range(2)]
    (tmp_path / "said").mkdir()
    (tmp_path / "said" / "day-10.csv").write_text("request_id,quality\nr0,1\n")
    (tmp_path / "said" / "day-9.csv").write_text("request_id,quality\nr0,0\nr1,0\n")
    log = logs.load(rows, feedback=tmp_path / "said")
    assert log.quality.tolist() == [1, 0]
    assert log.counts["feedback without a time: the last in order counts"] == 3


def test_ids_that_became_floats_join(tmp_path):
    frame = pd.DataFrame({"request_id": [7.0, 8.0], "prompt": ["x", "y"], "model": ["a", "b"], "cost": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "log.parquet")
    log = logs.load(
        tmp_path / "log.parquet", feedback=[{"request_id": 8, "quality": 1}, {"request_id": "7", "quality": 0}]
    )
    assert log.quality.tolist() == [0, 1]


def test_prices_in_litellms_layout_and_dates_that_are_kept(tmp_path):
    listed = {"openai/big": {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5, "mode": "chat"},
              "small": {"input_cost_per_token": 1e-7, "output_cost_per_token": 4e-7}}  # fmt: skip
    (tmp_path / "map.json").write_text(json.dumps(listed))
    names = ("big", "openai/big-2024-08-06", "small")
    rows = [{"prompt": "x", "model": name, "quality": 1, "input_tokens": 100, "output_tokens": 10} for name in names]
    log = logs.load(rows, prices=prices.load(tmp_path / "map.json"))
    np.testing.assert_allclose(log.cost, [3e-4, 3e-4, 1.4e-5])
    spans = [span for span in records("otel_alias.jsonl") if span["attributes"]["gen_ai.response.model"] != "mini"]
    for span in spans[:2]:
        span["attributes"]["gen_ai.response.model"] += "-2024-08-06"
    assert logs.load(spans).models == ("base", "max")
    assert logs.load(spans, keep_dates=True).models == ("base", "base-2024-08-06", "max")
