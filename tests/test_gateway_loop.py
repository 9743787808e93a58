"""The loop on LiteLLM's real proxy: explore, rate, fit again, improve; a worse router is sent back by itself."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import gateway_proxy
import numpy as np
import pytest
import router_kinds

pytest.importorskip("litellm")

import jaxroute as jr
from jaxroute.gateway import read_tail

pytestmark = pytest.mark.slow
MODELS = ("small", "large")
TRUTH = {"poem": {"small": 0.8, "large": 0.3}, "proof": {"small": 0.2, "large": 0.7}}
"""Mean quality by topic: neither model is the better one everywhere."""
ROUNDS, REQUESTS = 5, 150
NAME = "x-jaxroute-model"


def asked(proxy, rng, count, topics=tuple(TRUTH)):
    """Requests whose answers are rated over HTTP; their topics and headers."""
    told = []
    for _ in range(count):
        topic = str(rng.choice(topics))
        answer = proxy.chat(f"Write a {topic} about the number {rng.integers(1000)}")
        assert answer.status == 200
        told.append((topic, answer.headers))
    ratings = [
        {"request_id": headers["x-litellm-call-id"], "quality": float(rng.random() < TRUTH[topic][headers[NAME]])}
        for topic, headers in told
    ]
    assert proxy.ask("/jaxroute/feedback", {"ratings": ratings}).status == 200
    return told


def value(told):
    return np.mean([TRUTH[topic][headers[NAME]] for topic, headers in told])


def taken_up(proxy, version, seconds=20):
    """Wait until the router of this version decides."""
    deadline = time.time() + seconds
    while proxy.chat("Write a poem").headers["x-jaxroute-version"] != version:
        assert time.time() < deadline, proxy.said()[-2000:]
        time.sleep(0.2)


def test_five_rounds_of_exploring_rating_and_fitting_improve_the_router(upstream, tmp_path):
    rng, values = np.random.default_rng(0), []
    lines = "models: [small, large]\ndefault: small\nlog: logs/log.jsonl\nreload_seconds: 0.3\nseed: 3\n"
    with gateway_proxy.running(upstream, tmp_path, lines + "epsilon: 0.2\n") as proxy:
        for number in range(ROUNDS):
            values.append(value(asked(proxy, rng, REQUESTS)))
            proxy.rows(REQUESTS * (number + 1), "logs/log.jsonl")
            log = jr.read_log(tmp_path / "logs" / "log.jsonl", feedback=tmp_path / "logs" / "feedback")
            router = jr.fit(log, "plug_in_ridge", encoder="hashed-2", hidden=(16,), steps=100)
            router.save(tmp_path / "router")
            version = json.loads((tmp_path / "router" / "router.json").read_text())["sha256"][:12]
            explore = "explore: {policy: thompson, floor: 0.1, simulations: 64}\n"
            (tmp_path / "models.yaml").write_text(lines + "router: router\ncost_weight: 0\n" + explore)
            taken_up(proxy, version)
        rows = proxy.rows(0, "logs/log.jsonl")
    assert len({row["router_version"] for row in rows}) == ROUNDS + 1 - (rows[-1]["router_version"] != version)
    assert {(row["explore"], row["simulations"]) for row in rows if "explore" in row} == {("thompson", 64)}
    assert min(row["propensity"] for row in rows) >= 0.05 - 1e-9
    for model in MODELS:  # inverse propensities sum to the number of requests, if they are exact
        weights = np.array([1 / row["propensity"] if row["model"] == model else 0.0 for row in rows])
        assert abs(weights.mean() - 1) < 4 * weights.std() / len(weights) ** 0.5
    assert np.mean(values[1:]) > values[0], values  # exploration included
    topics = rng.choice(list(TRUTH), 300)
    chosen = router.route(
        [f"Write a {t} about the number {rng.integers(1000)}" for t in topics], cost_weight=0.0
    ).models
    learned = np.mean([TRUTH[topic][model] for topic, model in zip(topics, chosen, strict=True)])
    assert learned > 0.6  # each model alone: 0.5; the better one for each topic: 0.75
    print("\nmean quality by round:", np.round(values, 3), "and of the last router without exploration:", learned)


def test_a_worse_router_is_sent_back_by_itself(upstream, tmp_path):
    versions = {}
    for name, favourite in (("old", 0), ("new", 1)):
        router = router_kinds.router("plug_in", features=256, models=(*MODELS, "c", "d"), encoder="hashed-2")
        student = router.kind.student
        bias = student.bias.at[favourite].set(50.0)
        kind = dataclasses.replace(router.kind, student=student._replace(bias=bias))
        dataclasses.replace(router, kind=kind).save(tmp_path / name)
        versions[name] = json.loads((tmp_path / name / "router.json").read_text())["sha256"][:12]
    lines = "models: [small, large]\ndefault: small\nlog: log.jsonl\nreload_seconds: 0.3\nseed: 3\nepsilon: 0.1\n"
    lines += "router: old\ncost_weight: 0\nrollout: {router: new, share: 0.4}\n"
    command = [sys.executable, "-m", "jaxroute.gateway.rollout", "models.yaml"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with gateway_proxy.running(upstream, tmp_path, lines) as proxy:
        rng, looks = np.random.default_rng(1), []
        assert proxy.ask("/jaxroute/ready", key=None).body["rollout"]["status"] == "running"
        while not looks or "sent back" not in looks[-1]:
            assert len(looks) < 6, looks
            asked(proxy, rng, 100, ("poem",))
            proxy.rows(100 * (len(looks) + 1))
            ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
            looks.append(ran.stdout.strip())
        deadline = time.time() + 20
        while read_tail(tmp_path / "log.jsonl", 1)[0].get("rollout"):
            assert time.time() < deadline
            proxy.chat("Write a poem")
            time.sleep(0.2)
        after = asked(proxy, rng, 20)
        said = proxy.ask("/jaxroute/ready", key=None).body["rollout"]
    assert (said["router"], said["status"], said["share"]) == (versions["new"], "returned", 0)
    assert {headers["x-jaxroute-version"] for _, headers in after} == {versions["old"]}
