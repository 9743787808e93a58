"""Values over families of models: the weights of a pool of dozens, marginalised to a few.

With dozens of models, a model's propensity is small, and importance weights are large. Models of one family (sizes and
versions of one series, or models that answer alike) share their evidence: a row says something of every policy that
chooses the chosen model's family,

    w_i = sum_{k in f(a_i)} target_ik / max(sum_{k in f(a_i)} propensity_ik, clip),

the ratio of the densities of the family given the prompt. The price is an assumption that a log cannot check. Without
an outcome model, reward may depend on the family alone (`marginalised_ipw`). With one, the outcome model must be right
about the differences within a family; between families it may be wrong (`marginalised_doubly_robust`). Where this does
not hold, intervals carry the difference as a bias, like those of the direct method.

In 400 simulated logs of 500 rows over 40 models in 5 families (`tests/test_families.py`), with an outcome model that is
right within families and wrong between them, the root mean squared error is 0.025 against 0.077 of `doubly_robust`, the
bias is 0.002, and 96% of the intervals hold the truth (93% of doubly robust ones). With an outcome model that is wrong
within families the bias is 0.040 and 68% of the intervals hold the truth.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxroute.estimators.influence import Rows, Scalar, estimate, rows
from jaxroute.estimators.influence import example as example
from jaxroute.numerics import at_least_single
from jaxroute.types import Estimate, InputError, Logs, Nuisances
from jaxroute.types import Outcomes as Outcomes


def marginalised_ipw(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances,
    *,
    family: Int[Array, " K"],
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """Inverse propensity weighting by families; unbiased if reward depends on prompt and family alone.

        V = mean min(w, weight_clip) r,   w of the family, see above

    Args:
        logs: N rows; rows without feedback are left out.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: their propensities [N, K], of every model and not of the chosen one alone.
        family: [K] number of every model's family, see ``families``; numbers of their own for all give ``ipw``.
        clip: smaller propensities of a family are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN without any feedback.

    Raises:
        InputError: a propensity of a chosen model is NaN.

    Example:
        >>> logs, target = example()
        >>> half = Nuisances(jnp.full((4, 2), 0.5), Outcomes(jnp.zeros((4, 2)), jnp.zeros((4, 2))))
        >>> apart, one = jnp.array([0, 1]), jnp.array([0, 0])
        >>> print(*(marginalised_ipw(logs, target, 0.5, half, family=f).value for f in (apart, one)))
        0.625 0.4375

    Reference:
        Off-Policy Evaluation for Large Action Spaces via Embeddings, by Saito and Joachims
        (https://arxiv.org/abs/2202.06317), 2022.
    """
    return estimate(_rows(logs, target, cost_weight, nuisances, family, clip, weight_clip, outcome_model=False))


def marginalised_doubly_robust(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances,
    *,
    family: Int[Array, " K"],
    clip: Scalar = 0.0,
    weight_clip: Scalar = jnp.inf,
) -> Estimate:
    """Doubly robust by families: weights correct between families, the outcome model tells models within one apart.

        V = mean d + mean min(w, weight_clip) e

    Unbiased if the outcome model's error is the same for all models of a family, given the prompt.

    Args:
        logs: N rows; rows without feedback are left out of the correction.
        target: [N, K] the policy to value.
        cost_weight: quality per unit of cost.
        nuisances: cross-fitted for these rows; propensities [N, K] of every model.
        family: [K] number of every model's family, see ``families``; numbers of their own give ``doubly_robust``.
        clip: smaller propensities of a family are raised to it.
        weight_clip: larger weights are lowered to it.

    Returns:
        Estimate; NaN without any feedback.

    Raises:
        InputError: a propensity of a chosen model is NaN.

    Example:
        >>> logs, target = example()
        >>> half = Nuisances(jnp.full((4, 2), 0.5), Outcomes(jnp.full((4, 2), 0.5), jnp.full((4, 2), 0.5)))
        >>> print(marginalised_doubly_robust(logs, target, 0.5, half, family=jnp.array([0, 0])).value)
        0.4375

    Reference:
        Off-Policy Evaluation for Large Action Spaces via Conjunct Effect Modeling, by Saito, Ren and Joachims
        (https://arxiv.org/abs/2305.08062), 2023.
    """
    return estimate(_rows(logs, target, cost_weight, nuisances, family, clip, weight_clip, outcome_model=True))


def families(embedding: Float[np.ndarray, "K E"], count: int) -> Int[np.ndarray, " K"]:
    """Models grouped by their embeddings, with Ward's hierarchical clustering. Host side.

    Args:
        embedding: [K, E] of every model: what is known of it (size, series, price), or how it answers, such as the
            outcome model's out-of-fold quality on prompts, ``nuisances.outcomes.quality.T``.
        count: number of families, 1 to K.

    Returns:
        [K] numbers 0 to count - 1, in order of appearance.

    Raises:
        InputError: a count outside 1 to K, or an embedding that is not finite.

    Example:
        >>> print(families(np.array([[0.1], [0.9], [0.12], [0.8]]), 2))
        [0 1 0 1]

    Reference:
        Hierarchical Grouping to Optimize an Objective Function, by Ward, 1963.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    embedding = np.asarray(embedding, float)
    models = len(embedding)
    if not 1 <= count <= models:
        raise InputError(f"count={count}: there are {models} models, so give 1 to {models} families")
    if not np.isfinite(embedding).all():
        raise InputError("an embedding of a model is not finite; correct it")
    if models == 1:
        return np.zeros(1, int)
    label = fcluster(linkage(embedding, "ward"), count, "maxclust")
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place]


def _rows(
    logs: Logs,
    target: Float[Array, "N K"],
    cost_weight: Scalar,
    nuisances: Nuisances,
    family: Int[Array, " K"],
    clip: Scalar,
    weight_clip: Scalar,
    *,
    outcome_model: bool,
) -> Rows:
    """Influence rows with the weights of families; ``weight`` of the result is theirs, too."""
    family, (target, nuisances) = jnp.asarray(family), at_least_single((target, nuisances))
    chex.assert_shape(family, (logs.available.shape[1],))
    together = (family[:, None] == family[None]).astype(jnp.asarray(target).dtype)
    action = jnp.asarray(logs.action)[:, None]

    def of_family(probability: Float[Array, "N K"]) -> Float[Array, " N"]:
        """Of the chosen model's family."""
        return jnp.take_along_axis(jnp.asarray(probability) @ together, action, 1)[:, 0]

    ratio = of_family(target) / jnp.maximum(of_family(nuisances.propensity), clip)
    if nuisances.response is not None:
        ratio = ratio / nuisances.response
    ratio = jnp.where(jnp.isnan(logs.quality), 0.0, ratio)
    found = rows(
        logs,
        target,
        cost_weight,
        nuisances,
        clip=clip,
        transform=lambda _: jnp.minimum(ratio, weight_clip),
        outcome_model=outcome_model,
    )
    return found._replace(weight=ratio)
