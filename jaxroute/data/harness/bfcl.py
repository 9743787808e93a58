"""Scores of BFCL (bfcl-eval): ``score/MODEL/.../BFCL_v4_TASK_score.json``, with ``result`` beside ``score``.

A score file lists the wrong answers alone: what is in the result file and not there is right. Prompts are in
BFCL's own files (``bfcl_eval/data/BFCL_v4_TASK.json``), of which a copy has to be in one of the folders around; of
several turns, the prompt is the first. A call that failed is written as an answer, and is right to BFCL where no call
of a function was wanted: here it is a failure. The model is its folder's name, with ``_`` for ``/``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxroute.data import messages
from jaxroute.data.harness.answers import Answer, File, Tokens, amount, inner
from jaxroute.types import InputError

NAME = "BFCL"
FILE = re.compile(r"(?P<start>BFCL_v\d+_)(?P<task>\w+?)(?P<end>_score|_result)?\.json")
GROUPS = {"non_live", "live", "multi_turn", "agentic", "memory", "kv", "vector", "rec_sum", "web_search",
          "format_sensitivity"}  # fmt: skip
"""Folders between a model's and its files."""
ERROR = "Error during inference"
COUNTS = ("input_token_count", "output_token_count")


def sees(file: File) -> bool:
    """Whether a file is the scores of a task."""
    return _kind(file) == "_score"


def beside(file: File) -> bool:
    """Whether a file is the results or the prompts of a task, which are read with its scores."""
    return _kind(file) in ("_result", "")


def read(file: File) -> Iterator[Answer]:
    """The answers to a task.

    Raises:
        InputError: results or prompts that are not beside the scores, or other ones; names file and id.
    """
    named = FILE.fullmatch(file.path.name)
    assert named is not None
    path = file.path.absolute()
    results, prompts = (f"{named['start']}{named['task']}{end}.json" for end in ("_result", ""))
    header, *wrong = _records(file)
    answers = _records(File(_results(path, results)))
    invalid = {str(one.get("id")) for one in wrong}
    if header.get("total_count") != len(answers) or not invalid <= {str(one.get("id")) for one in answers}:
        raise InputError(f"{path}: scores of {header.get('total_count')} answers, not of the {len(answers)} in "
                         f"{results}; run bfcl evaluate again")  # fmt: skip
    asked = _prompts(path, prompts)
    model = next(folder.name for folder in path.parents if folder.name not in GROUPS)
    for answer in answers:
        name = str(answer.get("id"))
        at = f"{file.path}, {name!r}"
        if name not in asked:
            raise InputError(f"{at}: its prompt is not in {prompts}; leave this file out")
        said = answer.get("result")
        yield Answer(
            at=at,
            model=model,
            prompt=messages.text_of(inner(asked[name], "question", 0)),
            key=name,
            task=named["task"],
            id=name,
            scores={"valid": name not in invalid},
            tokens=Tokens(*(_sum(answer.get(count), at, count) for count in COUNTS)),
            failed=ERROR if isinstance(said, str) and said.startswith(ERROR) else "",
        )


def _kind(file: File) -> str | None:
    named = FILE.fullmatch(file.path.name)
    return named and (named["end"] or "")


def _records(file: File) -> list[dict[str, Any]]:
    """The lines of a file, of which there may be one."""
    return file.document if isinstance(file.document, list) else [file.document]


def _results(path: Path, name: str) -> Path:
    """The results that a file scores: in its folder, or in ``result/`` where it is in ``score/``."""
    around = [path.with_name(name)]
    for folder in path.parents:
        around.append(folder.parent / "result" / path.relative_to(folder).with_name(name))
    found = next((place for place in around if place.is_file()), None)
    if found is None:
        raise InputError(f"{path}: its results, {name}, are neither beside it nor in 'result' beside 'score'; put them "
                         "there")  # fmt: skip
    return found


def _prompts(path: Path, name: str) -> dict[str, dict[str, Any]]:
    """Prompts by id."""
    found = next((place for folder in path.parents if (place := folder / name).is_file()), None)
    if found is None:
        raise InputError(f"{path}: no {name} in the folders around it, which has the prompts; copy it from "
                         "bfcl_eval/data")  # fmt: skip
    return {str(one.get("id")): one for one in _records(File(found))}


def _sum(count: Any, at: str, what: str) -> float:
    """A count, or the sum of those of several turns and steps."""
    if isinstance(count, list):
        return math.fsum(_sum(one, at, what) for one in count)
    return amount(count, at, what)
