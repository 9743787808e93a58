"""SPROUT: about 44,000 prompts, each answered by 13 models; a judge's score, and token counts that give the cost.

Parquet in three splits, which are kept: ``load(split="train")``, ``"validation"`` and ``"test"``. Columns key,
dataset, prompt, and a struct a model of score, num_input_tokens and num_output_tokens (and texts that are not
read). Costs follow from the counts and the price table, so a change of prices is a change of one file.

Reference:
    Somerstep et al., "CARROT: A Cost Aware Rate Optimal Router", arXiv 2502.03261, 2025.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data import encoders, files, hub, prices, shapes
from jaxroute.data.frames import numbers, read_features
from jaxroute.types import InputError, Outcomes, Table

REPO = "CARROT-LLM-Routing/SPROUT"
SHARDS = {"train": 3, "validation": 1, "test": 1}
DESCRIBED = ("key", "dataset", "prompt")
ANSWER = ("score", "num_input_tokens", "num_output_tokens")


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    split: str = "train",
    price_table: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
    encoder: str = "hashed",
) -> Table:
    """One split of SPROUT from the hub, or from files in its shape.

        cost = (input tokens * input price + output tokens * output price) / 1e6

    Args:
        path: a .parquet file, or a folder (or one with a folder data) of ``<split>-*.parquet``. Default: the hub.
        split: "train", "validation" or "test"; not used where the path is a file.
        price_table: see ``prices.load``.
        features: an .npy file [N, D]. Default: the prompts are encoded.
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is ``<file>.<row>.<key>``, task the dataset, quality the score, cost in US dollars a query.

    Raises:
        InputError: the hub cannot be reached, a model without a price, or rows that do not fit; names file, column
            and row.

    Example:
        >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
        >>> answer = [{"score": 1.0, "num_input_tokens": 1000, "num_output_tokens": 100}]
        >>> file = Path(tempfile.mkdtemp()) / "test.parquet"
        >>> pq.write_table(pa.table({"key": ["k"], "dataset": ["math"], "prompt": ["2+2?"],
        ...     "openai-gpt-4o": answer, "openai-gpt-4o-mini": answer}), file)
        >>> load(file).outcomes.cost
        array([[0.0035 , 0.00021]])
    """
    priced = prices.load(price_table)
    if split not in SHARDS and (path is None or Path(path).expanduser().is_dir()):
        raise InputError(f"SPROUT has no split {split!r}; use one of: {', '.join(SHARDS)}")
    if path is None:
        table = _table(hub.load(REPO, split=split).data.table, priced, f"{REPO}, split {split}", split)
    else:
        table = _joined([_read(file, priced) for file in _files(path, split)])
    if features is None:
        return replace(table, features=encoders.encode(table.prompt, encoder))
    return replace(table, features=read_features(Path(features), len(table)))


def hub_files(split: str) -> tuple[str, ...]:
    """Paths of a split's files in the hub's repository.

    Example:
        >>> hub_files("test")
        ('data/test-00000-of-00001.parquet',)
    """
    count = SHARDS[split]
    return tuple(f"data/{split}-{i:05}-of-{count:05}.parquet" for i in range(count))


def _files(path: str | os.PathLike[str], split: str) -> list[Path]:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return [folder]
    found = sorted(folder.glob(f"{split}*.parquet")) or sorted((folder / "data").glob(f"{split}*.parquet"))
    if not found:
        raise InputError(f"{folder}: no file {split}*.parquet, here or in a folder data; check the path or the split")
    return found


def _read(path: Path, priced: dict[str, prices.Price]) -> Table:
    """Table without features of one file; only the columns that are needed are read."""
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with files.parquet(path) as file:
            models = _models(file.schema_arrow, str(path))
            columns = [*DESCRIBED, *(f"{name}.{part}" for name in models for part in ANSWER)]
            stored = file.read(columns=columns)
    except InputError:
        raise
    except Exception as error:  # Arrow lets parsers' own errors through
        raise files.damaged(path, error, "copy it again") from error
    return _table(stored, priced, str(path), path.stem)


def _models(schema: Any, source: str) -> list[str]:
    """The columns that are models, each checked for its fields."""
    models = [field.name for field in schema if {"score"} <= _fields(field)]
    for name in models:
        if missing := sorted(set(ANSWER) - _fields(schema.field(name))):
            raise InputError(f"{source}, column {name!r}: has no field {missing[0]!r}; it needs {', '.join(ANSWER)}")
    if missing := sorted(set(DESCRIBED) - set(schema.names)):
        raise InputError(f"{source}: column {missing[0]!r} is missing; there are: {', '.join(schema.names)}")
    if not models:
        raise InputError(f"{source}: no column is a struct with a field 'score', so no model was found")
    return models


def _table(stored: Any, priced: dict[str, prices.Price], source: str, stem: str) -> Table:
    """Table without features of a pyarrow table in SPROUT's shape."""
    import pandas as pd
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    wide = {
        "sample_id": [f"{stem}.{row}.{key}" for row, key in enumerate(stored["key"].to_pylist())],
        "prompt": stored["prompt"].to_pylist(),
        "eval_name": stored["dataset"].to_pylist(),
    }
    for name in _models(stored.schema, source):

        def place(i: int, part: str, name: str = name) -> str:
            return f"{source}, column {name + '.' + part!r}, row {i}"

        answered = [pc.struct_field(stored[name], part).to_pandas() for part in ANSWER]
        score, read, written = (numbers(column, part, place) for part, column in zip(ANSWER, answered, strict=True))
        wide[name] = score
        wide[name + shapes.COST_SUFFIX] = prices.cost(name, read, written, priced, source)
    return shapes.from_wide(pd.DataFrame(wide), source=source)


def _fields(field: object) -> set[str]:
    """Names of a struct column's fields; none of any other column's."""
    import pyarrow as pa

    kind = field.type  # type: ignore[attr-defined]
    return {part.name for part in kind} if pa.types.is_struct(kind) else set()


def _joined(parts: list[Table]) -> Table:
    """One table of the rows of several, which name the same models in the same order."""
    first = parts[0]
    for part in parts[1:]:
        if part.models != first.models:
            raise InputError(
                f"SPROUT: the file with {part.query_id[0]!r} has other models than that with {first.query_id[0]!r}"
            )

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    def outcomes(name: str) -> Any:
        return np.concatenate([getattr(part.outcomes, name) for part in parts])

    return Table(
        query_id=rows("query_id"),
        prompt=rows("prompt"),
        task=rows("task"),
        group=np.arange(sum(map(len, parts))),
        features=rows("features"),
        models=first.models,
        outcomes=Outcomes(outcomes("quality"), outcomes("cost")),
        available=rows("available"),
    )
