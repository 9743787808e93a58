"""What a gateway costs: LiteLLM's proxy with our handler beside the plain one, in the same run.

    make bench-gateway        (at most seven minutes; in the environment of `make test-gateway`)

Three proxies with one worker each stand before one mock upstream that answers at once: a plain one, one with a handler
that has the same hooks as ours and does nothing in them (what LiteLLM itself takes for any such handler), and ours,
which asks a router of texts (the encoder is hashed-2) and logs every row. The plain ones are asked for a model by
name. They are asked in turns, some requests each, by 1, 16 and 64 clients at a time, in an order that changes with the
round: whoever else is at work then costs all of them. Rounds end when the time is up. Prints processor time a
request and throughput, each as the median over the rounds of its difference from, or ratio to, the plain proxy in the
same round, with quartiles; the median and the 99th percentile of the time that a client waits; memory; and the time of
the first request. Writes results/bench/gateway.json. Only ratios and differences mean something on a machine that
others use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from experiments import storage
from experiments.bench import encoding
from experiments.bench.servers import MASTER, MODELS, Turn, free_port, router, running
from jaxroute.system import parsing

AT_ONCE = {1: 40, 16: 96, 64: 192}
"""Clients, and the requests of a turn."""
KINDS = ("plain", "empty", "ours")
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


def turn(process: psutil.Process, port: int, model: str, texts: Iterator[str], clients: int, count: int) -> Turn:
    """Ask a proxy ``count`` times; what it does after its last answer counts, too."""
    before, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    waits = asyncio.run(load(port, model, texts, clients, count))
    rate = count / (time.perf_counter() - begun)
    time.sleep(0.1)
    return Turn(1e3 * (sum(process.cpu_times()[:2]) - before) / count, rate, waits)


QUARTILES = (25, 50, 75)


def summary(turns: dict[str, list[Turn]]) -> dict[str, dict[str, float | list[float]]]:
    """By kind of proxy: work, its difference from the plain one and the ratio of throughput (quartiles), p50, p99."""
    found: dict[str, dict[str, float | list[float]]] = {}
    work, rate = (np.array([getattr(one, of) for one in turns["plain"]]) for of in ("work", "rate"))
    for which, several in turns.items():
        waits = np.concatenate([one.waits for one in several])
        works, rates = (np.array([getattr(one, of) for one in several]) for of in ("work", "rate"))
        found[which] = {
            "work_ms": float(np.median(works)),
            "more_ms": np.percentile(works - work, QUARTILES).tolist(),
            "rate": float(np.median(rates)),
            "rate_ratio": np.percentile(rates / rate, QUARTILES).tolist(),
            "p50_ms": float(np.percentile(waits, 50)),
            "p99_ms": float(np.percentile(waits, 99)),
        }
    return found


def compare(rounds: int, minutes: float) -> dict[str, Any]:
    """All figures: {clients: of ``summary``}, memory in MB, first requests in ms, and the rounds that were made."""
    found: dict[str, Any] = {}
    end = time.monotonic() + 60 * minutes
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
        turns: dict[int, dict[str, list[Turn]]] = {n: {which: [] for which in KINDS} for n in AT_ONCE}
        made, longest = 0, 0.0
        while made < rounds and (made < 3 or time.monotonic() + longest < end):
            begun, shift = time.monotonic(), made % len(KINDS)
            for clients, count in AT_ONCE.items():
                for which in KINDS[shift:] + KINDS[:shift]:
                    one = turn(proxies[which], ports[which], asked[which], texts, clients, count)
                    turns[clients][which].append(one)
            made, longest = made + 1, max(longest, time.monotonic() - begun)
        found |= {str(clients): summary(several) for clients, several in turns.items()}
        found["rounds"] = made
        found["memory_mb"] = {which: proxies[which].memory_info().rss / 1e6 for which in proxies}
        found["rows"] = (folder / "log.jsonl").read_text().count("\n")
    assert found["rows"] == 100 + made * sum(AT_ONCE.values()), f"{found['rows']} rows"
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 0."""
    parser = parsing.Parser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=24, help="of all proxies in turns, at most")
    parser.add_argument("--minutes", type=float, default=7.0, help="no round begins that would end later")
    parser.add_argument("--out", default="results/bench")
    asked = parser.parse_args(arguments)
    found = compare(asked.rounds, asked.minutes)
    print(f"{found['rounds']} rounds; medians over them, and quartiles")
    for clients in AT_ONCE:
        for which in KINDS:
            one = found[str(clients)][which]
            low, middle, high = (100 * (ratio - 1) for ratio in one["rate_ratio"])
            less, more, most = one["more_ms"]
            print(
                f"{clients:2d} at once, {which:5s}: {one['work_ms']:.1f} ms of work ({more:+.2f}, {less:+.2f} to "
                f"{most:+.2f}), {one['rate']:.0f} requests/s ({middle:+.1f}%, {low:+.1f} to {high:+.1f}), "
                f"p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.0f} ms"
            )
    for name in ("memory_mb", "first_ms", "hundredth_ms"):
        print(f"{name}: " + ", ".join(f"{which} {value:.0f}" for which, value in found[name].items()))
    Path(asked.out).mkdir(parents=True, exist_ok=True)
    storage.write_text(Path(asked.out) / "gateway.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
