"""Open LLM Leaderboard v2 as CARROT ships it: open models, right or wrong on BIG-Bench Hard and MMLU-Pro.

Two files: a pickle of {scenario: {"correctness": [models, prompts], "models": names}}, which ``unpickle`` reads without
running anything, and data_QA.json, {scenario: {"Qs": questions}} in the same order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.data import files, prices, shapes, unpickle
from jaxroute.data.benchmarks import answers, routellm
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    import pandas as pd

REPO = "somerstep/CARROT"
QUESTIONS = "data/open-llm-lb-v2/data_QA.json"
JUDGED = "data/open-llm-lb-v2/new_leaderboard_processed_20241205.pickle"
PREFIX = "leaderboard_"


def load(
    path: str | os.PathLike[str],
    *,
    parts: Sequence[str] = ("bbh", "mmlu_pro"),
    price_table: str | os.PathLike[str] | None = None,
    encoder: str = "hashed",
) -> Table:
    """Open LLM Leaderboard v2 from CARROT's two files.

        cost = len(question) / 4 * input price / 1e6

    Args:
        path: the folder that holds data_QA.json and new_leaderboard_processed_20241205.pickle.
        parts: of "bbh", "mmlu_pro", "gpqa", "math" and "musr".
        price_table: see ``prices.load``. Only the question is priced, at four characters a token: the answers
            are not in the files, and the few-shot examples before the question are left out.
        encoder: see ``encoders.encode``.

    Returns:
        Table of the models that answered all scenarios; query_id is ``<scenario>-<row>``, task ``<part>/<scenario>``,
        or the part where it is one scenario; quality 0 or 1.

    Raises:
        InputError: no such file, one of another shape, a scenario whose two files differ in length, or a model
            without a price; names file and scenario.

    Example:
        >>> import pickle, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "data_QA.json").write_text(json.dumps({"leaderboard_mmlu_pro": {"Qs": ["What is 2 + 2?"]}}))
        >>> names = [f"open-llm-leaderboard/google__gemma-2-{size}-it-details" for size in ("9b", "27b")]
        >>> judged = {"leaderboard_mmlu_pro": {"correctness": np.array([[1.0], [0.0]]), "models": names}}
        >>> _ = (folder / Path(JUDGED).name).write_bytes(pickle.dumps(judged))
        >>> table = load(folder, parts=["mmlu_pro"])
        >>> table.models, table.outcomes.quality
        (('google/gemma-2-27b-it', 'google/gemma-2-9b-it'), array([[0., 1.]]))

    Reference:
        Somerstep et al., "CARROT: A Cost Aware Rate Optimal Router", arXiv 2502.03261, 2025.
    """
    import pandas as pd

    folder = Path(path).expanduser()
    asked, judged = _questions(folder / Path(QUESTIONS).name), _judged(folder / Path(JUDGED).name)
    chosen = [(part, name) for part in parts for name in sorted(judged) if _is_in(name, part)]
    if lost := set(parts) - {part for part, _ in chosen}:
        raise InputError(f"{folder}: no scenario of part {min(lost)!r}; there are: {', '.join(sorted(judged))}")
    scores = {name: _scores(judged[name], f"{folder}, scenario {name!r}") for _, name in chosen}
    models = sorted(set.intersection(*(set(frame.columns) for frame in scores.values())))
    if not models:
        raise InputError(f"{folder}: no model answered all of: {', '.join(scores)}")
    wide = pd.concat(
        [_described(asked, part, name, scores[name][models], str(folder)) for part, name in chosen], ignore_index=True
    )
    listed, tokens = prices.load(price_table), routellm.tokens(wide["prompt"])
    for model in models:
        wide[model + shapes.COST_SUFFIX] = prices.cost(model, tokens, np.zeros(len(wide)), listed, str(folder))
    return answers.encoded(shapes.from_wide(wide, source=str(folder)), encoder)


def _is_in(name: str, part: str) -> bool:
    short = name.removeprefix(PREFIX)
    return short == part or short.startswith(part + "_")


def _described(asked: dict[str, Any], part: str, name: str, right: pd.DataFrame, source: str) -> pd.DataFrame:
    """The wide frame of one scenario, without costs."""
    questions = asked.get(name, {}).get("Qs") if isinstance(asked.get(name), dict) else None
    if not isinstance(questions, list) or len(questions) != len(right):
        found = f"{len(questions)} of them" if isinstance(questions, list) else "no list 'Qs'"
        raise InputError(f"{source}, scenario {name!r}: {len(right)} answers a model, but {found} in {QUESTIONS}")
    short = name.removeprefix(PREFIX)
    task = part if short == part else f"{part}/{short}"
    return right.assign(sample_id=[f"{short}-{row}" for row in range(len(right))], prompt=questions, eval_name=task)


def _questions(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(files.text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: missing, damaged or truncated ({error}); copy it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: holds a {type(found).__name__}, expected scenarios and their questions")
    return found


def _judged(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file}: no such file; check the path")
    with files.opened(file) as handle:
        found = unpickle.contents(handle, str(file))
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{file}: holds a {type(found).__name__}, expected scenarios and their scores")
    return found


def _scores(scenario: Any, source: str) -> pd.DataFrame:
    """Right or wrong by prompt and model, of a scenario's matrix of models and prompts."""
    import pandas as pd

    matrix = scenario.get("correctness") if isinstance(scenario, dict) else None
    names = scenario.get("models") if isinstance(scenario, dict) else None
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or not isinstance(names, list):
        raise InputError(f"{source}: expected 'correctness', an array [models, prompts], and 'models', a list of names")
    if len(names) != len(matrix) or len(set(map(str, names))) != len(names):
        raise InputError(f"{source}: {len(matrix)} rows of 'correctness' for {len(names)} models, each once")
    short = [str(m).removeprefix("open-llm-leaderboard/").removesuffix("-details").replace("__", "/") for m in names]
    return pd.DataFrame(matrix.T, columns=short)
