"""Nearest neighbours in the log, shrunk towards each model's level."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.nuisance.targets import PRIOR_ROWS, Levels
from jaxroute.types import Outcomes


class Neighbours(NamedTuple):
    """The log itself: unit vectors, targets and weights of its rows (0: not seen)."""

    features: Float[Array, "N d"]
    targets: Outcomes
    weight: Float[Array, "N K"]


def fit(features: Float[Array, "N d"], targets: Outcomes, weight: Float[Array, "N K"]) -> Neighbours:
    """Keep the rows; ``features`` are not whitened, because noise directions would then determine the distances."""
    return Neighbours(_unit(features), targets, weight)


def predict(model: Neighbours, features: Float[Array, " d"], level: Levels, counts: tuple[int, ...]) -> Outcomes:
    """Quality and relative cost [C, K] of one prompt from its nearest rows by cosine, per count.

        y_k = (sum over the n nearest rows answered by k of y + PRIOR_ROWS m_k) / (their number + PRIOR_ROWS)

    ``counts`` are numbers of neighbouring PROMPTS, whichever models answered them. A model with few answers among them
    stays near its level m_k.
    """
    similarity = model.features @ _unit(features)
    similarity = jnp.where(jnp.any(model.weight > 0, -1), similarity, -jnp.inf)
    largest = min(max(counts), similarity.shape[0])
    _, nearest = jax.lax.top_k(similarity, largest)
    weight = model.weight[nearest]
    ends = jnp.array([min(c, largest) - 1 for c in counts])

    def shrunk(y: Array, centre: Array) -> Array:
        total, rows = jnp.cumsum(weight * y[nearest], 0)[ends], jnp.cumsum(weight, 0)[ends]
        return (total + PRIOR_ROWS * jnp.broadcast_to(centre, total.shape)) / (rows + PRIOR_ROWS)

    return Outcomes(shrunk(model.targets.quality, level.quality), shrunk(model.targets.cost, jnp.ones_like(level.cost)))


def _unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-9)
