"""Evaluations of MLflow: ``mlflow.genai.evaluate(...).result_df`` as CSV or JSON, or the run's traces.

    mlflow.search_traces(run_id=result.run_id, return_type="list"), each ``trace.to_json()`` a line

A row's trace has the calls of models, so it says which model answered, what that used, and which feedback the scorers
gave. What was expected is a column like a score (``answer/value``) in the table, and no feedback in the trace. Rows
whose function failed are scored like others: their scores say nothing of the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import COUNTS, UNKNOWN, Answer, File, Tokens, amount, inner
from jaxroute.data.harness.inputs import asked
from jaxroute.data.logs import layouts, mlflow
from jaxroute.data.logs.entries import FAILED, Asked, Entry, first
from jaxroute.data.records import parsed
from jaxroute.types import InputError

NAME = "MLflow"
NO_ANSWER = "unknown"
"""What MLflow's judges say where they cannot tell."""


def sees(file: File) -> bool:
    """Whether a file holds traces, or rows with a trace each."""
    there = set(columns.names(file)) if file.suffix in columns.SUFFIXES else set()
    return {"trace", "trace_id"} <= there or {"info", "data"} <= there


def read(file: File) -> Iterator[Answer]:
    """The rows of an evaluation.

    Raises:
        InputError: a row without the spans of its trace; names file and row.
    """
    rows = [(at, _trace(row), _calls(_trace(row), at)) for at, row in file.table()]
    calls = [call.fields for _, _, several in rows for call in several]
    answered = {name: {_model(call) for call in calls if call.get("asked") == name} - {None} for name in
                {call.get("asked") for call in calls}}  # fmt: skip
    for at, trace, several in rows:
        models = {_model(call.fields) for call in several} - {None}
        if not models:  # it failed: the model that answers under that name elsewhere, or to the other rows
            models = {name for call in several for name in answered[call.fields["asked"]] or {call.fields["asked"]}}
            models = models or set().union(*answered.values())
        paid = [call for call in several if not call.left]
        yield Answer(
            at=at,
            model=str(models.pop()) if len(models) == 1 else None,
            **asked(_inputs(trace), at),
            id=str(inner(trace, "info", "trace_id") or ""),
            scores=dict(_scores(trace)),
            cost=math.fsum(amount(call.fields.get("cost"), at, "cost") for call in paid) if paid else math.nan,
            tokens=_tokens(paid, at),
            failed="ERROR" if str(inner(trace, "info", "state")).endswith("ERROR") else "",
        )


def _trace(row: Mapping[str, Any]) -> dict[str, Any]:
    trace = parsed(row.get("trace")) if "trace" in row else row
    return trace if isinstance(trace, dict) else {}


def _calls(trace: dict[str, Any], at: str) -> list[Entry]:
    """The calls of models, without those around another one (a framework's around its provider's)."""
    if not _spans(trace):
        raise InputError(f"{at}: no trace with spans; write result_df, or the traces, as docs/tables.md has it")
    found = list(mlflow.entries({"info": {}, "data": trace["data"]}, Asked({})))
    parents = {entry.key: entry.parent for entry in found}
    calls = [entry for entry in found if entry.left in ("", FAILED) and "asked" in entry.fields]
    around = set()
    for call in calls:
        place = call.parent
        while place in parents and place not in around:
            around.add(place)
            place = parents[place]
    return [call for call in calls if call.key not in around]


def _spans(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [span for span in layouts.listed(inner(trace, "data", "spans")) if isinstance(span, dict)]


def _model(call: Mapping[str, Any]) -> Any:
    return call.get("answered") or (None if call.get("failed") else call.get("asked"))


def _inputs(trace: dict[str, Any]) -> Any:
    """What the function was given, from the span that is inside none."""
    found = _spans(trace)
    root = next((span for span in found if not first(span, layouts.PARENT)), found[0])
    written = layouts.attributes_of(root.get("attributes")).get("mlflow.spanInputs")
    return json.loads(written) if isinstance(written, str) else written


def _scores(trace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of every feedback, the latest of a name last; None where the scorer failed or could not tell."""
    notes = [note for note in layouts.listed(inner(trace, "info", "assessments")) if isinstance(note, dict)]
    for note in sorted(notes, key=lambda note: str(note.get("last_update_time"))):
        value = inner(note, "feedback", "value")
        if "feedback" in note and note.get("valid", True) and not isinstance(value, Mapping | list):
            yield str(note.get("assessment_name")), None if value == NO_ANSWER else value


def _tokens(calls: Sequence[Entry], at: str) -> Tokens:
    """What the calls used together; unknown where they are of several models, whose prices differ."""
    if not calls or len({_model(call.fields) for call in calls}) > 1:
        return UNKNOWN
    used = [Tokens(*(amount(call.fields.get(name), at, name) for name in COUNTS.values())) for call in calls]
    return Tokens(*(_together(several) for several in zip(*used, strict=True)))


def _together(counts: Sequence[float]) -> float:
    """A sum of counts; what a call does not say apart (cached, reasoning) is none where another one does."""
    known = [count for count in counts if not math.isnan(count)]
    return math.fsum(known) if known else math.nan
