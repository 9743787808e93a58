"""Lunary: runs in the layout of its source, of the events that its package sends, made up for these tests."""

import json

import numpy as np
import pandas as pd
import pytest
from platform_logs import LISTED, expected, rows

from jaxroute.data import logs, prices

CLAUDE = prices.Price(2, 20, cached_input=0.2, cache_write=2.5)
OWN = ("small", pytest.approx(0.002))


def run(number, model, text, **more):
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return {
        "id": f"r{number}", "projectId": "p", "isPublic": False, "feedback": None, "parentFeedback": None,
        "type": "llm", "name": model, "createdAt": "2026-12-01T03:00:00.000Z", "endedAt": "2026-12-01T03:00:01.500Z",
        "cost": None, "tokens": {"prompt": 140, "cachedPrompt": 30, "completion": 58, "total": 198}, "tags": None,
        "input": said, "output": {"role": "assistant", "content": "4"}, "error": None, "status": "success",
        "params": {}, "metadata": None, "user": {"id": 1, "externalId": "alice"}, "traceId": f"t{number}", "scores": [],
    } | more  # fmt: skip


RUNS = [
    run(0, "small", "What is 2 + 2?", cost=0.002, feedback={"thumb": "up"}, metadata={"jaxroute.propensity": "0.25"}),
    run(1, "large", "Capital of France?", parentFeedback={"thumb": "down"}, user=None),
    run(2, "large", "Largest ocean?", params={"stream": True}, cost=0.1, tokens={"prompt": 17, "completion": 3}),
    run(3, "claude", "What is 10 - 4?", params={"stream": True}, cost=0.1, user=None,
        tokens={"prompt": 100, "cachedPrompt": 0, "completion": 58},
        metadata={"cacheReadInputTokens": 30, "cacheCreationInputTokens": 10}),
    run(4, "small", "please fail", status="error", error={"message": "no"}, tokens={}),
    run(5, "small", "", input="__NOT_INGESTED__"),
]  # fmt: skip
KNOWN = {"What is 2 + 2?": OWN, "What is 10 - 4?": ("claude", pytest.approx((200 + 6 + 25 + 1160) / 1e6))}


def load(source):
    return logs.load(source, prices=LISTED | {"claude": CLAUDE}, drop_bad=True)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_runs_of_an_export(tmp_path, suffix):
    if suffix == "csv":
        cells = [{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in one.items()} for one in RUNS]
        pd.DataFrame(cells).to_csv(tmp_path / "export.csv", index=False)
    else:
        (tmp_path / "export.jsonl").write_text("".join(json.dumps(one) + "\n" for one in RUNS))
    log = load(tmp_path)
    assert rows(log) == expected({"Capital of France?": "large"}) | KNOWN
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [1, 0, -1]
    assert len(set(log.group.tolist())) == 3
    assert log.latency.tolist() == [1.5] * 3
    assert np.nan_to_num(log.propensity, nan=-1).tolist() == [0.25, -1, -1]
    assert log.left_out == {
        "failed requests": {"small": 1},
        "input_tokens is empty, infinite or negative": {"large": 1},  # whose parts were counted as tokens
        "prompts that were not recorded": {"small": 1},
    }


def test_traces_with_their_runs_inside():
    inner = run(1, "large", "Capital of France?", user=None, traceId="r9") | {"children": []}
    chain = {"type": "chain", "name": "answer", "tokens": {}, "feedback": {"thumb": "up"}, "traceId": None}
    one = run(9, "", "", user={"externalId": "bob"}) | chain | {"children": [inner]}
    log = load([one, run(0, "small", "What is 2 + 2?", user={"externalId": "bob"})])
    assert rows(log) == expected({"Capital of France?": "large", "What is 2 + 2?": "small"})
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [1, -1]
    assert log.group.tolist() == [0, 0]
    assert log.left_out == {"spans of other things": {"no model": 1}}


def test_a_cost_that_was_guessed_is_taken_where_it_is_named():
    log = logs.load(RUNS[:4], prices=LISTED | {"claude": CLAUDE}, columns={"cost": "cost"})
    assert rows(log)["Largest ocean?"] == ("large", 0.1)
