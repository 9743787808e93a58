"""Choosing the clip, threshold or shrinkage from the log.

Each of these parameters trades bias for variance. Order its candidates from least to most biased:

    clip        ascending        CLIPS           a larger clip caps the weights
    threshold   descending       THRESHOLDS      a smaller threshold drops more of them
    shrinkage   descending       SHRINKAGES      a smaller one pulls them down further

and pass the influence rows of all of them (vmap of ``rows`` over the candidates) to a rule:

    thresholds = jnp.array(THRESHOLDS)
    family = jax.vmap(lambda t: rows(logs, target, w, nuisances, transform=lambda v: switch(v, t)))(thresholds)
    position, chosen = slope(family)
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxroute.estimators.influence import Rows, estimate
from jaxroute.types import Estimate

CLIPS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
THRESHOLDS = (float("inf"), 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 0.0)
SHRINKAGES = (float("inf"), 10000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 0.0)
WIDTH = 2.0
"""Half width of SLOPE's intervals in standard errors."""


class Selection(NamedTuple):
    """Position of the chosen candidate, and its estimate.

    The standard error is that of the chosen candidate as if it had been fixed beforehand.
    """

    position: Int[Array, ""]
    estimate: Estimate


def slope(family: Rows, *, width: float = WIDTH) -> Selection:
    """SLOPE: the most biased candidate whose interval intersects those of all less biased ones.

        I_c = value_c -+ width error_c,   position = max { c : I_0, ..., I_c have a point in common }

    Candidates must be ordered from least to most biased. As long as the intervals intersect, the bias is within the
    noise and the smaller variance is preferred.

    Args:
        family: influence rows with a leading axis [C].
        width: half width of the intervals, in standard errors.

    Returns:
        Selection.

    Example:
        >>> z = jnp.array([[0.0, 4.0], [1.0, 2.0], [9.0, 9.5]])
        >>> print(slope(Rows(z, jnp.ones((3, 2), bool), jnp.ones((3, 2)))).position)
        1

    Reference:
        Adaptive Estimator Selection for Off-Policy Evaluation, by Su, Srinath and Krishnamurthy
        (https://arxiv.org/abs/2002.07729), 2020.
    """
    estimates = _estimates(family)
    half = width * estimates.standard_error
    low = jax.lax.cummax(estimates.value - half)
    high = jax.lax.cummin(estimates.value + half)
    meets = jnp.cumprod((low <= high).astype(jnp.int32))
    return _pick(estimates, jnp.maximum(jnp.sum(meets) - 1, 0))


def smallest_error(family: Rows) -> Selection:
    """The candidate with the smallest estimated mean squared error.

        max(0, |d_c| - error(d_c))^2 + error_c^2,   d_c = mean(z_c - z_0)

    The bias of a candidate is its distance to the first, least biased one, minus the standard error of that distance,
    so that with large weights the noise of the first candidate does not count as bias of all others. In part it still
    does, so prefer ``slope`` there (tests/test_selection.py simulates both).

    Args:
        family: influence rows with a leading axis [C], the least biased candidate first.

    Returns:
        Selection.

    Example:
        >>> z = jnp.array([[0.0, 4.0], [1.5, 2.0], [9.0, 9.5]])
        >>> print(smallest_error(Rows(z, jnp.ones((3, 2), bool), jnp.ones((3, 2)))).position)
        1

    Reference:
        Optimal and Adaptive Off-policy Evaluation in Contextual Bandits, by Wang, Agarwal and Dudík
        (https://arxiv.org/abs/1612.01205), 2017, section 4, chooses the switch threshold by estimated
        squared bias plus variance; Doubly robust off-policy evaluation with shrinkage, by Su,
        Dimakopoulou, Krishnamurthy and Dudík (https://arxiv.org/abs/1907.09623), 2020, likewise. Both
        bound the bias from above; this estimate of it is ours.
    """
    estimates = _estimates(family)
    distance = _estimates(family._replace(influence=family.influence - family.influence[:1]))
    bias = jnp.maximum(jnp.abs(distance.value) - distance.standard_error, 0.0)
    error = bias**2 + estimates.standard_error**2
    return _pick(estimates, jnp.argmin(jnp.where(jnp.isnan(error), jnp.inf, error)))


def _estimates(family: Rows) -> Estimate:
    chex.assert_rank(family.influence, 2)
    if family.group is not None:
        family = family._replace(group=jnp.broadcast_to(family.group, family.influence.shape))
    return jax.vmap(estimate)(family)


def _pick(estimates: Estimate, index: Int[Array, ""]) -> Selection:
    return Selection(index, Estimate(*(x[index] for x in estimates)))
