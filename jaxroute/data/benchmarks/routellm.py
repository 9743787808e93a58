"""RouteLLM: MMLU and GSM8K answered by two models, a strong and a weak one; right or wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxroute.data import prices
from jaxroute.data.benchmarks import answers
from jaxroute.data.frames import need, read, refuse, text
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd


def load(path: str | os.PathLike[str], *, cost: answers.Costs | None = None, encoder: str = "hashed") -> Table:
    """RouteLLM's responses of two models: right or wrong.

        cost = (len(prompt) * input price + len(response) * output price) / 4 / 1e6,  unless it is given

    Args:
        path: a .csv such as gsm8k_responses.csv, or a folder of them at any depth, such as evals.
        cost: US dollars of a query, by model or the same for both: the files have none. Default: the prices of
            ``prices.load`` and four characters a token; one token where the response is not in the file (MMLU).
        encoder: see ``encoders.encode``.

    Returns:
        Table; query_id is ``<file>.<row>``, task the file's name without ``_responses``.

    Raises:
        InputError: no file, other than two models, a cell that is neither True nor False; names file, column, row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "gsm8k_responses.csv"
        >>> _ = file.write_text("prompt,weak,strong,weak_response,strong_response\\n2+2?,False,True,5,4\\n")
        >>> table = load(file, cost={"weak": 0.001, "strong": 0.01})
        >>> table.task.tolist(), table.outcomes.quality.tolist()
        (['gsm8k'], [[0.0, 1.0]])

    Reference:
        Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665.
    """
    import pandas as pd

    path = Path(path).expanduser()
    files = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no .csv file in this folder; check the path")
    judged = []
    for file in files:
        frame = read(file, ("prompt",))
        need(frame, str(file), ("prompt",))
        models = [c for c in frame.columns if c != "prompt" and not str(c).endswith("_response") and "Unnamed" not in c]
        if len(models) != 2:
            raise InputError(f"{file}: {len(models)} model columns ({', '.join(models)}), expected two beside prompt")
        prompt = text(frame, "prompt", str(file))
        for model in models:
            judged.append(
                pd.DataFrame(
                    {
                        "query_id": [f"{file.stem}.{row}" for row in range(len(frame))],
                        "prompt": prompt,
                        "task": file.stem.removesuffix("_responses"),
                        "model": model,
                        "quality": _right(frame[model], f"{file}, column {model!r}"),
                        "read": tokens(prompt),
                        "written": tokens(frame.get(f"{model}_response", np.full(len(frame), ""))),
                    }
                )
            )
    long = pd.concat(judged, ignore_index=True)
    models = list(dict.fromkeys(long["model"]))
    dollars = np.zeros(len(long))
    if cost is None:
        listed = prices.load()
        for model in models:
            rows = np.flatnonzero(long["model"] == model)
            counts = [long[name].to_numpy()[rows] for name in ("read", "written")]
            dollars[rows] = prices.cost(model, counts[0], counts[1], listed, str(path))
    else:
        dollars[:] = long["model"].map(answers.priced(models, cost, str(path)))
    return answers.from_answers(long.assign(cost=dollars), str(path), encoder)


def tokens(texts: Iterable[object]) -> np.ndarray:
    """Estimated tokens of texts, float64 [N]: a quarter of the characters, at least one.

    Example:
        >>> tokens(["What is 2 + 2?", ""])
        array([3.5, 1. ])
    """
    return np.array([max(len(text) / 4, 1.0) if isinstance(text, str) else 1.0 for text in texts])


def _right(values: pd.Series, where: str) -> np.ndarray:
    """1 and 0 of True and False, 1 and 0, as read or as text; NaN where empty."""
    known = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    right = values.astype(str).str.lower().map(known).to_numpy(float)
    refuse(
        np.isnan(right) & values.notna().to_numpy(),
        lambda i: f"{where}, row {i}: {values.iloc[i]!r} is neither True nor False; correct it or leave it empty",
    )
    return right
