"""The gate without LiteLLM, as a process of its own and over real HTTP; skipped where Starlette is not installed."""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import ports
import pytest
import router_kinds

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from jaxroute.data import logs
from jaxroute.serving.router import Router

KEY = "a-key-of-the-sidecar"
MODELS = ("a", "b", "c", "d")


class Client:
    """One connection that is kept open."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, path, body=None, key=KEY):
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.connection.request("POST" if body is not None else "GET", path, body and json.dumps(body), sent)
        answer = self.connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw[:1] in b"{[" else raw.decode()


@contextlib.contextmanager
def serving(folder, settings, *, stopped=False):
    """The service of a models.yaml, as a process; its port. At the end it is killed, or stopped as by Docker."""
    (folder / "models.yaml").write_text(settings)
    port = ports.free()
    command = [sys.executable, "-m", "jaxroute.gateway.service", "models.yaml", "--port", str(port)]
    env = {**os.environ, "JAXROUTE_KEY": KEY, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with (folder / "said").open("w") as out:
        running = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
    try:
        wait(lambda: running.poll() is not None or answers(port), 60)
        assert running.poll() is None, (folder / "said").read_text()
        yield port
        if stopped:
            running.terminate()
            running.wait(20)
    finally:
        running.kill()
        running.wait()


def answers(port):
    try:
        return Client(port).ask("/health")[0] == 200
    except OSError:
        return False


def wait(until, seconds=20):
    deadline = time.time() + seconds
    while not until():
        assert time.time() < deadline
        time.sleep(0.1)


SETTINGS = "models: [a, b, c, d]\ndefault: a\nrouter: router\ncost_weight: 20\nepsilon: 0.4\nlog: log.jsonl\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    router_kinds.router("plug_in", 256, MODELS, encoder="hashed-2").save(folder / "router")
    with serving(folder, SETTINGS + "capabilities: {a: [], b: [tools], c: [], d: []}\n") as port:
        yield port, folder


def test_a_request_is_decided_as_the_router_says_and_its_outcome_is_a_row(service):
    port, folder = service
    client = Client(port)
    texts = [f"What is {i} + {i}?" for i in range(30)]
    status, said = client.ask("/v1/route", {"requests": [{"prompt": text, "user": "alice"} for text in texts]})
    assert status == 200
    expected = Router.load(folder / "router").route(texts, cost_weight=20).models
    for decision, best in zip(said["decisions"], expected, strict=True):
        assert decision["propensity"] == pytest.approx(0.7 if decision["model"] == best else 0.1)
        assert decision["candidates"] == list(MODELS)
    outcomes = [{"request_id": d["request_id"], "cost": 0.1, "output_tokens": 3} for d in said["decisions"]]
    outcomes[0] |= {"status": "failed", "cost": None, "failed": ["x"]}
    outcomes[1] |= {"model": next(m for m in MODELS if m != said["decisions"][1]["model"])}
    assert client.ask("/v1/outcome", {"outcomes": outcomes}) == (200, {"written": 30})
    assert client.ask("/v1/outcome", outcomes[2])[0] == 404
    rated = [{"request_id": d["request_id"], "quality": 1} for d in said["decisions"]]
    assert client.ask("/v1/feedback", {"ratings": rated}) == (200, {"written": 30})
    log = logs.load(folder / "log.jsonl", feedback=folder / "feedback")
    assert len(log) == 29
    assert log.counts["failed requests"] == 1
    assert np.isnan(log.propensity).sum() == 1  # another model answered than the chosen one
    assert (log.quality == 1).all()
    assert client.ask("/ready")[1]["rows_written"] == 30


def test_chats_candidates_and_needs(service):
    client = Client(service[0])
    chat = {"messages": [{"role": "user", "content": "hello"}]}
    assert client.ask("/v1/route", chat | {"candidates": ["c"]})[1]["propensity"] == 1
    assert client.ask("/v1/route", chat | {"tools": [{"type": "function"}]})[1]["candidates"] == ["b"]
    features = np.zeros(256).tolist()
    assert client.ask("/v1/route", {"features": features})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v1/route", {"prompt": "x", "candidates": ["z"]}, 400, "none of the candidates"),
        ("/v1/route", {"features": [1, 2]}, 400, "256 numbers"),
        ("/v1/route", {"requests": []}, 400, "1 to 1000"),
        ("/v1/outcome", {"request_id": "nobody"}, 404, "'nobody'"),
        ("/v1/outcome", {"request_id": "x", "propensity": 0.1}, 400, "unknown field 'propensity'"),
        ("/v1/outcome", {"request_id": "x", "cost": "free"}, 400, "cost is 'free'"),
        ("/v1/feedback", {"request_id": "x"}, 400, "quality is None"),
        ("/v1/route", {"features": {"a": 1}}, 400, "256 numbers"),
        ("/v1/route", {"features": [[1], [1, 2]]}, 400, "256 numbers"),
        ("/v1/route", {"features": [10**400] * 256}, 400, "256 numbers"),
        ("/v1/outcome", {"request_id": "x", "cost": -1}, 400, "cost is -1"),
        ("/v1/outcome", {"request_id": "x", "model": " "}, 400, "model a name"),
        ("/v1/outcome", {"request_id": "x", "output_tokens": 10**400}, 400, "output_tokens is 1000"),
        ("/v1/outcome", {"request_id": "x", "response_id": ["y"]}, 400, "response_id must be a text"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(service, path, body, status, says):
    found, answer = Client(service[0]).ask(path, body)
    assert found == status
    assert says in answer["error"]


def test_an_outcome_that_is_refused_can_be_said_again(service):
    """Its row was lost: a number of attempts that is none was found after the request was taken for finished."""
    client = Client(service[0])
    said = client.ask("/v1/route", {"prompt": "x"})[1]["request_id"]
    for attempts in (float("nan"), float("inf"), -1):
        status, answer = client.ask("/v1/outcome", {"request_id": said, "attempts": attempts})
        assert (status, "attempts is" in answer["error"]) == (400, True)
    assert client.ask("/v1/outcome", {"request_id": said, "attempts": 2}) == (200, {"written": 1})


def test_a_body_of_many_brackets_is_refused(service):
    nested = current = {}
    for _ in range(300):
        current["a"] = current = {}
    assert Client(service[0]).ask("/v1/route", {"prompt": "x", "metadata": nested})[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", service[0], timeout=20)
    connection.request("POST", "/v1/route", '{"a":' * 100_000, {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    assert (answer.status, "nested too deeply" in json.loads(answer.read())["error"]) == (400, True)


def test_the_key_is_asked_for(service):
    assert Client(service[0]).ask("/v1/route", {"prompt": "x"}, key="wrong")[0] == 401


@pytest.mark.slow
def test_a_thousand_requests_a_second_or_the_machines_limit(service, capsys):
    """Eight connections as fast as they can; the figure of docs/gateway.md."""

    def many(number):
        client, times = Client(service[0]), []
        for i in range(400):
            begun = time.perf_counter()
            assert client.ask("/v1/route", {"prompt": f"Explain case {number} of {i} in a few words."})[0] == 200
            times.append(time.perf_counter() - begun)
        return times

    begun = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        times = np.concatenate(list(pool.map(many, range(8))))
    rate = len(times) / (time.perf_counter() - begun)
    p50, p99 = 1e3 * np.percentile(times, [50, 99])
    with capsys.disabled():
        print(f"\n{rate:.0f} requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms at 8 connections")
    assert rate > 100


def test_decisions_over_http_are_explored_as_often_as_they_say(service):
    client = Client(service[0])
    said = client.ask("/v1/route", {"requests": [{"prompt": "the same prompt"}] * 1000})[1]["decisions"]
    for model, count in collections.Counter(d["model"] for d in said).items():
        p = next(d["propensity"] for d in said if d["model"] == model)
        assert abs(count / 1000 - p) < 4 * np.sqrt(p * (1 - p) / 1000)


def test_requests_that_arrive_together_are_decided_as_alone_and_none_spoils_the_others(service):
    port, folder = service
    before = Client(port).ask("/ready")[1]["rows_written"]
    texts = [f"How far is it to place {i}?" for i in range(64)]
    bodies = [{"prompt": text} for text in texts]
    for i in range(0, 64, 8):
        bodies[i] |= {"candidates": ["nobody"]}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda body: Client(port).ask("/v1/route", body), bodies))
    best = Router.load(folder / "router").route(texts, cost_weight=20).models
    for i, (status, answer) in enumerate(said):
        assert status == (400 if i % 8 == 0 else 200)
        if status == 200:
            assert answer["propensity"] == pytest.approx(0.7 if answer["model"] == best[i] else 0.1)
    ids = [answer["request_id"] for status, answer in said if status == 200]
    assert len(set(ids)) == 56
    assert Client(port).ask("/v1/outcome", {"outcomes": [{"request_id": one} for one in ids]})[1] == {"written": 56}
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()[before:]]
    assert {row["request_id"]: row["prompt"] for row in rows} == dict(
        zip(ids, [text for i, text in enumerate(texts) if i % 8], strict=True)
    )


def test_the_share_of_a_roll_out_is_on_the_metrics_page(tmp_path):
    """As it was begun, when it was sent back, and when it was promoted."""
    for name in ("router", "new"):
        router_kinds.router("plug_in" if name == "new" else "affine", 256, MODELS, encoder="hashed-2").save(
            tmp_path / name
        )
    version = json.loads((tmp_path / "new" / "router.json").read_text())["sha256"][:12]
    with serving(tmp_path, SETTINGS + "reload_seconds: 0.2\nrollout: {router: new, share: 0.4}\n") as port:

        def shown():
            (share,) = re.findall(r"^jaxroute_rollout_share (.*)$", Client(port).ask("/metrics")[1], re.M)
            return float(share)

        assert shown() == 0.4
        for status, share in (("returned", 0.0), ("promoted", 1.0), ("better", 0.4)):
            (tmp_path / "rollout.json").write_text(json.dumps({"router": version, "status": status}))
            wait(lambda share=share: shown() == share)
            assert Client(port).ask("/ready")[1]["rollout"]["status"] == status


def test_requests_under_way_have_a_row_when_the_sidecar_is_stopped(tmp_path):
    """uvicorn ends by the signal that it got, so what is registered for the exit was not run: their rows were lost."""
    with serving(tmp_path, "models: [a, b]\ndefault: a\nlog: requests.jsonl\n", stopped=True) as port:
        client = Client(port)
        ids = [client.ask("/v1/route", {"prompt": f"Hello {i}"})[1]["request_id"] for i in range(2)]
        assert client.ask("/v1/outcome", {"request_id": ids[0]})[0] == 200
        client.connection.close()
    rows = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert {row["request_id"]: row["status"] for row in rows} == dict(zip(ids, ("answered", "unknown"), strict=True))
