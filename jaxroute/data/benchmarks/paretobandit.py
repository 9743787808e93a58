"""ParetoBandit: JSON lines of prompts, each answered by up to four models, graded by a judge and billed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jaxroute.data import records
from jaxroute.data.benchmarks import answers
from jaxroute.types import InputError, Table


def load(path: str | os.PathLike[str], *, encoder: str = "hashed") -> Table:
    """ParetoBandit's rewards: a prompt a line, with reward and cost of every model that answered it.

    Args:
        path: a .jsonl file such as val_k4.jsonl, or a folder of them such as data_collection/rewards, of which only
            those that end in ``_k4`` count (the others are earlier versions of three models).
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is ``<file>.<line>``, task the source, quality the judge's reward, cost in US dollars. Models
        that did not answer a prompt are holes.

    Raises:
        InputError: no file, a line of another shape, or values out of range; names file and row.

    Example:
        >>> import json, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "val_k4.jsonl"
        >>> arms = {"small": {"reward": 0.4, "cost": 0.001}, "large": {"reward": 1.0, "cost": 0.02}}
        >>> _ = file.write_text(json.dumps({"prompt": "2+2?", "source": "gsm8k", "arms": arms}))
        >>> load(file).outcomes.cost
        array([[0.001, 0.02 ]])

    Reference:
        github.com/ParetoBandit/ParetoBandit (Apache-2.0).
    """
    import pandas as pd

    path = Path(path).expanduser()
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*_k4.jsonl"))
    if not files:
        raise InputError(f"{path}: no file *_k4.jsonl in this folder; check the path")
    rows = [row for file in files for row in _answers(file)]
    columns = ["query_id", "prompt", "task", "model", "quality", "cost"]
    if not rows:
        raise InputError(f"{path}: no prompts in it; copy it again")
    return answers.from_answers(pd.DataFrame(rows, columns=columns, dtype=object), str(path), encoder)


def _answers(file: Path) -> list[tuple[Any, ...]]:
    rows = []
    for known in records.files(file):
        for chunk in records.read(known):
            for row, why in chunk.broken:
                raise InputError(f"{file}, row {row}: {why}; copy the file again")
            assert isinstance(chunk.data, list)
            for row, record in zip(chunk.row, chunk.data, strict=True):
                arms = record.get("arms")
                if not isinstance(arms, dict) or not arms or not all(isinstance(arm, dict) for arm in arms.values()):
                    raise InputError(f"{file}, row {row}, field 'arms': not an object of models with reward and cost")
                described = (f"{file.stem}.{row}", record.get("prompt"), record.get("source"))
                rows += [(*described, model, arm.get("reward"), arm.get("cost")) for model, arm in arms.items()]
    return rows
