"""LLMRouterBench: JSON files of records, one a data set and model, in a folder or in the archive as published."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from jaxroute.data import files
from jaxroute.data.benchmarks import answers
from jaxroute.types import InputError, Table

REPO = "NPULH/LLMRouterBench"
REVISION = "0e5af1b84bf73437a01a1849c0f1d2468baa93fc"
ARCHIVE = "bench-release.tar.gz"
RECORD = ("index", "score", "cost")


def load(path: str | os.PathLike[str], *, billed_only: bool = False, encoder: str = "hashed") -> Table:
    """LLMRouterBench: JSON files of records, one a data set and model.

    The newest file of a data set, split and model counts, as its date is in its name; files marked ``demo`` do
    not. Records of the same data set, split and index are the same prompt.

    Args:
        path: the folder that holds the files, at any depth, such as results/bench; or the archive
            bench-release.tar.gz, which is read without being unpacked.
        billed_only: leave out the models whose records all cost nothing: they ran on the authors' own machines,
            and a router would take them for free.
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is ``<data set>/<split>/<index>``, task the data set, quality the score, cost the billed
        US dollars. Records without a score are holes.

    Raises:
        InputError: no file, a damaged one, a record that lacks a field, values out of range, or no model that was
            billed; names file and record.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for model, cost in [("small", 0.001), ("large", 0.02)]:
        ...     records = [{"index": 1, "prompt": "2+2?", "score": 1.0, "cost": cost}]
        ...     file = folder / "aime" / "test" / model / f"aime-test-{model}-20250101_000000.json"
        ...     file.parent.mkdir(parents=True)
        ...     _ = file.write_text(json.dumps({"records": records}))
        >>> load(folder).outcomes.cost
        array([[0.02 , 0.001]])

    Reference:
        Li et al., "LLMRouterBench: A Massive Benchmark and Unified Framework for LLM Routing", arXiv 2601.07206.
    """
    import pandas as pd

    path = Path(path).expanduser().resolve()
    newest: dict[tuple[str, str, str], tuple[PurePath, list[Any]]] = {}
    texts: dict[Any, Any] = {}  # each prompt once, however many models answered it
    for file, content in _files(path):
        found = _json(file, content)
        if not found.get("demo", False):
            inner = (*(parent.name for parent in file.parents), "", "", "")[2::-1]
            names = ("dataset_name", "split", "model_name")
            dataset, split, model = (str(found.get(name) or place) for name, place in zip(names, inner, strict=True))
            held = newest.get((dataset, split, model))
            if held is None or held[0] < file:  # names end in the date, so later files are newer
                newest[dataset, split, model] = (file, [_slim(record, texts) for record in found["records"]])
    if not newest:
        raise InputError(f"{path}: no .json file of records in it; check the path")
    rows = []
    for (dataset, split, model), (file, records) in sorted(newest.items(), key=lambda item: item[1][0]):
        for i, record in enumerate(records):
            _check_record(record, file, i)
            query = f"{dataset}/{split}/{record['index']}"
            rows.append((query, record["prompt"], dataset, model, record["score"], record["cost"]))
    frame = pd.DataFrame(rows, columns=["query_id", "prompt", "task", "model", "quality", "cost"])
    if billed_only:
        frame = frame[frame.groupby("model")["cost"].transform("max") > 0].reset_index(drop=True)
        if frame.empty:
            raise InputError(f"{path}: no model in it was billed; load it with billed_only=False")
    return answers.from_answers(frame, str(path), encoder)


def _files(path: Path) -> Iterator[tuple[PurePath, bytes]]:
    """Name and content of every .json file of a folder or of a tar archive."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                with files.opened(file) as content:
                    yield file, content.read()
            return
        with tarfile.open(files.regular(path)) as archive:
            becomes = 0
            for member in archive:
                becomes += member.size
                files.limited(path, becomes, path.stat().st_size)
                name = PurePath(member.name)
                if member.isfile() and name.suffix == ".json" and not name.name.startswith("._"):
                    yield path / name, archive.extractfile(member).read()  # type: ignore[union-attr]
    except InputError:
        raise
    except Exception as error:  # whatever tarfile's and its decompressors' parsers raise
        raise files.damaged(path, error, "copy it again") from error


def _json(file: PurePath, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise files.damaged(file, error, "copy it again") from error
    if not isinstance(found, dict) or not isinstance(found.get("records"), list):
        raise InputError(f"{file}: has no list 'records'; is it a result of LLMRouterBench?")
    return found


def _slim(record: Any, texts: dict[Any, Any]) -> Any:
    """A record without the model's answer, which is most of it."""
    if not isinstance(record, dict):
        return record
    prompt = record.get("prompt") or record.get("origin_query")
    if isinstance(prompt, str):
        prompt = texts.setdefault(prompt, prompt)
    return {"prompt": prompt, **{name: record[name] for name in RECORD if name in record}}


def _check_record(record: Any, file: PurePath, i: int) -> None:
    """That a record has its fields and kinds; ranges too, as the frame later knows no files."""
    if not isinstance(record, dict) or (missing := [name for name in RECORD if name not in record]):
        what = "is not an object" if not isinstance(record, dict) else f"has no field {missing[0]!r}"
        raise InputError(f"{file}, record {i} {what}; each needs index, score, cost, and prompt or origin_query")
    if not isinstance(record["prompt"], str):
        raise InputError(f"{file}, record {i}: neither prompt nor origin_query is a text; add one")
    for name, high in (("score", 1.0), ("cost", np.inf)):
        value = record[name]
        if value is None and (name == "score" or record["score"] is None):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high or value == np.inf:
            raise InputError(f"{file}, record {i}, field {name!r}: {value!r} is not a number in [0, {high:g}]")
