"""Results of promptfoo: ``-o out.json``, ``out.jsonl`` and ``out.csv``.

The .csv has less than the others: no tokens, no costs, scores of two decimals, and the prompt's template instead of
the prompt; simple placeholders are filled in here. promptfoo writes a cost of 0 where a provider reports none, so
only what the provider itself reported counts, and nothing that came from promptfoo's cache.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxroute.data import messages
from jaxroute.data.harness.answers import Answer, File, Tokens, amount, inner, kind
from jaxroute.types import InputError

NAME = "promptfoo"
ERROR = 2  # failureReason: 0 none, 1 an assertion, 2 no answer
COLUMNS = ("Status", "Score", "Named Scores")
COLUMN = re.compile(r"\[(?P<model>[^\]]*)\] (?P<template>.*)", re.DOTALL)
PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def sees(file: File) -> bool:
    """Whether a file is promptfoo's."""
    if isinstance(inner(file.document, "results", "results"), list):
        return True
    return {"promptIdx", "testIdx", "gradingResult"} <= file.first.keys() or set(COLUMNS) <= set(file.header)


def read(file: File) -> Iterator[Answer]:
    """The answers of every provider.

    Raises:
        InputError: a record of another shape, or a .csv that does not say the prompts; names file and row.
    """
    if file.suffix == ".csv":
        yield from _columns(file)
        return
    whole = inner(file.document, "results", "results")
    listed = None if whole is None else ((f"{file.path}, result {i}", result) for i, result in enumerate(whole))
    for at, result in listed or file.lines():
        provider, answer = inner(result, "provider") or {}, inner(result, "response") or {}
        used = inner(answer, "tokenUsage") or {}
        fresh = not answer.get("cached")
        score = result.get("score")
        yield Answer(
            at=at,
            model=provider.get("label") or provider.get("id"),
            prompt=messages.text_of(inner(result, "prompt", "raw")),
            id=str(inner(result, "vars", "id") or ""),
            scores={"score": score, "pass": result.get("success"), **(result.get("namedScores") or {})},
            main="score",
            cost=amount(answer.get("cost") if fresh else None, at, "cost"),
            tokens=Tokens(*(amount(used.get(name) if fresh else None, at, name) for name in ("prompt", "completion"))),
            failed=(kind(result.get("error")) or "error") if _broken(result) else "",
        )


def _broken(result: Mapping[str, Any]) -> bool:
    """Whether a result is no answer; early releases do not write why it failed, but no output either."""
    if "failureReason" in result:
        return bool(result["failureReason"] == ERROR)
    return bool(inner(result, "response", "error")) or inner(result, "response", "output") is None


def _columns(file: File) -> Iterator[Answer]:
    """Variables, then for each provider and prompt a column of outputs and those that say something of them."""
    header, *rows = file.rows()
    starts = [j for j, name in enumerate(header[:-1]) if COLUMN.fullmatch(name) and header[j + 1] == COLUMNS[0]]
    if not starts:
        raise InputError(f"{file.path}: no column '[provider] prompt' before 'Status'; export .json instead")
    variables = header[: starts[0]]
    for row, cells in enumerate(rows):
        given = dict(zip(variables, cells, strict=False))
        for start, end in zip(starts, [*starts[1:], len(header)], strict=True):
            named = COLUMN.fullmatch(header[start])
            assert named is not None
            at = f"{file.path}, row {row}, column {header[start]!r:.60}"
            said = dict(zip(header[start + 1 : end], cells[start + 1 : end], strict=True))
            if len(rows) > 1 and not PLACE.search(named["template"]):
                raise InputError(
                    f"{at}: holds a label instead of the prompt; export .json or .jsonl, which hold the prompt"
                )
            try:
                others = json.loads(said["Named Scores"] or "{}")
            except ValueError as error:
                raise InputError(f"{at}: 'Named Scores' is not JSON ({error}); export it again") from error
            yield Answer(
                at=at,
                model=named["model"] or None,
                prompt=messages.text_of(_filled(named["template"], given, at)),
                id=given.get("id", ""),
                scores={"score": said["Score"] or math.nan, "pass": said["Status"] == "PASS", **others},
                main="score",
                failed=(kind(cells[start]) or "error") if said["Status"] == "ERROR" else "",
            )


def _filled(template: str, given: Mapping[str, str], at: str) -> str:
    """A template with its variables in place; anything that is more than a name is refused."""
    lost = [name for name in PLACE.findall(template) if name not in given]
    if lost or re.search(r"\{[{%#]", PLACE.sub("", template)):
        raise InputError(f"{at}: the prompt is more than a text with variables; export .json or .jsonl instead")
    return PLACE.sub(lambda place: given[place[1]], template)
