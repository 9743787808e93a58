"""Logs of LiteLLM and OpenTelemetry, read as they are written."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import logs, messages
from jaxroute.types import InputError

ASKED = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is 2 + 2?"}]
NOON = 1735732800.0


def spend(number, **changes):
    """A row of LiteLLM_SpendLogs as schema.prisma has it."""
    row = {
        "request_id": f"chatcmpl-{number}",
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": 0.25,
        "total_tokens": 30,
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "startTime": "2025-01-01T12:00:00.000Z",
        "endTime": "2025-01-01T12:00:01.000Z",
        "model": "gpt-4o-2024-08-06",
        "model_id": f"7f{number % 2}",
        "model_group": "large" if number % 2 else "small",
        "custom_llm_provider": "openai",
        "user": "default_user_id",
        "metadata": {"user_api_key": "88dc", "spend_logs_metadata": {"rating": 4}},
        "cache_hit": "False",
        "request_tags": [],
        "end_user": f"user-{number // 2}",
        "messages": ASKED,
        "response": {"choices": []},
        "session_id": f"session-{number}",
        "status": "success",
        "proxy_server_request": {},
    }
    return row | changes


def payload(number, **changes):
    """A standard logging payload: what callbacks and buckets get."""
    return {
        "id": f"chatcmpl-{number}",
        "trace_id": f"trace-{number // 2}",
        "call_type": "acompletion",
        "response_cost": 0.25,
        "status": "success",
        "total_tokens": 30,
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "startTime": NOON,
        "endTime": NOON + 1,
        "model_map_information": {"model_map_key": "gpt-4o", "model_map_value": None},
        "model": "gpt-4o",
        "model_group": "large" if number % 2 else "small",
        "metadata": {"spend_logs_metadata": {"rating": 4}},
        "cache_hit": None,
        "end_user": "",
        "messages": ASKED,
        "response": {},
        "model_parameters": {},
    } | changes


SKIPPED = [
    {"status": "failure", "spend": 0},
    {"call_type": "aembedding"},
    {"cache_hit": "True", "spend": 0},
    {"call_type": "aimage_generation"},
]
RATING = {"quality": "metadata.spend_logs_metadata.rating"}


def check_litellm(log, users):
    assert log.models == ("large", "small")
    assert log.action.tolist() == [1, 0, 1, 0]
    assert log.prompt.tolist() == ["What is 2 + 2?"] * 4
    np.testing.assert_array_equal(log.quality, [0.75] * 4)
    np.testing.assert_array_equal(log.cost, [0.25] * 4)
    np.testing.assert_array_equal(log.timestamp, [NOON] * 4)
    assert log.request_id.tolist() == [f"chatcmpl-{i}" for i in range(4)]
    assert log.group.tolist() == users


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_litellm_spend_logs(tmp_path, kind):
    rows = [spend(i) for i in range(3)] + [spend(8 + i, **changes) for i, changes in enumerate(SKIPPED)]
    rows.append(spend(3, messages={}, proxy_server_request={"messages": ASKED, "model": "large"}))
    file = tmp_path / f"log.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "json":
        file.write_text(json.dumps(rows))
    else:  # a table of the database, its JSON columns as text
        text = pd.DataFrame(
            [{k: v if isinstance(v, str | float | int) else json.dumps(v) for k, v in r.items()} for r in rows]
        )
        text.to_csv(file, index=False) if kind == "csv" else text.to_parquet(file)
    log = logs.load(file, columns=RATING, quality_range=(1, 5))
    check_litellm(log, [0, 0, 1, 1])
    assert log.counts["failed requests"] == log.counts["answers from a cache"] == 1
    assert log.counts["other calls than for text"] == 2
    priced = {"large": (1, 2), "small": (3, 4)}
    np.testing.assert_array_equal(logs.load(file, columns=RATING, quality_range=(1, 5), prices=priced).cost, [0.25] * 4)
    cost = logs.load(file, columns=RATING, quality_range=(1, 5), prices=priced, reprice=True).cost
    np.testing.assert_allclose(cost, [1e-4, 4e-5] * 2)


def test_litellm_payloads_one_a_file(tmp_path):
    for i in range(4):
        folder = tmp_path / f"2025-01-0{i + 1}"
        folder.mkdir()
        (folder / f"time-12-00-00_chatcmpl-{i}.json").write_text(json.dumps(payload(i)))
    check_litellm(logs.load(tmp_path, columns=RATING, quality_range=(1, 5)), [0, 0, 1, 1])
    log = logs.load(tmp_path)
    assert log.counts["missing quality"] == 4
    with pytest.raises(InputError, match=r"no record has 'metadata.ratng', which is mapped to quality"):
        logs.load(tmp_path, columns={"quality": "metadata.ratng"})


def test_bad_records_are_named_like_bad_rows(tmp_path):
    file = tmp_path / "log.jsonl"
    bad = [{"response_cost": -1}, {"messages": None}, {"model": "", "model_group": None}, {"startTime": {}}]
    rows = [payload(0), *(payload(i + 1, **changes) for i, changes in enumerate(bad)), payload(7)]
    file.write_text("\n".join(map(json.dumps, rows)) + '\n{"torn": ')
    with pytest.raises(InputError) as error:
        logs.load(file)
    said = [line.replace(f"  {file}, ", "") for line in str(error.value).splitlines() if line.startswith("  ")]
    assert {line.split(":")[0] for line in said} == {
        "row 1, column 'cost'",
        "row 3, column 'model'",
        "row 4, column 'timestamp'",
        "row 6",
    }
    log = logs.load(file, drop_bad=True)
    assert len(log) == 2
    assert log.left_out["prompts that were not recorded"] == {"small": 1}


PARTS = [{"role": "user", "parts": [{"type": "text", "content": "What is 2 + 2?"}]}]


def attributes(number, **changes):
    """Attributes of an inference span by the conventions."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "large" if number % 2 else "small",
        "gen_ai.response.id": f"chatcmpl-{number}",
        "gen_ai.conversation.id": f"conversation-{number // 2}",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.input.messages": json.dumps(PARTS),
        "app.rating": 0.75,
    } | changes


