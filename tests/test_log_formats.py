"""Small files that real tools wrote of the same eleven requests to a loopback server, and every row's truth.

The server answered request k (counted from 1) to a prompt of n words with 10 + n tokens in, 4 of them cached, and
5 + k % 7 out; responses have 6 out and none cached. Names of files have the tools' versions.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jaxroute.data import logs, prices
from jaxroute.types import InputError

HERE = Path(__file__).parent / "data" / "logs"
SUM = "Question {0}: what is {0} + {0}?"
ASKED = [("gpt-4o-mini", SUM.format(0)), ("gpt-4o", SUM.format(1)), ("gpt-4o-mini", SUM.format(2)),
         ("gpt-4o", SUM.format(3)), ("gpt-4o", "Second turn"), ("gpt-4o-mini", "What is on the picture?"),
         ("gpt-4o", "Streamed with usage")]  # fmt: skip
RESPONSES = ("gpt-4o-mini", "A question to the responses interface")
PRICE = {"gpt-4o-mini": (0.15, 0.6, 0.075), "gpt-4o": (2.5, 10, 1.25)}
FAILED = {"gpt-4o": 1}


def cost(model, prompt, k):
    read, written, cached = PRICE[model]
    n = len(prompt.split())
    if k == 11:
        return ((10 + n) * read + 6 * written) / 1e6
    return ((10 + n - 4) * read + 4 * cached + (5 + k % 7) * written) / 1e6


TRUTH = {prompt: (model, cost(model, prompt, k + 1)) for k, (model, prompt) in enumerate(ASKED)}
TRUTH[RESPONSES[1]] = (RESPONSES[0], cost(*RESPONSES, 11))
FILES = {
    "openinference-openai-0.1.66.jsonl": set(),
    "langfuse-5.0.4.jsonl": set(),
    "logfire-5.4.0.jsonl": set(),
    "logfire-4.15.0.jsonl": {"Streamed with usage"},  # before release 5 the usage of streams is not written
    "mlflow-3.17.2.jsonl": set(),
    "mlflow-3.17.2_search.jsonl": set(),
    "traceloop-openai-0.62.4.jsonl": {"What is on the picture?"},  # the instrumentation lost its prompt
    "traceloop-and-openinference.jsonl": set(),
}


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_tool(name):
    log = logs.load(HERE / name, prices=prices.load(), reprice=True, drop_bad=True)
    found = {p: (log.models[k], c) for p, k, c in zip(log.prompt, log.action, log.cost, strict=True)}
    assert len(found) == len(log)
    assert found.keys() == TRUTH.keys() - FILES[name]
    for prompt, (model, dollars) in found.items():
        assert model == TRUTH[prompt][0]
        assert dollars == pytest.approx(TRUTH[prompt][1], rel=1e-9), prompt
    assert log.left_out["failed requests"] == FAILED
    # The stream whose usage nobody counted.
    assert log.counts["dropped"] == 1 + ("Streamed with usage" in FILES[name])
    assert (np.diff(np.sort(log.timestamp)) < 100).all()
    if "What is on the picture?" in FILES[name]:
        assert log.left_out["prompts that were not recorded"] == {"gpt-4o-mini": 1}


def test_openlit_guesses_the_tokens_of_a_stream_without_usage():
    """And it bills cached tokens in full: its own cost is the tokens at the prices it was given."""
    log = logs.load(HERE / "openlit-1.45.0.jsonl")
    found = {p: (log.models[k], c) for p, k, c in zip(log.prompt, log.action, log.cost, strict=True)}
    guessed = {"Streamed without usage": ("gpt-4o", pytest.approx((14 * 2.5 + 16 * 10) / 1e6))}
    spans = {last_user(json.loads(a["gen_ai.input.messages"])): a for span in records_of("openlit-1.45.0.jsonl")
             if "gen_ai.response.id" in (a := span["attributes"])}  # fmt: skip
    own = {
        prompt: (model, pytest.approx(dot((PRICE[model][0], PRICE[model][1]), spans[prompt])))
        for prompt, (model, _) in TRUTH.items()
    }
    assert found == own | guessed
    assert log.left_out == {"other calls than for text": {"text-embedding-3-small": 1}, "failed requests": FAILED}
    again = logs.load(HERE / "openlit-1.45.0.jsonl", prices=prices.load(), reprice=True)
    for prompt, k, dollars in zip(again.prompt, again.action, again.cost, strict=True):
        if prompt in TRUTH:
            assert (again.models[k], dollars) == (TRUTH[prompt][0], pytest.approx(TRUTH[prompt][1]))


def dot(price, attributes):
    used = attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]
    return (used[0] * price[0] + used[1] * price[1]) / 1e6


def test_what_two_instrumentations_saw_is_merged_and_counted():
    log = logs.load(HERE / "traceloop-and-openinference.jsonl", prices=prices.load(), drop_bad=True)
    assert log.counts["spans around another span of the same call"] == 9
    assert log.counts["records merged into another of the same request"] == 1  # the response, in traces of its own


def test_judgements_of_a_trace_are_qualities():
    for name in ("mlflow-3.17.2.jsonl", "mlflow-3.17.2_search.jsonl"):
        log = logs.load(HERE / name, prices=prices.load(), drop_bad=True)
        assert log.quality[log.prompt == RESPONSES[1]] == 0.75
        assert log.counts["missing quality"] == 7


def test_an_agents_run_is_no_request_and_conversations_are_groups():
    log = logs.load(HERE / "pydantic-ai-2.68.0.jsonl")
    assert log.prompt.tolist() == [f"Agent question {i}" for i in range(3)]
    assert [log.models[k] for k in log.action] == ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"]
    assert log.group.tolist() == [0, 1, 2]
    assert log.counts["other calls than for text"] == 3


def test_payloads_of_litellms_router():
    log = logs.load(HERE / "litellm-1.110.2.jsonl", drop_bad=True)
    said = dict(zip(log.prompt, [log.models[k] for k in log.action], strict=True))
    assert said == {SUM.format(0): "fast", SUM.format(1): "smart", SUM.format(2): "fast", RESPONSES[1]: "fast",
                    "Streamed with usage": "smart", "Streamed without usage": "smart"}  # fmt: skip
    assert log.cost[0] == pytest.approx(cost("gpt-4o-mini", SUM.format(0), 1))
    assert log.left_out["cost is 0 though tokens were used, so unknown"] == {"own": 1}
    again = logs.load(HERE / "litellm-1.110.2.jsonl", prices=prices.load(), reprice=True, drop_bad=True)
    np.testing.assert_allclose(again.cost[:3], log.cost[:3])  # a group's price is its deployment's


def records_of(name):
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


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
        ({"doc_id": 1, "doc": {}, "target": "x"}, "samples of lm-eval"),
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


def last_user(messages):
    """The text of the user's last message, else of the last message that has one."""

    def text(message):
        content = message.get("parts") or message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        return "".join(p.get("text") or p.get("content") or "" for p in parts if p.get("type") == "text")

    said = [(m["role"], text(m)) for m in messages if m["role"] != "tool" and text(m)]
    return ([t for role, t in said if role == "user"] or [t for _, t in said] or [None])[-1]


