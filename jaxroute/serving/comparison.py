"""Which of two routers is better on a log that neither has seen; `ranking` has more than two.

Rows that one of them learned from are left out; where nothing is left, the values that `learn.fit` stored are compared.
Costs and cost weights are in the data's unit; a normalised cost weight is relative to the first router's cost_scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from jaxroute.data import logs as people
from jaxroute.data.seen import Seen, either
from jaxroute.estimators import by_weight, conclusion
from jaxroute.recipe import GRID
from jaxroute.serving import alike, new_models, unseen, views
from jaxroute.serving.router import Router
from jaxroute.serving.shown import Curve, Shown
from jaxroute.serving.terms import check_weights
from jaxroute.types import Table


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Shown):
    """Value of the first router minus that of the second. All [L].

    low, high: 95% interval, NaN where the log does not support both routers; the difference is then the outcome
    model's guess. verdict: what the first router is, "better", "worse", "undecided" or "not supported". spending:
    quality gained and cost saved by the first router, a row per cost weight (``estimators.spending``), NaN where the
    log does not support both. left_out: what was said of rows that a router had learned from. currency: "USD" where
    costs are known to be in US dollars, else "".
    """

    _curves = (Curve("difference", "first router minus second", "low", "high"),)
    _of = "difference in value (points)"
    normalised_cost_weight: np.ndarray
    cost_weight: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    verdict: tuple[str, ...]
    spending: pd.DataFrame
    left_out: tuple[str, ...] = ()
    currency: str = ""

    def to_frame(self) -> pd.DataFrame:
        """A row per cost weight: the fields, and the columns of ``spending``."""
        shown = [f.name for f in fields(self) if f.name not in ("spending", "left_out", "currency")]
        return pd.DataFrame({name: getattr(self, name) for name in shown}).join(self.spending)

    def conclusion(self, first: str = "the first router", second: str = "the second") -> list[str]:
        """What was left out; then which router is better, and by how much."""
        found = self.to_frame().rename(columns={"difference": "gain"})
        return [*self.left_out, *conclusion.of_two(found, first, second, self.currency)]


def compare(
    first: Router,
    second: Router,
    log: people.LogTable,
    *,
    shadow: Table | None = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> Comparison:
    """The first router minus the second on the rows of a log that neither has learned from, paired row by row.

    Where no such rows are left, the difference is that of the values that both stored when they were fitted, at the
    cost weights that both have; it has no interval.

    Args:
        first, second: routers; cost weights are normalised by the first one's cost_scale, and the same for both.
        log, shadow, normalised_cost_weights: see ``evaluation.on_log``.

    Returns:
        Comparison.

    Raises:
        InputError: none of the models is one that a router knows, features of another width, another rule for chats
            than a router's (``alike.check``), or cost weights that are none.
    """
    check_weights(normalised_cost_weights)
    alike.check(log, [first, second])
    seen = unseen.seen_rows(first, log), unseen.seen_rows(second, log)
    learned = either(*seen)
    if unseen.exhausted(learned):
        return _stored_difference(first, second, learned)
    said = learned.said()
    for router in (first, second):
        shadow, lines = unseen.left(router, shadow)
        said += [line for line in lines if line not in said]  # both may say the same
    log = log.rows(np.flatnonzero(~learned.rows)) if learned.count else log
    view = views.of(first, log, shadow)
    weights = [normalised / first.cost_scale for normalised in normalised_cost_weights]
    (ours, we), (theirs, they) = (views.policies_of(router, log, view, weights) for router in (first, second))
    both = None if we is None or they is None else (we, they)
    found = by_weight.gains(view.logs, view.nuisances, ours, theirs, weights, shadow=view.shadow, on_shadow=both)
    lost = [views.beyond(router, log, weights) for router in (first, second)]
    said += dict.fromkeys(line for one in lost for line in one.said(normalised_cost_weights))
    said += views.absent([first, second], log, weights, normalised_cost_weights)
    found = new_models.unsupported_gains(found, lost[0].at | lost[1].at)
    low, high = found["low"].to_numpy(), found["high"].to_numpy()
    verdict = np.select([np.isnan(low), low > 0, high < 0], ["not supported", "better", "worse"], "undecided")
    return Comparison(
        np.asarray(normalised_cost_weights, float),
        found["cost_weight"].to_numpy(),
        found["gain"].to_numpy(),
        low,
        high,
        tuple(verdict.tolist()),
        found[list(conclusion.PARTS)],
        (*said, *views.said_of(log, view, first, second)),
        log.currency,
    )


def _stored_difference(first: Router, second: Router, seen: Seen) -> Comparison:
    a, b = (unseen.stored(router, seen).to_frame() for router in (first, second))
    other = [b["value"][np.isclose(b["cost_weight"], weight, rtol=1e-3)].mean() for weight in a["cost_weight"]]
    difference, unknown = a["value"].to_numpy() - np.array(other), np.full(len(a), np.nan)
    said = (
        f"No test on new data: {seen.count:,} of the {len(seen.rows):,} rows of this log were learned from by one of "
        "the routers or by both, and the rest are too few. The differences are those of the values out of fold that "
        "fit stored, at the cost weights that both have; they have no interval and decide nothing.",
    )
    return Comparison(
        a["normalised_cost_weight"].to_numpy(),
        a["cost_weight"].to_numpy(),
        difference,
        unknown,
        unknown,
        ("not supported",) * len(a),
        pd.DataFrame(np.nan, a.index, list(conclusion.PARTS)),
        said,
    )
