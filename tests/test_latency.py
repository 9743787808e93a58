"""Latency as a constraint: percentiles as logged, and routers that choose within a limit alone."""

import json

import numpy as np
import pytest
import router_kinds
import tool_logs

import jaxroute as jr
from jaxroute import cli
from jaxroute.data import prices
from jaxroute.data.logs import latency
from jaxroute.serving.router import Router
from jaxroute.types import InputError

TAKEN = {
    "a": {"rows": 90, "p95": 0.5},
    "b": {"rows": 90, "p95": 2.0},
    "c": {"rows": 90, "p95": 9.0},
    "d": {"rows": 3, "p95": float("nan")},
}


def test_the_percentile_is_of_requests_and_unknown_where_there_are_few():
    draw = np.random.default_rng(0)
    seconds, weight = draw.lognormal(0, 1, 400).round(3), draw.choice([1.0, 5.0], 400)
    rows = [
        {"prompt": "hi", "model": "ab"[i >= 342], "quality": 1, "cost": 1, "latency": seconds[i], "weight": weight[i]}
        for i in range(400)
    ]
    rows[0]["latency"] = None
    found = latency.by_model(jr.read_log(rows))
    repeated = np.repeat(seconds[1:342], weight[1:342].astype(int))
    assert found["a"] == {"rows": 341, "p95": np.quantile(repeated, 0.95, method="inverted_cdf")}
    assert found["b"]["rows"] == 58
    assert np.isnan(found["b"]["p95"])
    assert latency.unknown(found) == [
        "The log has 58 latencies of b, too few (of 59) for its p95: with max_latency it is no candidate."
    ]
    assert latency.by_model(jr.read_log([{k: v for k, v in row.items() if k != "latency"} for row in rows])) == {}
    with pytest.raises(InputError, match="latency is negative or infinite"):
        jr.read_log([*rows, rows[0] | {"latency": -1.0}])


def test_a_router_chooses_within_the_limit_and_keeps_the_latencies(tmp_path):
    router_kinds.router("plug_in", summary={"latency": TAKEN}).save(tmp_path / "router")
    router = Router.load(tmp_path / "router")
    assert router.summary["latency"]["d"]["p95"] is None  # JSON has no NaN
    assert set(router.within(2.0).route(router_kinds.FEATURES, cost_weight=0.0).models) <= {"a", "b"}
    with pytest.raises(InputError, match=r"0\.1: no model is known to be within it"):
        router.within(0.1)
    with pytest.raises(InputError, match="no latencies"):
        router_kinds.router("plug_in").within(1.0)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"features": row}) for row in router_kinds.FEATURES.tolist()))
    out = tmp_path / "out.jsonl"
    command = ["route", tmp_path / "router", "--cost-weight", 0, "--input", prompts, "--max-latency", 1, "--out", out]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in command])
    assert not ended.value.code
    assert {json.loads(line)["model"] for line in out.read_text().splitlines()} == {"a"}


@pytest.mark.slow
def test_a_fit_within_a_limit_is_judged_as_it_chooses_and_takes_budgets(tmp_path):
    """The slow model is the best; a router that may not choose it is worth what the others are."""
    draw = np.random.default_rng(1)
    rows = [
        {
            "features": draw.normal(size=4).tolist(),
            "model": "abc"[i % 3],
            "quality": float(np.clip([0.4, 0.5, 0.9][i % 3] + 0.1 * draw.normal(), 0, 1)),
            "cost": [0.01, 0.02, 0.03][i % 3],
            "propensity": 1 / 3,
            "latency": [0.5, 1.0, 20.0][i % 3] * draw.lognormal(0, 0.1),
        }
        for i in range(600)
    ]
    router = jr.fit(rows, "plug_in_mean", outcome_models=["mean"], max_latency=5)
    assert set(router.route(np.zeros((3, 4)), cost_weight=0.0).models) == {"b"}
    first = router.summary["by_cost_weight"][0]
    assert abs(first["value"] - 0.5) < 0.03
    assert router.models[first["best_single"]] == "b"
    router.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    assert loaded.summary["max_latency"] == 5
    assert loaded.summary["latency"]["c"]["p95"] > 5
    assert set(loaded.route(np.zeros((3, 4)), budget=0.05).models) == {"b"}
    with pytest.raises(InputError, match="removed since"):
        loaded.without("b").route(np.zeros((3, 4)), budget=0.05)
    with pytest.raises(InputError, match="learns the decision among all models"):
        jr.fit(rows, "rm_softmax", max_latency=5)