def of_callback():
    for span in records_of("litellm-1.108.7_otel.jsonl"):
        a = span["attributes"]
        if "litellm.model_group" in a and span["status"]["status_code"] == "OK":
            yield (
                last_user(json.loads(a["gen_ai.input.messages"])),
                a["litellm.model_group"],
                a["gen_ai.cost.total_cost"],
            )


def of_payloads(name):
    for line in records_of(name):
        for row in line if isinstance(line, list) else [line]:
            if row["status"] == "success" and row["response_cost"] > 0:
                yield last_user(row["messages"]), row["model_group"] or row["model"], row["response_cost"]


def of_attributes(chat, attributes):
    names = ("gen_ai.response.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    model, read, written = map(attributes.get, names)
    if model and read and chat:
        name = model.removesuffix("-2024-07-18")
        yield last_user(chat), name, (read * FULL[name][0] + written * FULL[name][1]) / 1e6


FULL = {"gpt-4o-mini": (0.15, 0.6), "gpt-4o": (2.5, 10), "gpt-4.1-nano": (0.1, 0.4)}


def of_value(value):
    [(kind, inner)] = value.items()
    if kind == "kvlistValue":
        return {pair["key"]: of_value(pair["value"]) for pair in inner["values"]}
    return list(map(of_value, inner["values"])) if kind == "arrayValue" else inner


def of_spans_and_messages():
    chats = {}
    for line in records_of("openai-v2-2.4b0_content/logs.jsonl"):
        [record] = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        body = of_value(record["body"]) if "body" in record else {}
        said = {"role": record["eventName"].split(".")[1], "content": body.get("content")}
        chats.setdefault(record["spanId"], []).append(said)
    for span in records_of("openai-v2-2.4b0_content/spans.jsonl"):
        yield from of_attributes(chats.get(span["context"]["span_id"][2:]), span["attributes"])


def of_details():
    for record in records_of("openai-v2-2.4b0_details.jsonl"):
        if last_user(record["attributes"]["gen_ai.input.messages"]):
            yield from of_attributes(record["attributes"]["gen_ai.input.messages"], record["attributes"])


TRUTHS = {
    "litellm-1.108.7_otel.jsonl": (of_callback, {"failed requests": {"broken": 1}}),
    "litellm-1.108.7_batches.jsonl": (
        lambda: of_payloads("litellm-1.108.7_batches.jsonl"),
        {"failed requests": {"broken": 3}, "cost is 0 though tokens were used, so unknown": {"own": 3}},
    ),
    "litellm-1.108.7_streams.jsonl": (
        lambda: of_payloads("litellm-1.108.7_streams.jsonl"),
        {"cost is 0 and no tokens were counted, so unknown": {"gpt-4.1-nano": 1, "gpt-4o": 1, "gpt-4o-mini": 1}},
    ),
    "openai-v2-2.4b0_content": (of_spans_and_messages, {"failed requests": {"gpt-4o-mini": 1}}),
    "openai-v2-2.4b0_details.jsonl": (of_details, {"prompts that were not recorded": {"gpt-4o": 1, "gpt-4o-mini": 1}}),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_every_row_against_a_plain_reading(name):
    truth, left = TRUTHS[name]
    log = logs.load(HERE / name, prices=None if name.startswith("litellm") else prices.load(), drop_bad=True)
    found = sorted(zip(log.prompt, [log.models[k] for k in log.action], log.cost, strict=True))
    expected = sorted(truth())
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], rtol=1e-9)
    assert left.items() <= log.left_out.items()
    assert np.isfinite(log.timestamp).all()


