"""Which of several routers is the best on a log that none of them has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxroute import settings
from jaxroute.data import logs as people
from jaxroute.data.seen import either
from jaxroute.estimators import ranking
from jaxroute.recipe import GRID
from jaxroute.serving import alike, unseen, views
from jaxroute.serving.router import Router
from jaxroute.serving.shown import Curve, Shown
from jaxroute.serving.terms import check_weights
from jaxroute.types import InputError

MAY, NOT, UNKNOWN = "may be the best", "is not the best", "not supported"


@dataclass(frozen=True, repr=False, eq=False)
class Ranking(Shown):
    """M routers by name at L cost weights, normalised by the first one's cost_scale. found: see ``estimators.ranking``.

    left_out: what was said of rows that a router had learned from.
    """

    _curves = (Curve("difference", "minus the best other router", "low", "high"),)
    _of = "difference in value (points)"
    names: tuple[str, ...]
    normalised_cost_weight: np.ndarray
    cost_weight: np.ndarray
    found: ranking.Ranking
    left_out: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """A row per cost weight and router: value, the other router of the highest value (of those that the log
        supports), the difference to it with bounds that hold for all routers and cost weights together (95%; NaN where
        the log does not support both), and the verdict."""
        records = []
        supported = np.isfinite(self.found.low).any(1)
        for place, weight in enumerate(self.normalised_cost_weight):
            for i, name in enumerate(self.names):
                others = [j for j in range(len(self.names)) if j != i and supported[j, place]]
                rival = max(others, key=lambda j: self.found.value[j, place], default=None)
                low, high = (
                    np.nan if rival is None else bound[i, rival, place] for bound in (self.found.low, self.found.high)
                )
                records.append(
                    {
                        "normalised_cost_weight": weight,
                        "cost_weight": self.cost_weight[place],
                        "router": name,
                        "value": self.found.value[i, place],
                        "best_other": None if rival is None else self.names[rival],
                        "difference": (low + high) / 2,
                        "low": low,
                        "high": high,
                        "verdict": UNKNOWN if np.isnan(low) else MAY if self.found.leads[i, place] else NOT,
                    }
                )
        return pd.DataFrame(records)

    def conclusion(self) -> list[str]:
        """What was left out; then which router is the best, and where."""
        said: dict[tuple[tuple[str, ...], int], list[str]] = {}
        counts = (np.isfinite(self.found.low).any(1) | self.found.leads.astype(bool)).sum(0)  # that the log supports
        for place, weight in enumerate(self.normalised_cost_weight):
            best = tuple(n for n, leads in zip(self.names, self.found.leads[:, place], strict=True) if leads)
            among = int(counts[place])
            said.setdefault((best, among) if among > 1 else ((), 0), []).append(f"{weight:g}")  # one has no rival
        lines = []
        for (best, among), weights in said.items():
            where = f"at normalised cost weight{'s' if len(weights) > 1 else ''} {', '.join(weights)}"
            if len(best) == 1:
                of = f"{among} routers" + (" that the log supports" if among < len(self.names) else "")
                lines.append(f"{best[0]} is the best of the {of} {where}.")
            elif best:
                lines.append(f"The log cannot say which of {', '.join(best)} is the best {where}.")
            else:
                lines.append(f"The log supports no two of the routers {where}.")
        certain = any(len(best) == 1 for best, _ in said)
        more = ["This holds with 95% confidence for all routers and cost weights together."] if certain else []
        return [*self.left_out, *lines, *more]


def rank(
    routers: Sequence[Router],
    log: people.LogTable,
    *,
    names: Sequence[str] | None = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> Ranking:
    """Find the best of several routers, with bounds that allow for the choice.

    Args:
        routers: M of them, at least two. names: of the routers, for reports; None: "router 0" and so on.
        log: N rows; those that a router has learned from are left out for all of them.
        normalised_cost_weights: [L], normalised by the first router's cost_scale and the same for all.

    Returns:
        Ranking.

    Raises:
        InputError: fewer than two routers, names that are not one of each, cost weights that are none, too few rows
            that all have not learned from, none of the models is one that a router knows, or features of another width.
    """
    check_weights(normalised_cost_weights)
    if len(routers) < 2:
        raise InputError(f"{len(routers)} router(s): give two or more")
    if names is not None:
        settings.texts("names", names, "names")
        if len(names) != len(routers):
            raise settings.refused("names", names, f"a list of {len(routers)} names, one of each router")
    alike.check(log, routers)
    seen = reduce(either, [unseen.seen_rows(router, log) for router in routers])
    if unseen.exhausted(seen):
        raise InputError(
            f"{seen.count:,} of the {len(log):,} rows were learned from by one of the routers, and the rest are too "
            "few to rank them on; give a later log"
        )
    log = log.rows(np.flatnonzero(~seen.rows)) if seen.count else log
    view = views.of(routers[0], log, None)
    weights = [normalised / routers[0].cost_scale for normalised in normalised_cost_weights]
    for router in routers:
        if lost := views.beyond(router, log, weights).said(normalised_cost_weights):
            raise InputError(f"{lost[0]} Give a log that has them, or a router without them (router.without)")
    absent = views.absent(routers, log, weights, normalised_cost_weights)
    decided = jnp.stack([views.policies_of(router, log, view, weights)[0] for router in routers])
    found = ranking.rank(jax.random.key(0), view.logs, decided, weights, view.nuisances)
    return Ranking(
        tuple(names or (f"router {i}" for i in range(len(routers)))),
        np.asarray(normalised_cost_weights, float),
        np.asarray(weights, float),
        found,
        (*seen.said(), *absent, *views.said_of(log, view, *routers)),
    )
