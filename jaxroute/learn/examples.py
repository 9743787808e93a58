"""What routers learn from, made from a log: doubly robust outcomes, block by block or at each point's own clip.

    program = engine.Program(network, objective, spec, mesh, task=LOGGED)
    state = engine.train(program, points, LoggedExamples(features, logs, nuisances, available), validate)

`engine.ROUTER` gets outcomes that were corrected once, at one clip. With `LOGGED` they are corrected inside the
program, at each point's own: one compile for all clips, and memory for a block of points at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jaxtyping import Array, Bool, Float

from jaxroute import nuisance
from jaxroute.counterfactual import doubly_robust
from jaxroute.engine import training
from jaxroute.engine.program import Task
from jaxroute.numerics import relative
from jaxroute.types import Examples, Hyperparams, InputError, Logs, Network, Nuisances, Objective, Spec


class LoggedExamples(NamedTuple):
    """What a router learns from: features that it sees, the log they belong to, and its nuisances."""

    features: Float[Array, "N D"]
    logs: Logs
    nuisances: Nuisances
    available: Bool[Array, "N K"]


def at_clip(logged: LoggedExamples, clip: Float[Array, ""] | float) -> Examples:
    """Doubly robust outcomes of the log at ``clip`` (formula: `counterfactual.doubly_robust`).

    Raises:
        InputError: the log has ``weight``, which a mean over minibatches of it would ignore.
    """
    if relative(logged.logs.weight) is not None:
        raise InputError("logs.weight: these examples count every row once; use learn.fit, which honours weights")
    outcomes = doubly_robust(logged.logs, logged.nuisances, clip=clip)
    return Examples(logged.features, outcomes, logged.available)


def loss(
    network: Network, objective: Objective, spec: Spec, hyperparams: Hyperparams, logged: LoggedExamples
) -> training.MinibatchLoss:
    """`training.router_loss` on the outcomes at the point's own clip."""
    return training.router_loss(network, objective, spec, hyperparams, at_clip(logged, hyperparams.clip))


LOGGED = Task(loss, training.policy_value)
"""A router of one cost weight that learns from `LoggedExamples`; it is validated on `types.Examples`."""


def corrected(
    logs: Iterable[Logs], model: nuisance.NuisanceModel, *, clip: float, cost_scale: float = 1.0
) -> Iterator[Examples]:
    """Doubly robust outcomes of a log, block by block, for rows that do not fit into memory.

    Args:
        logs: the log's rows, a block at a time.
        model: nuisances fitted on other rows than these: then no row was seen by what predicts it.
        clip: smaller propensities are raised to it.
        cost_scale: cost units per normalised unit; costs are divided by it.
    """
    for block in logs:
        nuisances = nuisance.predict_logs(model, block)
        made = at_clip(LoggedExamples(block.features, block, nuisances, block.available), clip)
        yield made._replace(outcomes=made.outcomes._replace(cost=made.outcomes.cost / cost_scale))
