"""Prompts drawn at random from a file of further prompts, each marked with the models that are to answer it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data import files
from jaxroute.types import InputError

ASK = "ask"
"""In every line that is drawn: the models that are to answer it."""


def draw(pool: Path, count: int, seed: int) -> list[tuple[int, dict[str, Any]]]:
    """All prompts of a JSONL file in random order, at least ``count``, each with its place in the file.

    Raises:
        InputError: fewer; or a line that is no JSON object, or has the key ``ASK`` already.
    """
    with files.opened(pool) as file:
        found = [(number, _prompt(pool, number, line)) for number, line in files.lines(file, pool)]
    if len(found) < count:
        raise InputError(f"{pool}: the file has {len(found)} prompts, fewer than --count {count}; lower --count")
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def _prompt(pool: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        item = files.parse(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{pool}, row {number}: is not JSON ({error}); give one object a line") from None
    if not isinstance(item, dict):
        raise InputError(f"{pool}, row {number}: is {type(item).__name__}, not an object; give one object a line")
    if ASK in item:
        raise InputError(f"{pool}, row {number}: has {ASK!r} already, which names the models to ask; rename that key")
    return item


def marked(offered: Sequence[tuple[int, dict[str, Any]]], prompts: dict[str, int]) -> list[bytes]:
    """The lines of the drawn prompts in the order of the pool, each with the models that are to answer it.

    Args:
        offered: in the order they were drawn. prompts: how many of them every model answers, the first ones.
    """
    drawn = enumerate(offered[: max(prompts.values())])
    lines = {
        place: item | {ASK: [model for model, asked in prompts.items() if rank < asked]}
        for rank, (place, item) in drawn
    }
    return [_line(lines[place]) for place in sorted(lines)]


def _line(item: dict[str, Any]) -> bytes:
    try:
        return json.dumps(item, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a pair of UTF-16, which is a text of JSON and none of UTF-8
        return json.dumps(item).encode() + b"\n"
