"""The targets of outcome models: quality as it is, and cost relative to its model's mean.

Costs differ a hundredfold between models and have heavy tails within one. Divided by the model's mean, capped and
fitted with a Huber loss, they are one well-behaved target. The variation between prompts is fitted robustly; then each
model's LEVEL is restored, so that predicted costs average to the observed mean.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.numerics import safe_divide
from jaxroute.types import Outcomes

COST_CAP = 8.0  # relative cost, times the model's mean
HUBER_DELTA = 2.0
PRIOR_ROWS = 4.0  # rows' worth of shrinkage of a model's level towards the pool's
LEAST_RELATIVE_COST = 0.02  # a prediction never falls to zero or below


class Levels(NamedTuple):
    """Each model's mean quality (shrunk to the pool's by PRIOR_ROWS) and mean cost, from weighted cells."""

    quality: Float[Array, " K"]
    cost: Float[Array, " K"]


def levels(outcomes: Outcomes, weight: Float[Array, "N K"], paid: Float[Array, "N K"] | None = None) -> Levels:
    """Weighted per-model means; a model without rows gets the pool's.

    Args:
        outcomes: [N, K]. weight: of the cells of which both are known, 0 elsewhere. paid: of those whose cost is known,
            which is so of answers that nobody rated; None: as ``weight``.
    """
    rows = jnp.sum(weight, 0)
    total = jnp.sum(rows)
    pooled = jnp.sum(weight * outcomes.quality) / total
    quality = (jnp.sum(weight * outcomes.quality, 0) + PRIOR_ROWS * pooled) / (rows + PRIOR_ROWS)
    if paid is not None:
        weight, rows = paid, jnp.sum(paid, 0)
    mean_cost = safe_divide(jnp.sum(weight * outcomes.cost, 0), rows, 0.0)
    typical = jnp.sum(jnp.where(rows > 0, mean_cost, 0.0)) / jnp.sum(rows > 0)
    return Levels(quality, jnp.where(rows > 0, mean_cost, typical))


def relative(outcomes: Outcomes, level: Levels) -> Outcomes:
    """Targets [N, K]: quality, and cost over the model's mean, capped at COST_CAP."""
    cost = safe_divide(outcomes.cost, jnp.broadcast_to(level.cost, outcomes.cost.shape), 1.0)
    return Outcomes(outcomes.quality, jnp.minimum(cost, COST_CAP))


def cost_correction(predicted: Float[Array, "N *batch K"], weight: Float[Array, "N K"]) -> Float[Array, "*batch K"]:
    """Factor per model that brings mean predicted relative cost to 1, shrunk towards 1 by PRIOR_ROWS."""
    rows = jnp.sum(weight, 0)
    total = jnp.einsum("nk,n...k->...k", weight, jnp.maximum(predicted, LEAST_RELATIVE_COST))
    return (jnp.broadcast_to(rows, total.shape) + PRIOR_ROWS) / (total + PRIOR_ROWS)


def restore(predicted: Outcomes, level: Levels, correction: Float[Array, "*batch K"]) -> Outcomes:
    """Predictions in the data's own units: quality cut to [0, 1], cost in cost units."""
    cost = jnp.maximum(predicted.cost, LEAST_RELATIVE_COST) * correction
    cost = cost * jnp.broadcast_to(level.cost, cost.shape)
    return Outcomes(jnp.clip(predicted.quality, 0.0, 1.0), cost)
