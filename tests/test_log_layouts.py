"""The same records in every layout of a file, folders of several tools, and what is no log or has no prompts."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices
from jaxroute.data.logs.usages import usage
from jaxroute.types import InputError


def same(log, other):
    assert log.models == other.models
    for field in ("prompt", "action", "cost"):
        np.testing.assert_array_equal(getattr(log, field), getattr(other, field))
    assert [name.removeprefix("0x") for name in log.request_id] == [n.removeprefix("0x") for n in other.request_id]
    np.testing.assert_allclose(log.timestamp, other.timestamp, rtol=0, atol=1e-6)


def otlp(spans, proto=False):
    def value(x):
        kind = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}.get(type(x))
        if kind is None:
            return {"arrayValue": {"values": [value(one) for one in x]}}
        return {kind: str(x) if kind == "intValue" else x}

    def named(record):
        return {"".join("_" + c.lower() if c.isupper() else c for c in k): v for k, v in record.items()}

    for span in spans:
        start = pd.Timestamp(span["start_time"]).value
        one = {"traceId": span["context"]["trace_id"][2:], "spanId": span["context"]["span_id"][2:], "name": "x",
               "parentSpanId": (span["parent_id"] or "")[2:], "startTimeUnixNano": str(start),
               "status": {"code": 2} if span["status"]["status_code"] == "ERROR" else {},
               "attributes": [{"key": k, "value": value(v)} for k, v in span["attributes"].items()]}  # fmt: skip
        if proto:
            yield {"resource_spans": [{"scope_spans": [{"spans": [named(one)]}]}]}
        else:
            yield {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}


LAYOUTS = ["otlp", "proto", "console", "array", "flattened", "nested", "texts", "frame", "list", "arrow", "dataset"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["openinference-openai-0.1.66.jsonl", "traceloop-openai-0.62.4.jsonl"])
def test_every_layout_reads_the_same(tmp_path, name, layout):
    spans = records_of(name)
    for span in spans:
        del span["events"]
    source = tmp_path / "spans.jsonl"
    flat = [
        {
            "name": span["name"],
            "trace_id": span["context"]["trace_id"][2:],
            "span_id": span["context"]["span_id"],
            "start_time": pd.Timestamp(span["start_time"]),
            "status_code": span["status"]["status_code"],
        }
        for span in spans
    ]
    dotted = [
        row | {"attributes." + k: v for k, v in s["attributes"].items()} for row, s in zip(flat, spans, strict=True)
    ]
    if layout in ("otlp", "proto"):
        source.write_text("\n".join(map(json.dumps, otlp(spans, layout == "proto"))))
    elif layout == "console":
        source.write_text("\n".join(json.dumps(span, indent=4) for span in spans))
    elif layout == "array":
        source.write_text(json.dumps(spans[:6]) + "\n" + json.dumps(spans[6:]))
    elif layout == "list":
        source = spans
    elif layout in ("flattened", "frame", "arrow", "dataset"):
        frame = pd.DataFrame(dotted)
        source = tmp_path / "spans.parquet"
        frame.to_parquet(source)
        if layout == "frame":
            source = frame
        elif layout == "arrow":
            source = pa.Table.from_pandas(frame)
        elif layout == "dataset":
            import datasets

            source = datasets.Dataset.from_pandas(frame)
    else:
        attributes = [s["attributes"] for s in spans]
        if layout == "texts":
            cells = [json.dumps(one) for one in attributes]
            table = pa.table({**{k: [row[k] for row in flat] for k in flat[0]}, "attributes": cells})
        else:
            kind = pa.map_(pa.string(), pa.string())
            cells = [[(k, v if isinstance(v, str) else json.dumps(v)) for k, v in one.items()] for one in attributes]
            columns = {k: pa.array([row[k] for row in flat]) for k in flat[0]}
            table = pa.table({**columns, "attributes": pa.array(cells, kind)})
        source = tmp_path / "spans.parquet"
        pa.parquet.write_table(table, source)
    settings = {"prices": prices.load(), "drop_bad": True}
    same(logs.load(source, **settings), logs.load(HERE / name, **settings))


def test_a_folder_of_many_tools_is_read_each_by_its_own_rule(tmp_path):
    for name in ("litellm-1.110.2.jsonl", "mlflow-3.17.2.jsonl", "langfuse-5.0.4.jsonl"):
        (tmp_path / name).write_text((HERE / name).read_text())
    (tmp_path / "own.csv").write_text("prompt,model,quality,cost\nx,gpt-4o,1,1\n")
    log = logs.load(tmp_path, prices=prices.load(), drop_bad=True)
    assert log.models == ("fast", "gpt-4o", "gpt-4o-mini", "smart")
    assert len(log) == 6 + 8 + 8 + 1
    (tmp_path / "metrics.jsonl").write_text('{"resourceMetrics": []}')
    with pytest.raises(InputError, match=r"metrics.jsonl: OpenTelemetry metrics"):
        logs.load(tmp_path, prices=prices.load(), drop_bad=True)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"resourceMetrics": []}, "OpenTelemetry metrics: sums over requests"),
        ({"custom_id": "a", "response": {}}, "OpenAI's batch interface"),
        ({"custom_id": "a", "result": {"type": "succeeded"}}, "Anthropic's message batches"),
        ({"doc_id": 1, "doc": {}, "target": "x"}, "samples of lm-eval"),
        (
            {"generation_id": "g", "model_permaslug": "m", "cost_total": 1},
            "OpenRouter's activity has no prompts; add a column prompt",
        ),
    ],
)
def test_a_known_file_that_is_no_log_says_what_it_is(tmp_path, record, says):
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    with pytest.raises(InputError, match=says):
        logs.load(tmp_path / "x.jsonl")


def test_prompts_that_no_instrumentation_recorded(tmp_path):
    spans = records_of("openinference-openai-0.1.66.jsonl")
    for span in spans:
        kept = {k: v for k, v in span["attributes"].items() if not k.startswith(("llm.input", "input."))}
        span["attributes"] = kept | {"llm.invocation_parameters": '{"model": "gpt-4o"}'}
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, spans)))
    with pytest.raises(InputError, match=r"prompts that were not recorded: 9 .*\n?.*OPENINFERENCE_HIDE_INPUTS"):
        logs.load(tmp_path / "x.jsonl", prices=prices.load(), drop_bad=True)


def test_observations_of_langfuse():
    rows = [
        {
            "id": f"o{i}",
            "traceId": f"t{i}",
            "type": "GENERATION",
            "parentObservationId": None,
            "level": "DEFAULT",
            "startTime": "2026-01-01T00:00:00Z",
            "model": ["small", "large"][i % 2],
            "input": [{"role": "user", "content": f"q{i}"}],
            "usageDetails": {"input": 9, "output": 3},
            "costDetails": {"total": 0.5},
        }
        for i in range(4)
    ]
    rows[3]["level"] = "ERROR"
    rows.append(rows[0] | {"id": "p", "type": "SPAN", "model": None})
    scores = [{"traceId": "t0", "name": "fit", "value": 1}, {"observationId": "o1", "name": "fit", "value": 0},
              {"observationId": "o2", "name": "tone", "value": 1}]  # fmt: skip
    log = logs.load(rows, feedback=scores, score="fit")
    assert log.prompt.tolist() == ["q0", "q1", "q2"]
    np.testing.assert_array_equal(log.quality, [1, 0, np.nan])
    assert log.cost.tolist() == [0.5] * 3
    assert log.left_out["failed requests"] == {"large": 1}
    with pytest.raises(InputError, match=r"several evaluations.*fit, tone"):
        logs.load(rows, feedback=scores)


def test_observations_of_langfuse_carry_our_names():
    """Its server puts the attributes of spans that it has no name for under the metadata's attributes."""
    row = {"type": "GENERATION", "parentObservationId": None, "input": "q", "costDetails": {"total": 0.5},
           "startTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    said = [{"attributes": {"jaxroute.propensity": 0.25}, "scope": {}}, '{"jaxroute.propensity": 0.5}', None]
    rows = [row | {"id": f"o{i}", "traceId": f"t{i}", "model": "ab"[i % 2], "metadata": one}
            for i, one in enumerate(said)]  # fmt: skip
    np.testing.assert_array_equal(logs.load(rows).propensity, [0.25, 0.5, np.nan])


def test_a_category_of_langfuse_is_no_number(tmp_path):
    """Its value is its place in a list, and 0 where it has none, so every such score was a quality of 0."""
    rows = [
        {"id": f"o{i}", "traceId": f"t{i}", "type": "GENERATION", "parentObservationId": None, "model": "ab"[i % 2],
         "input": f"q{i}", "costDetails": {"total": 0.5}, "startTime": "2026-01-01T00:00:00Z"}
        for i in range(4)
    ]  # fmt: skip
    kinds = (("CATEGORICAL", "good", 0), ("CATEGORICAL", "1", 0), ("BOOLEAN", "True", 1), ("NUMERIC", None, 0.25))
    scores = [{"traceId": f"t{i}", "name": "fit", "dataType": kind, "stringValue": word, "value": value}
              for i, (kind, word, value) in enumerate(kinds)]  # fmt: skip
    log = logs.load(rows, feedback=scores)
    np.testing.assert_array_equal(log.quality, [np.nan, 1, 1, 0.25])
    assert log.counts["feedback that is a category and no number"] == 1
    pd.DataFrame(scores).to_csv(tmp_path / "scores.csv", index=False)
    np.testing.assert_array_equal(logs.load(rows, feedback=tmp_path / "scores.csv").quality, log.quality)
    inside = [row | {"scores": [score]} for row, score in zip(rows, scores, strict=True)]
    np.testing.assert_array_equal(logs.load(inside).quality, log.quality)


def test_the_latest_score_inside_an_observation_counts():
    row = {"traceId": "t", "type": "GENERATION", "parentObservationId": None, "costDetails": {"total": 0.5}}
    scores = [{"name": "fit", "value": day / 4, "timestamp": f"2026-01-0{day}T00:00:00Z"} for day in (3, 1, 2)]
    rows = [row | {"id": model, "model": model, "input": "q", "scores": scores} for model in "ab"]
    assert logs.load(rows, form="langfuse-observations").quality.tolist() == [0.75, 0.75]


def test_what_the_judges_of_mlflow_say_is_a_quality(tmp_path):
    """They answer yes, no or unknown (3.17.2), and no value of theirs was read."""
    traces = records_of("mlflow-3.17.2.jsonl")
    said = ["yes", "no", "unknown"]
    for i, trace in enumerate(traces):
        trace["info"]["assessments"] = [{"assessment_name": "correctness", "feedback": {"value": said[i % 3]}}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, traces)))
    log = logs.load(tmp_path / "x.jsonl", prices=prices.load(), drop_bad=True)
    right = {trace["info"]["trace_id"]: [1, 0, np.nan][i % 3] for i, trace in enumerate(traces)}
    assert np.isfinite(log.quality).any()
    by_id = {json.dumps(s["attributes"].get("mlflow.spanOutputs")): right[trace["info"]["trace_id"]]
             for trace in traces for s in trace["data"]["spans"]}  # fmt: skip
    found = [next(y for text, y in by_id.items() if text and name in text) for name in log.request_id]
    np.testing.assert_array_equal(log.quality, found)


