"""Results of evaluation tools as full-feedback tables.

answers   what every reader makes
inputs    the prompt among what a task was given
scores    which score is the quality
joining   answers of several runs as one table
counting  what the table has of each model and what not
grades    scores from a file of their own
others    results that are known and are no table
and a module a tool, with ``NAME``, ``sees`` and ``read``; a new one is a line in ``READERS``. Where other files are
read with those of the answers, ``beside`` knows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from jaxroute.data import encoders, shapes, tables
from jaxroute.data.harness import (
    bfcl,
    columns,
    counting,
    deepeval,
    evalplus,
    evals,
    helm,
    inspect_ai,
    langfuse,
    langsmith,
    lighteval,
    lm_eval,
    mlflow,
    openai_batch,
    opencompass,
    opik,
    others,
    phoenix,
    promptfoo,
    pydantic_evals,
    swe_bench,
)
from jaxroute.data.harness.answers import Answer, File, LeftOut
from jaxroute.data.harness.answers import Run as Run
from jaxroute.data.harness.grades import judged as judged
from jaxroute.data.harness.joining import Joined as Joined
from jaxroute.data.harness.joining import join as join
from jaxroute.types import InputError, Table


class Reader(Protocol):
    """A module that reads the results of one tool."""

    NAME: str

    def sees(self, file: File) -> bool:
        """Whether a file is this tool's."""

    def read(self, file: File) -> Iterator[Answer] | Iterator[Answer | LeftOut]:
        """The answers in a file that ``sees`` knows, and its other records, which are counted."""


READERS: tuple[Reader, ...] = (
    bfcl,
    *(inspect_ai, lighteval, lm_eval, promptfoo, openai_batch, helm, deepeval, phoenix, langsmith, mlflow, evals),
    *(pydantic_evals, evalplus, langfuse, opik, opencompass, swe_bench),
    columns,
)


WITH_OTHERS = (bfcl, helm, lm_eval, openai_batch, evalplus, opencompass, swe_bench)
"""Readers that know files (prompts, predictions) which are read with those of the answers: ``beside`` says which."""
SUFFIXES = (".eval", ".json", ".jsonl", ".ndjson", ".parquet", ".csv")


