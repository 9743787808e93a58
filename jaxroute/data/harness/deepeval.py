"""Test runs of DeepEval: the .json that it writes to its results folder, or ``.latest_test_run.json``.

The model's name is in the hyperparameters, if anywhere. Whether less is better of a metric is not written, but shows
where tests pass below a threshold and fail above it. A metric that failed to judge has no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jaxroute.data.harness.answers import Answer, File, LeftOut, amount, inner

NAME = "DeepEval"


def sees(file: File) -> bool:
    """Whether a file is a test run."""
    return isinstance(_cases(file), list) and "metricsScores" in (inner(file.document, "testRunData") or file.document)


def read(file: File) -> Iterator[Answer | LeftOut]:
    """The test cases of a run; conversations are left out and counted, as they have no single prompt."""
    run = inner(file.document, "testRunData") or file.document
    cases = _cases(file) or []
    model = inner(run, "hyperparameters", "model")
    lower = frozenset(_lower([metric for case in cases for metric in case.get("metricsData") or []]))
    model = None if model is None else str(model)
    for _ in run.get("conversationalTestCases") or []:
        yield LeftOut(model, "conversations")
    for i, case in enumerate(cases):
        at = f"{file.path}, test case {i}"
        judged = case.get("metricsData") or []
        yield Answer(
            at=at,
            model=model,
            prompt=case.get("input"),
            id=str(case.get("name") or i),
            scores={str(metric.get("name")): metric.get("score") for metric in judged},
            lower=lower,
            cost=amount(case.get("tokenCost"), at, "tokenCost"),
            failed="no output" if case.get("actualOutput") is None else "",
        )


def _cases(file: File) -> Any:
    return inner(inner(file.document, "testRunData") or file.document, "testCases")


def _lower(judged: Sequence[dict[str, Any]]) -> set[str]:
    """Metrics that pass below their threshold or fail above it."""

    def is_below(metric: dict[str, Any]) -> bool:
        score, threshold = metric.get("score"), metric.get("threshold")
        if not isinstance(score, int | float) or not isinstance(threshold, int | float) or score == threshold:
            return False
        return bool(metric.get("success")) == (score < threshold)

    return {str(metric.get("name")) for metric in judged if is_below(metric)}
