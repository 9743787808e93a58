"""LiteLLM's real proxy in a process of its own, set up as examples/gateway is."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import gateway_upstream
import ports
import yaml

EXAMPLE = Path(__file__).parent.parent / "examples" / "gateway"
MASTER = "sk-0f3c5a2e7b9d4c1a8e6f"
START = 300
"""Seconds in which a proxy has started or refused to: four workers on busy cores."""

TEXT = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "{}"}]}),
    "completions": ("/v1/completions", {"prompt": "{}"}),
    "responses": ("/v1/responses", {"input": "{}"}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "{}"}], "max_tokens": 9}),
    "generate_content": ("/v1beta/models/auto:generateContent", {"contents": [{"parts": [{"text": "{}"}]}]}),
}  # fmt: skip
"""Each endpoint for text: its path and a body whose text is {}."""

CACHE = {"cache": True, "cache_params": {"type": "local", "mode": "default_off"}}
METRICS = {"litellm_settings": {"callbacks": ["callbacks.handler", "prometheus"], **CACHE}}


def body_of(kind, text, **more):
    path, body = TEXT[kind]
    return path, {"model": "auto", **json.loads(json.dumps(body).replace("{}", text)), **more}


class Answer:
    """status, headers (a dictionary, lower case) and body of an HTTP answer; body None where it is no JSON."""

    def __init__(self, status, headers, raw):
        self.status, self.raw = status, raw
        self.headers = {name.lower(): value for name, value in headers.items()}
        try:
            self.body = json.loads(raw)
        except ValueError:
            self.body = None


class Proxy:
    """What tests ask of a running proxy before an upstream."""

    def __init__(self, port, folder, process, upstream=None):
        self.port, self.folder, self.process, self.upstream, self.before = port, folder, process, upstream, 0

    def begin(self):
        """Of a new test: the upstream is calm, and the rows so far are those of others."""
        gateway_upstream.calm(self.upstream)
        time.sleep(0.3)
        self.before = len(self.rows(0)) if (self.folder / "log.jsonl").exists() else 0

    def ask(self, path, body=None, *, key=MASTER, headers=(), timeout=120):
        """POST a body, or GET without one; on busy cores the first of an endpoint takes long."""
        url = f"http://127.0.0.1:{self.port}{path}"
        sent = {"Content-Type": "application/json", **dict(headers)} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), sent)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def chat(self, text, **more):
        message = [{"role": "user", "content": text}]
        return self.ask("/v1/chat/completions", {"model": "auto", "messages": message, **more})

    def rows(self, wanted, file="log.jsonl", seconds=10):
        """The log's rows once there are so many; LiteLLM logs in the background."""
        path, deadline = self.folder / file, time.time() + seconds
        while (not path.exists() or path.read_text().count("\n") < wanted) and time.time() < deadline:
            time.sleep(0.05)
        return [json.loads(line) for line in path.read_text().splitlines()]

    def new(self, wanted):
        """The rows that were written since the test began."""
        return self.rows(self.before + wanted)[self.before :]

    def said(self):
        return (self.folder / "proxy.log").read_text()


@contextlib.contextmanager
def running(upstream, folder, settings="", *, extra=None, environment=(), flags=(), up=True):
    """A proxy with models small, large and auto before an upstream; settings: more lines of models.yaml."""
    (folder / "callbacks.py").write_text((EXAMPLE / "callbacks.py").read_text())
    lines = "models: [small, large]\ndefault: small\nlog: log.jsonl\n"
    (folder / "models.yaml").write_text(settings if "models:" in settings else lines + settings)
    config = {
        "model_list": [gateway_upstream.deployment(upstream, name, 2.5) for name in ("small", "large", "auto")],
        "litellm_settings": {"callbacks": ["callbacks.handler"]},
        "router_settings": yaml.safe_load((EXAMPLE / "config.yaml").read_text())["router_settings"]
        | {"retry_after": 0},
    }
    for section, values in (extra or {}).items():
        config[section] = values if isinstance(values, list) else config.get(section, {}) | values
    (folder / "config.yaml").write_text(json.dumps(config))
    port = ports.free()
    command = [str(Path(sys.executable).parent / "litellm"), "--config", "config.yaml", "--port", str(port), *flags]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "LITELLM_MASTER_KEY": MASTER, "PYTHONPATH": paths}
    with (folder / "proxy.log").open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=env | dict(environment), stdout=out, stderr=out,
                                   start_new_session=True)  # fmt: skip
    proxy = Proxy(port, folder, process, upstream)
    try:
        deadline = time.time() + START
        while up and not is_up(proxy):
            assert process.poll() is None, proxy.said()[-3000:]
            assert time.time() < deadline, proxy.said()[-3000:]
            time.sleep(0.25)
        yield proxy
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


@contextlib.contextmanager
def shared(folder):
    """A proxy for all tests of a file, with a cache and metrics; small sees no images and has a context of 40,000."""
    with gateway_upstream.running() as server:
        listed = [gateway_upstream.deployment(server, name, 2.5) for name in ("small", "large", "auto")]
        listed[0]["model_info"] = {"supports_vision": False, "max_input_tokens": 40_000}
        settings = "epsilon: 0.5\nseed: 1\nreload_seconds: 0.5\n"
        with running(server, folder, settings, extra=METRICS | {"model_list": listed}) as proxy:
            yield proxy


def is_up(proxy):
    try:
        return proxy.ask("/health/readiness", key=None, timeout=5).status == 200
    except OSError:
        return False


def wait(until, seconds=15):
    deadline = time.time() + seconds
    while not until():
        assert time.time() < deadline
        time.sleep(0.1)
