"""How long a decision takes: one prompt, a million prompts, all cost weights at once, and a request of a gateway.

    make bench-serving        (two minutes; SMOKE=1 for seconds)

A router of 11 models over 384 features, distilled to an MLP [256, 128], is asked with features (encoding a text takes
additional time, see `make bench-encoders`). It is compared with scikit-learn's MLP of the same size and with kNN over
the log, both predicting the quality of all models. If LiteLLM is installed (`make test-gateway` makes such an
environment, and `make bench-serving` then uses it), its pre-call hook and its Router are asked with texts, with a
router of hashed features and mocked answers. Prints a table and writes results/bench/serving.json.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from experiments import storage
from experiments.bench import encoding
from jaxroute.data import encoders
from jaxroute.gateway import Gate, Settings
from jaxroute.learn import fitting
from jaxroute.serving.router import Router
from jaxroute.system import parsing, stopping
from jaxroute.types import Logs, NuisanceSpec

Times = tuple[float, float | None]
MODELS, FEATURES, LOG_ROWS, GRID = 11, 384, 20_000, 32
ROUNDS = 4
AT_ONCE = 65_536  # prompts that a peer predicts at once: more would need its activations of a million in memory
NAMES = tuple(f"model-{k}" for k in range(MODELS))


def prompts_of(rows: int, seed: int) -> np.ndarray:
    """Made-up features [rows, FEATURES]."""
    return np.random.default_rng(seed).standard_normal((rows, FEATURES), np.float32)


def log_of(features: np.ndarray) -> Logs:
    """A uniform log of made-up answers: what is served does not depend on what was learnt."""
    rng, rows = np.random.default_rng(0), len(features)
    action = rng.integers(0, MODELS, rows)
    quality = (rng.random(rows) < 0.5 + 0.3 * np.tanh(features[:, 0])).astype(np.float32)
    cost = rng.lognormal(-6, 1, rows).astype(np.float32)
    uniform, every = np.full(rows, 1 / MODELS, np.float32), np.ones((rows, MODELS), bool)
    return Logs(*(jnp.asarray(x) for x in (features, action, quality, cost, uniform, every)))


def fitted(log: Logs, encoder: str | None = None) -> Router:
    """A router as people serve it, hardly trained: its size is what takes the time."""
    spec = NuisanceSpec(("mean",), folds=3)
    return fitting.fit(jax.random.key(0), log, NAMES, encoder=encoder, spec=spec, hidden=(256, 128), steps=50)


def timed(call: Callable[[], object], times: int) -> Times:
    """(median, 99th percentile) of ``times`` calls after a warm one, microseconds."""
    call()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        took.append(1e6 * (time.perf_counter() - begun))
    return float(np.median(took)), float(np.quantile(took, 0.99))


def each(call: Callable[[], object], prompts: int) -> Times:
    """Nanoseconds for each of ``prompts`` prompts of one call, after a warm one."""
    call()
    begun = time.perf_counter()
    call()
    return 1e9 * (time.perf_counter() - begun) / prompts, None


def main(arguments: list[str] | None = None) -> int:
    parser = parsing.Parser(prog="python -m experiments.bench.serving", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="use few prompts, in seconds")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    rows, many, calls = (1000, 20_000, 50) if options.smoke else (LOG_ROWS, 1_000_000, 2000)

    log, prompts = log_of(prompts_of(rows, 0)), prompts_of(many, 1)
    measured = ours(fitted(log), prompts, calls) | peers(log, prompts, calls)
    hook = importlib.util.find_spec("litellm") is not None
    if hook:
        measured |= gateway(min(rows, 2000), calls // 5)
    table = Grid(title="time of a decision, microseconds unless said")
    for column in ("what", "median", "99%"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, (median, tail) in measured.items():
        table.add_row(what, f"{median:,.0f}", "-" if tail is None else f"{tail:,.0f}")
    Console().print(table)
    if not hook:
        print("not measured: what LiteLLM's requests pay (it is not installed here; `make test-gateway` installs it)")
    options.out.mkdir(parents=True, exist_ok=True)
    record = {**measured, "rows": rows, "many": many, "environment": storage.environment()}
    storage.write_text(options.out / "serving.json", json.dumps(record, indent=1))
    print(f"written: {options.out / 'serving.json'}")
    return 0


def ours(router: Router, prompts: np.ndarray, calls: int) -> dict[str, Times]:
    """One prompt, all prompts, and both at every cost weight of a grid; and the gateway's gate."""
    one, many = prompts[:1], len(prompts)
    weights = np.geomspace(0.1, 1000, GRID)

    with tempfile.TemporaryDirectory() as folder:
        router.save(Path(folder) / "router")
        gate = Gate(Settings(NAMES, NAMES[0], str(Path(folder) / "router"), cost_weight=20.0, seed=0))
    at_once = f"{many:,} prompts at once, per prompt, nanoseconds"
    return {
        "one prompt": timed(lambda: router.route(one, cost_weight=20.0), calls),
        f"one prompt, {GRID} cost weights": timed(lambda: router.choices(one, weights), calls),
        "one prompt through the gateway's gate": timed(lambda: gate.choose(one[0]), calls),
        at_once: each(lambda: router.route(prompts, cost_weight=20.0).index, many),
        f"{GRID} cost weights, {at_once}": each(lambda: router.choices(prompts, weights), many),
    }


