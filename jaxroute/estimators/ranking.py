"""Which of several routers is the best, with bounds that allow for the choice.

The best of several estimates is too good: it was picked because it came out high. ``rank`` therefore bounds all
differences of all routers at all cost weights together,

    |D_ijl - (V_il - V_jl)| <= c error_ijl  for all i, j and l at once with probability ``level``

with c from `comparison.simultaneous`, whose bootstrap knows how the differences hang together: routers that decide
alike cost nothing. A router may be the best at a cost weight unless another one is certainly better there, and the one
that truly is stays among them with probability ``level``, at all cost weights together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute.estimators.comparison import at_weights, paired, simultaneous
from jaxroute.estimators.evaluation import evaluate
from jaxroute.estimators.influence import Rows, estimate, utility_range
from jaxroute.estimators.intervals import half_width
from jaxroute.estimators.trusted import trusted_clip
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import InputError, Key, Logs, Nuisances


class Ranking(NamedTuple):
    """M routers at L cost weights.

    value: [M, L]. low, high: [M, M, L] bounds of value i minus value j, NaN where the log does not support both.
    leads: [M, L], whether the router may be the best one of those that the log supports.
    """

    value: Float[np.ndarray, "M L"]
    low: Float[np.ndarray, "M M L"]
    high: Float[np.ndarray, "M M L"]
    leads: Bool[np.ndarray, "M L"]


def rank(
    key: Key,
    logs: Logs,
    routers: Float[Array, "M L N K"],
    cost_weights: Sequence[float] | Float[Array, " L"],
    nuisances: Nuisances,
    *,
    clip: float | None = None,
    level: float = 0.95,
) -> Ranking:
    """Compare several routers on rows that none of them was fitted on.

    Args:
        key: of the bounds' simulation.
        logs: N rows. nuisances: cross-fitted for these rows.
        routers: their probabilities at every cost weight.
        cost_weights: [L], quality per unit of cost.
        clip: smaller propensities are raised to it; None: ``estimators.trusted_clip``.
        level: of all bounds together.

    Returns:
        Ranking.

    Raises:
        InputError: fewer than two routers.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> from jaxroute.types import Outcomes
        >>> logs, target = example()
        >>> logs = jax.tree.map(lambda y: jnp.tile(y, (100,) + (1,) * (y.ndim - 1)), logs)
        >>> target, half = jnp.tile(target, (100, 1)), jnp.full((400, 2), 0.5)
        >>> both = jnp.stack([target, 1 - target])[:, None]
        >>> found = rank(jax.random.key(0), logs, both, [0.5], Nuisances(half, Outcomes(half, half)))
        >>> found.leads.tolist(), found.low[0, 1] > 0
        ([[True], [False]], array([ True]))
    """
    if len(routers) < 2:
        raise InputError(f"{len(routers)} router(s): give two or more")
    weights = jnp.asarray(cost_weights, jnp.float32)
    clip = trusted_clip(logs, *routers) if clip is None else clip
    judged = [evaluate(logs, router, weights, nuisances, clip=clip) for router in routers]
    supported = np.array([[one.interval is not None for one in by_weight] for by_weight in judged])
    low, high = bounds(key, _rows(logs, routers, weights, nuisances, clip), jnp.asarray(supported), level=level)
    least, most = utility_range(logs, np.asarray(weights))
    low, high = (np.clip(np.asarray(x, float), least - most, most - least) for x in (low, high))
    value = np.array([[one.value for one in by_weight] for by_weight in judged])
    beaten = (np.nan_to_num(high, nan=np.inf) < 0).any(1)
    return Ranking(value, low, high, supported & ~beaten)


@nan_is_unknown()
def bounds(
    key: Key, of: Rows, supported: Bool[Array, "M L"], *, level: float = 0.95
) -> tuple[Float[Array, "M M L"], Float[Array, "M M L"]]:
    """Bounds of all differences together, from the routers' influence rows [M, L, N]; see `Ranking`."""
    routers, weights = supported.shape
    pairs = np.array(list(combinations(range(routers), 2)))
    by_pair = _differences(of, pairs)
    known = (supported[pairs[:, 0]] & supported[pairs[:, 1]]).reshape(-1)
    by_pair = by_pair._replace(influence=jnp.where(known[:, None], by_pair.influence, 0.0))  # has no say in c
    band = simultaneous(key, by_pair, level=level)
    sizes = jax.vmap(estimate)(by_pair).effective_sample_size
    small = jnp.asarray(half_width(np.asarray(sizes)) / half_width(np.nan))  # Student's factor, as in every interval
    half = jnp.where(known, small * (band.high - band.low) / 2, jnp.nan)
    shape = (len(pairs), weights)
    value, half = jnp.where(known, band.value, jnp.nan).reshape(shape), half.reshape(shape)
    low, high = (jnp.full((routers, routers, weights), jnp.nan) for _ in range(2))
    i, j = pairs.T
    low = low.at[i, j].set(value - half).at[j, i].set(-value - half)
    high = high.at[i, j].set(value + half).at[j, i].set(-value + half)
    return low, high


@jax.jit
def _differences(of: Rows, pairs: Array) -> Rows:
    """Influence rows [P L, N] of all pairs at all cost weights."""
    first, second = (jax.tree.map(lambda x, side=side: x[pairs[:, side]], of) for side in (0, 1))
    found = jax.vmap(jax.vmap(paired))(first, second)
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), found)


_rows = jax.jit(jax.vmap(at_weights, (None, 0, None, None, None)))
