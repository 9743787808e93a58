"""What the methods of one run see: logs, learning outcomes and test outcomes of every seed."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array

from jaxroute.projection import Projection
from jaxroute.types import Examples, Logs, Nuisances, Outcomes


class Starts(NamedTuple):
    """What routers start from, prompt by prompt: the outcome model's predictions, or scores of other routers.

    Leaves [N, ...]. Predictions are cross-fitted on ``learn``.
    """

    learn: Any
    validate: Any
    test: Any


class Problem(NamedTuple):
    """One seed. Costs are normalised; ``predicted`` holds test-set outcomes of each outcome model.

    train_log, validation_log: what a team has. learn, validate: features and doubly robust outcomes from those
    logs; after the log's rows of ``learn``, the shadow's with what every model answered. learn_full,
    validate_full: the same rows with the full table's outcomes, for the ceilings only. test: full table, for
    measuring only. stack: what routers that start from the outcome model start from; stack_full: the same from
    the full table, where a method reads it. nuisances: of the training log's own rows. axes: what makes the routers'
    features of the table's.
    """

    train_log: Logs
    validation_log: Logs
    learn: Examples
    validate: Examples
    learn_full: Examples
    validate_full: Examples
    test: Examples
    expected: Outcomes | None
    predicted: dict[str, Outcomes]
    effective_sample_size: Array
    stack: Starts
    stack_full: Starts | None
    nuisances: Nuisances
    axes: Projection
