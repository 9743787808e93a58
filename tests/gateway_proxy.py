"""LiteLLM's real proxy in a process of its own, set up as examples/gateway is."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import gateway_upstream
import yaml

EXAMPLE = Path(__file__).parent.parent / "examples" / "gateway"
MASTER = "sk-0f3c5a2e7b9d4c1a8e6f"


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
    """What tests ask of a running proxy."""

    def __init__(self, port, folder, process):
        self.port, self.folder, self.process = port, folder, process

    def ask(self, path, body=None, *, key=MASTER, headers=(), timeout=30):
        """POST a body, or GET without one."""
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "litellm"), "--config", "config.yaml", "--port", str(port), *flags]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "LITELLM_MASTER_KEY": MASTER, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": paths}
    with (folder / "proxy.log").open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=env | dict(environment), stdout=out, stderr=out,
                                   start_new_session=True)  # fmt: skip
    proxy = Proxy(port, folder, process)
    try:
        deadline = time.time() + 300  # four workers on busy cores
        while up and not is_up(proxy):
            assert process.poll() is None, proxy.said()[-3000:]
            assert time.time() < deadline, proxy.said()[-3000:]
            time.sleep(0.25)
        yield proxy
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


def is_up(proxy):
    try:
        return proxy.ask("/health/readiness", key=None, timeout=5).status == 200
    except OSError:
        return False
