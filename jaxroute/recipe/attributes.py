"""What is expected of a model before its answers say anything: by its number of rows in the log, and by its price."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.numerics import relative, safe_divide
from jaxroute.types import Logs

BY_PRICE = 0.05
"""Quality that a model is expected to have more of, where the log says nothing, whose cost is a standard deviation of
the models' logarithmic costs higher: 0.04 to 0.11 on the five real tables (experiments/results/caution.md)."""
NARROWEST, CHEAPEST = 0.5, 1e-3
"""That deviation is at least so many powers of ten, so that nearly equal prices say little. A model counts as no
cheaper than this part of the dearest: a free one's logarithm has no end."""


@jax.jit
def columns(count: Float[Array, " K"], cost: Float[Array, " K"]) -> Float[Array, "K 2"]:
    """log(1 + rows) and log(mean cost), each standardised over the models (all 0 where they are equal).

    A cost of 0 counts as 1e-9, and as a thousandth of the largest where that is less, as in a unit in which all are
    tiny.

    Example:
        >>> [round(float(x), 2) for x in columns(jnp.ones(3), jnp.array([1.0, 2.0, 8.0]))[:, 1]]
        [-1.07, -0.27, 1.34]
        >>> [round(float(x), 2) for x in columns(jnp.ones(3), jnp.array([1e-12, 2e-12, 8e-12]))[:, 1]]
        [-1.07, -0.27, 1.34]
    """
    least = jnp.minimum(1e-9, 1e-3 * jnp.max(cost))
    least = jnp.where(least > 0, least, 1e-9)
    return jnp.stack([standard(jnp.log1p(count)), standard(jnp.log(jnp.maximum(cost, least)))], 1)


@jax.jit
def from_prices(cost: Float[Array, " K"]) -> Float[Array, " K"]:
    """Quality that is expected of models by their costs alone: 1/2 on average, BY_PRICE more for each deviation.

    Args:
        cost: [K] mean cost of a request, at least 0, in any unit.

    Example:
        >>> print(*(f"{m:.2f}" for m in from_prices(jnp.array([1.0, 10.0, 100.0]))), from_prices(jnp.zeros(2)))
        0.44 0.50 0.56 [0.5 0.5]
    """
    decades = jnp.log10(jnp.maximum(safe_divide(cost, jnp.full_like(cost, jnp.max(cost)), 1.0), CHEAPEST))
    away = decades - jnp.mean(decades)
    return 0.5 + BY_PRICE * away / jnp.maximum(jnp.sqrt(jnp.mean(away**2)), NARROWEST)


def standard(x: Float[Array, " K"]) -> Float[Array, " K"]:
    """Of mean 0 and deviation 1 over the models; all 0 where they are equal."""
    x = x - jnp.mean(x)
    return safe_divide(x, jnp.full_like(x, jnp.sqrt(jnp.mean(x**2) + 1e-12)), 0.0)


@jax.jit
def requests(logs: Logs) -> Float[Array, " K"]:
    """How many rows every model answered, each counted as often as it stands for."""
    times = relative(logs.weight)
    return jnp.zeros(logs.available.shape[1]).at[logs.action].add(1.0 if times is None else times)
