"""Logs that clients wrote (llm, LangSmith, Langfuse, Langtrace, Phoenix), and calls that have no identifier."""

import json

import numpy as np
import pandas as pd
import pytest
from platform_logs import COST, LANGSMITH, LISTED, OPIK, WEAVE, expected, rows
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices
from jaxroute.data.logs import langsmith
from jaxroute.types import InputError

GENERATION = {
    "traceId": "t",
    "type": "GENERATION",
    "usage": {},
    "costDetails": {"total": 0.5},
    "parentObservationId": None,
}
LLM = HERE / "llm-0.36.json"


def test_llm_logs_with_conversations_and_fragments():
    one = json.loads(LLM.read_text())[0]
    log = logs.load(LLM, prices=LISTED, feedback=[{"request_id": one["id"], "quality": 1}])
    answered = {"What is 2 + 2?": "small", "Capital of France?": "large", "Largest planet?": "large"}
    answered |= {"What is 10 - 4?": "small", "A short text about the largest planet?\n\nWhat is it about?": "large"}
    assert rows(log) == expected(answered)
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [1, -1, -1, -1, -1]
    assert log.group.tolist() == [0, 1, 1, 2, 3]
    assert log.latency.tolist() == [0.088, 0.119, 0.105, 0.293, 0.494]


@pytest.mark.parametrize(
    ("tokens", "details", "billed"),
    [
        (30, {"cache_read_input_tokens": 60, "cache_creation_input_tokens": 10}, 40 + 6 + 200),
        (100, {"cachedContentTokenCount": 60, "candidatesTokenCount": 5, "thoughtsTokenCount": 15}, 40 + 6 + 200),
        (100, None, 100 + 200),
    ],
    ids=["anthropic", "gemini", "none"],
)
def test_llm_counts_of_every_provider(tmp_path, tokens, details, billed):
    asked = json.loads(LLM.read_text())
    asked[0] |= {"input_tokens": tokens, "output_tokens": 20, "token_details": json.dumps(details)}
    asked[1] |= {"prompt": "", "tool_results": [{"name": "planet", "output": "big"}]}
    (tmp_path / "log.json").write_text(json.dumps(asked, indent=2))
    log = logs.load(tmp_path, prices=LISTED, feedback=[{"request_id": asked[2]["id"], "quality": 1}])
    assert rows(log)["What is 2 + 2?"] == ("small", pytest.approx(billed / 1e6))
    assert log.left_out == {"turns of tools only": {"large": 1}}


ONE_RATING = [{"request_id": "chatcmpl-24", "quality": 1}]


def runs(tmp_path, change):
    """Runs of LangSmith, changed."""
    found = records_of(LANGSMITH.name)
    for run in found:
        change(run)
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in found))
    return tmp_path / "runs.jsonl"


def test_langsmith_runs_of_a_wrapped_client_and_of_langchain():
    log = logs.load(LANGSMITH, prices=LISTED, feedback=ONE_RATING)
    answered = {"What is 2 + 2?": "small", "Capital of France?": "large", "Largest planet?": "large"}
    assert rows(log) == expected(answered | {"What is 10 - 4?": "small"})
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [-1, 1, -1, -1]
    assert log.group.tolist() == [0, 0, 0, 1]
    assert log.left_out == {"failed requests": {"small": 1}, "spans of other things": {"no model": 4}}
    assert log.latency == pytest.approx([0.009343, 0.044828, 0.062393, 0.005080], abs=1e-6)


def test_langsmith_as_a_table_of_texts_with_feedback_and_costs(tmp_path):
    """The bulk export: records are JSON texts; feedback is of a run, or of the chain around it."""

    def change(run):
        run["feedback_stats"] = {"correct" if run["run_type"] == "llm" else "style": {"n": 2, "avg": 0.5}}
        run["total_cost"] = "0.25" if run["run_type"] == "llm" else "9"
        run |= {name: json.dumps(run[name]) for name in ("inputs", "outputs", "extra", "feedback_stats")}

    changed_runs = map(json.loads, runs(tmp_path, change).read_text().splitlines())
    table = pd.DataFrame([{k: v for k, v in run.items() if k in langsmith.HELD} for run in changed_runs])
    table.to_parquet(tmp_path / "runs.parquet")
    for score, quality in {"correct": [0.5] * 4, "style": [0.5, 0.5, 0.5, -1]}.items():
        log = logs.load(tmp_path / "runs.parquet", score=score)
        assert np.nan_to_num(log.quality, nan=-1).tolist() == quality
        assert log.cost.tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("usage", "details"),
    [
        ({"input_tokens": 100, "output_tokens": 20}, {"cache_read": 60, "cache_creation": 10}),
        ({"input_tokens": 100, "output_tokens": 20}, {"cache_read": 60, "ephemeral_5m_input_tokens": 10}),
        (None, {"cache_read": 60}),
    ],
)
def test_langsmith_cached_tokens_are_billed_once(tmp_path, usage, details):
    def change(run):
        if run["run_type"] == "llm":
            run["extra"]["metadata"]["usage_metadata"] = usage and usage | {"input_token_details": details}
            run["outputs"] = {"model": run["extra"]["metadata"]["ls_model_name"]} if usage is None else run["outputs"]
            run |= {} if usage else {"prompt_tokens": 100, "completion_tokens": 20, "prompt_token_details": details}

    listed = dict.fromkeys(LISTED, prices.Price(1, 10, cached_input=0.1, cache_write=2))
    log = logs.load(runs(tmp_path, change), prices=listed, drop_bad=True,
                    feedback=[{"request_id": records_of(LANGSMITH.name)[1]["id"], "quality": 1}])  # fmt: skip
    written = 10 if len(details) > 1 else 0
    assert rows(log)["What is 2 + 2?"][1] == pytest.approx((40 - written + 2 * written + 6 + 200) / 1e6)


