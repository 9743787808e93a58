"""Test vectors: what a router decides on ten prompts, kept in its folder for whoever computes the same elsewhere.

The prompts are the fixed sentences below, never rows of a log. A router that takes features alone or context columns,
or whose encoder is a model or a service that need not be here when it is saved, has ten rows drawn from the
distribution that its projection describes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.policies import budgets
from jaxroute.serving.asking import Asked

PROMPTS = (
    "What is 2 + 2?",
    "Translate 'good morning' into French, Spanish and Japanese.",
    "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n\nWhy is this slow, and how do I make it fast?",
    "Prove that the square root of 2 is irrational, step by step.",
    "Les élèves étudient-ils à l'étranger\u00a0? Réponds en une phrase.",
    "请用一句话解释什么是机器学习。",
    "ΟΔΥΣΣΕΥΣ: who wrote it, and when? 😀",
    "a",
    "Summarise the water cycle for a ten-year-old: evaporation, condensation, precipitation, collection. " * 4,
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;\tIs an index of use here?",
)
"""Public sentences: short, long, in several scripts, code, and white space that is no plain space."""
NORMALISED = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Normalised cost weights at which the vectors decide; 0 alone where the costs are unknown."""
BUDGETS = (1 / 3, 2 / 3)
"""Places of the two budgets between the least and the greatest mean cost of the curve."""
ENCODERS = ("hashed", "hashed-2")
"""Encoders that are always there."""


def make(router: Asked, axes: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The content of ``vectors.json``.

    Args:
        router: any. axes: its projection: mean [D], basis [D, d], deviation [d].

    Returns:
        prompts [10] or None, features [10, D], quality and cost [10, K] or None as predicted, cost_weights [W], scores
        [W, 10, K] (None for removed models), decisions [W, 10], and of two budgets: the budget, its two cost weights,
        their shares, and decisions [2, 10]. Numbers have the fewest digits that give the same float32.
    """
    given: Any = list(PROMPTS) if router.encoder in ENCODERS and not router.context else typical(axes, len(PROMPTS))
    features = router.features(given)
    quality, cost = router.predict(features)
    weights = [w / router.cost_scale for w in NORMALISED] if router.costs_known else [0.0]
    scores = [router.scores(features, weight) for weight in weights]
    return {
        "prompts": given if isinstance(given, list) else None,
        "features": numbers(features),
        "quality": numbers(quality) if np.isfinite(quality).all() else None,
        "cost": numbers(cost) if np.isfinite(cost).all() else None,
        "cost_weights": weights,
        "scores": [numbers(one) for one in scores],
        "decisions": [_names(router, one) for one in scores],
        "budgets": _budgets(router, features),
    }


def check(vectors: Mapping[str, Any], models: Sequence[str]) -> None:
    """ValueError that names the part of ``vectors.json`` that cannot be test vectors of a router of these models."""
    features = _numbers("features", vectors["features"])
    rows, shape = len(features), (len(features), len(models))
    if vectors["prompts"] is not None and [type(text) for text in vectors["prompts"]] != [str] * rows:
        raise ValueError(f"prompts: must be {rows} texts or null")
    for name in ("quality", "cost"):
        if vectors[name] is not None:
            _numbers(name, vectors[name], shape)
    weights, counted = vectors["cost_weights"], [("decisions", vectors["decisions"])]
    _numbers("cost_weights", [weights], (1, len(vectors["scores"])))
    for scores in vectors["scores"]:
        _numbers("scores", [[0.0 if x is None else x for x in row] for row in scores], shape)
    for one in vectors["budgets"]:
        _numbers("budgets", [one["cost_weights"]], (1, len(one["decisions"])))
        counted.append(("budgets", one["decisions"]))
    for name, decisions in counted:
        if any(len(names) != rows or set(names) - set(models) for names in decisions):
            raise ValueError(f"{name}: must name {rows} of the router's models at each cost weight")
    if len(vectors["decisions"]) != len(weights):
        raise ValueError(f"decisions: are for {len(vectors['decisions'])} cost weights, expected {len(weights)}")


def _numbers(name: str, rows: Any, shape: tuple[int, int] | None = None) -> np.ndarray:
    array = np.asarray(rows, np.float32)
    if array.ndim != 2 or not array.size or (shape is not None and array.shape != shape):
        raise ValueError(f"{name}: have the shape {list(array.shape)}, expected {list(shape or ('N', 'D'))}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: hold a number that is not finite")
    return array


def typical(axes: Mapping[str, np.ndarray], rows: int, seed: int = 0) -> np.ndarray:
    """Features [rows, D] of the mean and the covariance that the projection describes, normal."""
    noise = np.random.default_rng(seed).standard_normal((rows, len(axes["deviation"])))
    along = np.asarray(axes["basis"], float) * np.asarray(axes["deviation"], float) ** 2  # the axes times deviation
    return np.asarray(np.asarray(axes["mean"], float) + noise @ along.T, np.float32)


def _budgets(router: Asked, features: np.ndarray) -> list[dict[str, Any]]:
    """None without a curve, with removed models, or where costs are unknown: such a router takes no budget."""
    if router.curve is None or not router.available.all() or not router.costs_known:
        return []
    low, high = float(router.curve.cost.min()), float(router.curve.cost.max())
    found = []
    for place in BUDGETS:
        budget = low + place * (high - low)
        mixed = budgets.mixture(router.curve, budget)
        weights = [mixed.cheap.cost_weight, mixed.dear.cost_weight]
        found.append(
            {
                "budget": budget,
                "cost_weights": weights,
                "shares": [mixed.share, 1 - mixed.share],
                "decisions": [_names(router, router.scores(features, weight)) for weight in weights],
            }
        )
    return found


def _names(router: Asked, scores: np.ndarray) -> list[str]:
    return [router.models[k] for k in scores.argmax(1)]


def numbers(array: np.ndarray) -> list[list[float | None]]:
    """Rows of float32 as the shortest decimals that are read back as the same; None where not finite."""
    return [[float(str(x)) if math.isfinite(x) else None for x in row] for row in np.asarray(array, np.float32)]
