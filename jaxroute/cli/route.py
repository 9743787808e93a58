"""``jaxroute route ROUTER``: prompts or features in, model names out, in a stream of constant memory."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import typer

from jaxroute.cli.evaluate import RouterPath
from jaxroute.serving.router import Decision, Router
from jaxroute.types import InputError

ROWS = 4096


def route(
    router: RouterPath,
    source: Annotated[
        str, typer.Option("--input", help=".jsonl or .parquet with prompt or features in each row; - is stdin (JSONL).")
    ] = "-",
    out: Annotated[Path | None, typer.Option(help="JSONL file, written whole or not at all. Default: stdout.")] = None,
    cost_weight: Annotated[float | None, typer.Option(help="Quality per unit of cost.")] = None,
    normalised_cost_weight: Annotated[
        float | None, typer.Option(help="At 1 the best and the cheapest model break even on average.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Cost units a prompt on average.")] = None,
    quality_target: Annotated[float | None, typer.Option(help="Mean quality to reach as cheaply as can be.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="A model not to use. Repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Of the mixture that meets a budget.")] = 0,
) -> None:
    """Choose a model for every prompt: one JSON object a line with model, scores and the reason.

    Examples:

      echo '{"prompt": "What is 2 + 2?"}' | jaxroute route router --normalised-cost-weight 0.5

      jaxroute route router --budget 0.002 --input prompts.parquet --out chosen.jsonl
    """
    loaded = Router.load(router)
    if without:
        loaded = loaded.without(*without)
    asked: dict[str, Any] = {
        "cost_weight": cost_weight,
        "normalised_cost_weight": normalised_cost_weight,
        "budget": budget,
        "quality_target": quality_target,
    }
    loaded.route(_nothing(loaded), **asked)  # a preference that cannot be met is refused before anything is read
    with _opened(out) as sink:
        for number, (start, rows) in enumerate(_blocks(source)):
            prompts = _prompts(rows, loaded, source, start)
            try:
                decision = loaded.route(prompts, seed=seed + number, **asked)
            except InputError as error:
                raise InputError(f"{source}, rows {start} to {start + len(rows) - 1}: {error}") from None
            sink.writelines(_lines(loaded, decision))


def _nothing(router: Router) -> Any:
    return np.zeros((0, router.kind.num_features), np.float32)


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w") as sink:
            yield sink
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def _blocks(source: str) -> Iterator[tuple[int, list[Any]]]:
    """(number of the first row, rows) of at most ROWS rows."""
    if source != "-" and (not Path(source).exists() or Path(source).is_dir()):
        raise InputError(f"{source}: no such file; check the path")
    if source.endswith(".parquet"):
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        start = 0
        try:
            for batch in pq.ParquetFile(source).iter_batches(ROWS):
                yield start, batch.to_pylist()
                start += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{source}: cannot be read as Parquet ({error})") from None
        return
    with contextlib.ExitStack() as stack:
        lines = sys.stdin if source == "-" else stack.enter_context(open(source, encoding="utf-8"))
        start = 0
        while block := list(islice(lines, ROWS)):
            yield start, [_parsed(line, source, start + i) for i, line in enumerate(block)]
            start += len(block)


def _parsed(line: str, source: str, row: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{source}, row {row}: not JSON ({error})") from None


def _prompts(rows: list[Any], router: Router, source: str, start: int) -> Any:
    field = "features" if router.encoder is None else "prompt"
    found: list[Any] = []
    for i, row in enumerate(rows):
        value = row.get(field) if isinstance(row, dict) else None
        if field == "prompt" and isinstance(row, str):
            value = row
        good = isinstance(value, str) if field == "prompt" else isinstance(value, list)
        if not good:
            raise InputError(f"{source}, row {start + i}, column {field!r}: missing or of the wrong kind")
        found.append(value)
    if field == "prompt":
        return found
    width = router.kind.num_features
    for i, vector in enumerate(found):
        if len(vector) != width or not all(isinstance(x, (int, float)) for x in vector):
            raise InputError(f"{source}, row {start + i}, column 'features': not {width} numbers")
    return np.asarray(found, np.float32).reshape(len(found), width)


def _lines(router: Router, decision: Decision) -> Iterator[str]:
    order = np.argsort(-decision.scores, 1)
    for i, model in enumerate(decision.models):
        k, score = int(decision.index[i]), decision.scores[i]
        predicts = np.isfinite(decision.quality[i, k])
        reason = f"score {score[k]:.3f}"
        if predicts:
            reason = f"predicted quality {decision.quality[i, k]:.3f} at cost {decision.cost[i, k]:.3g}"
        others = [j for j in order[i] if j != k and np.isfinite(score[j])]
        if others:
            lead = f"{score[k] - score[others[0]]:.3f}{' of utility' if predicts else ''}"
            reason += f", {lead} ahead of {router.models[others[0]]}"
        scores = {name: round(float(z), 6) for name, z in zip(router.models, score, strict=True) if np.isfinite(z)}
        yield json.dumps({"model": model, "scores": scores, "reason": reason}) + "\n"