def printed(found, **changes):
    """A span as the Python SDK's to_json prints it."""
    context = {"trace_id": "0x5b8a", "span_id": "0x051581bf3cb55c13", "trace_state": "[]"}
    span = {"name": "chat", "context": context, "kind": "SpanKind.CLIENT", "start_time": "2025-01-01T12:00:00.000000Z"}
    return span | {"status": {"status_code": "UNSET"}, "attributes": found, "events": []} | changes


def typed(value):
    kind = {str: "stringValue", int: "intValue", float: "doubleValue"}[type(value)]
    return {kind: str(value) if kind == "intValue" else value}


def otlp(found, **changes):
    """A span as OTLP JSON has it."""
    pairs = [{"key": key, "value": typed(value)} for key, value in found.items()]
    start = str(int(NOON)) + "000000000"
    return {"traceId": "5b8a", "spanId": "051581bf3cb55c13", "startTimeUnixNano": start, "attributes": pairs} | changes


OTHERS = [
    ({"http.request.method": "GET"}, {}),
    ({"gen_ai.operation.name": "embeddings"}, {}),
    ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}, {}),
    ({"error.type": "timeout"}, {}),
]


@pytest.mark.parametrize("kind", ["printed", "otlp", "events", "columns"])
def test_opentelemetry_spans(tmp_path, kind):
    found = [attributes(i) for i in range(4)]
    found += [OTHERS[0][0], *(attributes(9) | changes for changes, _ in OTHERS[1:])]
    file = tmp_path / "spans.jsonl"
    if kind == "printed":
        file.write_text("\n".join(json.dumps(printed(one)) for one in found))
    elif kind == "otlp":  # the collector's file exporter: a line a batch
        batches = [[otlp(one) for one in found[:3]], [otlp(one) for one in found[3:]]]
        file.write_text("\n".join(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": b}]}]}) for b in batches))
    elif kind == "events":  # log records, as gen_ai.client.inference.operation.details are
        logged = [otlp(one, timeUnixNano=otlp(one)["startTimeUnixNano"], startTimeUnixNano=None) for one in found]
        file.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": logged}]}]}))
    else:
        file = tmp_path / "spans.parquet"
        pd.DataFrame(found).assign(start_time=pd.Timestamp("2025-01-01 12:00", tz="UTC")).to_parquet(file)
    log = logs.load(file, columns={"quality": "app.rating"}, prices={"large": (1, 2), "small": (3, 4)})
    assert log.models == ("large", "small")
    assert log.action.tolist() == [1, 0, 1, 0]
    assert log.prompt.tolist() == ["What is 2 + 2?"] * 4
    np.testing.assert_array_equal(log.quality, [0.75] * 4)
    np.testing.assert_allclose(log.cost, [1e-4, 4e-5] * 2)
    np.testing.assert_array_equal(log.timestamp, [NOON] * 4)
    assert log.group.tolist() == [0, 0, 1, 1]
    assert log.request_id.tolist() == [f"chatcmpl-{i}" for i in range(4)]
    assert log.counts["spans of other things"] == 1
    assert log.counts["other calls than for text"] == 2
    assert log.counts["failed requests"] == 1
    with pytest.raises(InputError, match=r"cost is empty.*4 row\(s\).*price table"):
        logs.load(file)


def test_opentelemetry_older_names_and_evaluations(tmp_path):
    old = attributes(0, **{"gen_ai.usage.cost": 0.5})
    del old["gen_ai.input.messages"], old["gen_ai.response.id"]
    numbered = {"gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be kind.",
                "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "numbered"}  # fmt: skip
    event = {"name": "gen_ai.user.message", "attributes": {"content": "event"}}
    judged = {"name": "gen_ai.evaluation.result", "attributes": {"gen_ai.evaluation.score.value": 0.5}}
    spans = [
        printed(old | {"gen_ai.prompt": "whole"}, events=[judged]),
        printed(old | numbered | {"gen_ai.request.model": "large"}),
        printed(old, events=[event]),
        printed(old, status={"status_code": "ERROR"}),
    ]
    spans[1]["context"] = {"span_id": "0x2"}
    spans[2]["context"] = {"span_id": "0x3"}
    (tmp_path / "spans.jsonl").write_text("\n".join(map(json.dumps, spans)))
    log = logs.load(tmp_path / "spans.jsonl")
    assert log.prompt.tolist() == ["whole", "numbered", "event"]
    assert log.request_id.tolist() == ["0x051581bf3cb55c13", "0x2", "0x3"]
    np.testing.assert_array_equal(log.quality, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(log.cost, [0.5] * 3)
    assert log.counts["failed requests"] == 1


@pytest.mark.parametrize("value", [None, 5, "x", [], [5], {}, {"a": 1}, [{"key": "gen_ai.request.model"}], [[]]])
@pytest.mark.parametrize("name", ["attributes", "events", "status", "context", "resourceSpans", "messages", "metadata"])
def test_values_of_any_shape_are_no_traceback(tmp_path, name, value):
    record = payload(0) if name in ("messages", "metadata") else printed(attributes(0), spanId=None)
    other = payload(1) if name in ("messages", "metadata") else printed(attributes(1, **{"gen_ai.usage.cost": 1}))
    (tmp_path / "log.jsonl").write_text(json.dumps(other) + "\n" + json.dumps(record | {name: value}))
    columns = {"group": "metadata.a.b"} if name == "metadata" else {"group": "gen_ai.a.b"} if name == "events" else {}
    with contextlib.suppress(InputError):
        logs.load(tmp_path / "log.jsonl", drop_bad=True, columns=columns)


def test_the_last_thing_a_user_said():
    assert messages.text_of("text") == "text"
    assert messages.text_of([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "a"
    assert messages.text_of([{"role": "assistant", "content": "b"}]) == "b"
    assert messages.text_of([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]) is None
    two = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages.text_of(json.dumps([{"role": "user", "content": two}])) == "a\nb"
    for nothing in (None, "", [], {}, 5, [5], [{"role": "user"}], [{"role": "user", "content": None}]):
        assert messages.text_of(nothing) is None