def read(run: str | os.PathLike[str]) -> list[Run]:
    """The results in a file, or in all files of a folder that a reader knows.

    Files of one tool whose names differ in their suffix are one run in several forms: the fullest is read.

    Args:
        run: a path, or ``NAME=path`` where the file names no model or should go by another name.

    Returns:
        Runs, in order of the files' names.

    Raises:
        InputError: no such file, one that no reader knows, or a name for results of several models.
    """
    name, path = "", Path(run).expanduser()
    if not path.exists():
        name, _, rest = str(run).partition("=")
        name, path = (name, Path(rest).expanduser()) if rest else ("", path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    found: dict[tuple[str, Path], tuple[File, Reader]] = {}
    forms: dict[str, str] = {}
    known: dict[str, str] = {}
    unknown: dict[str, str] = {}
    parts: dict[str, str] = {}
    for file in sorted(map(File, _files(path)), key=lambda file: _preferred(file.suffix)):
        if owner := next((reader.NAME for reader in WITH_OTHERS if reader.beside(file)), None):
            parts[str(file.path)] = f"is a part of results of {owner} without their scores; give the scores with it"
        elif why := others.reason(file):
            known[str(file.path)] = why
        elif reader := next((reader for reader in READERS if reader.sees(file)), None):
            first, _ = found.setdefault((reader.NAME, file.path.with_suffix("")), (file, reader))
            if first is not file:
                forms[str(file.path)] = f"taken for another form of {first.path.name}"
        elif file.suffix in SUFFIXES:
            unknown[str(file.path)] = "no answers in a known form"
    if not found:
        for named, why in (known | parts).items():
            raise InputError(f"{named}: {why}")
        tools = ", ".join(reader.NAME for reader in READERS if reader is not columns)
        there = columns.names(File(path)) if path.is_file() and path.suffix.lower() in columns.SUFFIXES else ()
        have = f" (it has {', '.join(map(repr, there))})" if there else ""
        raise InputError(
            f"{path}: no results of a known tool ({tools}), and no columns of which one is called prompt{have}; see "
            "docs/tables.md"
        )
    kept = sorted(found.values(), key=lambda pair: pair[0].path)
    runs = [_run(file, reader) for file, reader in kept]
    empty = {run.source: f"no answers in this file of {run.tool}" for run in runs if not run.answers}
    runs[0] = runs[0]._replace(beside=forms | empty | known | unknown)
    return _renamed(runs, name, path) if name else runs


def load(
    path: str | os.PathLike[str],
    *,
    encoder: str = "hashed",
    alone: bool = False,
    note: Callable[[str], None] | None = None,
    **options: Any,
) -> Table:
    """A table from whatever holds one: a folder or wide file of tables, or results of evaluation tools as they are.

    Args:
        path: see ``tables.load``, or a run, see ``read``.
        encoder: of the prompts, where the folder has no features.
        alone: accept answers of one model, as a shadow sample may hold.
        note: called with every sentence about what was read of runs (see ``counting.said``).
        options: of ``join``, for runs.

    Returns:
        Table; costs that are not known are NaN.

    Raises:
        InputError: see ``tables.load``, ``read`` and ``join``.
    """
    if not is_run(path):
        return tables.load(path, encoder=encoder, unknown_costs=True, alone=alone)
    try:
        found = join(read(path), alone=alone, **options)
    except InputError as error:
        raise InputError(f"{error}; or make a table of it with jaxroute table, which has more options") from error
    if note is not None:
        for sentence in (*counting.said(found.counts), *counting.failed(found.counts)):
            note(f"{path}: {sentence}")
    table = shapes.from_long(found.queries, found.outcomes, unknown_costs=True, alone=alone)
    return replace(table, features=encoders.encode(table.prompt, encoder))


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether there is something at a path, or at NAME=path, that is neither a table's folder nor a wide file."""
    path = Path(path).expanduser()
    if path.is_dir():
        return not any((path / f"{name}.parquet").exists() for name in ("queries", "outcomes"))
    if not path.exists():
        rest = str(path).partition("=")[2]
        return bool(rest) and Path(rest).expanduser().exists()
    names = columns.names(File(path)) if path.suffix.lower() in (".csv", ".parquet") else ()
    return not any(str(name).endswith(shapes.COST_SUFFIX) for name in names)


def _run(file: File, reader: Reader) -> Run:
    """What a reader finds in a file; a shape that its tool does not write is one error."""
    try:
        found = list(reader.read(file))
    except InputError:
        raise
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{file.path}: not in the format of {reader.NAME} ({error}); export them again") from error
    answers = [record for record in found if isinstance(record, Answer)]
    for answer in answers:
        if not isinstance(answer.model, str | None) or not isinstance(answer.prompt, str | None):
            raise InputError(f"{answer.at}: model or prompt is not text; export the results again")
    left_out = [record for record in found if isinstance(record, LeftOut)]
    return Run(str(file.path), reader.NAME, answers, left_out)


def _preferred(suffix: str) -> int:
    """Tools export one run in several forms: the fullest comes first."""
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    inside = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in inside if not any(p.startswith(".") for p in file.relative_to(path).parts))


def _renamed(runs: Sequence[Run], name: str, path: Path) -> list[Run]:
    models = {answer.model for run in runs for answer in run.answers}
    if len(models) > 1:
        listed = ", ".join(sorted(map(str, models)))
        raise InputError(f"{name}={path}: the results are of {len(models)} models ({listed}); pass one run per model")
    return [
        run._replace(
            answers=[replace(answer, model=name) for answer in run.answers],
            left_out=[record._replace(model=name) for record in run.left_out],
        )
        for run in runs
    ]
