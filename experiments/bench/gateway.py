"""What a gateway costs: LiteLLM's proxy with our handler beside the plain one, in the same run.

    make bench-gateway        (seven minutes of a busy machine; in the environment of `make test-gateway`)

Three proxies with one worker each stand before one mock upstream that answers at once: a plain one, one with a handler
that has the same hooks as ours and does nothing in them (what LiteLLM itself takes for any such handler), and ours,
which asks a router of texts (the encoder is hashed-2) and logs every row. The plain ones are asked for a model by
name. They are asked in turns, some requests each, by 1, 16 and 64 clients at a time: whoever else is at work then costs
all of them. Prints processor time a request, throughput (the median over the rounds of its ratio to the plain proxy in
the same round, with quartiles), the median and the 99th percentile of the time that a client waits, memory, and the
time of the first request; writes results/bench/gateway.json. Only ratios and differences mean something on a machine
that others use.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil

from experiments import storage
from experiments.bench import encoding
from jaxroute.data import encoders
from jaxroute.learn import fitting
from jaxroute.types import Logs, NuisanceSpec

MODELS = ("small", "large")
AT_ONCE = {1: 30, 16: 96, 64: 192}
"""Clients, and the requests of a turn."""
KINDS = ("plain", "empty", "ours")
MASTER = "sk-bench-0f3c5a2e7b9d4c1a8e6f"
UPSTREAM = """
import json, sys
from aiohttp import web
async def answer(request):
    said = await request.json()
    message = {"role": "assistant", "content": said["model"]}
    return web.json_response({"id": "c", "object": "chat.completion", "created": 0, "model": said["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
app = web.Application()
app.router.add_post("/{path:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""
OURS = """
from pathlib import Path
from jaxroute.gateway.hooks import Handler
handler = Handler.from_file(Path(__file__).with_name("models.yaml"))
"""
EMPTY = """
from litellm.integrations.custom_logger import CustomLogger
class Handler(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type): return data
    async def async_pre_call_deployment_hook(self, kwargs, call_type): pass
    async def async_post_call_failure_deployment_hook(self, *_, **__): pass
    def log_success_event(self, *_): pass
    async def async_log_success_event(self, *_): pass
    async def async_post_call_success_hook(self, data, user_api_key_dict, response): pass
    async def async_post_call_streaming_iterator_hook(self, user_api_key_dict, response, request_data):
        async for chunk in response: yield chunk
    async def async_post_call_response_headers_hook(self, data, user_api_key_dict, response, **_): pass
    async def async_post_call_failure_hook(self, *_, **__): pass
handler = Handler()
"""


def router(folder: Path) -> None:
    """A router of texts for two models, fitted on made-up answers."""
    texts = encoding.prompts(400)
    features = np.asarray(encoders.encode(texts, "hashed-2"), np.float32)
    rng = np.random.default_rng(0)
    action = rng.integers(2, size=len(texts))
    quality, cost = rng.random(len(texts)), np.where(action == 0, 1e-5, 1e-4)
    propensity, available = np.full(len(texts), 0.5), np.ones((len(texts), 2), bool)
    log = Logs(*map(jax.numpy.asarray, (features, action, quality, cost, propensity, available)))
    spec = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(10.0,))
    fitting.fit(jax.random.key(0), log, MODELS, encoder="hashed-2", spec=spec, steps=50).save(folder / "router")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path, path: str) -> Iterator[psutil.Process]:
    """A server, once it answers on a path."""
    import urllib.error
    import urllib.request

    env = {**os.environ, "LITELLM_MASTER_KEY": MASTER, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with (folder / f"said-{port}").open("w") as out:
        process = psutil.Popen(command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.time() + 180
        while True:
            if process.poll() is not None or time.time() > deadline:
                raise RuntimeError((folder / f"said-{port}").read_text()[-2000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.25)
        yield process
    finally:
        process.kill()
        process.wait()


async def load(port: int, model: str, texts: Iterator[str], clients: int, count: int) -> list[float]:
    """Milliseconds of each of ``count`` requests of so many clients, each asking again as soon as it is answered."""
    import aiohttp

    times: list[float] = []
    url, key = f"http://127.0.0.1:{port}/v1/chat/completions", {"Authorization": f"Bearer {MASTER}"}
    left = iter(range(count))

    async def client(session: Any) -> None:
        for _ in left:
            begun = time.perf_counter()
            body = {"model": model, "messages": [{"role": "user", "content": next(texts)}]}
            async with session.post(url, json=body, headers=key) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            times.append(1e3 * (time.perf_counter() - begun))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return times


class Turn(NamedTuple):
    """Of some requests: processor ms of each, how many a second, and how many ms the client waited for each."""

    work: float
    rate: float
    waits: list[float]


def turn(process: psutil.Process, port: int, model: str, texts: Iterator[str], clients: int, count: int) -> Turn:
    """Ask a proxy ``count`` times; what it does after its last answer counts, too."""
    before, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    waits = asyncio.run(load(port, model, texts, clients, count))
    rate = count / (time.perf_counter() - begun)
    time.sleep(0.1)
    return Turn(1e3 * (sum(process.cpu_times()[:2]) - before) / count, rate, waits)


def summary(turns: dict[str, list[Turn]]) -> dict[str, dict[str, float | list[float]]]:
    """By kind of proxy: work, its ratio of throughput to the plain one (quartiles over rounds), p50 and p99."""
    found: dict[str, dict[str, float | list[float]]] = {}
    plain = np.array([one.rate for one in turns["plain"]])
    for which, several in turns.items():
        waits = np.concatenate([one.waits for one in several])
        rates = np.array([one.rate for one in several])
        found[which] = {
            "work_ms": float(np.mean([one.work for one in several])),
            "rate": float(np.median(rates)),
            "rate_ratio": np.percentile(rates / plain, [25, 50, 75]).tolist(),
            "p50_ms": float(np.percentile(waits, 50)),
            "p99_ms": float(np.percentile(waits, 99)),
        }
    return found


def compare(rounds: int) -> dict[str, Any]:
    """All figures: {clients: of ``summary``}, memory in MB, first requests in ms."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_:
        folder = Path(name)
        router(folder)
        ports = {which: free_port() for which in ("upstream", *KINDS)}
        listed = [{"model_name": model, "litellm_params": {
            "model": f"openai/{model}", "api_base": f"http://127.0.0.1:{ports['upstream']}/v1", "api_key": "none",
            "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}} for model in (*MODELS, "auto")]  # fmt: skip
        (folder / "models.yaml").write_text(
            "models: [small, large]\ndefault: small\nrouter: router\ncost_weight: 20\nlog: log.jsonl\n"
        )
        (folder / "empty.py").write_text(EMPTY)
        (folder / "ours.py").write_text(OURS)
        upstream = [sys.executable, "-c", UPSTREAM, str(ports["upstream"])]
        open_.enter_context(running(upstream, ports["upstream"], folder, "/"))
        proxies = {}
        for which in KINDS:
            callbacks = {} if which == "plain" else {"litellm_settings": {"callbacks": [f"{which}.handler"]}}
            (folder / f"{which}.yaml").write_text(json.dumps({"model_list": listed} | callbacks))
            command = [str(Path(sys.executable).parent / "litellm"), "--config", f"{which}.yaml", "--port"]
            command += [str(ports[which]), "--num_workers", "1"]
            server = running(command, ports[which], folder, "/health/readiness")
            proxies[which] = open_.enter_context(server)
        texts = iter(encoding.prompts(len(KINDS) * (100 + rounds * sum(AT_ONCE.values()))))
        asked = {which: "auto" if which == "ours" else "small" for which in KINDS}
        first = {which: asyncio.run(load(ports[which], model, texts, 1, 100)) for which, model in asked.items()}
        found["first_ms"] = {which: times[0] for which, times in first.items()}
        found["hundredth_ms"] = {which: float(np.median(times[-20:])) for which, times in first.items()}
        for clients, count in AT_ONCE.items():
            turns: dict[str, list[Turn]] = {which: [] for which in KINDS}
            for number in range(rounds):
                shift = number % len(KINDS)
                for which in KINDS[shift:] + KINDS[:shift]:
                    one = turn(proxies[which], ports[which], asked[which], texts, clients, count)
                    turns[which].append(one)
            found[str(clients)] = summary(turns)
        found["memory_mb"] = {which: proxies[which].memory_info().rss / 1e6 for which in proxies}
        found["rows"] = (folder / "log.jsonl").read_text().count("\n")
    assert found["rows"] == 100 + rounds * sum(AT_ONCE.values()), f"{found['rows']} rows"
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=12, help="of all proxies in turns")
    parser.add_argument("--out", default="results/bench")
    asked = parser.parse_args(arguments)
    found = compare(asked.rounds)
    for clients in AT_ONCE:
        plain = found[str(clients)]["plain"]
        for which in KINDS:
            one = found[str(clients)][which]
            low, middle, high = (100 * (ratio - 1) for ratio in one["rate_ratio"])
            more = one["work_ms"] - plain["work_ms"]
            print(
                f"{clients:2d} at once, {which:5s}: {one['work_ms']:.1f} ms of work ({more:+.2f}), {one['rate']:.0f} "
                f"requests/s ({middle:+.1f}%, {low:+.1f} to {high:+.1f}), p50 {one['p50_ms']:.1f} ms, "
                f"p99 {one['p99_ms']:.0f} ms"
            )
    for name in ("memory_mb", "first_ms", "hundredth_ms"):
        print(f"{name}: " + ", ".join(f"{which} {value:.0f}" for which, value in found[name].items()))
    Path(asked.out).mkdir(parents=True, exist_ok=True)
    storage.write_text(Path(asked.out) / "gateway.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
