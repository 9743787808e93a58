"""Failures, stalls, cut streams, clients that leave and a log that cannot be written, on LiteLLM's real proxy.

Run by `make test-gateway`; skipped where LiteLLM is not installed.
"""

import functools
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import gateway_proxy
import gateway_texts
import gateway_upstream
import numpy as np
import pytest
from gateway_proxy import body_of, wait
from gateway_texts import KINDS, MODELS, good, questions

pytest.importorskip("litellm")

from jaxroute.data import encoders, logs


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return gateway_texts.saved(tmp_path_factory.mktemp("kept") / "router")


def test_a_fallback_says_who_was_chosen_who_failed_and_how_long_the_client_waited(proxy):
    proxy.upstream.failing.add("large")
    proxy.upstream.refusing, waits = 0.25, {}
    for i in range(12):
        began = time.time()
        answer = proxy.chat(f"fall {i}")
        assert answer.status == 200
        waits[answer.headers["x-litellm-call-id"]] = time.time() - began
    rows = proxy.new(12)
    fallen = [row for row in rows if row["by"] == "fallback"]
    assert 0 < len(fallen) < 12
    for row in rows:
        expected = ("large", None, ["large", "large"], 3) if row in fallen else ("small", 0.75, [], 1)
        assert (row["chosen"], row["propensity"], row["failed"], row["attempts"]) == expected
        assert (row["model"], row["status"]) == ("small", "answered")
        refused = proxy.upstream.refusing * len(row["failed"])  # the last attempt is no slower than the others
        assert refused < row["latency"] < waits[row["request_id"]] + 0.01


@pytest.mark.parametrize("kind", ["chat", "completions", "responses", "messages"])
def test_a_request_that_nobody_answered_has_a_row_that_names_the_choice(proxy, kind):
    proxy.upstream.failing.update(("small", "large"))
    assert proxy.ask(*body_of(kind, "nobody")).status >= 500
    [row] = proxy.new(1)
    assert row["status"] == "failed"
    assert row["propensity"] == {"small": 0.75, "large": 0.25}[row["chosen"]]
    assert row["failed"] == [row["chosen"]] * 2 + [{"small": "large", "large": "small"}[row["chosen"]]] * 2
    assert row["cost"] is None


