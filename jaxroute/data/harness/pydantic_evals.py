"""Reports of Pydantic Evals: ``EvaluationReportAdapter.dump_json(report)``.

The model is in the report's metadata as ``model``, or in the inputs, if anywhere. Scores, assertions and labels are all
scores here; one whose evaluator failed is missing in its case, and cases whose task failed stand apart from the others.
Costs and tokens are sums over the spans of a case's task, where these were recorded; they are too high where a
framework and its client both record one call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, Tokens, amount, inner, kind
from jaxroute.data.harness.inputs import asked, model_of

NAME = "Pydantic Evals"
KINDS = ("scores", "assertions", "labels")
COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens",
          "reasoning_tokens")  # fmt: skip


def sees(file: File) -> bool:
    """Whether a file is a report."""
    whole = file.document
    if not isinstance(whole, dict) or not isinstance(whole.get("cases"), list) or "failures" not in whole:
        return False
    return all("inputs" in case for case in [*whole["cases"], *whole["failures"]][:1])


def read(file: File) -> Iterator[Answer]:
    """The cases of a report, a run each where they were repeated, and those that failed."""
    whole = file.document
    model = model_of(whole.get("experiment_metadata"), columns.FIELDS["model"])
    for part in ("cases", "failures"):
        for i, case in enumerate(whole[part]):
            at = f"{file.path}, {part}, number {i}"
            used = case.get("metrics") or {}
            yield Answer(
                at=at,
                model=model or model_of(case["inputs"]),
                **asked(case["inputs"], at),
                task=str(whole.get("dataset_name") or "all"),
                id=str(case.get("source_case_name") or case["name"]),
                scores=_scores(case),
                cost=amount(used.get("cost"), at, "cost"),
                tokens=Tokens(*(amount(used.get(name), at, name) for name in COUNTS)),
                failed=kind(case.get("error_message")),
            )


def _scores(case: dict[str, Any]) -> dict[str, Any]:
    return {name: inner(one, "value") for part in KINDS for name, one in (case.get(part) or {}).items()}
