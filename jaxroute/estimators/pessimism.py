"""Outcomes lowered by their uncertainty, so that a router trained on them prefers choices that the log supports.

    quality_ik - strength * error_ik,   error_ik = sigma_k / sqrt(1 + rows p_ik)

A log of ``rows`` prompts like this one has about rows p_ik answers of model k. Their mean has variance
sigma_k^2 / (rows p_ik), the leading term of the doubly robust variance sigma_k^2 / p_ik per row. The added row bounds
the error by sigma_k where the log never chose the model. A learner that maximises estimated outcomes prefers models
that happen to be overestimated, which are those with few rows.

Costs are unchanged, so utilities remain affine in the cost weight: u = (quality - strength error) - cost_weight cost.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.arguments import checked
from jaxroute.numerics import relative
from jaxroute.types import Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float

LARGEST_VARIANCE = 0.25
"""The largest variance in [0, 1] (Popoviciu), assumed of a model without feedback."""
PRIOR_ROWS = 10.0
"""Rows of that variance added to every model, so that a few equal answers do not give a variance near 0."""


@checked
@jax.jit
def noise(logs: Logs, nuisances: Nuisances) -> Float[Array, " K"]:
    """Standard deviation of quality around the outcome model, per model, pooled with the largest possible.

        sigma_k^2 = (sum_{i: t_i = k} (q_i - r_ik)^2 + 10 * 0.25) / (n_k + 10)

    over the n_k rows with feedback; the outcome model's own error is part of it.

    Args:
        logs: N rows; rows without feedback are left out.
        nuisances: cross-fitted for these rows.

    Returns:
        [K]; 0.5 for a model without feedback.

    Example:
        >>> print(*(round(float(sigma), 3) for sigma in noise(*_example())))
        0.5 0.479
    """
    quality = jnp.asarray(logs.quality)
    chosen = jax.nn.one_hot(logs.action, logs.available.shape[1], dtype=quality.dtype)
    chosen = chosen * ~jnp.isnan(quality)[:, None]
    times = relative(logs.weight)
    chosen = chosen if times is None else chosen * times[:, None]
    error = jnp.where(chosen > 0, quality[:, None] - jnp.asarray(nuisances.outcomes.quality), 0.0)
    total = jnp.sum(chosen * error**2, 0) + PRIOR_ROWS * LARGEST_VARIANCE
    return jnp.sqrt(total / (jnp.sum(chosen, 0) + PRIOR_ROWS))


@checked
@jax.jit
def standard_error(propensity: Float[Array, "N K"], noise: Float[Array, " K"], *, rows: Scalar) -> Float[Array, "N K"]:
    """Standard error of every cell, from how often the log tried the model on prompts like this one.

        error_ik = sigma_k / sqrt(1 + rows p_ik)

    Args:
        propensity: [N, K] logging propensities, of the log's rows or of new prompts.
        noise: [K] standard deviation of quality per model.
        rows: prompts of the log that a prediction is based on: k for kNN over all models' rows, and up to the log's N
            for a model with few parameters.

    Returns:
        [N, K] in quality units; ``noise`` where the propensity is 0.

    Example:
        >>> print(standard_error(jnp.array([[0.75, 0.0]]), jnp.array([0.5, 0.5]), rows=4))
        [[0.25 0.5 ]]
    """
    chex.assert_equal_shape_suffix([propensity, noise], 1)
    return jnp.asarray(noise)[None, :] * jax.lax.rsqrt(1 + rows * jnp.asarray(propensity))


@checked
@jax.jit
def pessimistic(outcomes: Outcomes, error: Float[Array, "N K"], *, strength: Scalar) -> Outcomes:
    """Lower confidence bound of every model's quality; cost as it is.

        a_k = quality_k - strength error_k

    Any outcomes will do, predicted or doubly robust, and the result is Outcomes again.

    Args:
        outcomes: [N, K]. error: [N, K] standard error of quality, as from ``standard_error``.
        strength: standard errors subtracted; 0 changes nothing, 1 to 2 is usual; traced.

    Returns:
        Outcomes [N, K]; quality may be below 0.

    Example:
        >>> one = jnp.ones((1, 2))
        >>> print(pessimistic(Outcomes(one, one), jnp.array([[0.25, 0.5]]), strength=1.0).quality)
        [[0.75 0.5 ]]

    Reference:
        Is Pessimism Provably Efficient for Offline RL?, by Jin, Yang and Wang
        (https://arxiv.org/abs/2012.15085), 2021; Counterfactual Risk Minimization: Learning from Logged
        Bandit Feedback, by Swaminathan and Joachims (https://arxiv.org/abs/1502.02362), 2015 (the same
        penalty on the whole policy instead of every choice).
    """
    quality = jnp.asarray(outcomes.quality)
    chex.assert_equal_shape([quality, error])
    return Outcomes(quality - strength * error, jnp.asarray(outcomes.cost))


def _example() -> tuple[Logs, Nuisances]:
    """Two prompts answered by the second of two models; the first answer as predicted, the second 0.5 better."""
    half = jnp.full((2, 2), 0.5)
    logs = Logs(
        features=jnp.zeros((2, 1)),
        action=jnp.array([1, 1]),
        quality=jnp.array([0.5, 1.0]),
        cost=jnp.ones(2),
        propensity=jnp.full(2, 0.5),
        available=jnp.ones((2, 2), bool),
    )
    return logs, Nuisances(half, Outcomes(half, half))
