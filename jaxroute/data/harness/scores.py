"""Which of an answer's scores is the quality, and what it says as a number in [0, 1]."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.data import values
from jaxroute.data.harness import counting
from jaxroute.data.harness.answers import Answer
from jaxroute.system.wording import here, named
from jaxroute.types import InputError

# What labels count; as Inspect AI has it for its own: correct, incorrect, partly, no answer.
MEANING = {"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0} | {
    label: float(good) for good, labels in enumerate(("no false fail", "yes true pass")) for label in labels.split()
}
MISSING = ("", "na", "n/a", "nan", "<na>", "none", "null")
"""Words that tables have in a cell without a score."""


def chosen(answers: Sequence[Answer], wanted: Sequence[str]) -> dict[str, str]:
    """The score that is the quality, by task.

    Args:
        answers: of all runs.
        wanted: names, or parts of names (a metric or a filter of ``metric,filter``) where none is a name, as many as
            needed for every task to have one. Where none is wanted: the tool's main score, else the only one.

    Returns:
        task -> name. A task that has only one score has that, as long as each wanted name is another task's.

    Raises:
        InputError: no score, none of that name, or several to choose from; the message has the names.

    Example:
        >>> answer = Answer(at="a.json", model="m", prompt="p", scores={"acc,none": 1, "acc,strict": 0})
        >>> chosen([answer], ["strict"])
        {'all': 'acc,strict'}
    """
    names: dict[str, dict[str, None]] = {}
    for answer in answers:
        names.setdefault(answer.task, {}).update(dict.fromkeys(answer.scores))
    main = {(answer.task, answer.main) for answer in answers if answer.main}
    everything = ", ".join(dict.fromkeys(name for some in names.values() for name in some))
    for name in wanted:
        if not any(_is(name, score) for some in names.values() for score in some):
            raise InputError(
                f"{here('wanted', '--score')} {name}: no such score; the scores are: {everything or 'none'}"
            )
    found = {}
    for task, some in names.items():
        where = "the runs" if len(names) == 1 else f"task {task!r}"
        if not some:
            own = [answer for answer in answers if answer.task == task]
            failed = Counter(answer.failed for answer in own if answer.failed)
            if failed.total() == len(own):
                why = counting.kinds(dict(failed.most_common(3)))
                raise InputError(f"{own[0].at}: all {len(own)} answers failed ({why}); run the evaluation again")
            how = here("data.harness.judged", "--scores FILE")
            raise InputError(f"{own[0].at}: no answer has a score; give them with {how} (see docs/tables.md)")
        fits = [score for score in some if score in wanted]
        fits = fits or [score for score in some if any(_is(name, score) for name in wanted)]
        if not wanted:
            fits = [score for score in some if (task, score) in main]
        fits = fits or list(some)
        if len(fits) > 1:
            how = here("wanted=[NAME]", "--score NAME")
            raise InputError(f"{where}: several scores; choose with {how}: {', '.join(fits)}")
        found[task] = fits[0]
    return found


def _is(name: str, score: str) -> bool:
    return name == score or name in re.split(r"[,.]", score)


def quality(value: Any, labels: Mapping[str, float]) -> float:
    """What a score says as a number, NaN where it is missing.

    Args:
        value: as written: a number, a truth value, or a label.
        labels: what labels count, before ``MEANING``; the case of letters does not count, nor how a number is written.

    Raises:
        ValueError: a label that is in neither.

    Example:
        >>> quality("C", {}), quality("I", {"i": 0.25}), quality(True, {"true": 0.0}), quality("0.5", {})
        (1.0, 0.25, 0.0, 0.5)
    """
    if value is None:
        return math.nan
    word = _word(value)
    if word in (given := {_word(label): worth for label, worth in labels.items()}):
        return given[word]
    if isinstance(value, str) and word in MEANING:
        return MEANING[word]
    return math.nan if word in MISSING else values.number(value)


def _word(value: Any) -> str:
    """A label as it is compared: ``True`` is ``true``, and ``1.0`` is ``1``."""
    word = str(value).strip().casefold()
    try:
        return f"{float(word)!r}"
    except ValueError:
        return word


def labelled(value: Any, labels: Mapping[str, float]) -> bool:
    """Whether a score is a word or a truth value, which no scale of numbers is for.

    Example:
        >>> labelled("pass", {}), labelled(True, {}), labelled(1, {})
        (True, True, False)
    """
    word = _word(value)
    given = any(word == _word(label) for label in labels)
    return given or isinstance(value, bool | np.bool_) or (isinstance(value, str) and word in MEANING)


def mapping(text: str | None) -> dict[str, float]:
    """Labels and what they count, from ``LABEL=NUMBER,...``.

    Raises:
        InputError: another form, or a number outside [0, 1].

    Example:
        >>> mapping("C=1,P=0.25")
        {'C': 1.0, 'P': 0.25}
    """
    found = {}
    for pair in (text or "").split(",") if text else []:
        label, equals, number = pair.rpartition("=")
        try:
            found[label.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not 0 <= found[label.strip()] <= 1:
            how = "write LABEL=NUMBER,..., numbers in [0, 1], as in C=1,P=0.5,I=0"
            raise InputError(f"{named('quality')} {text!r}: {how}")
    return found
