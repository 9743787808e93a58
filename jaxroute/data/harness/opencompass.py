"""Results of OpenCompass, ``results/MODEL/TASK.json`` of ``--dump-eval-details True``, with ``predictions`` beside.

What is known of a question is whether its answer is right, and that of some evaluators only. Prompts are there or in
the predictions, by number; what a model is asked in several turns is known by the last one. Neither tokens nor costs
are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxroute.data import messages
from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.types import InputError

NAME = "OpenCompass"
RESULTS, PREDICTIONS = "results", "predictions"
RIGHT = ("correct", "is_correct", "cascade_correct")
ROLES = {"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}


def sees(file: File) -> bool:
    """Whether a file holds the results of a task."""
    found = isinstance(file.document, dict) and file.suffix == ".json" and _root(file.path)
    return bool(found) and (isinstance(file.document.get("details"), list | dict) or bool(_predictions(file.path)))


def beside(file: File) -> bool:
    """Whether a file holds the predictions of a run with results."""
    above = [folder.name for folder in file.path.absolute().parents]
    at = above.index(PREDICTIONS) if PREDICTIONS in above else None
    return at is not None and (file.path.absolute().parents[at + 1] / RESULTS).is_dir()


def read(file: File) -> Iterator[Answer]:
    """The answers to the questions of a task, several where it was run several times.

    Raises:
        InputError: no details, or those of an evaluator that judges no single answer, or prompts that are nowhere.
    """
    details = file.document.get("details")
    listed = details.items() if isinstance(details, dict) else ((_number(one), one) for one in details or [])
    told = [(str(number), one) for number, one in listed if isinstance(one, dict)]
    score = next((name for name in RIGHT if any(name in one for _, one in told)), None)
    if score is None:
        raise InputError(
            f"{file.path}: does not say which answers are right: run it with --dump-eval-details True, and with an "
            "evaluator that judges each answer, or leave it out"
        )
    root, asked = _root(file.path), _asked(file.path)
    assert root is not None
    for number, one in told:
        at = f"{file.path}, question {number}"
        prompt = _text(one.get("prompt")) or _text(asked.get(number))
        if prompt is None:
            raise InputError(f"{at}: its prompt is neither there nor in {PREDICTIONS!r} beside {RESULTS!r}")
        right = one.get(score)
        for trial in right if isinstance(right, list) else [right]:
            yield Answer(
                at=at,
                model=file.path.absolute().parent.relative_to(root / RESULTS).as_posix(),
                prompt=prompt,
                task=file.path.stem,
                id=number,
                scores={"correct": trial},
            )


def _number(one: Any) -> str:
    return str(inner(one, "example_abbr")).rpartition("_")[2]


def _text(prompt: Any) -> str | None:
    """The text of a prompt: a text, turns, or a list of these, one a run."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], list | str):
        prompt = prompt[0]
    if isinstance(prompt, list):
        turns = [turn for turn in prompt if isinstance(turn, dict)]
        prompt = [{"role": ROLES.get(str(turn.get("role")), "user"), "content": turn.get("prompt")} for turn in turns]
    return messages.text_of(prompt)


def _root(path: Path) -> Path | None:
    """The folder of a run, in which are ``results`` and ``predictions``."""
    return next((folder.parent for folder in path.absolute().parents if folder.name == RESULTS), None)


def _predictions(path: Path) -> list[Path]:
    """The files of predictions of the same model and task, which may be in parts."""
    root = _root(path)
    if root is None:
        return []
    whole = root / PREDICTIONS / path.absolute().relative_to(root / RESULTS)
    parts = [part for part in whole.parent.glob("*.json") if part.stem.rpartition("_")[0] == whole.stem]
    parts = [part for part in parts if part.stem.rpartition("_")[2].isdecimal()]
    return [whole] if whole.is_file() else sorted(parts, key=lambda part: int(part.stem.rpartition("_")[2]))


def _asked(path: Path) -> dict[str, Any]:
    """Prompts by number of the question."""
    listed = [one for part in _predictions(path) for one in (File(part).document or {}).values()]
    return {str(number): inner(one, "origin_prompt") for number, one in enumerate(listed)}
