"""Features on one common scale: centred principal components of unit variance.

Learners never see raw embeddings. A projection is fitted on training rows only (inside each fold when cross-fitting,
hence the row weights) and is stored with whatever was trained on it.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Projection(NamedTuple):
    """x -> (x - mean) @ basis; the columns of ``basis`` are principal axes over their ``deviation``."""

    mean: Float[Array, " D"]
    basis: Float[Array, "D d"]
    deviation: Float[Array, " d"]


@partial(jax.jit, static_argnames="dimensions")
def fit(features: Float[Array, "N D"], weight: Float[Array, " N"], dimensions: int = 128) -> Projection:
    """Weighted principal components, standardised.

    Args:
        features: [N, D].
        weight: [N] row weights, 0 for rows that must not be seen (another fold, padding).
        dimensions: at most this many components; fewer if D is smaller. Static.

    Returns:
        Projection to d = min(D, dimensions) columns of unit weighted variance. Directions without
        variance (relative standard deviation under 1e-4) are mapped to about 0 instead of being scaled up.

    Example:
        >>> x = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
        >>> z = project(fit(x, jnp.ones(4)), x)
        >>> print(jnp.abs(z).round(3)[0])
        [1. 1.]
    """
    chex.assert_rank([features, weight], [2, 1])
    share = weight / jnp.sum(weight)
    mean = share @ features
    centred = features - mean[None]
    covariance = (centred * share[:, None]).T @ centred
    variance, axes = jnp.linalg.eigh(covariance)
    kept = min(features.shape[1], dimensions)
    variance, axes = variance[::-1][:kept], axes[:, ::-1][:, :kept]
    deviation = jnp.sqrt(jnp.maximum(variance, 0.0))
    negligible = deviation <= 1e-4 * deviation[0]
    basis = jnp.where(negligible, 0.0, axes / jnp.where(negligible, 1.0, deviation)[None])
    return Projection(mean, basis, deviation)


@jax.jit
def project(projection: Projection, features: Float[Array, "*batch D"]) -> Float[Array, "*batch d"]:
    """Coordinates of ``features`` in the projection's components."""
    centred = features - jnp.broadcast_to(projection.mean, features.shape)
    return centred @ projection.basis
