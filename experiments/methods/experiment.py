"""What a method is, what it may look at, and the two ways to decide from it.

A method maps an Experiment to action probabilities on the test prompts, [S seeds, L cost weights, N, K], at every
weight of ``config.weights``: the grid that tables show, and weights between its points.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from experiments.problem import Problem
from experiments.settings import Config
from jaxroute import counterfactual, policies
from jaxroute.types import Outcomes

Asked = Literal["main", "all", "name"]


class Method(NamedTuple):
    """One line of `experiments.methods`.

    kind: one of `jaxroute.report.KINDS`, by which reports group methods. trained: whether it trains a network, which
    takes the steps of ``config.training``. estimator: whose utilities it learns from, "dr" (doubly robust), "dm",
    "ipw", "switch", "shrinkage", "pessimistic" or "calibrated"; "": none of them. outcome_model: whose predictions it
    reads; "": none. full: whether it sees every model's answer. loss: of `jaxroute.learn.objectives.LOSSES`, where that
    and ``full`` say all about it, so that a sweep can train it. asked: it runs in the main job ("main"), where all are
    asked for ("all"), or only where it is named ("name"). expected: whether it needs known conditional means, which
    only synthetic tables have.
    """

    name: str
    run: Callable[..., Array]
    kind: str
    trained: bool = False
    estimator: str = ""
    outcome_model: str = ""
    full: bool = False
    loss: str = ""
    asked: Asked = "all"
    expected: bool = False


class Experiment(NamedTuple):
    """What a method may look at, and where it reports to.

    problems: leaves [S, ...]. checkpoints: a folder of the method's own; None: no checkpoints. on_chunk: called with
    the steps done. cost_scale: cost units of the data per normalised unit.
    """

    config: Config
    problems: Problem
    models: tuple[str, ...]
    mesh: Mesh
    checkpoints: Path | None = None
    on_chunk: Callable[[int], None] = lambda _: None
    cost_scale: float = 1.0


def weights_of(experiment: Experiment) -> Array:
    """Every cost weight that methods decide at, [L]."""
    return jnp.asarray(experiment.config.weights, jnp.float32)


def decide(experiment: Experiment, outcomes: Outcomes) -> Array:
    """Greedy on the given outcomes [S, N, K] at every cost weight."""
    available = experiment.problems.test.available

    def at(weight: Array) -> Array:
        return policies.greedy(counterfactual.utility(outcomes, weight), available=available)

    return jnp.moveaxis(jax.lax.map(at, weights_of(experiment)), 0, 1)


def constant(experiment: Experiment, scores: Array) -> Array:
    """One model per seed and cost weight from scores [S, L, K]; where it is missing, the next best."""
    available = experiment.problems.test.available
    shape = (*scores.shape[:2], *available.shape[1:])
    spread = jnp.broadcast_to(scores[:, :, None, :], shape)
    return policies.greedy(spread, available=jnp.broadcast_to(available[:, None], shape))
