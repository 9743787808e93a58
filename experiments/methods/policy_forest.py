"""A forest of policy trees on doubly robust scores: EconML's PolicyForest, from its formulas. Host side.

A tree is grown greedily: a node is split on the feature and the threshold that raise

    sum over its two sides of max_k sum_{i in side} G_ik

most, G_ik the doubly robust utility of model k for row i. A side's value of a model is the mean of its scores over rows
that the splits did not see (honest). The forest averages these over trees, each grown on a subsample and on features
drawn at every node, and chooses the best model.

Reference: Policy Learning with Observational Data, by Athey and Wager, https://arxiv.org/abs/1702.02896 (2021); the
forest is that of https://econml.azurewebsites.net/spec/estimation/forest.html.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from experiments.methods.experiment import Experiment
from jaxroute import policies

TREES, SHARE, DEPTH = 50, 0.45, 5
"""Trees of a forest, share of the rows of each (half of them grow it), levels of splits."""
LEAST = (10, 25, 75)
"""Rows on either side of a split, at least; picked by doubly robust value on the validation log."""


class Split(NamedTuple):
    """A node: rows with x[feature] <= threshold go low. value: [K] mean scores of its honest rows."""

    value: Float[np.ndarray, " K"]
    feature: int = -1
    threshold: float = 0.0
    low: Split | None = None
    high: Split | None = None


def best_split(
    x: Float[np.ndarray, "n m"], scores: Float[np.ndarray, "n K"], least: int
) -> tuple[float, int, float] | None:
    """(sum of both sides' best totals, feature, threshold) of the best split; None where no split gains.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> best_split(x, np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), least=1)
        (4.0, 0, 1.5)
    """
    order = np.argsort(x, 0, kind="stable")
    ordered = np.take_along_axis(x, order, 0)
    low = np.cumsum(scores[order], 0)[least - 1 : len(x) - least]  # [n', m, K]
    total = scores.sum(0)
    gained = low.max(-1) + (total - low).max(-1)
    ends = ordered[least - 1 : len(x) - least], ordered[least : len(x) - least + 1]
    gained = np.where(ends[0] < ends[1], gained, -np.inf)
    if not gained.size or gained.max() <= total.max() + 1e-9:
        return None
    place, feature = np.unravel_index(gained.argmax(), gained.shape)
    threshold = (ends[0][place, feature] + ends[1][place, feature]) / 2
    return float(gained[place, feature]), int(feature), float(threshold)


def grow(
    rng: np.random.Generator,
    x: np.ndarray,
    scores: np.ndarray,
    honest: tuple[np.ndarray, np.ndarray],
    least: int,
    depth: int = DEPTH,
) -> Split:
    """A tree; ``honest``: features and scores of rows that give its sides their values."""
    other_x, other = honest
    leaf = Split(other.mean(0))
    if depth == 0 or len(x) < 2 * least:
        return leaf
    drawn = rng.choice(x.shape[1], max(1, int(np.sqrt(x.shape[1]))), replace=False)
    found = best_split(x[:, drawn], scores, least)
    if found is None:
        return leaf
    feature, threshold = int(drawn[found[1]]), found[2]
    mine, theirs = x[:, feature] <= threshold, other_x[:, feature] <= threshold
    if min(theirs.sum(), (~theirs).sum()) == 0:
        return leaf
    low, high = (
        grow(rng, x[side], scores[side], (other_x[same], other[same]), least, depth - 1)
        for side, same in ((mine, theirs), (~mine, ~theirs))
    )
    return leaf._replace(feature=feature, threshold=threshold, low=low, high=high)


def values(node: Split, x: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N K"]:
    """What the tree expects of every model."""
    if node.low is None or node.high is None:
        return np.broadcast_to(node.value, (len(x), len(node.value)))
    low = x[:, node.feature] <= node.threshold
    return np.where(low[:, None], values(node.low, x), values(node.high, x))


def forest(seed: int, x: np.ndarray, scores: np.ndarray, least: int) -> list[Split]:
    """Trees on subsamples without replacement."""
    rng = np.random.default_rng(seed)
    count = max(int(SHARE * len(x)), 4)
    trees = []
    for _ in range(TREES):
        grown, honest = np.array_split(rng.permutation(len(x))[:count], 2)
        trees.append(grow(rng, x[grown], scores[grown], (x[honest], scores[honest]), least))
    return trees


def policy_forest(experiment: Experiment) -> Array:
    """The forest as a method, one for each seed and cost weight of the grid; a cost weight between asks the nearest."""
    problems, config = experiment.problems, experiment.config
    parts = (problems.learn, problems.validate, problems.test)
    features = [np.asarray(part.features) for part in parts]
    (quality, cost), (valid_quality, valid_cost) = (
        tuple(np.where(part.available, np.asarray(y), 0.0) for y in part.outcomes) for part in parts[:2]
    )
    shape = (config.seeds, len(config.cost_weights), *problems.test.available.shape[1:])
    expected = np.zeros(shape, np.float32)
    for seed in range(config.seeds):
        learn, validate, test = (x[seed] for x in features)
        there = np.asarray(problems.validate.available[seed])
        for level, weight in enumerate(config.cost_weights):
            scores = quality[seed] - weight * cost[seed]
            worth = valid_quality[seed] - weight * valid_cost[seed]
            forests = [forest(config.draws[seed], learn, scores, least) for least in LEAST]
            gained = [_value(_mean(trees, validate), worth, there) for trees in forests]
            expected[seed, level] = _mean(forests[int(np.argmax(gained))], test)
    nearest = np.argmin(np.abs(np.subtract.outer(config.weights, config.cost_weights)), 1)
    available = np.broadcast_to(np.asarray(problems.test.available)[:, None], shape)
    return policies.greedy(jnp.asarray(expected[:, nearest]), available=available[:, nearest])


def _mean(trees: list[Split], x: np.ndarray) -> Float[np.ndarray, "N K"]:
    return np.mean([values(tree, x) for tree in trees], 0)


def _value(expected: Float[np.ndarray, "N K"], worth: np.ndarray, there: Bool[np.ndarray, "N K"]) -> float:
    chosen = np.where(there, expected, -np.inf).argmax(1)
    return float(worth[np.arange(len(worth)), chosen].mean())
