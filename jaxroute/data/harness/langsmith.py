"""Experiments of LangSmith: ``evaluate(...).to_pandas()`` as CSV, JSON lines or Parquet.

No model is named, unless by the inputs, and no usage. Runs that failed have an error, and are evaluated like others:
their scores say nothing of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, kind
from jaxroute.data.harness.inputs import asked, model_of

NAME = "LangSmith"
INPUTS, FEEDBACK = "inputs.", "feedback."


def sees(file: File) -> bool:
    """Whether a file is an experiment."""
    if file.suffix not in columns.SUFFIXES:
        return False
    there = columns.names(file)
    return "execution_time" in there and "example_id" in there and any(name.startswith(INPUTS) for name in there)


def read(file: File) -> Iterator[Answer]:
    """The runs of an experiment, one a row."""
    for at, run in file.table():
        inputs = _under(INPUTS, run)
        yield Answer(
            at=at,
            model=model_of(inputs),
            **asked(inputs, at, cells=file.suffix == ".csv"),
            id=str(run["example_id"]),
            scores=_under(FEEDBACK, run),
            failed=kind(run.get("error")),
        )


def _under(start: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run has in the columns that start so, by the rest of their names."""
    return {name.removeprefix(start): cell for name, cell in run.items() if name.startswith(start)}
