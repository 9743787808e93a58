"""``jaxroute demo-log``: an artificial log for trying the other commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jaxroute.cli import output
from jaxroute.data import saving
from jaxroute.types import InputError

TOPICS = {"arithmetic": 0.9, "translation": 0.3, "law": 0.7, "smalltalk": 0.1, "proofs": 1.0}
MODELS = {"small": (0.35, 0.0002), "medium": (0.6, 0.001), "large": (0.85, 0.01)}
EPSILON = 0.3


def demo_log(
    out: Annotated[Path, typer.Argument(help="File to write, .jsonl.")],
    rows: Annotated[int, typer.Option(help="Number of requests.", min=1)] = 3000,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same log.", min=0)] = 0,
) -> output.Result:
    """Write an artificial request log with three models, five topics, propensities and some missing ratings.

    Prompts on hard topics need the large model and easy ones do not. The logging policy mostly chooses the medium one.

    Example:

      jaxroute demo-log log.jsonl && jaxroute doctor log.jsonl
    """
    import numpy as np

    if out.suffix not in (".jsonl", ".ndjson"):
        raise InputError(f"{out}: the log is written as JSON lines; give a name that ends in .jsonl")
    rng = np.random.default_rng(seed)
    names = list(MODELS)
    with saving.text(out) as file:
        for i in range(rows):
            topic = str(rng.choice(list(TOPICS)))
            propensity = np.full(len(names), EPSILON / len(names))
            propensity[1] += 1 - EPSILON
            k = int(rng.choice(len(names), p=propensity))
            skill, price = MODELS[names[k]]
            right = rng.random() < 1 / (1 + np.exp(-8 * (skill - TOPICS[topic] + 0.25)))
            record = {
                "prompt": f"A question about {topic}, number {rng.integers(1000)}: please answer in a few words.",
                "model": names[k],
                "quality": None if rng.random() < 0.1 else int(right),
                "cost": round(price * float(rng.lognormal(0, 0.3)), 8),
                "propensity": round(float(propensity[k]), 6),
                "request_id": f"demo-{seed}-{i}",
            }
            file.write(json.dumps(record) + "\n")
    return output.Result({"log": str(out), "rows": rows}, [f"{rows} requests written to {out}"])
