"""Where policies stand in quality and in cost, as a log has it: routers, the logging policy and every single model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute.estimators.influence import estimate, rows
from jaxroute.estimators.intervals import half_width
from jaxroute.estimators.spending import costs_for_qualities
from jaxroute.estimators.support import evaluation_clip, support
from jaxroute.numerics import relative, weighted_mean
from jaxroute.types import Estimate, Logs, Nuisances

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("quality", "quality_low", "quality_high", "cost", "cost_low", "cost_high")


def single_models(available: Bool[Array, "N K"]) -> Float[Array, "K N K"]:
    """Always model k, for each k of K; where it is not available, any other one with equal probability.

    Example:
        >>> print(single_models(np.array([[True, True, True], [False, True, True]]))[0])
        [[1.  0.  0. ]
         [0.  0.5 0.5]]
    """
    there = np.asarray(available, np.float32)
    anyone = there / there.sum(1, keepdims=True)
    alone = np.eye(there.shape[1], dtype=np.float32)[:, None, :]
    return jnp.asarray(np.where(there.T[:, :, None] > 0, alone, anyone[None]))


def frontier(
    logs: Logs,
    nuisances: Nuisances,
    policies: Float[Array, "P N K"],
    *,
    supported: Sequence[bool] | None = None,
    clip: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean quality and mean cost of P policies, self-normalised doubly robust, where the log supports them.

        quality = mean q,   cost = mean c

    q and c being the influence values (`influence.rows`) of quality alone and of cost alone, so that quality minus
    cost weight times cost is the policy's value by the same estimator.

    Args:
        logs: N rows that the policies were not fitted on, or that they decide out of fold.
        nuisances: cross-fitted for these rows.
        policies: any number of them.
        supported: [P] whether the log supports each; None: unless the verdict of `support` is refuse.
        clip: smaller propensities are raised to it; None: ``estimators.evaluation_clip(K)``.
        level: coverage of the intervals.

    Returns:
        A row per policy: quality, quality_low, quality_high; cost, cost_low, cost_high, per request in the log's
        unit. NaN where the log does not support the policy.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> from jaxroute.types import Outcomes
        >>> logs, target = example()
        >>> half = Nuisances(jnp.full((4, 2), 0.5), Outcomes(jnp.full((4, 2), 0.5), jnp.full((4, 2), 0.5)))
        >>> print(frontier(logs, half, target[None], supported=[True])[["quality", "cost"]].to_numpy().tolist())
        [[0.875, 0.5]]
        >>> print(frontier(logs, half, target[None])["quality"].tolist())  # four rows support nothing
        [nan]
    """
    import pandas as pd

    clip = evaluation_clip(logs.available.shape[1]) if clip is None else clip
    if supported is None:
        supported = [one["verdict"] != "refuse" for one in support(logs, policies, nuisances, clip=clip).targets]
    records = []
    for policy, known in zip(np.asarray(policies), supported, strict=True):
        record = dict.fromkeys(COLUMNS, np.nan)
        for name, of in zip(("quality", "cost"), _both(logs, nuisances, policy, clip), strict=True) if known else ():
            value = float(of.value)
            half = float(half_width(np.asarray(of.effective_sample_size), level)) * float(of.standard_error)
            record |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
        records.append(record)
    return pd.DataFrame(records, columns=COLUMNS)


def beside_single_models(
    logs: Logs,
    nuisances: Nuisances,
    router: tuple[str, Float[Array, "L N K"], Sequence[float]],
    supported: Sequence[bool],
    logger: Float[Array, "N K"] | None,
    models: Sequence[str],
    clip: float,
) -> pd.DataFrame:
    """The frontier of a router (name, policies, cost weights), of the logging policy if given, and of all models.

    Returns:
        policy, kind ("router", "logging policy" or "single model"), cost_weight (NaN but for the router), then the
        columns of `frontier`.
    """
    import pandas as pd

    name, policies, weights = router
    own = [] if logger is None else [logger[None]]
    fixed = jnp.concatenate([*own, single_models(logs.available)])
    parts = (
        frontier(logs, nuisances, policies, supported=supported, clip=clip),
        frontier(logs, nuisances, fixed, clip=clip),
    )
    found = pd.concat(parts, ignore_index=True)
    found.insert(0, "policy", [*[name] * len(policies), *["logging policy"] * len(own), *models])
    found.insert(
        1, "kind", [*["router"] * len(policies), *["logging policy"] * len(own), *["single model"] * len(models)]
    )
    found.insert(2, "cost_weight", [*map(float, weights), *[np.nan] * len(fixed)])
    return found


@jax.jit
def shares(policies: Float[Array, "L N K"], times: Float[Array, " N"] | None = None) -> Float[Array, "L K"]:
    """The share of the requests that L policies send to each of K models; times: how often every row counts.

    Example:
        >>> print(shares(jnp.array([[[1.0, 0.0], [0.5, 0.5]]])))
        [[0.75 0.25]]
    """
    return jax.vmap(lambda policy: weighted_mean(policy, relative(times)))(policies)


@jax.jit
def _both(logs: Logs, nuisances: Nuisances, policy: Array, clip: float) -> tuple[Estimate, Estimate]:
    def of(logs: Logs, nuisances: Nuisances) -> Estimate:
        return estimate(rows(logs, policy, 0.0, nuisances, clip=clip, self_normalised=True))

    return of(logs, nuisances), of(*costs_for_qualities(logs, nuisances))
