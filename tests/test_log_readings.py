"""Every row of files that real tools wrote, against a plain reading of the same file."""

import json

import numpy as np
import pandas as pd
import pytest
from tool_logs import HERE, PRICE, last_user, records_of

from jaxroute.data import logs, prices, values
from jaxroute.gateway.requests import text


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


EVERYONE = {name: prices.Price(1, 10) for name in (*FULL, "small", "large", "own")}


@pytest.mark.parametrize("name", ["langfuse-5.0.4", "langsmith-0.15.1", "litellm-1.110.2", "mlflow-3.17.2_search",
                                  "phoenix-20.26.1_get_spans", "weave-0.54.0"])  # fmt: skip
def test_the_csv_file_that_pandas_writes_of_records_is_read_as_their_json(tmp_path, name):
    """pandas writes lists and dictionaries as Python prints them."""
    pd.DataFrame(records_of(f"{name}.jsonl")).to_csv(tmp_path / "log.csv", index=False)
    found, known = (logs.load(path, prices=EVERYONE, drop_bad=True)
                    for path in (tmp_path / "log.csv", HERE / f"{name}.jsonl"))  # fmt: skip
    assert len(found) >= 4
    assert found.models == known.models
    for field in ("prompt", "action", "cost", "latency", "group"):
        np.testing.assert_array_equal(getattr(found, field), getattr(known, field), err_msg=field)


def test_cells_that_python_or_numpy_printed():
    chat = [
        {"role": "user", "content": "It's 5 o'clock; what is a \"proof\"?\n"},
        {"role": "assistant", "content": "A."},
    ]
    numpy = str(np.array(chat, object))
    assert "}\n {" in numpy
    for cell in (str(chat), numpy, json.dumps(chat), chat):
        assert values.prompt(cell) == chat[0]["content"]
        assert text("acompletion", {"messages": cell}, "last", 99) == chat[0]["content"]
    assert values.candidates("['a', 'b']") == ("a", "b")
    for plain in (
        "[{'role': 'user'",
        "[{'role': f()}]",
        "{'role': 'user'} is a dictionary",
        "[{'role': 1}] or [{'role': 2}]",
    ):
        assert values.prompt(plain) == plain
