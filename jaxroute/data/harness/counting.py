"""What a table has of each model and what it has not, and the sentences that say so."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxroute.types import InputError

if TYPE_CHECKING:
    import pandas as pd

    from jaxroute.data.harness.answers import Run

SAID = {
    "unscored": "answers have no score and count as missing",
    "repeats_averaged": "further answers of a model to the same prompt were averaged",
    "prompts_without_a_score": "prompts have no score of any model and are left out",
    "prompts_worded_differently": "prompts are worded differently from run to run; the first wording counts",
    "near_duplicate_prompts": "prompts repeat another, case and punctuation apart",
}
SHOWN = 5
"""Names of files in a sentence at most."""


def of_model(
    asked: pd.DataFrame, outcomes: pd.DataFrame, model: str, prompts: int, names: Mapping[str, str]
) -> dict[str, Any]:
    """What there is of a model, and what there is not.

    Args:
        asked: a row an answer. outcomes: a row for each that counts, repeats averaged. model: its name. prompts: of the
            table. names: of the score that is the quality, by task.

    Raises:
        InputError: no answer of it has a score.
    """
    own, mine = outcomes[outcomes["model"] == model], asked[asked["model"] == model]
    broken = dict(Counter(kind for kind in mine["failed"] if kind).most_common())
    unscored = int((mine["quality"].isna() & (mine["failed"] == "")).sum())
    if own.empty:
        score = " or ".join(dict.fromkeys(names[task] for task in mine["task"]))
        why = kinds(broken | {"without it": unscored})
        raise InputError(f"model {model!r} has no answer with a score {score!r} ({why}); leave its run out")
    return {
        "model": model,
        "answers": len(own),
        "quality": float(own["quality"].mean()),
        "cost": float(own["cost"].mean()),
        "missing": prompts - len(own),
        "failed": broken,
        "unscored": unscored,
        "repeats_averaged": int(mine["quality"].notna().sum()) - len(own),
        "cost_unknown": int(own["cost"].isna().sum()),
    }


def alike(models: Sequence[str]) -> list[list[str]]:
    """Names that differ in case, spaces or the provider before a slash alone."""
    by: dict[str, list[str]] = defaultdict(list)
    for name in models:
        by["".join(name.casefold().split()).rpartition("/")[2]].append(name)
    return [names for names in by.values() if len(names) > 1]


def left_out(runs: Sequence[Run]) -> list[str]:
    """A sentence for every kind of records that are no answers, with their number by model."""
    by: dict[str, Counter[str]] = defaultdict(Counter)
    for run in runs:
        for record in run.left_out:
            by[record.kind][record.model or run.source] += 1
    return [f"{found.total()} {kind} are left out ({kinds(found)})" for kind, found in by.items()]


def said(counts: Mapping[str, Any]) -> list[str]:
    """What the counts of a table say of all models together: which score is the quality, and what is left out.

    Args:
        counts: of ``join``.

    Example:
        >>> counts = {"prompts": 2, "answers": 4, "scores": {"all": "acc"}, **dict.fromkeys(SAID, 0), "named_alike": [],
        ...           "left_out": []}
        >>> said(counts | {"unscored": 3, "files_left_out": {"a.csv": "another form of a.json"}})[1:]
        ['3 answers have no score and count as missing', '1 files are not read: a.csv (another form of a.json)']
    """
    used = ", ".join(f"{name} of {task}" if task != "all" else name for task, name in counts["scores"].items())
    found = [f"{counts['prompts']} prompts, {counts['answers']} answers; quality is {used}"]
    found += [f"{counts[key]} {what}" for key, what in SAID.items() if counts[key]]
    found += counts["left_out"]
    if others := counts["files_left_out"]:
        named = ", ".join(f"{name} ({why})" for name, why in itertools.islice(others.items(), SHOWN))
        more = f", and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        found.append(f"{len(others)} files are not read: {named}{more}")
    for names in counts["named_alike"]:
        *before, last = map(repr, names)
        found.append(
            f"{', '.join(before)} and {last} count as models of their own; if they are one, name one of them NAME=RUN"
        )
    return found


def failed(counts: Mapping[str, Any]) -> list[str]:
    """How many answers of each model failed, by kind; nothing of one without a failure.

    Example:
        >>> failed({"by_model": [{"model": "small", "failed": {"timeout": 2}}, {"model": "large", "failed": {}}]})
        ['small: 2 answers failed (2 timeout)']
    """
    return [
        f"{row['model']}: {sum(row['failed'].values())} answers failed ({kinds(row['failed'])})"
        for row in counts["by_model"]
        if row["failed"]
    ]


def kinds(found: Mapping[str, int]) -> str:
    """Counts by kind, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
