"""Test vectors beside the answers of an implementation, and what differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

TIED = 1e-6
"""Decisions may differ where the two best scores are within this share of the row's largest in size, or of 1."""
SCORES, FEATURES = 1e-4, 1e-5
"""What numbers may differ by: scores and predictions in parts of the largest of their row, features as they are."""
Answer = Callable[[np.ndarray, float], dict[str, np.ndarray]]
"""(features, cost weight) -> scores, and quality and cost where it predicts them, [10, K] each."""


class Check(NamedTuple):
    """What a runtime said. ran: whether it could be asked. differences: one line each. worst: of scores, relative.

    why: it could not be asked, and what to do; "" where it was.
    """

    runtime: str
    ran: bool
    decisions: int = 0
    differences: tuple[str, ...] = ()
    worst: float = 0.0
    why: str = ""


def compare(
    runtime: str,
    vectors: dict[str, Any],
    models: list[str],
    answer: Answer,
    encode: Callable[[list[str]], np.ndarray] | None = None,
) -> Check:
    """What an implementation's answers differ in from the vectors.

    Args:
        runtime: its name. vectors: content of ``vectors.json``. models: names. answer: see ``Answer``. encode: texts to
            features, where it has the encoder.
    """
    features = np.asarray(vectors["features"], np.float32)
    said: list[str] = []
    worst, count = 0.0, 0
    if encode is not None and vectors["prompts"] is not None:
        found = encode(vectors["prompts"])
        for row in _rows((np.abs(found - features) > FEATURES).any(1)):
            said.append(f"prompt {row}: its features differ by up to {np.abs(found - features)[row].max():.3g}")
        features = found
    asked = list(zip(vectors["cost_weights"], vectors["scores"], vectors["decisions"], strict=True))
    for one in vectors["budgets"]:
        asked += [(w, None, names) for w, names in zip(one["cost_weights"], one["decisions"], strict=True)]
    for weight, expected, names in asked:
        answers = answer(features, weight)
        scores = answers["scores"]
        pairs = [("scores", expected), ("quality", vectors["quality"]), ("cost", vectors["cost"])]
        for name, numbers in pairs:
            if numbers is not None and name in answers:
                away = _away(answers[name], numbers)
                worst = max(worst, float(away.max()))
                for row in _rows(away > SCORES):
                    said.append(f"row {row}, cost weight {weight:g}: {name} differ by {away[row]:.3g} of the largest")
        for row, name in enumerate(names):
            count += 1
            best, k = float(scores[row].max()), models.index(name)
            size = float(np.abs(scores[row][np.isfinite(scores[row])]).max(initial=1.0))
            if not best - scores[row, k] <= TIED * size:
                said.append(f"row {row}, cost weight {weight:g}: {models[int(scores[row].argmax())]} instead of {name}")
    return Check(runtime, True, count, tuple(dict.fromkeys(said)), worst)


def _rows(which: Any) -> list[int]:
    found: list[int] = np.flatnonzero(which).tolist()
    return found


def _away(found: np.ndarray, expected: list[Any]) -> np.ndarray:
    """[10]: how far rows are apart, in parts of the largest of each; infinite where one is finite and the other not."""
    wanted = np.array([[-np.inf if x is None else x for x in row] for row in expected], np.float32)
    removed = np.isneginf(wanted)
    if found.shape != wanted.shape or not (np.isfinite(found) == ~removed).all():
        return np.full(len(wanted), np.inf)
    left, right = (np.where(removed, 0, x) for x in (found, wanted))
    return np.asarray(np.abs(left - right).max(1) / np.maximum(np.abs(right).max(1), 1e-30))
