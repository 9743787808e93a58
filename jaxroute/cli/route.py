"""``jaxroute route ROUTER``: reads prompts or features and writes model names, in a stream of constant memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from jaxroute.cli import output, progress
from jaxroute.cli.options import RouterEncoder, RouterPath
from jaxroute.data import messages, prompts, saving
from jaxroute.data.logs import describing
from jaxroute.serving import portable
from jaxroute.serving.asking import Asked
from jaxroute.serving.decisions import Decision
from jaxroute.types import InputError

ROWS = 4096


def route(
    router: RouterPath,
    source: Annotated[
        str,
        typer.Option(
            "--input",
            help="File of prompts, chats or features, in any format that jaxroute fit reads; - reads JSON lines from "
            "stdin.",
        ),
    ] = "-",
    out: Annotated[
        Path | None, typer.Option(help="JSONL file to write, completely or not at all. Default: stdout.")
    ] = None,
    cost_weight: Annotated[float | None, typer.Option(help="Quality per unit of cost.")] = None,
    normalised_cost_weight: Annotated[
        float | None,
        typer.Option(help="Cost weight in a unit in which the best and the cheapest model break even at 1."),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Mean cost per prompt, in the log's unit.")] = None,
    quality_target: Annotated[float | None, typer.Option(help="Mean quality to reach at the lowest cost.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="A model not to use. Repeatable.")] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            help="Seconds: leave out models whose 95th percentile of latency, as logged, is above or unknown."
        ),
    ] = None,
    encoder: RouterEncoder = None,
    seed: Annotated[int, typer.Option(help="Random seed of the mixture that meets a budget.", min=0)] = 0,
    as_json: bool = False,
) -> output.Result:
    """Choose a model for every prompt; writes one JSON object per line with model, scores and reason.

    Give exactly one of --cost-weight, --normalised-cost-weight, --budget and --quality-target.

    Examples:

      echo '{"prompt": "What is 2 + 2?"}' | jaxroute route router --normalised-cost-weight 0.5

      jaxroute route router --budget 0.002 --input prompts.parquet --out chosen.jsonl
    """
    if out is not None:
        saving.check_file(out)
    loaded = portable.load(router, encoder)
    if without:
        loaded = loaded.without(*without)
    if max_latency is not None:
        loaded = loaded.within(max_latency)
    asked: dict[str, Any] = {
        "cost_weight": cost_weight,
        "normalised_cost_weight": normalised_cost_weight,
        "budget": budget,
        "quality_target": quality_target,
    }
    loaded.weights(**asked)  # raises for a preference that cannot be met, before anything is read
    if loaded.encoder is not None:
        loaded.text_encoder()
    chat = loaded.summary.get("chat", messages.CHAT)
    width = None if loaded.encoder is not None else loaded.text_features
    names = [str(column["name"]) for column in loaded.context]
    if names and source == prompts.STDIN:
        raise InputError(f"the router was fitted with context columns ({', '.join(names)}): give a file with --input")
    numbers = [str(column["name"]) for column in loaded.context if column["kind"] == "number"]
    beside = prompts.context(source, names, numbers=numbers, rows=ROWS) if names else itertools.repeat(None)
    done, counts, decisions = 0, Counter[str](), list[dict[str, Any]]()
    with contextlib.nullcontext(sys.stdout) if out is None else saving.text(out) as sink:
        column = _called("prompt" if width is None else "features", source)
        blocks = prompts.read(source, chat=chat, width=width, column=column, rows=ROWS)
        for number, (block, context) in enumerate(zip(blocks, beside, strict=False)):
            try:
                decision = loaded.route(block, seed=seed + number, context=context, **asked)
            except InputError as error:
                raise InputError(f"{source}, prompts {done} to {done + len(block) - 1}: {error}") from None
            done += len(block)
            counts.update(decision.models)
            if as_json and out is None:
                decisions += _records(loaded, decision)
            else:
                sink.writelines(json.dumps(record) + "\n" for record in _records(loaded, decision))
    traffic = {name: counts[name] for name in loaded.models}
    never = {name: counts[name] for name in loaded.never_logged if counts[name]}
    record = {"router": str(router), "prompts": done, "traffic": traffic, "never_logged": never}
    record["out"] = None if out is None else str(out)
    if out is None:
        return output.Result(record | {"decisions": decisions}, printed=True)
    said = [f"{done} prompts routed, decisions in {out}: " + ", ".join(f"{m} {n}" for m, n in traffic.items() if n)]
    said += [
        f"{m} ({n} prompts) was never seen in the log: a prior says what it is expected to be" for m, n in never.items()
    ]
    return output.Result(record, said)


def _called(field: str, source: str) -> str | None:
    """What ``jaxroute.toml`` beside the file, or in the working directory, calls a field; a note tells which it is."""
    path = None if source == prompts.STDIN else describing.find(source)
    name = None if path is None else describing.read(path).columns.get(field)
    if name is not None:
        progress.note(f"note: {field} is the column {name} where there is one, as {path} says")
    return name


def _records(router: Asked, decision: Decision) -> Iterator[dict[str, Any]]:
    order = np.argsort(-decision.scores, 1)
    for i, model in enumerate(decision.models):
        k, score = int(decision.index[i]), decision.scores[i]
        predicts = np.isfinite(decision.quality[i, k])
        reason = f"score {score[k]:.3f}"
        if predicts:
            # A network's prediction may be beyond what a quality and a cost can be, which nobody wants to read.
            quality, cost = np.clip(decision.quality[i, k], 0, 1), np.maximum(decision.cost[i, k], 0)
            priced = f"cost {cost:.3g}" if np.isfinite(cost) else "an unknown cost"
            reason = f"predicted quality {quality:.3f} at {priced}"
        reason += " (a model never seen in the log)" if model in router.never_logged else ""
        others = [j for j in order[i] if j != k and np.isfinite(score[j])]
        if others:
            lead, unit = score[k] - score[others[0]], router.per_utility
            ahead = f"{lead:.3f}" if unit is None else f"{lead / unit:.3f} of utility"
            reason += f", {ahead} ahead of {router.models[others[0]]}"
        scores = {name: round(float(z), 6) for name, z in zip(router.models, score, strict=True) if np.isfinite(z)}
        yield {"model": model, "scores": scores, "reason": reason}