def peers(log: Logs, prompts: np.ndarray, calls: int) -> dict[str, Times]:
    """scikit-learn's predict of the quality of every model: an MLP, and kNN over the log.

    kNN is asked about as many prompts as the log has rows: what a prompt takes does not depend on their number.
    """
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
    one, some = prompts[:1], prompts[: len(features)]

    def in_blocks(predict: Callable[[np.ndarray], np.ndarray], asked: np.ndarray) -> list[np.ndarray]:
        return [predict(asked[start : start + AT_ONCE]) for start in range(0, len(asked), AT_ONCE)]

    def at_once(asked: np.ndarray) -> str:
        return f"{len(asked):,} prompts at once, per prompt, nanoseconds"

    return {
        "scikit-learn MLP, one prompt": timed(lambda: mlp.predict(one), calls),
        f"scikit-learn MLP, {at_once(prompts)}": each(lambda: in_blocks(mlp.predict, prompts), len(prompts)),
        "scikit-learn kNN over the log, one prompt": timed(lambda: neighbours.predict(one), calls // 4),
        f"scikit-learn kNN over the log, {at_once(some)}": each(lambda: in_blocks(neighbours.predict, some), len(some)),
    }


def gateway(rows: int, calls: int) -> dict[str, Times]:
    """LiteLLM's real pre-call hook, and its real Router with and without us; every request is a text of its own.

    Answers are mocked, so what is left of a request is LiteLLM's own work; ours is to encode, decide and log.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no call to the internet for prices
    import litellm

    from jaxroute.gateway.hooks import Handler, install

    litellm.suppress_debug_info = True  # it would print of every made-up model that it has no price
    texts = encoding.prompts(rows + 4 * (calls + ROUNDS))
    asked = iter(texts[rows:])
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        known = np.asarray(encoders.encode(texts[:rows], "hashed", cache=False), np.float32)
        fitted(log_of(known), "hashed").save(Path(folder) / "router")
        log = Path(folder) / "log.jsonl"
        gate = Gate(Settings(NAMES, NAMES[0], str(Path(folder) / "router"), cost_weight=20.0, log=str(log), seed=0))
        hook = Handler(gate).async_pre_call_hook

        def before() -> object:
            return loop.run_until_complete(hook(None, None, {"model": "auto", "messages": message()}, "completion"))

        def message() -> list[dict[str, str]]:
            return [{"role": "user", "content": next(asked)}]

        def requests(router: Any, model: str) -> tuple[float, float, float]:
            """Median and 99th percentile on the clock, and mean processor time, microseconds."""

            def request() -> object:
                return loop.run_until_complete(router.acompletion(model=model, messages=message()))

            begun = time.process_time()
            median, tail = timed(request, calls // ROUNDS)
            return median, tail or 0.0, 1e6 * (time.process_time() - begun) / (calls // ROUNDS + 1)

        mocked = {"api_key": "none", "mock_response": "yes", "input_cost_per_token": 1e-6}
        listed = [{"model_name": n, "litellm_params": {"model": f"openai/{n}", **mocked}} for n in (*NAMES, "auto")]
        without, with_us = litellm.Router(model_list=listed), litellm.Router(model_list=listed)
        rounds = []
        try:
            handler = install(with_us, gate)
            for _ in range(ROUNDS):  # in turns: whoever else is at work then costs both
                litellm.logging_callback_manager._reset_all_callbacks()
                plain = requests(without, NAMES[0])
                litellm.callbacks.append(handler)
                rounds.append((plain, requests(with_us, "auto")))
                loop.run_until_complete(asyncio.sleep(0.5))  # LiteLLM logs in the background
            hooked = timed(before, calls)
            encoded = timed(lambda: encoders.encode([next(asked)], "hashed"), calls)
            logged = len(log.read_text().splitlines())
            assert logged == ROUNDS * (calls // ROUNDS + 1), f"{logged} rows of the log"
        finally:
            litellm.logging_callback_manager._reset_all_callbacks()
            loop.close()
    each_way = np.array(rounds)
    added, added_work = np.median(each_way[:, 1] - each_way[:, 0], 0)[[0, 2]].tolist()
    named, routed = np.median(each_way, 0)[:, :2].tolist()
    return {
        "LiteLLM's pre-call hook, one text": hooked,
        "of that, encoding the text": encoded,
        "LiteLLM's Router, mocked answer, model named": (named[0], named[1]),
        "LiteLLM's Router, mocked answer, routed and logged": (routed[0], routed[1]),
        "LiteLLM's Router, added by us": (added, None),
        "LiteLLM's Router, added by us, processor time": (added_work, None),
    }


if __name__ == "__main__":
    stopping.leave(main())