# What Langfuse counts of 130 input tokens (30 of them cached) and 58 output tokens (50 of them reasoning): by its
# server of OpenAI's two usages, by its LangChain handler (5.0.4 with langchain-openai 1.7.4), and as OpenAI counts.
SAID = {
    "server": {"input": 100, "input_cached_tokens": 30, "input_audio_tokens": 0, "output": 8,
               "output_reasoning_tokens": 50, "total": 188},
    "langchain": {"input": 100, "output": 8, "total": 188, "input_audio": 0, "input_cache_read": 30,
                  "output_audio": 0, "output_reasoning": 50, "input_priority": 130},
    "openai": {"prompt_tokens": 130, "completion_tokens": 58, "total_tokens": 188,
               "prompt_tokens_details": {"cached_tokens": 30},
               "completion_tokens_details": {"reasoning_tokens": 50}},
    "responses": {"input_tokens": 130, "output_tokens": 58, "total_tokens": 188,
                  "input_tokens_details": {"cached_tokens": 30}, "output_tokens_details": {"reasoning_tokens": 50}},
    "by hand": {"input": 100, "cache_read_input_tokens": 30, "output": 8, "output_reasoning": 50},
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_parts_of_a_usage_are_billed_once_whoever_counts_them(name):
    rows = [
        {"id": f"o{i}", "traceId": f"t{i}", "type": "GENERATION", "parentObservationId": None, "model": "ab"[i],
         "input": f"q{i}", "usageDetails": SAID[name], "startTime": "2026-01-01T00:00:00Z"}
        for i in range(2)
    ]  # fmt: skip
    price = prices.Price(1e6, 1e9, cached_input=1e3, reasoning=1e12)
    log = logs.load(rows, prices={"a": price, "b": price}, drop_bad=True)
    np.testing.assert_allclose(log.cost, 100 + 30e-3 + 8e3 + 50e6)
    assert log.usage["a"]["input_tokens"] == 130
    assert log.usage["a"]["output_tokens"] == 58


# Of 140 input tokens of which 30 were cached and 10 written to the cache: as Anthropic's response has them, as
# Langfuse's LangChain handler passes them on, in two forms, and as MLflow (3.17.2) and LiteLLM add them up.
ANTHROPIC = (
    {"input_tokens": 100, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10, "output_tokens": 8,
     "cache_creation": {"ephemeral_5m_input_tokens": 10}, "service_tier": "standard"},
    {"input": 100, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10, "output": 8,
     "cache_creation_ephemeral_5m_input_tokens": 10},
    {"input": 100, "input_cache_read": 30, "input_cache_creation": 0, "input_ephemeral_5m_input_tokens": 10,
     "output": 8, "total": 148},
    {"input_tokens": 140, "output_tokens": 8, "total_tokens": 148, "cache_read_input_tokens": 30,
     "cache_creation_input_tokens": 10},
    {"prompt_tokens": 140, "completion_tokens": 8, "total_tokens": 148, "cache_read_input_tokens": 30,
     "cache_creation_input_tokens": 10, "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10}},
)  # fmt: skip


@pytest.mark.parametrize("said", ANTHROPIC)
def test_cached_input_is_counted_once_whether_input_includes_it(said):
    found = usage(said)
    assert (found["input_tokens"], found["output_tokens"]) == (140, 8)
    assert (found["cached_tokens"], found["cache_write_tokens"]) == (30, 10)


def test_an_input_that_is_wholly_cached():
    assert usage({"input": 0, "input_cache_read": 30, "output": 8})["input_tokens"] == 30
