"""What a policy gains in quality and saves in cost against another: the two sides of a difference in utility, apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.estimators.comparison import paired
from jaxroute.estimators.influence import Rows, estimate, rows
from jaxroute.estimators.intervals import half_width
from jaxroute.estimators.prediction_powered import by_judge
from jaxroute.estimators.support import evaluation_clip
from jaxroute.numerics import safe_divide
from jaxroute.types import Estimate, Logs, Nuisances, Outcomes

if TYPE_CHECKING:
    import pandas as pd


def spending(
    logs: Logs,
    nuisances: Nuisances,
    router: Float[Array, "L N K"],
    other: Float[Array, "L N K"],
    *,
    clip: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Quality gained and share of the cost saved by L policies against L others, self-normalised doubly robust.

        quality = mean (q_router - q_other)
        saved   = mean (c_other - c_router) / mean c_other

    on the same rows, q and c being the influence values (`influence.rows`) of quality alone and of cost alone; the
    error of the ratio is that of its first-order expansion.

    Args:
        logs: N rows that the router was not fitted on, or that it decides out of fold.
        nuisances: cross-fitted for these rows.
        router, other: the policies, a pair for each of L cost weights.
        clip: smaller propensities are raised to it; None: ``estimators.evaluation_clip(K)``.
        level: coverage of the intervals.

    Returns:
        A row per pair: quality, quality_low, quality_high; cost and cost_other, means per request in the log's unit;
        saved, saved_low, saved_high, NaN where the other costs nothing. Whether the log supports the two policies is
        for `evaluate` to say.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> logs, target = example()
        >>> half = jnp.full((4, 2), 0.5)
        >>> found = spending(logs, Nuisances(half, Outcomes(half, half)), target[None], 1 - target[None])
        >>> print(found[["quality", "cost", "cost_other", "saved"]].round(3).to_numpy().tolist())
        [[0.5, 0.5, 0.25, -1.0]]
    """
    import pandas as pd

    clip = evaluation_clip(logs.available.shape[1]) if clip is None else clip
    quality, saved, own, others = _pairs(logs, nuisances, router, other, clip)
    found: dict[str, np.ndarray] = {"cost": np.asarray(own, float), "cost_other": np.asarray(others, float)}
    for name, of in (("quality", quality), ("saved", saved)):
        half = half_width(of.effective_sample_size, level) * np.asarray(of.standard_error)
        value = np.asarray(of.value, float)
        found |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
    return pd.DataFrame(found)


def costs_for_qualities(logs: Logs, nuisances: Nuisances) -> tuple[Logs, Nuisances]:
    """The same rows with costs in the place of qualities: a value at cost weight 0 is then a mean cost.

    What an answer cost is known whether it was rated or not, so all rows count.
    """
    cost = nuisances.outcomes.cost
    known = nuisances._replace(outcomes=Outcomes(cost, cost), response=None)
    return by_judge(logs)._replace(quality=logs.cost), known


@jax.jit
def _pairs(
    logs: Logs, nuisances: Nuisances, router: Array, other: Array, clip: float
) -> tuple[Estimate, Estimate, Array, Array]:
    of_cost, predicted = costs_for_qualities(logs, nuisances)

    def both(logs: Logs, nuisances: Nuisances, pair: Array) -> list[Rows]:
        def of(policy: Array) -> Rows:
            return rows(logs, policy, 0.0, nuisances, clip=clip, self_normalised=True)

        found = jax.vmap(of)(pair)
        return [jax.tree.map(lambda y, i=i: y[i], found) for i in range(2)]

    def at(pair: Array) -> tuple[Estimate, Estimate, Array, Array]:
        q, (own, others) = both(logs, nuisances, pair), both(of_cost, predicted, pair)
        values = (estimate(cost).value for cost in (own, others))
        return estimate(paired(*q)), estimate(_share(others, own)), *values

    return jax.vmap(at)(jnp.stack([router, other], 1))


def _share(whole: Rows, rest: Rows) -> Rows:
    """Rows of 1 - rest / whole: their mean is the ratio of the means, their spread that of its expansion."""
    difference, base = paired(whole, rest), estimate(whole).value
    ratio = safe_divide(estimate(difference).value, base)
    spread = safe_divide(difference.influence - ratio * whole.influence, base)
    return difference._replace(influence=jnp.where(base > 0, ratio + spread, jnp.nan))
