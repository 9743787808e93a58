"""RouterEval: twelve evaluations, each answered by pools of 3 to 1,000 of 8,500 open models; no costs."""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data import files, shapes, unpickle
from jaxroute.data.benchmarks import answers
from jaxroute.types import InputError, Table

REPO = "linggm/RouterEval"
ARCHIVE = "router_dataset.zip"
EVALUATIONS = (
    "arc",
    "hellaswag",
    "mmlu",
    "harness_truthfulqa_mc_0",
    "winogrande",
    "gsm8k",
    "ifeval",
    "bbh",
    "gpqa",
    "math",
    "musr",
    "mmlu_pro",
)
SPLITS = ("train", "val", "test")


class Pool(NamedTuple):
    """Which candidates: "easy" (3 or 5 models) or "hard" (10, 100 or 1000), all_strong, all_weak or strong_to_weak."""

    difficulty: str
    size: int
    group: str


POOL = Pool("hard", 10, "strong_to_weak")


def load(
    path: str | os.PathLike[str],
    evaluation: str,
    *,
    pool: Pool = POOL,
    cost: answers.Costs = 0.0,
    encoder: str = "hashed",
) -> Table:
    """One evaluation of RouterEval, answered by one of its pools of models.

    Args:
        path: router_dataset.zip, which is read without being unpacked, the folder of it, or one of its
            ``<evaluation>_router_dataset.pkl``, which ``unpickle`` reads without running anything.
        evaluation: one of ``EVALUATIONS``.
        pool: of candidates; each evaluation has pools of its own.
        cost: US dollars of a query, by model or the same for all: the data have none. With 0 a router is about
            quality alone.
        encoder: see ``encoders.encode``.

    Returns:
        Table of the three splits together; query_id is ``<split>.<row>``, task the evaluation, quality its score.

    Raises:
        InputError: no such file, evaluation or pool, a damaged file or one of another shape, scores out of [0, 1].

    Example:
        >>> import pickle, tempfile
        >>> one = {"model": ["a", "b"], "data": {f"{s}_score": np.eye(2) for s in SPLITS}}
        >>> prompts = {f"{s}_prompt": [f"{s} 1", f"{s} 2"] for s in SPLITS}
        >>> file = Path(tempfile.mkdtemp()) / "arc_router_dataset.pkl"
        >>> _ = file.write_bytes(pickle.dumps({"hard": {10: {"strong_to_weak": one}}, "prompt": prompts}))
        >>> table = load(file, "arc")
        >>> table.query_id[2], table.prompt[2], table.outcomes.quality[2]
        ('val.0', 'val 1', array([1., 0.]))

    Reference:
        Huang et al., "RouterEval: A Comprehensive Benchmark for Routing LLMs to Explore Model-level Scaling Up in
        LLMs", arXiv 2503.10657.
    """
    import pandas as pd

    source = f"{Path(path).expanduser()}, evaluation {evaluation!r}"
    if evaluation not in EVALUATIONS:
        raise InputError(f"{path}: RouterEval has no evaluation {evaluation!r}; use one of: {', '.join(EVALUATIONS)}")
    found = _stored(Path(path).expanduser(), evaluation)
    chosen = _at(found, (*pool,), source)
    models = _texts(chosen, ("model",), source)
    if len(set(models)) != len(models):
        raise InputError(f"{source}: the pool names a model twice")
    priced = answers.priced(models, cost, source)
    parts = []
    for split in SPLITS:
        prompts = _texts(found, ("prompt", f"{split}_prompt"), source)
        try:
            scores = np.asarray(_at(chosen, ("data", f"{split}_score"), source))
        except ValueError as error:  # lists of several lengths
            raise InputError(f"{source}: {split}_score is not a matrix ({error})") from error
        if scores.shape != (len(prompts), len(models)) or scores.dtype.kind not in "bif":
            raise InputError(
                f"{source}: {split}_score has shape {scores.shape} of {scores.dtype}, expected numbers "
                f"[{len(prompts)}, {len(models)}] (prompts, models)"
            )
        ids = [f"{split}.{row}" for row in range(len(prompts))]
        described = pd.DataFrame({"sample_id": ids, "prompt": prompts, "eval_name": evaluation})
        parts.append(pd.concat([described, pd.DataFrame(scores, columns=models)], axis=1))
    frame = pd.concat(parts, ignore_index=True)
    costs = pd.DataFrame({name + shapes.COST_SUFFIX: np.full(len(frame), priced[name]) for name in models})
    return answers.encoded(shapes.from_wide(pd.concat([frame, costs], axis=1), source=source), encoder)


def _stored(path: Path, evaluation: str) -> Any:
    """What the evaluation's pickle holds."""
    name = f"{evaluation}_router_dataset.pkl"
    if path.is_dir():
        path = next(iter(sorted(path.rglob(name))), path / name)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix != ".zip":
        with files.opened(path) as file:
            return unpickle.contents(file, str(path))
    try:
        with files.archive(path) as archive:
            inside = next((member for member in archive.namelist() if PurePath(member).name == name), None)
            # All of it before any is read as a pickle, so that the archive's own checksum is compared first.
            whole = io.BytesIO(b"" if inside is None else archive.read(inside))
    except InputError:
        raise
    except Exception as error:  # whatever zipfile's and its decompressors' parsers raise
        raise files.damaged(path, error, "copy it again") from error
    if inside is None:
        raise InputError(f"{path}: no {name} in this archive; check that it is RouterEval's {ARCHIVE}")
    return unpickle.contents(whole, f"{path}/{inside}")


def _at(found: Any, keys: tuple[Any, ...], source: str) -> Any:
    """What is under these keys, one inside the other."""
    for depth, key in enumerate(keys):
        if not isinstance(found, dict) or key not in found:
            there = f"there are: {', '.join(map(str, found))}" if isinstance(found, dict) else "it is not a dictionary"
            raise InputError(f"{source}: nothing under {'/'.join(map(str, keys[: depth + 1]))} ({there})")
        found = found[key]
    return found


def _texts(found: Any, keys: tuple[Any, ...], source: str) -> list[str]:
    """The list or array of texts under these keys."""
    there = _at(found, keys, source)
    texts = there.tolist() if isinstance(there, np.ndarray) else there
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{source}: {'/'.join(map(str, keys))} is not a list of texts")
    return texts
