"""The embeddings endpoint against a server on this machine that also misbehaves."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from jaxroute.data import encoders
from jaxroute.data.encoders import endpoint
from jaxroute.types import InputError

KEY = "sk-very-secret-0123"
TEXTS = [f"text {n}" + "!" * (n % 5) for n in range(20)]


def vector(text: str, width: int = 4) -> list[float]:
    return [len(text), sum(map(ord, text)) / 1000, text.count("!"), 1.0, 2.0][:width]


class Server(ThreadingHTTPServer):
    """Answers right, except for the requests that ``faults`` lists, first come first served."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests, self.times, self.keys = [], [], [], []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append((self.path, body))
        server.times.append(time.monotonic())
        server.keys.append(self.headers.get("Authorization"))
        fault = server.faults.pop(0) if server.faults else None
        data = [{"index": i, "embedding": vector(text)} for i, text in enumerate(body["input"])][::-1]
        if isinstance(fault, int):
            return self.answer(fault, {"error": f"trouble with {self.headers.get('Authorization')}"})
        if fault == "slow":
            time.sleep(0.4)
        if fault == "broken":
            return self.connection.close()
        if fault == "no json":
            return self.answer(200, "<html>")
        if fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "9999")
            self.end_headers()
            return self.wfile.write(b'{"data"')
        if fault == "wrong width":
            data = [{**item, "embedding": [*item["embedding"], 2.0]} for item in data]
        if fault == "ragged":
            data[0]["embedding"] = data[0]["embedding"][:2]
        if fault == "too few":
            data = data[1:]
        if fault == "twice":
            data = [*data, {"index": len(data), "embedding": [0.0] * 4}]
        if fault == "not finite":
            data[0]["embedding"][0] = float("nan")
        if fault == "no data":
            data = None
        return self.answer(200, {"data": data})

    def answer(self, status, content):
        text = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0.3")
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(OSError):  # the client has hung up
            super().handle()


@pytest.fixture
def server(monkeypatch, tmp_path):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1/")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.02)
        monkeypatch.setattr(endpoint, "TIMEOUT", 0.2)
        yield server
        server.shutdown()
        thread.join()


def encode(texts=TEXTS, **options):
    return encoders.encode_counted(texts, "endpoint:tiny", **{"batch_size": 8, **options})


def test_batches_order_key_and_cache(server, tmp_path):
    encoded = encode()
    np.testing.assert_allclose(encoded.features, [vector(text) for text in TEXTS], rtol=1e-6)
    assert encoded.features.dtype == np.float32
    assert [len(body["input"]) for _, body in server.requests] == [8, 8, 4]
    assert {path for path, _ in server.requests} == {"/v1/embeddings"}
    assert {body["model"] for _, body in server.requests} == {"tiny"}
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert encode([*TEXTS, "new"]).num_encoded == 1
    assert server.requests[3:][0][1]["input"] == ["new"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY in str(path) or KEY.encode() in path.read_bytes() for path in files)


def test_without_a_key_none_is_sent_and_an_empty_text_becomes_a_blank(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    encode(["", "a"])
    assert server.keys == [None]
    assert server.requests[0][1]["input"] == ["a", " "]


@pytest.mark.parametrize("faults", [[500, 503], ["slow"], ["broken", "no json"], ["cut"], [429], [500] * 5])
def test_what_passes_is_tried_again(server, faults):
    server.faults = list(faults)
    np.testing.assert_allclose(encode().features, [vector(text) for text in TEXTS], rtol=1e-6)
    assert len(server.requests) == 3 + len(faults)


def test_waits_double_and_retry_after_is_kept(server, monkeypatch):
    waits = []
    monkeypatch.setattr(endpoint.time, "sleep", waits.append)
    monkeypatch.setattr(endpoint.random, "uniform", lambda low, high: high)
    server.faults = [500, 500, 429, 500]
    encode(TEXTS[:1])
    # Doubling from 0.02 s, but 0.3 s where the server asks for it; none before the first request.
    np.testing.assert_allclose(waits, [0.0, 0.02, 0.04, 0.3, 0.16])


def test_it_gives_up_and_keeps_what_it_has(server):
    server.faults = [None, *[500] * 6]
    with pytest.raises(InputError, match=r"6 attempts failed, the last with: status 500"):
        encode()
    assert encode().num_encoded == 12


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong width", r"shape \(8, 5\) for 8 texts; expected \(8, 4\)"),
        ("ragged", "expected one per text, all of the same width"),
        ("too few", "does not hold 8 embeddings"),
        ("twice", "9 embeddings"),
        ("no data", "does not hold 8 embeddings"),
        ("not finite", "NaN or infinite"),
        (400, "status 400: .*trouble"),
        (302, "status 302"),
    ],
)
def test_a_wrong_answer_is_refused_and_not_cached(server, fault, message):
    server.faults = [None, fault]
    with pytest.raises(InputError, match=message):
        encode()
    assert len(server.requests) == 2
    assert encode().num_encoded == 12


def test_another_width_than_the_cached_one_is_refused(server):
    encode(TEXTS[:3])
    server.faults = ["wrong width"]
    with pytest.raises(InputError, match=r"shape \(.*\) for .* texts; expected \(.*, 4\)"):
        encode(TEXTS[:4])


@pytest.mark.parametrize("fault", [401, 403, 500])
def test_the_key_is_in_no_message(server, fault, capsys):
    server.faults = [fault] * 6
    with pytest.raises(InputError) as refused:
        encode()
    assert KEY not in str(refused.value)
    assert "***" in str(refused.value)
    assert ("OPENAI_API_KEY" in str(refused.value)) == (fault != 500)
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err


def test_nobody_listening_and_a_url_that_is_none(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="6 attempts failed"):
        encode(cache=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "file:///etc")
    with pytest.raises(InputError, match="must begin with http"):
        encode(cache=False)
