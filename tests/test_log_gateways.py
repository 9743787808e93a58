"""Logs of hosted gateways, in the layouts of Helicone's API and of the exports of Portkey and OpenRouter, made up for
these tests."""

import json

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import logs, prices
from jaxroute.types import InputError

LISTED = {"small": prices.Price(1.0, 10.0, cached_input=0.1), "large": prices.Price(5.0, 50.0, cached_input=0.5)}
NOTE = {"helicone_message": "fetching body from signed_url... contact engineering@helicone.ai for more information"}


def asked(text, model):
    return {"model": model, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]}


def helicone(number, model, text="Why?", **more):
    return {
        "request_id": f"r{number}", "request_created_at": "2026-12-01T03:00:00Z", "response_status": 200,
        "request_body": asked(text, model), "response_body": {"model": f"{model}-2026-01-01"}, "request_model": model,
        "delay_ms": 1500, "prompt_tokens": 140, "completion_tokens": 58, "total_tokens": 198, "cost": 0.002,
        "cache_reference_id": "00000000-0000-0000-0000-000000000000", "prompt_cache_read_tokens": 0,
        "request_user_id": None, "request_properties": {"Helicone-Session-Id": "s"}, "scores": {},
    } | more  # fmt: skip


def test_helicone_has_failures_cached_answers_and_notes_for_bodies(tmp_path):
    used = {"prompt_tokens": 140, "completion_tokens": 58, "prompt_tokens_details": {"cached_tokens": 40}}
    rows = [
        helicone(0, "small", scores={"right": {"value": 1, "valueType": "boolean"}}),
        helicone(1, "large", cost=0.0, scores={"right": 0}, prompt_cache_read_tokens=40, prompt_tokens=100,
                 response_body={"usage": used}),
        helicone(2, "large", response_status=429, cost=0.0),
        helicone(3, "large", cache_reference_id="11111111-2222-3333-4444-555555555555", cost=0.0),
        helicone(4, "large", target_url="https://api.openai.com/v1/embeddings"),
        helicone(5, "small", request_body=NOTE),
    ]  # fmt: skip
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    log = logs.load(file, prices=LISTED)
    assert [(log.models[k], i) for k, i in zip(log.action, log.request_id, strict=True)] == [
        ("small", "r0"),
        ("large", "r1"),
    ]
    np.testing.assert_allclose(log.cost, [0.002, (100 * 5 + 40 * 0.5 + 58 * 50) / 1e6])
    assert (log.prompt.tolist(), log.quality.tolist(), log.latency.tolist()) == (["Why?"] * 2, [1, 0], [1.5] * 2)
    kinds = ("failed requests", "answers from a cache", "other calls than for text")
    assert log.left_out == {kind: {"large": 1} for kind in kinds} | {"prompts that were not recorded": {"small": 1}}
    rows[1]["response_body"] = {}  # then nobody says whether 100 tokens are with or without the cache
    with pytest.raises(InputError, match=r"cost is 0 and no tokens were counted, so unknown: 1 row.*large 1"):
        logs.load(rows, prices=LISTED)


def portkey(number, model, *, flat=False, **more):
    body, answer = asked("Why?", model), {"model": model, "usage": {"prompt_tokens": 140, "completion_tokens": 58}}
    texts = {"request.body": json.dumps(body), "response.body": json.dumps(answer)}
    return {"id": f"r{number}", "created_at": "2026-12-01T03:00:00Z", "ai_model": model, "is_success": 1, "cost": 0.25,
            "cost_currency": "USD", "req_units": 140, "res_units": 58, "total_units": 198, "response_time": 900,
            "cache_status": "MISS", "response_status_code": 200, "metadata": {"_user": "u"}} | (
            texts if flat else {"request": {"body": body}, "response": {"body": answer}}) | more  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
def test_portkey_writes_cents_and_failures_as_rows(flat):
    rows = [portkey(0, "small", flat=flat), portkey(1, "large", flat=flat, cost=1.5),
            portkey(2, "large", flat=flat, is_success=0, response_status_code=500, cost=0),
            portkey(3, "small", flat=flat, cache_status="SEMANTIC HIT", cost=0)]  # fmt: skip
    log = logs.load(rows)
    assert [log.models[k] for k in log.action] == ["small", "large"]
    assert (log.cost.tolist(), log.latency.tolist(), log.prompt.tolist()) == ([0.0025, 0.015], [0.9, 0.9], ["Why?"] * 2)
    assert log.left_out == {"answers from a cache": {"small": 1}, "failed requests": {"large": 1}}
    assert log.usage["large"] == {"rows": 1, "cost": 0.015, "input_tokens": 140, "output_tokens": 58}


def test_analytics_of_aider_are_refused_by_their_name():
    with pytest.raises(InputError, match="analytics of aider: requests without their prompts"):
        logs.load(
            [{"event": "message_send", "properties": {"main_model": "openai/REDACTED"}, "user_id": "u", "time": 1}]
        )


def test_openrouter_s_activity_with_prompts_and_two_bills(tmp_path):
    row = {"created_at": "2026-12-01 03:00:00", "cost_total": "0.002", "byok_usage_inference": "0", "user": "u",
           "tokens_prompt": 140, "tokens_completion": 58, "tokens_cached": 30, "tokens_reasoning": 50,
           "variant": "standard", "cancelled": "false", "finish_reason_normalized": "stop",
           "generation_time_ms": 1500}  # fmt: skip
    more = [
        {"model_permaslug": "openai/gpt-4.1-2025-04-14"},
        {"model_permaslug": "acme/large", "cost_total": "0.0001", "byok_usage_inference": "0.004"},
        {"model_permaslug": "acme/large", "variant": "free", "cost_total": "0"},
        {"model_permaslug": "acme/large", "cancelled": "true"},
        {"model_permaslug": "acme/large", "finish_reason_normalized": "error", "cost_total": "0"},
        {"model_permaslug": "acme/large", "prompt": ""},
    ]
    table = pd.DataFrame([row | {"generation_id": f"gen-{i}", "prompt": "Why?"} | one for i, one in enumerate(more)])
    table.to_csv(tmp_path / "activity.csv", index=False)
    rated = [{"request_id": "gen-1", "quality": 1}]
    log = logs.load(tmp_path / "activity.csv", feedback=rated, prices={"acme/large:free": (0, 0)})
    assert [log.models[k] for k in log.action] == ["openai/gpt-4.1", "acme/large", "acme/large:free"]
    np.testing.assert_allclose(log.cost, [0.002, 0.0041, 0])
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [-1, 1, -1]
    assert log.latency.tolist() == [1.5] * 3
    assert log.left_out == {
        "failed requests": {"acme/large": 1},
        "prompts that were not recorded": {"acme/large": 1},
        "requests whose client did not wait": {"acme/large": 1},
    }
    assert log.usage["acme/large"]["cached_tokens"] == 30
