"""Benchmarks of correctness alone: EmbedLLM's long table and RouterEval's matrix of prompts by models.

Correctness has no price: the cost of a query is the caller's to give, by model or the same for all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.data import files, hub, shapes
from jaxroute.data.benchmarks import answers
from jaxroute.data.frames import need, numbers, read, refuse, text
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd

EMBEDLLM = "RZ412/EmbedLLM"  # on the Hugging Face hub: train.csv, val.csv, test.csv


def embedllm(
    path: str | os.PathLike[str] | None = None, *, cost: answers.Costs, split: str = "train", encoder: str = "hashed"
) -> Table:
    """EmbedLLM's long table of correctness.

    A prompt that is listed under several variants of a task has several labels for one model; the best counts, as
    in the paper's own code.

    Args:
        path: a .csv or .parquet file of columns prompt_id, model_name (or model_id), prompt, label, optional
            category. Default: the hub.
        split: "train", "val" or "test" of the hub's; not used where a path is given.
        cost: US dollars of a query, by model or the same for all: the data have none.
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is prompt_id, task the category ("all" where there is none), quality the label.

    Raises:
        InputError: rows that do not fit, or a model without a cost; names file, column and row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "train.csv"
        >>> _ = file.write_text("prompt_id,model_name,prompt,label\\n1,a,2+2?,1\\n1,b,2+2?,0\\n")
        >>> embedllm(file, cost={"a": 0.01, "b": 0.001}).outcomes.quality
        array([[1., 0.]])

    Reference:
        Zhuang et al., "EmbedLLM: Learning Compact Representations of Large Language Models", arXiv 2410.02223.
    """
    if path is None:
        source = f"{EMBEDLLM}, split {split}"
        frame: Any = hub.load(EMBEDLLM, split=split, files=f"{split}.csv").to_pandas()
    else:
        source = str(path)
        frame = read(Path(path).expanduser(), ("prompt_id", "prompt", "model_name", "model_id", "category"))
    name = "model_name" if "model_name" in frame.columns else "model_id"
    task = "category" if "category" in frame.columns else None
    need(frame, source, ("prompt_id", name, "prompt", "label"))
    label = numbers(frame["label"], "label", lambda i, column: f"{source}, column {column!r}, row {i}")
    judged = frame.assign(
        query_id=text(frame, "prompt_id", source),
        model=text(frame, name, source),
        prompt=text(frame, "prompt", source),
        task=text(frame, task, source) if task else "all",
        quality=label,
    )[["query_id", "prompt", "task", "model", "quality"]]
    refuse(
        ~(np.isnan(label) | ((label >= 0) & (label <= 1))),
        lambda i: f"{source}, column 'label', row {i}: {label[i]} is outside [0, 1]; correct it",
    )
    best = judged.groupby(["query_id", "model"], sort=False, as_index=False).agg(
        prompt=("prompt", "first"), task=("task", "first"), quality=("quality", "max")
    )
    priced = answers.priced(list(dict.fromkeys(best["model"])), cost, source)
    return answers.from_answers(best.assign(cost=best["model"].map(priced)), source, encoder)


def matrix(path: str | os.PathLike[str], *, cost: answers.Costs | None = None, encoder: str = "hashed") -> Table:
    """A matrix of scores, prompts by models: RouterEval's shape.

    Args:
        path: an .npz of arrays models [K], prompts [N], scores [N, K], optional tasks [N] and costs [N, K], texts
            as unicode arrays (pickled objects are not read); or a .csv or .parquet of columns prompt, optional
            task, and one a model (optional ``<model>|total_cost``).
        cost: US dollars of a query, by model or the same for all; not needed where the .npz has costs.
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is the row, scores that are NaN or empty are holes.

    Raises:
        InputError: an array that is missing or of another shape, a score out of [0, 1], or no cost; names file,
            column and row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "bbh.npz"
        >>> np.savez(file, models=["a", "b"], prompts=["2+2?"], scores=[[1.0, 0.0]])
        >>> matrix(file, cost=0.001).outcomes.quality
        array([[1., 0.]])

    Reference:
        Huang et al., "RouterEval: A Comprehensive Benchmark for Routing LLMs to Explore Model-level Scaling Up in
        LLMs", arXiv 2503.10657.
    """
    import pandas as pd

    path = Path(path).expanduser()
    if path.suffix == ".npz":
        wide = _npz(path)
    else:
        wide = read(path, ("prompt", "task"))
        need(wide, str(path), ("prompt",))
        if "task" not in wide.columns:
            wide = wide.assign(task="all")
    models = [str(name) for name in wide.columns if name not in ("prompt", "task") and not _is_cost(name)]
    billed = {name: wide[name + shapes.COST_SUFFIX] for name in models if name + shapes.COST_SUFFIX in wide.columns}
    if len(billed) < len(models):
        if cost is None:
            raise InputError(f"{path}: has no costs; give cost=, US dollars of a query by model or for all")
        priced = answers.priced(models, cost, str(path))
        billed = {name: pd.Series(np.full(len(wide), priced[name])) for name in models}
    frame = pd.DataFrame(
        {
            "sample_id": [str(row) for row in range(len(wide))],
            "prompt": wide["prompt"],
            "eval_name": wide["task"],
            **{name: wide[name] for name in models},
            **{name + shapes.COST_SUFFIX: billed[name] for name in models},
        }
    )
    return answers.encoded(shapes.from_wide(frame, source=str(path)), encoder)


def _is_cost(name: object) -> bool:
    return str(name).endswith(shapes.COST_SUFFIX)


def _npz(path: Path) -> pd.DataFrame:
    """The wide frame of an .npz: prompt, task, a column a model, and costs where there are any."""
    import pandas as pd

    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with files.archive(path), path.open("rb") as handle:  # an .npz is an archive; an .npy is not
            file = np.load(handle, allow_pickle=False)
            stored = {name: file[name] for name in file.files}
    except InputError:
        raise
    except Exception as error:  # whatever NumPy's, zipfile's and zlib's parsers raise
        raise InputError(f"{path}: not a readable .npz ({error}); save it with numpy.savez, texts as str") from error
    for name in ("models", "prompts", "scores"):
        if name not in stored:
            raise InputError(f"{path}: array {name!r} is missing; there are: {', '.join(stored)}")
    models, prompts = stored["models"].astype(str), stored["prompts"].astype(str)
    tasks = stored.get("tasks", np.full(prompts.shape, "all"))
    for name, shape in {"scores": (*prompts.shape, *models.shape), "tasks": prompts.shape}.items():
        found = stored["scores"] if name == "scores" else tasks
        if found.shape != shape or prompts.ndim != 1 or models.ndim != 1:
            raise InputError(f"{path}: array {name!r} has shape {found.shape}, expected {shape} (prompts, models)")
    columns: dict[str, Any] = {"prompt": prompts, "task": tasks.astype(str)}
    columns |= dict(zip(models.tolist(), stored["scores"].T, strict=True))
    if len(columns) != 2 + len(models):
        raise InputError(f"{path}: array 'models' names a model twice, or one 'prompt' or 'task'")
    if "costs" in stored:
        if stored["costs"].shape != stored["scores"].shape:
            raise InputError(
                f"{path}: array 'costs' has shape {stored['costs'].shape}, scores {stored['scores'].shape}"
            )
        names = (name + shapes.COST_SUFFIX for name in models.tolist())
        columns |= dict(zip(names, stored["costs"].T, strict=True))
    return pd.DataFrame(columns)