def test_a_later_log_holds_the_router_against_the_models_that_it_may_choose():
    """As the fit does: who limits latency is not told to take the slow model, which is the best."""
    draw = np.random.default_rng(1)
    rows = [
        {"features": draw.normal(size=5).tolist(), "model": "abcd"[i % 4], "cost": router_kinds.PRICES[i % 4],
         "quality": float(draw.random() < [0.3, 0.5, 0.2, 0.9][i % 4]), "propensity": 0.25}
        for i in range(160)
    ]  # fmt: skip
    router = router_kinds.router("plug_in", summary={"latency": TAKEN | {"d": {"rows": 90, "p95": 30.0}}})
    whole, within = (jr.evaluate(one, rows, normalised_cost_weights=[0.0]) for one in (router, router.within(10.0)))
    assert whole.to_frame()["best_single"].tolist() == ["d"]
    assert within.to_frame()["best_single"].tolist() == ["b"]
    assert not any("may not choose" in line for line in whole.left_out)
    assert "The router may not choose d, so the best single model is one of the others." in within.left_out


def read(path, **choices):
    listed = {model: prices.Price(1, 10) for model in ("gpt-4o", "gpt-4o-mini", "small", "large")}
    return jr.read_log(path, prices=listed, drop_bad=True, **choices)


@pytest.mark.parametrize("name", ["openinference-openai-0.1.66", "traceloop-openai-0.62.4", "mlflow-3.17.2",
                                  "litellm-1.108.7_spend", "langtrace-3.8.21", "logfire-5.4.0"])  # fmt: skip
def test_spans_and_spend_logs_have_the_time_from_start_to_end(name):
    found = read(tool_logs.HERE / f"{name}.jsonl").latency
    assert (found > 0.005).all()
    assert (found < 2).all()


def test_a_stream_of_two_records_took_until_its_end():
    """Logfire's span of 12:08:50.195733 to .206159 ends when the stream begins; the record at its end is of .312637."""
    log = read(tool_logs.HERE / "logfire-5.4.0.jsonl")
    assert log.latency[log.prompt.tolist().index("Streamed with usage")] == pytest.approx(0.312637 - 0.195733, abs=1e-6)


def test_a_span_without_a_later_end_has_no_latency():
    """ClickHouse's exporter writes a length in nanoseconds; an end at the start is no measurement."""
    times = [
        {"Timestamp": "2026-01-01T00:00:00Z", "Duration": 2_500_000_000},
        {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:04Z", "jaxroute.latency": 3.0},
        {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"},
        {"start_time": "2026-01-01T00:00:00Z"},
        {"startTimeUnixNano": "1767225600000000000", "endTimeUnixNano": "1767225601250000000"},
    ]
    said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "small", "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 1,
            "gen_ai.input.messages": '[{"role": "user", "content": "hi"}]'}  # fmt: skip
    rows = [
        {"span_id": f"{i:016x}", "trace_id": f"{i:032x}", "attributes": said} | time for i, time in enumerate(times)
    ]
    rows[4]["attributes"] = said | {"gen_ai.request.model": "large"}
    rows[1]["attributes"] = said | {"jaxroute.latency": rows[1].pop("jaxroute.latency")}
    np.testing.assert_array_equal(read(rows).latency, [2.5, 3.0, np.nan, np.nan, 1.25])
