"""LLMRouterBench: JSON files of records, one a data set and model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data import answers
from jaxroute.types import InputError, Table

RECORD = ("index", "score", "cost")


def load(path: str | os.PathLike[str], *, encoder: str = "hashed") -> Table:
    """LLMRouterBench: JSON files of records, one a data set and model.

    The newest file of a data set, split and model counts, as its date is in its name; files marked ``demo`` do
    not. Records of the same data set, split and index are the same prompt.

    Args:
        path: the folder that holds the files, at any depth, such as results/bench.
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is ``<data set>/<split>/<index>``, task the data set, quality the score, cost the billed
        US dollars. Records without a score are holes.

    Raises:
        InputError: no file, a damaged one, a record that lacks a field, or values out of range; names file and
            record.

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

    folder = Path(path).expanduser().resolve()
    newest: dict[tuple[str, str, str], tuple[Path, list[Any]]] = {}
    for file in sorted(folder.rglob("*.json")):  # names end in the date, so later files are newer
        found = _json(file)
        if not found.get("demo", False):
            inner = (*(parent.name for parent in file.parents), "", "", "")[2::-1]
            names = ("dataset_name", "split", "model_name")
            key = tuple(str(found.get(name) or place) for name, place in zip(names, inner, strict=True))
            newest[key] = (file, found["records"])  # type: ignore[index]
    if not newest:
        raise InputError(f"{folder}: no .json file of records in this folder; check the path")
    rows = []
    for (dataset, split, model), (file, records) in newest.items():
        for i, record in enumerate(records):
            _check_record(record, file, i)
            prompt = record.get("prompt") or record.get("origin_query")
            rows.append(
                (f"{dataset}/{split}/{record['index']}", prompt, dataset, model, record["score"], record["cost"])
            )
    columns = ["query_id", "prompt", "task", "model", "quality", "cost"]
    return answers.from_answers(pd.DataFrame(rows, columns=columns), str(folder), encoder)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: damaged or truncated ({error}); copy it again") from error
    if not isinstance(found, dict) or not isinstance(found.get("records"), list):
        raise InputError(f"{file}: has no list 'records'; is it a result of LLMRouterBench?")
    return found


def _check_record(record: Any, file: Path, i: int) -> None:
    """That a record has its fields and kinds; ranges too, as the frame later knows no files."""
    if not isinstance(record, dict) or (missing := [name for name in RECORD if name not in record]):
        what = "is not an object" if not isinstance(record, dict) else f"has no field {missing[0]!r}"
        raise InputError(f"{file}, record {i} {what}; each needs index, score, cost, and prompt or origin_query")
    if not isinstance(record.get("prompt") or record.get("origin_query"), str):
        raise InputError(f"{file}, record {i}: neither prompt nor origin_query is a text; add one")
    for name, high in (("score", 1.0), ("cost", np.inf)):
        value = record[name]
        if value is None and (name == "score" or record["score"] is None):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high or value == np.inf:
            raise InputError(f"{file}, record {i}, field {name!r}: {value!r} is not a number in [0, {high:g}]")