def test_streams_that_are_cut_and_clients_that_leave_have_a_row_with_a_status(proxy):
    proxy.upstream.cutting.update(("small", "large"))
    proxy.chat("cut", stream=True)
    assert [row["status"] for row in proxy.new(1)] == ["failed"]
    gateway_upstream.calm(proxy.upstream)
    proxy.upstream.gap = 0.4
    raw = json.dumps({"model": "auto", "stream": True, "messages": [{"role": "user", "content": "left"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway_proxy.MASTER}\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
        assert b"200" in client.recv(2000)
        time.sleep(0.5)
    rows = proxy.new(2)
    assert [row["status"] for row in rows] == ["failed", "left"]
    assert rows[1]["latency"] < 2


def test_readiness_fails_while_rows_are_lost_and_answers_go_on(proxy):
    assert proxy.ask("/jaxroute/ready", key=None).status == 200
    folder = proxy.folder / "log.jsonl"
    saved = folder.read_bytes()
    folder.unlink()
    folder.mkdir()  # no file can be opened there
    try:
        assert proxy.chat("lost").status == 200
        wait(lambda: proxy.ask("/jaxroute/ready", key=None).status == 503)
        assert proxy.ask("/health/liveliness", key=None).status == 200
    finally:
        folder.rmdir()
        folder.write_bytes(saved)
    assert proxy.chat("written again").status == 200
    wait(lambda: proxy.ask("/jaxroute/ready", key=None).status == 200)
    assert proxy.ask("/jaxroute/ready", key=None).body["rows_lost"] == 1
    assert "rows are written again; 1 were lost" in proxy.said()


def at_once(proxy, texts):
    """What each text was answered with: a model's name, or the error's number; 0 where the connection broke."""

    def one(text):
        try:
            answer = proxy.chat(text)
        except (OSError, http.client.HTTPException):
            return 0
        return answer.body["choices"][0]["message"]["content"] if answer.status == 200 else answer.status

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, texts))


def test_the_real_proxy_routes_through_failures_and_stalls_and_logs_no_text(upstream, tmp_path, kept):
    """With a router and `log_prompts: false`; killed with requests under way, it leaves whole lines."""
    file = tmp_path / "log.jsonl"
    settings = f"router: {kept}\nnormalised_cost_weight: 0.3\nepsilon: 0.2\nseed: 1\nlog_prompts: false\n"
    with gateway_proxy.running(upstream, tmp_path, settings) as proxy:
        ask = functools.partial(at_once, proxy)
        texts = questions(0, 20)
        answers = ask(texts)
        assert set(answers) == set(MODELS)
        assert np.mean([good(t, a) for t, a in zip(texts, answers, strict=True)]) > 0.7  # the router is at work
        upstream.failing.add("large")
        assert ask(questions(20, 40)) == ["small"] * 20
        upstream.failing.clear()
        upstream.stalling.add("large")
        assert ask(questions(40, 48)) == ["small"] * 8
        upstream.stalling.clear()
        upstream.failing.update(MODELS)
        refused = ask(questions(48, 52))
        assert all(isinstance(code, int) and code >= 400 for code in refused)
        upstream.failing.clear()
        assert set(ask(questions(52, 60))) <= set(MODELS)
        whole = proxy.rows(60)
        threading.Timer(0.3, proxy.process.kill).start()
        late = ask(questions(60, 260))
    assert [row["status"] for row in whole].count("answered") == 56
    assert [row["status"] for row in whole].count("failed") == 4
    assert 0 in late  # it was killed while it worked
    assert file.read_bytes().endswith(b"\n")
    log = logs.load(file)
    assert 56 <= len(log) <= 56 + len(late)
    assert len(set(log.request_id)) == len(log)
    assert log.available.all()
    np.testing.assert_allclose(log.propensity[~np.isnan(log.propensity)] % 0.8, 0.1)
    fallen = [row for row in whole if row["propensity"] is None]  # large was chosen, small answered
    assert fallen
    assert {row["model"] for row in fallen} == {"small"}
    assert log.features.shape[1] == len(encoders.encode(["x"], "hashed")[0])
    written = file.read_text()
    for secret in (gateway_upstream.KEY, gateway_proxy.MASTER, *KINDS):
        assert secret not in written
    assert not [
        line
        for line in (tmp_path / "proxy.log").read_text().splitlines()
        if gateway_upstream.KEY in line or gateway_proxy.MASTER in line
    ]


def test_the_real_proxy_without_its_router_falls_back_and_says_so(upstream, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "router.json").write_text("{")
    file = tmp_path / "log.jsonl"
    settings = "router: broken\ncost_weight: 20\nepsilon: 0.5\nseed: 1\n"
    with gateway_proxy.running(upstream, tmp_path, settings) as proxy:
        ask = functools.partial(at_once, proxy)
        answers = ask(questions(0, 20))
        upstream.failing.add("large")
        assert ask(questions(20, 30)) == ["small"] * 10
        rows = proxy.rows(30)
    said = (tmp_path / "proxy.log").read_text()
    assert "no router, small answers: " in said
    assert "damaged" in said
    assert sorted(row["prompt"] for row in rows) == sorted(questions(0, 30))
    assert {row["by"] for row in rows} <= {"default", "exploration", "fallback"}
    log = logs.load(file)
    first = dict(zip(questions(0, 20), answers, strict=True))
    for prompt, k, p in zip(log.prompt, log.action, log.propensity, strict=True):
        if prompt in first:  # before a model failed
            assert log.models[k] == first[prompt]
            assert p == pytest.approx({"small": 0.75, "large": 0.25}[first[prompt]])
    assert gateway_upstream.KEY not in file.read_text()
