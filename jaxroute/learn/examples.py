"""Training examples from blocks of a log: doubly robust outcomes, for rows that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jaxroute import nuisance
from jaxroute.engine import logged
from jaxroute.types import Examples, Logs


def corrected(
    logs: Iterable[Logs], model: nuisance.NuisanceModel, *, clip: float, cost_scale: float = 1.0
) -> Iterator[Examples]:
    """Doubly robust outcomes of a log, block by block (formula: `counterfactual.doubly_robust`).

    Args:
        logs: the log's rows, a block at a time.
        model: nuisances fitted on other rows than these: then no row was seen by what predicts it.
        clip: smaller propensities are raised to it.
        cost_scale: cost units per normalised unit; costs are divided by it.
    """
    for block in logs:
        nuisances = nuisance.predict_logs(model, block)
        made = logged.examples(logged.LoggedExamples(block.features, block, nuisances, block.available), clip)
        yield made._replace(outcomes=made.outcomes._replace(cost=made.outcomes.cost / cost_scale))
