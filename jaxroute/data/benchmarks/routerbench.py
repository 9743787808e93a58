"""RouterBench: 36,497 prompts of 86 evaluations, each answered by 11 models, with quality and billed cost.

The hub's files are pandas pickles: wide ones (0 and 5 shots) with a quality column ``<model>`` and a column
``<model>|total_cost`` a model, and a raw long one with a row an answer. They are read by ``unpickle``, which
runs nothing, and kept as Parquet under the checksum of the pickle, so that a second read takes a second.

Reference:
    Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System", arXiv 2403.12031, 2024.
"""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jaxroute.data import encoders, hub, shapes, unpickle
from jaxroute.data.frames import need, read, read_features
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd

REPO = "withmartian/routerbench"
FILES = {"0shot": "routerbench_0shot.pkl", "5shot": "routerbench_5shot.pkl", "raw": "routerbench_raw.pkl"}
LONG = ("sample_id", "prompt", "eval_name", "model_name", "performance", "cost")
AS_TEXT = (*shapes.WIDE_TEXT, "model_name")
NOT_READ = ("|model_response",)


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    part: str = "0shot",
    features: str | os.PathLike[str] | None = None,
    encoder: str = "hashed",
) -> Table:
    """RouterBench from the hub, or from a file in one of its shapes.

    Args:
        path: a .pkl or .parquet or .csv file, wide or raw long, or a folder of such .csv files, whose rows are put
            together. Default: the hub's file of ``part``.
        part: "0shot", "5shot" or "raw"; used only without a path.
        features: an .npy file [N, D]. Default: the prompts are encoded.
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is sample_id, task is eval_name, quality as written (0 to 1), cost in US dollars a query.
        Prompts that are lists of texts, which is how the benchmark writes them, are those texts.

    Raises:
        InputError: the hub cannot be reached, a pickle that asks for more than a data frame needs, or rows that
            do not fit; names file, column and row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "wide.csv"
        >>> _ = file.write_text(
        ...     "sample_id,prompt,eval_name,s,l,s|total_cost,l|total_cost\\n"
        ...     "mmlu.1,What is 2+2?,mmlu,1,1,0.001,0.02\\n"
        ... )
        >>> load(file).models
        ('s', 'l')
    """
    if path is None:
        if part not in FILES:
            raise InputError(f"RouterBench has no part {part!r}; use one of: {', '.join(FILES)}")
        path = hub.download(REPO, FILES[part])
    path = Path(path).expanduser()
    if path.is_dir():
        frame = _folder(path)
    else:
        frame = _kept(path) if path.suffix in (".pkl", ".pickle") else read(path, AS_TEXT)
    if "prompt" in frame.columns:
        frame = frame.assign(prompt=frame["prompt"].map(unlisted))
    table = (from_raw if "model_name" in frame.columns else shapes.from_wide)(frame, source=str(path))
    if features is None:
        return replace(table, features=encoders.encode(table.prompt, encoder))
    return replace(table, features=read_features(Path(features), len(table)))


def unlisted(prompt: object) -> object:
    """A prompt out of the list that it is written in, as Python prints lists; anything else as it is.

    Example:
        >>> unlisted("['What is 2 + 2?']"), unlisted("[1, 2] sorted?")
        ('What is 2 + 2?', '[1, 2] sorted?')
    """
    if isinstance(prompt, str) and prompt[:2] in ("['", '["') and prompt[-2:] in ("']", '"]'):
        try:
            turns = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return prompt
        if isinstance(turns, list) and all(isinstance(turn, str) for turn in turns):
            return "\n".join(turns)
    return prompt


def from_raw(frame: pd.DataFrame, *, source: str = "table") -> Table:
    """Table without features from the raw long form, one row an answer.

    Args:
        frame: columns ``LONG``.
        source: what to call the frame in messages.

    Returns:
        Table, checked; prompts and tasks are those of a sample's first row.
    """
    need(frame, source, LONG)
    query = frame.drop_duplicates("sample_id").rename(columns={"sample_id": "query_id", "eval_name": "task"})
    answer = frame.rename(columns={"sample_id": "query_id", "model_name": "model", "performance": "quality"})
    return shapes.from_long(
        query[["query_id", "prompt", "task"]].reset_index(drop=True),
        answer[["query_id", "model", "quality", "cost"]],
        queries=source,
        outcomes=source,
        holes=True,
    )


def _folder(path: Path) -> pd.DataFrame:
    """The rows of all .csv files of a folder, which must have the same columns."""
    import pandas as pd

    frames = {file: read(file, AS_TEXT) for file in sorted(path.glob("*.csv"))}
    if not frames:
        raise InputError(f"{path}: no .csv file in this folder; check the path")
    first, *others = frames
    for file in others:
        if set(frames[file].columns) != set(frames[first].columns):
            raise InputError(f"{file}: other columns than {first}; put files of one shape in the folder")
    return pd.concat(frames.values(), ignore_index=True)


def _kept(path: Path) -> pd.DataFrame:
    """The pickle's frame without the responses, from the copy in Parquet where one is kept."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    kept = hub.cache_folder() / "routerbench" / f"{hub.checksum(path)}.parquet"
    if kept.exists():
        return read(kept)
    frame = unpickle.read(path)
    frame = _plain(frame[[name for name in frame.columns if not name.endswith(NOT_READ)]])
    hub.keep(frame, kept)
    return frame


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The same, fit for Parquet: columns that mix kinds (a list among the prompts) as text."""

    def text(values: pd.Series) -> pd.Series:
        return values.map(lambda value: value if value is None or isinstance(value, str) else str(value))

    return frame.apply(lambda values: text(values) if values.dtype == object else values)
