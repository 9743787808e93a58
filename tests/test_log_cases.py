"""Files of real tools, and made-up traffic that once was read wrong: every case has its right values.

The cases lie beside the repository (../shared/cases); where they do not, these tests are skipped.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxroute.data import logs, prices
from jaxroute.types import InputError

CASES = Path(__file__).parent.parent.parent / "shared" / "cases"
FORMATS, LOGS = CASES / "formats", CASES / "logs"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")

RATING = {"quality": "metadata.rating"}
OURS = ("base", "max", "mini")
THEIRS = ("gpt-4.1-nano", "gpt-4o", "gpt-4o-mini")


def by_model(log):
    return dict(zip(log.models, np.bincount(log.action, minlength=len(log.models)).tolist(), strict=True))


def nothing_is_free(log):
    assert (log.cost > 0).all()
    assert all(prompt.strip() for prompt in log.prompt)
    if log.request_id is not None:
        known = [name for name in log.request_id if name is not None]
        assert len(known) == len(set(known))


# file: rows by model; what is left out, by kind and model
TOOLS = {
    "genai-openai-1.3b0_spans.jsonl": ((9, 10, 10), {}),
    "otel-sdk-1.45.2_ConsoleSpanExporter_genai-openai-1.3b0.jsonl": ((8, 8, 8), {}),
    "langfuse-5.0.4_spans.jsonl": ((6, 5, 9), {"failed requests": {"gpt-4o-mini": 1}}),
    "logfire-5.4.0_instrument_openai_streams.jsonl": ((4, 5, 4), {}),
    "openai-v2-2.4b0_inference_details_logs.jsonl": (
        (7, 7, 8),
        {"failed requests": {"gpt-4o-mini": 1}, "prompts that were not recorded": {"gpt-4o": 1, "gpt-4o-mini": 1}},
    ),
    "openinference-openai-0.1.66_spans.jsonl": ((4, 3, 5), {"failed requests": {"gpt-4o-mini": 1}}),
    "openinference-openai-0.1.66_otlp.jsonl": ((3, 4, 4), {}),
    "traceloop-0.62.4_spans.jsonl": ((7, 7, 8), {"prompts that were not recorded": {"gpt-4o": 1, "gpt-4o-mini": 1}}),
    "traceloop-0.62.4_flattened.parquet": ((14, 19, 15), {"failed requests": {"gpt-4o-mini": 1, "gpt-4o": 1}}),
    "mlflow-3.17.2_trace.to_json.jsonl": ((4, 3, 0), {}),
    "mlflow-3.17.2_search_traces.jsonl": ((1, 2, 0), {}),
    "phoenix-20.26.1_get_spans_dataframe.parquet": ((0, 14, 3), {"failed requests": {"gpt-4o": 1}}),
}


@pytest.mark.parametrize("name", TOOLS)
def test_traces_of_tools(name):
    """Models by one undated name, prompts and times read, tokens priced, streams without usage unknown."""
    rows, left = TOOLS[name]
    log = logs.load(FORMATS / name, prices=prices.load(), drop_bad=True)
    nothing_is_free(log)
    assert by_model(log) == {model: count for model, count in zip(THEIRS, rows, strict=True) if count}
    for why, models in left.items():
        assert log.left_out[why] == models
    assert np.isfinite(log.timestamp).all()
    assert log.counts["dropped"] <= 3  # streams whose usage nobody saw
    assert not log.counts.get("cannot be read")


def test_every_field_of_a_generation():
    log = logs.load(FORMATS / "langfuse-5.0.4_spans.jsonl", prices=prices.load(), drop_bad=True)
    i = log.prompt.tolist().index("By hand 0")
    assert log.cost[i] == 0.003  # its own
    j = log.prompt.tolist().index("Plain question number 0: what is 0 + 0?")
    assert log.models[log.action[j]] == "gpt-4o-mini"
    assert log.cost[j] == pytest.approx((19 * 0.15 + 6 * 0.6) / 1e6)
    log = logs.load(FORMATS / "logfire-5.4.0_instrument_openai_streams.jsonl", prices=prices.load(), drop_bad=True)
    k = log.prompt.tolist().index("Streamed with usage 0")
    assert log.cost[k] == pytest.approx(6.9e-6)
    assert log.request_id[k] == "chatcmpl-logfire-openai-38"
    assert log.counts["ends of streams joined to their starts"] == 3


def test_litellms_files():
    log = logs.load(FORMATS / "litellm-1.108.7_otel-callback.jsonl")
    assert by_model(log) == {"fast": 2, "smart": 4}
    assert log.left_out["failed requests"] == {"broken": 1}
    log = logs.load(FORMATS / "litellm-1.108.7_spend_rows_responses.jsonl")
    assert log.prompt.tolist()[3:] == ["Responses via the proxy", "Responses streamed via the proxy"]
    for name, rows, unknown in (
        ("litellm-1.108.7_stream_without_usage.jsonl", 15, {"gpt-4o": 1, "gpt-4.1-nano": 1, "gpt-4o-mini": 1}),
        ("litellm-1.110.2_router_unpriced_and_alias.jsonl", 15, {"unpriced": 3}),
        ("litellm-1.108.7_proxy_generic_api_bodies.jsonl", 12, {"own": 3}),
    ):
        with pytest.raises(InputError, match=r"cost is 0 .* so unknown: 3 row\(s\)"):
            logs.load(FORMATS / name)
        log = logs.load(FORMATS / name, drop_bad=True)
        assert len(log) == rows
        nothing_is_free(log)
        assert unknown in log.left_out.values()
    log = logs.load(FORMATS / "litellm-1.110.2_router_unpriced_and_alias.jsonl", drop_bad=True)
    assert log.models == ("fast", "smart")  # cheap is an alias of fast
    assert log.counts["answers after a fallback, propensity unknown"] == 3


def test_messages_in_log_records_are_joined(tmp_path):
    names = ("openai-v2-2.4b0_content_logs_otlp.jsonl", "openai-v2-2.4b0_content_spans.jsonl")
    for name in names:
        shutil.copy(FORMATS / name, tmp_path)
    log = logs.load(tmp_path, prices=prices.load(), drop_bad=True)
    said = {span["spanId"] for line in (tmp_path / names[0]).read_text().splitlines() for span in
            json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]}  # fmt: skip
    asked = {json.loads(line)["context"]["span_id"][2:] for line in (tmp_path / names[1]).read_text().splitlines()}
    assert len(said & asked) == 11  # of which one has a system message only, one no usage
    assert len(log) == 9
    assert "Second turn 3, é ünï {braces}" not in log.prompt
    log = logs.load(LOGS / "otel_spans_and_logs")
    assert by_model(log) == {"base": 229, "max": 32, "mini": 39}
    with pytest.raises(InputError, match=r"300 messages of requests whose spans are elsewhere"):
        logs.load(LOGS / "otel_spans_and_logs" / "logs.jsonl")


USUAL = (229, 32, 39)
# file: settings, rows by model, mean quality, mean cost
TRAFFIC = {
    "otel_alias.jsonl": ({}, USUAL, 0.64, 0.001936),
    "otel_fallback.jsonl": ({}, (167, 94, 39), 0.64, 0.001936),
    "otel_failed_evaluator.jsonl": ({}, USUAL, 0.64, 0.001936),
    "otel_agent_no_operation.jsonl": ({}, USUAL, 0.64, 0.001936),
    "otel_double_instrumentation.jsonl": ({}, USUAL, 0.64, 0.001936),
    "otel_two_evaluations.jsonl": ({"score": "correctness"}, USUAL, 0.64, 0.001936),
    "litellm_responses_input.jsonl": ({"columns": RATING}, USUAL, 0.64, 0.001936),
    "litellm_generate_content.jsonl": ({"columns": RATING}, USUAL, 0.64, 0.001936),
    "litellm_joined_quality.jsonl": ({}, USUAL, 0.64, 0.001936),
    "plain_map.parquet": ({"columns": RATING}, USUAL, 0.64, 0.001936),
    "fb_order.jsonl": ({"feedback": LOGS / "fb_unsorted.jsonl"}, USUAL, 1.0, 0.001936),
    "litellm_failures.jsonl": ({"columns": RATING, "failures": "zero"}, (445, 78, 77), 0.41667, 0.0017823),
}


@pytest.mark.parametrize("name", TRAFFIC)
def test_traffic(name):
    settings, rows, quality, cost = TRAFFIC[name]
    log = logs.load(LOGS / name, **settings)
    assert by_model(log) == dict(zip(OURS, rows, strict=True))
    assert np.nanmean(log.quality) == pytest.approx(quality, abs=1e-5)
    assert log.cost.mean() == pytest.approx(cost, abs=1e-6)


def test_what_is_refused_or_counted():
    with pytest.raises(InputError, match=r"several evaluations.*correctness, toxicity"):
        logs.load(LOGS / "otel_two_evaluations.jsonl")
    with pytest.raises(InputError, match="no evaluation is called 'kindness'"):
        logs.load(LOGS / "otel_two_evaluations.jsonl", score="kindness")
    with pytest.raises(InputError, match=r"no record has 'metadata.ratng'"):
        logs.load(LOGS / "plain_map.parquet", columns={"quality": "metadata.ratng"})
    with pytest.raises(
        InputError, match=r"cost is 0 though tokens were used, so unknown: 78 row\(s\) \(max 78\).*price"
    ):
        logs.load(LOGS / "litellm_spend_zero.jsonl", columns=RATING)
    log = logs.load(LOGS / "litellm_failures.jsonl", columns=RATING)
    assert log.left_out == {"failed requests": {"base": 224}}
    log = logs.load(LOGS / "otel_fallback.jsonl", columns={"propensity": "gen_ai.usage.cost"}, drop_bad=True)
    assert log.counts["answers after a fallback, propensity unknown"] == 62
    assert np.isnan(log.propensity).sum() == 62
    log = logs.load(LOGS / "litellm_joined_quality.jsonl")
    assert np.isfinite(log.propensity).sum() == 300


def test_identifiers_that_repeat_name_nobody():
    log = logs.load(LOGS / "gateway_ollama_ids.jsonl", feedback=LOGS / "gateway_ollama_feedback.jsonl")
    assert len(log) == 1500
    said = {}
    for line in (LOGS / "gateway_ollama_feedback.jsonl").read_text().splitlines():
        row = json.loads(line)
        said.setdefault(row["request_id"], []).append(row["quality"])
    rated = np.isfinite(log.quality)
    assert rated.sum() == sum(len(several) == 1 for several in said.values()) == 320
    assert all(said[name] == [quality] for name, quality in zip(log.request_id[rated], log.quality[rated], strict=True))


def test_the_model_that_an_auto_router_chose():
    log = logs.load(LOGS / "litellm_complexity_router_real.jsonl")
    assert by_model(log) == {"cheap": 2, "strong": 1}


def test_tokens_that_are_billed_apart(tmp_path):
    listed = prices.load(LOGS / "prices3.csv")
    log = logs.load(LOGS / "reasoning_tokens.jsonl", prices=listed)
    base = log.action == OURS.index("base")
    np.testing.assert_allclose(log.cost[base], 0.010408)
    cached = LOGS / "litellm_cached_tokens.jsonl"
    of_max = log.action == OURS.index("max")
    assert logs.load(cached, columns=RATING, prices=listed).cost[of_max].mean() == pytest.approx(0.0255, abs=5e-5)
    in_full = logs.load(cached, columns=RATING, prices=listed, reprice=True).cost
    assert in_full[of_max].mean() == pytest.approx(0.1065, abs=5e-5)
    table = (LOGS / "prices3.csv").read_text().splitlines()
    rows = [line.split(",") for line in table[1:]]
    (tmp_path / "p.csv").write_text(
        "model,input,output,cached_input\n" + "".join(f"{m},{i},{o},{float(i) / 10}\n" for m, i, o, *_ in rows)
    )
    apart = logs.load(cached, columns=RATING, prices=prices.load(tmp_path / "p.csv"), reprice=True).cost
    assert apart[of_max].mean() == pytest.approx(0.0255, abs=5e-5)
