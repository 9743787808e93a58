"""Routers that learn from the log itself, so that the propensity clip is a number of the sweep point.

    state = population.train(points, LoggedExamples(features, logs, nuisances, available), validate,
                             train_chunk=logged.train_chunk, ...)

`training.train_chunk` gets outcomes that were corrected once, at one clip. Here they are corrected inside the
program, at each point's own: one compile for all clips, and memory for a block of points at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from jaxroute.counterfactual import doubly_robust
from jaxroute.engine import training
from jaxroute.types import Examples, Hyperparams, Logs, Network, Nuisances, Objective, Spec, TrainState


class LoggedExamples(NamedTuple):
    """What a router learns from: features that it sees, the log they belong to, and its nuisances."""

    features: Float[Array, "N D"]
    logs: Logs
    nuisances: Nuisances
    available: Bool[Array, "N K"]


def examples(logged: LoggedExamples, clip: Float[Array, ""] | float) -> Examples:
    """Doubly robust outcomes of the log at ``clip`` (formula: `counterfactual.doubly_robust`)."""
    outcomes = doubly_robust(logged.logs, logged.nuisances, clip=clip)
    return Examples(logged.features, outcomes, logged.available)


def train_chunk(
    point: tuple[Hyperparams, TrainState],
    data: tuple[LoggedExamples, Examples],
    first: Int[Array, ""] | int,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
) -> TrainState:
    """`training.train_chunk` at the point's own clip; validation outcomes are the same for every point."""
    learn, validate = data
    mine = examples(learn, point[0].clip)
    return training.train_chunk(point, (mine, validate), first, network=network, objective=objective, spec=spec)
