"""How long a decision takes: one prompt, a million, every cost weight at once; and the gateway's gate.

    make bench-serving        (about a minute; SMOKE=1 for seconds)

A router of 11 models over 384 features, distilled to an MLP [256, 128], asked on features (encoding a text comes on
top: `make bench-encoders`). Beside it what peers serve with: scikit-learn's MLP of the same size, and kNN over the
log, both predicting quality of all models. Prints a table and writes results/bench/serving.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from experiments import storage
from jaxroute import fitting
from jaxroute.gateway import Gate, Settings
from jaxroute.router import Router
from jaxroute.types import Logs, NuisanceSpec

Times = tuple[float, float | None]
MODELS, FEATURES, LOG_ROWS, GRID = 11, 384, 20_000, 32


def log_of(rows: int, seed: int = 0) -> Logs:
    """A uniform log of made-up prompts: what is served does not depend on what was learnt."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    action = rng.integers(0, MODELS, rows)
    quality = (rng.random(rows) < 0.5 + 0.3 * np.tanh(features[:, 0])).astype(np.float32)
    cost = rng.lognormal(-6, 1, rows).astype(np.float32)
    uniform, every = np.full(rows, 1 / MODELS, np.float32), np.ones((rows, MODELS), bool)
    return Logs(*(jnp.asarray(x) for x in (features, action, quality, cost, uniform, every)))


def timed(call: Callable[[], object], times: int) -> Times:
    """(median, 99th percentile) of ``times`` calls after a warm one, microseconds."""
    call()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        took.append(1e6 * (time.perf_counter() - begun))
    return float(np.median(took)), float(np.quantile(took, 0.99))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.serving", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few prompts, seconds")
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    options = parser.parse_args(arguments)
    rows, many, calls = (1000, 20_000, 50) if options.smoke else (LOG_ROWS, 1_000_000, 2000)

    log = log_of(rows)
    names = tuple(f"model-{k}" for k in range(MODELS))
    spec = NuisanceSpec(("mean",), folds=3)
    router = fitting.fit(jax.random.key(0), log, names, spec=spec, hidden=(256, 128), steps=50)
    measured = _ours(router, log, names, many, calls) | _peers(log, calls)
    table = Grid(title="time of a decision, microseconds unless said")
    for column in ("what", "median", "99%"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, (median, tail) in measured.items():
        table.add_row(what, f"{median:,.0f}", "-" if tail is None else f"{tail:,.0f}")
    Console().print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    record = {**measured, "rows": rows, "many": many, "environment": storage.environment()}
    storage.write_text(options.out / "serving.json", json.dumps(record, indent=1))
    print(f"written: {options.out / 'serving.json'}")
    return 0


def _ours(router: Router, log: Logs, names: tuple[str, ...], many: int, calls: int) -> dict[str, Times]:
    one = np.asarray(log.features[:1])
    prompts = np.random.default_rng(1).standard_normal((many, FEATURES), dtype=np.float32)
    weights = np.geomspace(0.1, 1000, GRID)

    def every_weight() -> np.ndarray:
        quality, cost = router.predict(one)
        return np.argmax(quality[None] - weights[:, None, None] * cost[None], -1)

    def batch() -> object:
        return router.route(prompts, cost_weight=20.0).index

    with tempfile.TemporaryDirectory() as folder:
        router.save(Path(folder) / "router")
        gate = Gate(Settings(names, names[0], str(Path(folder) / "router"), cost_weight=20.0, seed=0))
    batch()
    begun = time.perf_counter()
    batch()
    seconds = time.perf_counter() - begun
    return {
        "one prompt": timed(lambda: router.route(one, cost_weight=20.0), calls),
        f"one prompt, {GRID} cost weights": timed(every_weight, calls),
        "one prompt through the gateway's gate": timed(lambda: gate.choose(one[0]), calls),
        f"{many:,} prompts at once, per prompt, nanoseconds": (1e9 * seconds / many, None),
    }


def _peers(log: Logs, calls: int) -> dict[str, Times]:
    """scikit-learn's predict for one prompt: an MLP, and kNN over the log, of the quality of every model."""
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor

    features = np.asarray(log.features)
    targets = np.zeros((len(features), MODELS), np.float32)
    targets[np.arange(len(features)), np.asarray(log.action)] = np.asarray(log.quality)
    mlp = MLPRegressor(hidden_layer_sizes=(256, 128), max_iter=1, random_state=0)
    neighbours = KNeighborsRegressor(n_neighbors=40, algorithm="brute")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one pass is not convergence, and need not be
        mlp.fit(features, targets)
    neighbours.fit(features, targets)
    one = features[:1]
    return {
        "scikit-learn MLP, one prompt": timed(lambda: mlp.predict(one), calls),
        "scikit-learn kNN over the log, one prompt": timed(lambda: neighbours.predict(one), calls // 4),
    }


if __name__ == "__main__":
    sys.exit(main())
