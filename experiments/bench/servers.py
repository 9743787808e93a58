"""Servers of the benches: a router of texts, processes that answer on a port, and what one turn of requests took."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import psutil

from experiments.bench import encoding
from jaxroute.data import encoders
from jaxroute.learn import fitting
from jaxroute.types import Logs, NuisanceSpec

MODELS = ("small", "large")
MASTER = "sk-bench-0f3c5a2e7b9d4c1a8e6f"


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


class Turn(NamedTuple):
    """Of some requests: processor ms of each, how many a second, and how many ms the client waited for each."""

    work: float
    rate: float
    waits: list[float]
