"""What a gateway costs: LiteLLM's proxy with our handler beside the plain one, in the same run.

    make bench-gateway        (about two minutes; in the environment of `make test-gateway`)

Two proxies with one worker each stand before one mock upstream that answers at once. They are asked in turns, by 1, 16
and 64 clients at a time; whoever else is at work then costs both. Ours asks a router of texts (the encoder is hashed-2)
and logs every row; the plain one is asked for a model by name. Prints processor time a request, throughput, the median
and the 99th percentile of the time that a client waits, memory, and the time of the first request; writes
results/bench/gateway.json. Only the ratios and differences mean something on a machine that others use.
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
from typing import Any

import jax
import numpy as np
import psutil

from experiments import storage
from experiments.bench import encoding
from jaxroute.data import encoders
from jaxroute.learn import fitting
from jaxroute.types import Logs, NuisanceSpec

MODELS = ("small", "large")
AT_ONCE = (1, 16, 64)
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
CALLBACKS = "from pathlib import Path\nfrom jaxroute.gateway.hooks import Handler\nhandler = Handler.from_file("


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


async def load(port: int, model: str, texts: Iterator[str], clients: int, seconds: float) -> np.ndarray:
    """Milliseconds of every request of so many clients, each asking again as soon as it is answered."""
    import aiohttp

    times: list[float] = []
    url, key = f"http://127.0.0.1:{port}/v1/chat/completions", {"Authorization": f"Bearer {MASTER}"}
    until = time.perf_counter() + seconds

    async def client(session: Any) -> None:
        while (begun := time.perf_counter()) < until or not times:
            body = {"model": model, "messages": [{"role": "user", "content": next(texts)}]}
            async with session.post(url, json=body, headers=key) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            times.append(1e3 * (time.perf_counter() - begun))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return np.array(times)


def measured(process: psutil.Process, port: int, model: str, texts: Iterator[str], clients: int, seconds: float) -> Any:
    """[processor ms a request, requests a second, median ms, 99th percentile ms]."""
    before, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    times = asyncio.run(load(port, model, texts, clients, seconds))
    work = 1e3 * (sum(process.cpu_times()[:2]) - before) / len(times)
    return np.array([work, len(times) / (time.perf_counter() - begun), *np.percentile(times, [50, 99])])


def compare(seconds: float, rounds: int) -> dict[str, Any]:
    """All figures: {clients: {"plain" and "ours": means of the rounds}}, memory in MB, first requests in ms."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_:
        folder = Path(name)
        router(folder)
        ports = {which: free_port() for which in ("upstream", "plain", "ours")}
        listed = [{"model_name": model, "litellm_params": {
            "model": f"openai/{model}", "api_base": f"http://127.0.0.1:{ports['upstream']}/v1", "api_key": "none",
            "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}} for model in (*MODELS, "auto")]  # fmt: skip
        (folder / "models.yaml").write_text(
            "models: [small, large]\ndefault: small\nrouter: router\ncost_weight: 20\nlog: log.jsonl\n"
        )
        (folder / "callbacks.py").write_text(f"{CALLBACKS}Path(__file__).with_name('models.yaml'))\n")
        (folder / "plain.yaml").write_text(json.dumps({"model_list": listed}))
        ours = {"model_list": listed, "litellm_settings": {"callbacks": ["callbacks.handler"]}}
        (folder / "ours.yaml").write_text(json.dumps(ours))
        upstream = [sys.executable, "-c", UPSTREAM, str(ports["upstream"])]
        open_.enter_context(running(upstream, ports["upstream"], folder, "/"))
        proxies = {}
        for which in ("plain", "ours"):
            command = [str(Path(sys.executable).parent / "litellm"), "--config", f"{which}.yaml", "--port"]
            command += [str(ports[which]), "--num_workers", "1"]
            server = running(command, ports[which], folder, "/health/readiness")
            proxies[which] = open_.enter_context(server)
        texts = iter(encoding.prompts(200_000 if seconds > 1 else 20_000))
        asked = {"plain": "small", "ours": "auto"}
        first = {}
        for which, model in asked.items():
            first[which] = [float(asyncio.run(load(ports[which], model, texts, 1, 0.0))[0]) for _ in range(100)]
        found["first_ms"] = {which: times[0] for which, times in first.items()}
        found["hundredth_ms"] = {which: float(np.median(times[-20:])) for which, times in first.items()}
        for clients in AT_ONCE:
            parts: dict[str, list[Any]] = {"plain": [], "ours": []}
            for turn in range(rounds):
                for which in sorted(parts, reverse=bool(turn % 2)):
                    one = measured(proxies[which], ports[which], asked[which], texts, clients, seconds)
                    parts[which].append(one)
            found[str(clients)] = {which: np.mean(several, 0).tolist() for which, several in parts.items()}
        found["memory_mb"] = {which: proxies[which].memory_info().rss / 1e6 for which in proxies}
        found["rows"] = (folder / "log.jsonl").read_text().count("\n")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=4, help="of both proxies in turns")
    parser.add_argument("--out", default="results/bench")
    asked = parser.parse_args(arguments)
    found = compare(asked.seconds, asked.rounds)
    for clients in AT_ONCE:
        plain, ours = (np.array(found[str(clients)][which]) for which in ("plain", "ours"))
        print(
            f"{clients:3d} at once: plain {plain[0]:.1f} ms of work, {plain[1]:.0f} requests/s, p50 {plain[2]:.0f} ms, "
            f"p99 {plain[3]:.0f} ms; ours +{ours[0] - plain[0]:.1f} ms of work, {ours[1] / plain[1] - 1:+.0%} "
            f"requests/s, p50 {ours[2] - plain[2]:+.0f} ms, p99 {ours[3] - plain[3]:+.0f} ms"
        )
    memory, first = found["memory_mb"], found["first_ms"]
    print(f"memory: plain {memory['plain']:.0f} MB, ours {memory['ours'] - memory['plain']:+.0f} MB")
    print(f"first request: plain {first['plain']:.0f} ms, ours {first['ours']:.0f} ms; later: {found['hundredth_ms']}")
    Path(asked.out).mkdir(parents=True, exist_ok=True)
    storage.write_text(Path(asked.out) / "gateway.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