@pytest.mark.parametrize("name", ["id", "parentObservationId"])
def test_langfuse_identifiers_that_are_no_texts(name):
    """A list is no identifier that anything can be joined by, and no reason to stop without a word."""
    rated = [GENERATION | {"id": f"o{i}", "model": "ab"[i % 2], "input": f"p{i}", "quality": 1} for i in range(4)]
    rated[0][name] = ["x"]
    log = logs.load(rated, drop_bad=True)
    assert log.prompt.tolist()[-3:] == ["p1", "p2", "p3"]


def test_langtrace_spans_have_a_name_of_their_own_for_cached_tokens():
    """A stream's are not written, and are billed in full."""
    spans = records_of("langtrace-3.8.21.jsonl")
    trace = [{"trace_id": spans[0]["context"]["trace_id"], "quality": 1}]
    log = logs.load(HERE / "langtrace-3.8.21.jsonl", prices=LISTED, feedback=trace)
    whole = expected({"What is 2 + 2?": "small", "Capital of France?": "large", "What is 10 - 4?": "small"})
    assert rows(log) == whole | {"Largest planet?": ("large", pytest.approx(5 * (140 + 580) / 1e6))}
    assert log.left_out == {"failed requests": {"small": 1}, "spans of other things": {"no model": 5}}
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [1, -1, -1, -1]


@pytest.mark.parametrize("form", ["opik", "weave", "langsmith", "llm", "mlflow", "litellm"])
def test_a_table_without_a_column_of_its_format_has_no_requests(tmp_path, form):
    """A list of projects was a traceback: no column of it is read, and its rows are still rows."""
    (tmp_path / "log.csv").write_text("id,name\n1,a\n2,b\n")
    with pytest.raises(InputError, match=r"no rows; at least one|no row is good|no model"):
        logs.load(tmp_path / "log.csv", form=form)
    if form == "opik":  # as which such a file is read
        with pytest.raises(InputError, match="no rows; at least one is needed; read as Opik's traces"):
            logs.load(tmp_path / "log.csv")


def unnamed(tool):
    """Calls of one trace, without an identifier of their own or of the answer."""
    calls = []
    if tool == "opik":
        traces = [json.loads(file.read_text()) for file in sorted(OPIK.glob("trace_*"))]
        for i, span in enumerate(s for trace in traces for s in trace["spans"] if s["type"] == "llm"):
            gone = {"id", "parent_span_id", "metadata"}
            calls.append({k: v for k, v in span.items() if k not in gone})
            calls[-1]["feedback_scores"] = [{"name": "good", "value": i % 2}]
        return [{"trace": {"id": "t"}, "spans": calls}]
    for i, call in enumerate(records_of({"weave": WEAVE, "langsmith": LANGSMITH}[tool].name)):
        if call.get("run_type") == "llm" or call.get("attributes", {}).get("weave", {}).get("kind") == "llm":
            gone = {"id", "parent_id", "parent_run_id"}
            calls.append({k: v for k, v in call.items() if k not in gone} | {"trace_id": "t", "quality": i % 2})
            for name in ("output", "outputs"):
                (calls[-1].get(name) or {}).pop("id", None)
    return calls


@pytest.mark.parametrize("tool", ["opik", "weave", "langsmith"])
def test_calls_without_an_identifier_are_calls_of_their_own(tool):
    """They were one call, or a traceback."""
    log = logs.load(unnamed(tool), prices=LISTED)
    answered = {"What is 2 + 2?": "small", "Capital of France?": "large", "Largest planet?": "large"}
    assert rows(log) == expected(answered | {"What is 10 - 4?": "small"})


def test_langfuse_observations_without_an_identifier_are_calls_of_their_own():
    log = logs.load([GENERATION | {"model": "ab"[i % 2], "input": f"p{i}", "quality": 1} for i in range(4)])
    assert log.prompt.tolist() == ["p0", "p1", "p2", "p3"]


PHOENIX = HERE / "phoenix-20.26.1_get_spans.jsonl"


def test_phoenix_spans_have_their_kind_outside_the_attributes(tmp_path):
    """``client.spans.get_spans()``: a failed request has no model that answered, and is no other thing."""
    span = records_of(PHOENIX.name)[-1]["context"]["span_id"]
    listed = LISTED | {"gpt-4o": LISTED["large"], "gpt-4o-mini": LISTED["small"]}
    log = logs.load(PHOENIX, prices=listed,
                    feedback=[{"span_id": span, "name": "correct", "result": {"score": 1}}])  # fmt: skip
    assert sorted(zip(log.prompt, [log.models[k] for k in log.action], log.cost, strict=True)) == [
        ("Capital of France?", "gpt-4o", pytest.approx(COST["large"])),
        ("Largest planet?", "gpt-4o", pytest.approx(COST["large"])),
        ("What is 10 - 4?", "small", pytest.approx(COST["small"])),
        ("What is 2 + 2?", "gpt-4o-mini", pytest.approx(COST["small"])),
    ]
    assert log.left_out == {"failed requests": {"gpt-4o-mini": 1}}
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [-1, -1, -1, 1]
    assert len(set(log.group.tolist())) == 2
    agents = [span | {"span_kind": "AGENT"} for span in records_of(PHOENIX.name)]
    (tmp_path / "spans.jsonl").write_text("".join(json.dumps(span) + "\n" for span in agents[:1]) + PHOENIX.read_text())
    log = logs.load(tmp_path / "spans.jsonl", prices=listed)
    assert sum(log.left_out["other calls than for text"].values()) == 1
