"""What the methods of one run see: logs, learning outcomes and test outcomes of every seed."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array

from jaxroute.projection import Projection
from jaxroute.types import Examples, Logs, Nuisances, Outcomes


class Parts(NamedTuple):
    """Predictions for the rows of the three parts, leaves [N, ...]: the outcome model's, or scores of other routers.

    They are what a router may start from; on ``learn`` they are cross-fitted.
    """

    learn: Any
    validate: Any
    test: Any


class Problem(NamedTuple):
    """One seed, or with leaves [S, ...] all of them. Costs are normalised.

    train_log, validation_log: what a team has. learn, validate: features and doubly robust outcomes from those
    logs; after the log's rows of ``learn``, the shadow's with what every model answered. learn_full,
    validate_full: the same rows with the full table's outcomes, for the ceilings only. test: full table, for
    measuring only. predicted: outcomes of the test prompts by outcome model. stack: the stacked outcome model's
    predictions; stack_full: those of the one fitted on the full table, where a method reads it. nuisances: of the
    training log's own rows. axes: what makes the routers' features of the table's.
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
    stack: Parts
    stack_full: Parts | None
    nuisances: Nuisances
    axes: Projection

    def rows(self, *, full: bool) -> tuple[Examples, Examples]:
        """What is learned from and validated on: the logs' outcomes, or (``full``) every model's answer."""
        return (self.learn_full, self.validate_full) if full else (self.learn, self.validate)

    def stacked(self, *, full: bool) -> Parts:
        """The stacked outcome model's predictions, fitted on the log or on the full table."""
        stack = self.stack_full if full else self.stack
        assert stack is not None, "fitted where a method's record says that it reads it"
        return stack
