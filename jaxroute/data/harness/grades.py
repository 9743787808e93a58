"""Scores from a file of their own, as of answers of a batch that a judge graded later."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, Run
from jaxroute.types import InputError


def judged(runs: Sequence[Run], path: str | os.PathLike[str]) -> list[Run]:
    """Runs with scores from a file of their own, as for answers of a batch that a judge graded later.

    Args:
        runs: see ``read``.
        path: a .csv, .parquet or .jsonl file of what the tool calls the prompts (custom_id, query_id, sample_id or
            id), optional model, and columns of scores.

    Returns:
        The runs; scores of the file come beside those that an answer has.

    Raises:
        InputError: no ids, no score, a row that fits no answer or those of several models or prompts, or an answer
            that two rows fit; names file and row.
    """
    file = File(Path(path).expanduser())
    if not file.path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    known: dict[tuple[str, str | None], tuple[str, Mapping[str, Any]]] = {}
    for at, row in columns.scores(file):
        if (row.id, row.model) in known:
            raise InputError(f"{at}: a second row for {row.id!r}; keep one per prompt and model")
        known[row.id, row.model] = at, row.scores
    used: dict[tuple[str, str | None], list[Answer]] = defaultdict(list)

    def with_scores(answer: Answer) -> Answer:
        place = next((key for key in ((answer.id, answer.model), (answer.id, None)) if key in known), None)
        if place is None:
            return answer
        used[place].append(answer)
        return replace(answer, scores={**answer.scores, **known[place][1]})

    found = [run._replace(answers=[with_scores(answer) for answer in run.answers]) for run in runs]
    for (name, model), (at, _) in known.items():
        if (name, model) not in used:
            models = ", ".join(sorted({str(answer.model) for run in runs for answer in run.answers}))
            whose = "" if model is None else f" of model {model!r}"
            raise InputError(f"{at}: no answer{whose} to {name!r} in the runs (models: {models}); correct the row")
        if len(several := sorted({str(answer.model) for answer in used[name, model]})) > 1:
            raise InputError(
                f"{at}: {name!r} is the id of answers of several models ({', '.join(several)}); add a column model, so "
                "that each answer has its own score"
            )
        if len(asked := {(answer.task, answer.key or answer.prompt): answer.at for answer in used[name, model]}) > 1:
            raise InputError(
                f"{at}: {name!r} is the id of several prompts ({', '.join(asked.values())}); make the ids differ, in "
                "the results and in the scores"
            )
    return found
