"""Requests whose user or conversation only a span around them names, in every layout that has such spans."""

import json

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import logs, prices
from jaxroute.types import InputError

PRICE = dict.fromkeys(("small", "large"), prices.Price(1, 1))
TIME = "2026-01-01T00:00:0{}Z"


def span(trace, name, parent, **attributes):
    return {"name": name, "context": {"trace_id": trace, "span_id": name + trace},
            "parent_id": parent and parent + trace, "start_time": TIME.format(0), "end_time": TIME.format(1),
            "attributes": attributes, "events": []}  # fmt: skip


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 3}
SPANS = {
    "gen_ai": ({"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": None}, {}, CHAT),
    "http": ({"http.route": "/ask", "enduser.id": None}, {}, CHAT),
    "openinference": (
        {"openinference.span.kind": "AGENT", "session.id": None},
        {"openinference.span.kind": "CHAIN"},
        {"openinference.span.kind": "LLM", "llm.token_count.prompt": 9, "llm.token_count.completion": 3},
    ),
    "langfuse": (
        {"langfuse.observation.type": "span", "session.id": None},
        {"langfuse.observation.type": "agent"},
        {"langfuse.observation.type": "generation", "langfuse.observation.usage_details": '{"input": 9, "output": 3}'},
    ),
    "traceloop": ({"traceloop.span.kind": "workflow", "traceloop.association.properties.chat_id": None}, {}, CHAT),
    "mastra": ({"mastra.span.type": "agent_run", "mastra.metadata.sessionId": None}, {},
               CHAT | {"mastra.span.type": "model_inference"}),
    "langsmith": (
        {"langsmith.span.kind": "chain", "langsmith.metadata.thread_id": None},
        {"langsmith.span.kind": "chain"},
        CHAT | {"langsmith.span.kind": "llm"},
    ),
    "mlflow": (
        {"mlflow.spanType": '"AGENT"', "user.id": None},
        {"mlflow.spanType": '"CHAIN"'},
        {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.chat.tokenUsage": '{"input_tokens": 9, "output_tokens": 3}'},
    ),
}  # fmt: skip


def asks(model, text):
    chat = json.dumps([{"role": "user", "content": text}])
    return {"gen_ai.request.model": model, "gen_ai.input.messages": chat, "llm.model_name": model,
            "langfuse.observation.model.name": model, "langfuse.observation.input": chat,
            "mlflow.spanInputs": json.dumps({"model": model, "messages": json.loads(chat)})}  # fmt: skip


def spans(kind):
    """Three runs of an agent of two conversations, two calls each, one of them in a step; and a call alone."""
    outer, middle, call = SPANS[kind]
    names = {"gen_ai.request.model", "gen_ai.input.messages"} if kind in ("gen_ai", "http", "traceloop") else set()
    for i, name in enumerate(("ann", "bob", "ann")):
        yield span(f"t{i}", "run", None, **{k: name if v is None else v for k, v in outer.items()})
        yield span(f"t{i}", "step", "run", **middle)
        for around, model in (("run", "small"), ("step", "large")):
            said = {k: v for k, v in asks(model, f"{i} {model}").items() if not names or k in names}
            yield span(f"t{i}", model, around, **call, **said)
    said = {k: v for k, v in asks("small", "alone").items() if not names or k in names}
    yield span("t9", "one", None, **call, **said)


@pytest.mark.parametrize("kind", SPANS)
def test_calls_are_of_the_conversation_of_the_span_around_them(kind):
    log = logs.load(list(spans(kind)), prices=PRICE)
    group = dict(zip(log.prompt, log.group.tolist(), strict=True))
    by = [{group[f"{i} {model}"] for model in ("small", "large")} for i in range(3)]
    assert [len(one) for one in by] == [1, 1, 1]
    assert by[0] == by[2] != by[1]
    assert len(set(log.group.tolist())) == 3  # ann, bob, and a call that nobody is known to have asked
    assert not any("none of which group" in count for count in log.counts)


def test_the_nearest_span_counts_and_a_call_that_names_its_own_conversation_keeps_it():
    rows = list(spans("gen_ai"))
    rows[1]["attributes"]["session.id"] = "inner"
    rows[6]["attributes"]["gen_ai.conversation.id"] = "ann"
    log = logs.load(rows, prices=PRICE)
    group = dict(zip(log.prompt, log.group.tolist(), strict=True))
    assert group["0 small"] == group["1 small"] == group["2 large"]
    assert len({group["0 small"], group["0 large"], group["1 large"], group["alone"]}) == 4


def test_a_trace_of_mlflow_is_of_its_user_else_of_its_session(tmp_path):
    rows = [{"info": {"trace_id": f"t{i}", "trace_metadata": about}, "data": {"spans": [s for s in spans("mlflow")
             if s["context"]["trace_id"] == f"t{i}" and s["name"] != "run"]}}
            for i, about in enumerate(({"mlflow.trace.user": "ann", "mlflow.trace.session": "1"},
                                       {"mlflow.trace.session": "1"},
                                       {"mlflow.trace.user": "ann", "mlflow.trace.session": "2"}))]  # fmt: skip
    assert logs.load(rows, prices=PRICE).group.tolist() == [0, 0, 1, 1, 0, 0]


def test_a_mapped_group_may_be_in_the_span_around_alone(tmp_path):
    rows = list(spans("http"))
    for row in rows:
        if "enduser.id" in row["attributes"]:
            row["attributes"]["tenant.name"] = row["attributes"].pop("enduser.id")
    log = logs.load(rows, prices=PRICE, columns={"group": "tenant.name"})
    assert len(set(log.group.tolist())) == 3
    assert logs.load(rows, prices=PRICE).group is None
    with pytest.raises(InputError, match=r"no record has 'tenant.id', which is mapped to group"):
        logs.load(rows, prices=PRICE, columns={"group": "tenant.id"})


def test_a_table_with_a_column_an_attribute(tmp_path):
    """Without "attributes." before the names: columns of other conventions than the first one told were not read."""
    flat = [{"name": s["name"], "trace_id": s["context"]["trace_id"], "span_id": s["context"]["span_id"],
             "parent_id": s["parent_id"], "start_time": s["start_time"], **s["attributes"]}
            for kind in ("gen_ai", "langfuse", "openinference") for s in spans(kind)
            if s["context"].update(trace_id=kind + s["context"]["trace_id"]) is None]  # fmt: skip
    pd.DataFrame(flat).to_parquet(tmp_path / "spans.parquet")
    log = logs.load(tmp_path / "spans.parquet", prices=PRICE)
    assert len(log) == 3 * 7
    assert len(set(log.group.tolist())) == 2 + 3


def test_runs_calls_and_observations(tmp_path):
    chat = [{"role": "user", "content": "hi"}]
    runs, calls, observations = [], [], []
    for i, name in enumerate(("ann", "bob", "ann")):
        common = {"trace_id": f"t{i}", "start_time": TIME.format(0), "inputs": {"messages": chat}}
        runs.append(common | {"id": f"r{i}", "run_type": "chain", "extra": {"metadata": {"thread_id": name}}})
        calls.append(common | {"id": f"r{i}", "op_name": "f", "started_at": TIME.format(0), "thread_id": name})
        observations.append({"id": f"r{i}", "traceId": f"t{i}", "type": "SPAN", "sessionId": name,
                             "parentObservationId": None})  # fmt: skip
        for model in ("small", "large"):
            used = {"input_tokens": 9, "output_tokens": 3}
            inner = {"id": f"{model}{i}", "parent_run_id": f"r{i}", "parent_id": f"r{i}", "run_type": "llm"}
            runs.append(common | inner | {"outputs": {"model": model, "usage_metadata": used}})
            calls.append(common | inner | {"op_name": "g", "started_at": TIME.format(0),
                                           "attributes": {"weave": {"kind": "llm"}},
                                           "output": {"model": model, "usage": used}})  # fmt: skip
            observations.append({"id": f"{model}{i}", "traceId": f"t{i}", "type": "GENERATION", "model": model,
                                 "parentObservationId": f"r{i}", "input": chat, "usageDetails": used,
                                 "startTime": TIME.format(0)})  # fmt: skip
    for rows in (runs, calls, observations):
        (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert logs.load(tmp_path / "log.jsonl", prices=PRICE).group.tolist() == [0, 0, 1, 1, 0, 0]


def test_an_evaluation_of_the_span_around_a_single_call_is_its_quality(tmp_path):
    """As feedback of Opik, Weave and LangSmith is; it was left out, and nothing said so."""
    rows = [s for s in spans("gen_ai") if s["name"] in ("run", "small")]
    for i, row in enumerate(rows):
        if row["name"] == "run":
            told = {"gen_ai.evaluation.name": "fit", "gen_ai.evaluation.score.value": i / 4}
            row["events"] = [{"name": "gen_ai.evaluation.result", "attributes": told}]
    rows += [s for s in spans("gen_ai") if s["name"] == "large"][:1]
    log = logs.load(rows, prices=PRICE)
    assert log.prompt.tolist() == ["0 small", "1 small", "2 small", "0 large"]
    np.testing.assert_array_equal(log.quality, [np.nan, 0.5, 1, np.nan])
    assert log.counts["feedback on identifiers that several requests share"] == 1
    observation = {"id": "o", "traceId": "t0", "type": "GENERATION", "parentObservationId": "s", "model": "small",
                   "input": "hi", "costDetails": {"total": 0.5}, "startTime": TIME.format(0)}  # fmt: skip
    other = observation | {"id": "p", "traceId": "t1", "model": "large", "scores": [{"name": "fit", "value": 0.5}]}
    around = {"id": "s", "traceId": "t0", "type": "SPAN", "parentObservationId": None,
              "scores": [{"name": "fit", "value": 1}]}  # fmt: skip
    assert logs.load([observation, other, around]).quality.tolist() == [1, 0.5]
