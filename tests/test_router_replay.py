"""Replay records of the vLLM Semantic Router, made by its documented schema: the service cannot be installed here."""

import json

import numpy as np
import pytest

from jaxroute.data import logs
from jaxroute.data.logs import loading

MODELS = ("large", "medium", "small")
MEAN, PENALTY, COUNT = np.array([0.8, 0.7, 0.5]), np.array([0.2, 0.05, 0.0]), 20.0


def record(i, rng, **changes):
    """A choice by the largest draw of a Beta posterior minus a penalty for its cost."""
    mean = np.clip(MEAN + 0.05 * rng.standard_normal(3), 0.05, 0.95)
    drawn = rng.beta(mean * COUNT, (1 - mean) * COUNT)
    chosen = MODELS[int(np.argmax(drawn - PENALTY))]
    scores = {
        name: {"posterior_mean": m, "predicted_quality": p, "cost_penalty": c, "score": p - c}
        for name, m, p, c in zip(MODELS, mean.tolist(), drawn.tolist(), PENALTY.tolist(), strict=True)
    }
    return {
        "id": f"replay-{i}",
        "request_id": f"request-{i}",
        "timestamp": f"2026-08-01T00:00:{i % 60:02d}Z",
        "decision": "math",
        "selected_model": chosen,
        "lifecycle_state": "completed",
        "response_status": 200,
        "from_cache": False,
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "actual_cost": 0.001,
        "request_body": json.dumps({"model": "auto", "messages": [{"role": "user", "content": f"question {i}"}]}),
        "learning": {"adaptation": {"scores": scores, "sampling": {"used": True}, "proposal_model": chosen}},
        "outcomes": [{"target": "model", "target_ref": chosen, "verdict": "good_fit", "source": "user"},
                     {"target": "route", "verdict": "failed", "source": "user"}],
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    return [record(i, rng) for i in range(300)]


def test_a_row_a_record(records, tmp_path):
    rng = np.random.default_rng(1)
    odd = [
        record(400, rng, from_cache=True),
        record(401, rng, lifecycle_state="failed"),
        record(402, rng, request_body_truncated=True),
        record(403, rng, selected_model=""),
        record(404, rng, outcomes=[{"target": "model", "verdict": "underpowered", "source": "user"}]),
        record(
            405,
            rng,
            learning={"adaptation": {"scores": {"large": {"score": "?"}, "small": []}, "sampling": {"used": True}}},
        ),
    ]
    file = tmp_path / "replay.jsonl"
    file.write_text("\n".join(map(json.dumps, [*records[:20], *odd])))
    log = logs.load(file)
    assert log.prompt.tolist() == [f"question {i}" for i in (*range(20), 404, 405)]
    assert [log.models[k] for k in log.action[:20]] == [r["selected_model"] for r in records[:20]]
    assert log.request_id[0] == "request-0"
    assert log.cost.tolist() == [0.001] * 22
    assert log.quality.tolist() == [1.0] * 20 + [0.0, 1.0]
    assert np.isnan(log.propensity).tolist() == [False] * 21 + [True]
    left = ("answers from a cache", "failed requests", "prompts that were cut", "other calls than for text")
    assert {why: sum(by.values()) for why, by in log.left_out.items()} == dict.fromkeys(left, 1)


def test_a_simulated_propensity_that_is_too_small_to_be_told_is_unknown(records, monkeypatch):
    found = np.linspace(0.005, 0.5, len(records))
    monkeypatch.setattr(loading.router_replay, "propensities", lambda sampled: found)
    log = logs.load(records)
    np.testing.assert_array_equal(log.propensity, np.where(found < 0.02, np.nan, found))
    rare = int((found < 0.02).sum())
    assert rare > 0
    assert log.counts["simulated propensities that are too small to be told, taken as unknown"] == rare
    assert log.counts["propensities simulated from posterior scores"] == len(records) - rare


def test_propensities_of_posterior_sampling_are_simulated_and_labelled(records):
    """Against the shares of 20,000 choices from the posteriors themselves, whose concentration the records lack."""
    log = logs.load(records)
    assert log.counts["propensities simulated from posterior scores"] == len(records)
    rng = np.random.default_rng(2)
    truth = []
    for one in records:
        scores = one["learning"]["adaptation"]["scores"]
        mean = np.array([scores[name]["posterior_mean"] for name in MODELS])
        winners = np.argmax(rng.beta(mean * COUNT, (1 - mean) * COUNT, (20_000, 3)) - PENALTY, 1)
        truth.append((winners == MODELS.index(one["selected_model"])).mean())
    np.testing.assert_allclose(log.propensity, truth, atol=0.06)
    assert abs(np.mean(log.propensity - truth)) < 0.01
    assert np.ptp(truth) > 0.4


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": {"used": False}},
        {"reason": "cold_start"},
        {"proposal_model": "another"},
        {"scores": {}},
    ],
)
def test_other_choices_have_no_propensity(records, change):
    changed = [one | {"learning": {"adaptation": one["learning"]["adaptation"] | change}} for one in records[:9]]
    assert np.isnan(logs.load(changed).propensity).all()