def test_a_data_frame_of_phoenix():
    log = logs.load(HERE / "phoenix-20.26.1_frame.parquet", prices=prices.load(), drop_bad=True)
    frame = pd.read_parquet(HERE / "phoenix-20.26.1_frame.parquet").rename(
        columns=lambda c: c.removeprefix("attributes.")
    )
    frame = frame[frame["llm.model_name"].notna() & (frame["status_code"] != "ERROR")]
    frame = frame[frame["llm.token_count.prompt"].notna()]
    assert len(log) == len(frame) == 17
    for prompt, k, cost, (_, row) in zip(log.prompt, log.action, log.cost, frame.iterrows(), strict=True):
        body = json.loads(row["input.value"])
        assert prompt == last_user(body.get("messages") or [{"role": "user", "content": body.get("input")}])
        model = row["llm.model_name"].removesuffix("-2024-07-18")
        assert log.models[k] == model
        read, written = row["llm.token_count.prompt"], row["llm.token_count.completion"]
        cached = np.nan_to_num(row["llm.token_count.prompt_details.cache_read"])
        base, out, less = PRICE[model]
        assert cost == pytest.approx(((read - cached) * base + cached * less + written * out) / 1e6)
    assert log.left_out["failed requests"] == {"gpt-4o": 1}
    assert log.left_out["other calls than for text"] == {"text-embedding-3-small": 1}
