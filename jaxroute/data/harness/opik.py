"""Experiments of Opik: what ``evaluate`` returns as JSON, or ``experiment_ID.json`` of ``opik export``.

    json.dumps(dataclasses.asdict(result), default=str)

The export names the model, where ``experiment_config`` does; else the inputs may. A metric that failed is written as 0
with a mark in the first form, and left out of the second. An item without an output is one whose task failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.data.harness.inputs import asked, model_of

NAME = "Opik"


def sees(file: File) -> bool:
    """Whether a file is an experiment, of either form."""
    result, item = inner(file.document, "test_results", 0), inner(file.document, "items", 0)
    return inner(result, "test_case") is not None or "evaluation_task_output" in (item or {})


def read(file: File) -> Iterator[Answer]:
    """The items of an experiment, a trial each."""
    whole = file.document
    model = model_of(inner(whole, "experiment", "metadata"), columns.FIELDS["model"])
    for i, found in enumerate(whole.get("test_results") or whole["items"]):
        at = f"{file.path}, item {i}"
        case = found.get("test_case") or found
        given = case["dataset_item_content" if "test_case" in found else "dataset_item_data"]
        output = case["task_output" if "test_case" in found else "evaluation_task_output"]
        yield Answer(
            at=at,
            model=model or model_of(given),
            **asked({name: value for name, value in given.items() if name != "id"}, at),
            id=str(case["dataset_item_id"]),
            scores=_scores(found),
            failed="no output" if output is None else "",
        )


def _scores(found: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by metric, none of one that failed, and whether assertions hold."""
    judged = found.get("score_results") or found.get("feedback_scores") or []
    scores = {str(one["name"]): None if one.get("scoring_failed") else one["value"] for one in judged}
    return scores | {str(one["value"]): one["passed"] for one in found.get("assertion_results") or []}
