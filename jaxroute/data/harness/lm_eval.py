"""Samples of lm-evaluation-harness: ``samples_<task>_<date>.jsonl`` beside ``results_<date>.json``.

A document has a line a filter, each with every metric: a score is called ``metric`` or, where there are several
filters, ``metric,filter`` as in the results. Documents are the same where ``doc_hash`` is. Neither tokens nor costs
are written. The model's name is in the results file only, and only where the model's arguments have one of
``NAMED``: otherwise lm-eval draws a name at random, the same for every model, and the folder's name counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxroute.data import messages
from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.types import InputError

NAME = "lm-evaluation-harness"
FILE = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
NAMED = ("peft", "delta", "pretrained", "model", "path", "engine", "name")


def sees(file: File) -> bool:
    """Whether a file holds the samples of a task."""
    return FILE.fullmatch(file.path.name) is not None and {"doc_hash", "filter"} <= file.first.keys()


def beside(file: File) -> bool:
    """Whether a file holds the results of a run, which are read with its samples."""
    return re.fullmatch(r"results_\d{4}-\d\d-\d\dT[\d.-]+\.json", file.path.name) is not None


def read(file: File) -> Iterator[Answer]:
    """The answers to a task's documents.

    Raises:
        InputError: lines of another shape; names file and row.
    """
    named = FILE.fullmatch(file.path.name)
    assert named is not None
    task = named["task"]
    results = file.path.with_name(f"results_{named['date']}.json")
    about = File(results).document if results.is_file() else {}
    better = inner(about, "higher_is_better", task) or {}
    documents: dict[str, dict[str, Any]] = {}
    copies: dict[str, dict[str, int]] = defaultdict(dict)
    scores: dict[str, dict[tuple[str, str], Any]] = defaultdict(dict)
    for at, line in file.lines():
        key, names = line.get("doc_hash"), line.get("metrics")
        if not isinstance(key, str) or not isinstance(names, list):
            raise InputError(f"{at}: has no 'doc_hash' and 'metrics'; run lm-eval with --log_samples again")
        same = copies[key].setdefault(str(line.get("doc_id")), len(copies[key]))  # documents of one content
        key = f"{key}.{same}"
        documents.setdefault(key, {**line, "at": at})
        for metric in names:
            value = line.get(metric)
            if not isinstance(value, list | tuple | dict):  # what a metric of the whole task keeps of a document
                scores[key][str(metric), str(line.get("filter"))] = value
    several = len({name for one in scores.values() for _, name in one}) > 1
    for key, line in documents.items():
        called = {(f"{metric},{name}" if several else metric): v for (metric, name), v in scores[key].items()}
        yield Answer(
            at=line["at"],
            model=_model(about, file.path.parent),
            task=task,
            id=str(inner(line, "doc", "id") or line.get("doc_id", "")),
            key=key,
            prompt=_prompt(line.get("arguments")),
            scores=called,
            lower=frozenset(name for name in called if better.get(name.partition(",")[0]) is False),
        )


def _prompt(arguments: Any) -> str | None:
    """What the model was given: a text, or a chat as JSON."""
    first = inner(arguments, "gen_args_0", "arg_0") or inner(arguments, 0, 0)
    return messages.text_of(first) if isinstance(first, str | list) else None


def _model(about: Any, folder: Path) -> str | None:
    given = inner(about, "config", "model_args")
    if isinstance(given, str):
        given = dict(part.split("=", 1) for part in given.split(",") if "=" in part)
    name = next((str(given[key]) for key in NAMED if key in given), None) if isinstance(given, dict) else None
    if name is None and folder.name != inner(about, "model_name_sanitized"):
        name = folder.resolve().name
    return name
