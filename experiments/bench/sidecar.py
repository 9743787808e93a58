"""What the sidecar answers in a second, beside the same server with a handler that does nothing.

    make bench-sidecar        (half a minute; in the environment of `make test-gateway`)

Two servers of one process each: the gate over HTTP (`jaxroute.gateway.service`, a router of texts by hashed-2, rows
logged), and the floor, a Starlette application in the same uvicorn that reads the body as JSON and answers with a
constant of the same size. A client of its own process asks both in turns over 8 connections that stay open: one text a
request, then a hundred. Prints decisions a second, the median and 99th percentile of the wait, processor time a
decision, and ratios to the floor (medians over the rounds, with quartiles); writes results/bench/sidecar.json. The
client and the server share the machine's cores with whatever else is running, so the ratios are what to read.
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

from experiments import storage
from experiments.bench import encoding
from experiments.bench.servers import Turn, free_port, router, running
from jaxroute.system import parsing

CONNECTIONS = 8
BATCHES = {1: 1200, 100: 60}
"""Texts of a request, and the requests of a turn."""
HEAD = "POST /v1/route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
SETTINGS = "models: [small, large]\ndefault: small\nrouter: router\ncost_weight: 20\nlog: log.jsonl\n"
FLOOR = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
ONE = {"request_id": "b8f1b1de-7a4c-4f5e-9d3b-0f3c5a2e7b9d", "model": "small", "propensity": 0.975, "by": "router",
       "candidates": ["small", "large"], "logged": True, "version": "0123456789ab"}
async def route(http):
    body = await http.json()
    return JSONResponse({"decisions": [ONE] * len(body["requests"])} if "requests" in body else ONE)
async def health(http): return JSONResponse({"alive": True})
app = Starlette(routes=[Route("/v1/route", route, methods=["POST"]), Route("/health", health)])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


async def load(port: int, bodies: Iterator[bytes], count: int) -> list[float]:
    """Milliseconds of each of ``count`` requests, over connections that each ask again once they are answered."""
    waits: list[float] = []
    left = iter(range(count))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            body = next(bodies)
            begun = time.perf_counter()
            writer.write(HEAD.format(len(body)).encode() + body)
            said = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in said[:20], said
            size = next(line for line in said.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.partition(b":")[2]))
            waits.append(1e3 * (time.perf_counter() - begun))
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return waits


def bodies(texts: Iterator[str], size: int) -> Iterator[bytes]:
    """Requests of so many texts each."""
    while True:
        given = [{"prompt": next(texts)} for _ in range(size)]
        yield json.dumps(given[0] if size == 1 else {"requests": given}).encode()


def compare(rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """{texts of a request: {"floor" and "ours": figures}}; rates and work are per decision."""
    found = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_:
        folder = Path(name)
        router(folder)
        (folder / "models.yaml").write_text(SETTINGS)
        ports = {which: free_port() for which in ("floor", "ours")}
        commands = {
            "floor": ["-c", FLOOR, str(ports["floor"])],
            "ours": ["-m", "jaxroute.gateway.service", "models.yaml", "--port", str(ports["ours"])],
        }
        servers = {
            which: open_.enter_context(running([sys.executable, *command], ports[which], folder, "/health"))
            for which, command in commands.items()
        }
        total = 2 * (rounds + 1) * sum(size * (count + CONNECTIONS) for size, count in BATCHES.items())
        texts = iter(encoding.prompts(total))
        for size, count in BATCHES.items():
            turns: dict[str, list[Turn]] = {which: [] for which in ports}
            for number in range(rounds + 1):
                for which in sorted(ports, reverse=bool(number % 2)):
                    before, begun = sum(servers[which].cpu_times()[:2]), time.perf_counter()
                    waits = asyncio.run(load(ports[which], bodies(texts, size), count))
                    seconds = time.perf_counter() - begun
                    work = 1e3 * (sum(servers[which].cpu_times()[:2]) - before) / (count * size)
                    turns[which].append(Turn(work, count * size / seconds, waits))
            found[str(size)] = figures({which: several[1:] for which, several in turns.items()})
    return found


def figures(turns: dict[str, list[Turn]]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds by server, and the quartiles of the ratio of its rate to the floor's."""
    floor = np.array([one.rate for one in turns["floor"]])
    return {
        which: {
            "rate": float(np.median([one.rate for one in several])),
            "rate_ratio": np.percentile(np.array([one.rate for one in several]) / floor, [25, 50, 75]).tolist(),
            "work_ms": float(np.mean([one.work for one in several])),
            "p50_ms": float(np.median([np.percentile(one.waits, 50) for one in several])),
            "p99_ms": float(np.median([np.percentile(one.waits, 99) for one in several])),
        }
        for which, several in turns.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 0."""
    parser = parsing.Parser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="of both servers in turns")
    parser.add_argument("--out", default="results/bench")
    asked = parser.parse_args(arguments)
    found = compare(asked.rounds)
    for size, both in found.items():
        for which, one in both.items():
            low, middle, high = one["rate_ratio"]
            print(
                f"{size:>3s} a request, {which:5s}: {one['rate']:.0f} decisions/s ({middle:.3f} of the floor's, "
                f"{low:.3f} to {high:.3f}), {one['work_ms']:.2f} ms of work, p50 {one['p50_ms']:.1f} ms, "
                f"p99 {one['p99_ms']:.1f} ms"
            )
    Path(asked.out).mkdir(parents=True, exist_ok=True)
    storage.write_text(Path(asked.out) / "sidecar.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
