"""Experiments of Phoenix (Arize), as its server exports them: ``/v1/experiments/ID/json`` and ``.../csv``.

No model is named, unless by the inputs. Runs that failed have an error, and are evaluated like others: their scores say
nothing of the model. An evaluator that gave a label and no score is known by its label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxroute.data import records
from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, Tokens, amount, inner, kind
from jaxroute.data.harness.inputs import asked, model_of

NAME = "Phoenix"
TOLD = {"example_id", "repetition_number", "reference_output", "input"}
COUNTS = ("prompt_token_count", "completion_token_count")
COLUMN = re.compile(r"annotation_(?P<name>.+)_(?P<part>score|label)")


def sees(file: File) -> bool:
    """Whether a file is an experiment."""
    return file.suffix in (".json", ".csv") and set(columns.names(file)) >= TOLD


def read(file: File) -> Iterator[Answer]:
    """The runs of an experiment, one for every example and repetition."""
    for at, run in file.table():
        inputs = records.parsed(run.get("input"))
        yield Answer(
            at=at,
            model=model_of(inputs),
            **asked(inputs, at),
            id=str(run.get("example_id") or ""),
            scores=_scores(run),
            tokens=Tokens(*(amount(run.get(name), at, name) for name in COUNTS)),
            failed=kind(run.get("error")),
        )


def _scores(run: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by evaluator, the label of one that gave no score; None where it failed."""
    parts: dict[str, dict[str, Any]] = {}
    for note in run.get("annotations") or []:
        parts[str(inner(note, "name"))] = note
    for name, cell in run.items():
        if found := COLUMN.fullmatch(name):
            parts.setdefault(found["name"], {})[found["part"]] = cell
    return {name: note.get("label") if note.get("score") is None else note["score"] for name, note in parts.items()}
