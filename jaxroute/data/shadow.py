"""A shadow sample: a small table of prompts like those of a log that every model answered."""

from __future__ import annotations

from collections.abc import Sequence

from jaxroute.data import encoders
from jaxroute.types import Examples, InputError, Outcomes, Table


def examples(
    table: Table, models: Sequence[str], *, encoder: str | None = None, revision: str | None = None
) -> Examples:
    """A table's prompts and outcomes, with the models in the order of a log.

    Args:
        table: S prompts; an answer may be missing.
        models: the K names of the log's models.
        encoder: the encoder of the log's prompts, see ``encoders.encode``; None if the table has features of the log's
            width.
        revision: revision of the encoder.

    Returns:
        Examples: features [S, D], outcomes and available [S, K].

    Raises:
        InputError: the table and the log do not hold the same models.
    """
    if odd := sorted(set(table.models) ^ set(models)):
        raise InputError(f"the shadow sample and the log must have the same models; only one of them has {odd[0]!r}")
    order = [table.models.index(name) for name in models]
    features = table.features if encoder is None else encoders.encode(table.prompt, encoder, revision=revision)
    outcomes = Outcomes(table.outcomes.quality[:, order], table.outcomes.cost[:, order])
    return Examples(features, outcomes, table.available[:, order])  # type: ignore[arg-type]
