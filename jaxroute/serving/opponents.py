"""The best single model as a router's opponent, chosen for every row on other rows.

Of several models that are about as good, the one that a log shows to be the best was partly lucky in it. Valued on the
same rows it looks better than it is, so the router's gain over it looks smaller, and a router that is as good is called
worse too often. Chosen out of fold, as the router's own decisions are, it is valued on rows that did not choose it.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute import policies
from jaxroute.nuisance import crossfit
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Examples

FOLDS = 3
"""With more, they choose by nearly the same rows, and the errors of their choices add up to more than is stated."""


@nan_is_unknown()
def best_single(
    learn: Examples,
    cost_weights: Sequence[float],
    prompts: Bool[Array, "R K"],
    *,
    times: Float[Array, " R"] | None = None,
    group: Int[Array, " N"] | Int[np.ndarray, " N"] | None = None,
) -> Float[Array, "L R K"]:
    """Always the model of the highest mean utility over the rows of the other folds.

        pi_ik = 1{k = argmax_j mean_n u_nj},   the mean over the rows n that are in another fold than row i

    Args:
        learn: R rows, a log's with doubly robust outcomes and then a shadow sample's, see ``counterfactual.examples``.
        cost_weights: [L] quality per unit of cost.
        prompts: [R, K], the models that may be chosen for each row; where the best may not, the next best is.
        times: [R], how often every row counts in the mean; None: once.
        group: [N], of the first rows; rows of one group share a fold. None: no two rows belong together.

    Returns:
        Probabilities [L, R, K]; with fewer than two groups the choice is that of all rows.

    Example:
        The model that is better on one row out of two is chosen for the other:

        >>> from jaxroute.types import Outcomes
        >>> outcomes = Outcomes(jnp.array([[1.0, 0.0], [0.0, 0.9]]), jnp.zeros((2, 2)))
        >>> learn = Examples(jnp.zeros((2, 1)), outcomes, jnp.ones((2, 2), bool))
        >>> print(best_single(learn, [0.0], learn.available)[0])
        [[0. 1.]
         [1. 0.]]

    Reference:
        Double/Debiased Machine Learning for Treatment and Structural Parameters, by Chernozhukov et al.
        (https://arxiv.org/abs/1608.00060), 2018 (cross-fitting).
    """
    rows = len(learn.available)
    own = np.arange(rows)
    if group is not None:
        own[: len(group)] = rows + np.unique(group, return_inverse=True)[1]
    folds = min(FOLDS, len(np.unique(own)))
    if folds < 2:
        weights = jnp.asarray(cost_weights)
        return policies.best_single(learn.outcomes, weights, available=learn.available, prompts=prompts, weight=times)
    fold = crossfit.assign_folds(jax.random.key(0), rows, folds, own)
    counted = jnp.ones(rows) if times is None else times
    return _chosen(learn, jnp.asarray(cost_weights), jnp.asarray(prompts), counted, jnp.asarray(fold))


@jax.jit
def _chosen(learn: Examples, cost_weights: Array, prompts: Array, times: Array, fold: Array) -> Array:
    count = jnp.where(learn.available, times[:, None], 0.0)

    def elsewhere(y: Array) -> Array:
        by_fold = jax.ops.segment_sum(y, fold, FOLDS)
        return jnp.sum(by_fold, 0, keepdims=True) - by_fold

    rows = elsewhere(count)
    quality, cost = (elsewhere(count * jnp.where(learn.available, y, 0.0)) for y in learn.outcomes)
    utility = (quality[None] - cost_weights[:, None, None] * cost[None]) / jnp.maximum(rows, 1e-30)[None]
    scores = jnp.where(rows[None] > 0, utility, -jnp.inf)[:, fold]
    return policies.greedy(scores, available=jnp.broadcast_to(prompts[None], scores.shape))
