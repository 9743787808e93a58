"""The levels that the recipe decides on, from a log alone: with the outcome model's, and lower where little is known.

    m_k = (1 - a) level_k + a mean r_k - CAUTION rho deviation_k,   a = (1 - rho) (1 - informed) / 4
    rho = correlation over the models of log(1 + rows) and the log's own level, 0 where it is negative

A plug-in looks for the best model, so of uncertain ones it finds those that are overestimated. How cautious to be, the
log says: where the policy that wrote it chose good models more often (rho > 0), a model that it avoided gets no benefit
of the doubt. A policy that saves costs avoids good models, and its log says nothing of this kind (rho = 0). There the
posterior of a rarely chosen model rests on its Gaussian prior, and the mean prediction on the outcome model; each goes
wrong where the other does not, so a part of the latter is mixed in. ``informed`` is the probability that what a team
knows beside its log (`priors`) tells the models apart: as far as it does, the posterior rests on that, and needs no
such help. It has no say in rho, because a wrong prior would take the caution away where the log calls for it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.recipe.attributes import standard
from jaxroute.recipe.levels import Level

OF_PREDICTION = 0.25
"""Weight of the outcome model's mean prediction beside the posterior mean, where the log alone is known and rho 0."""
CAUTION = 2.5
"""Posterior deviations below its level at which a model is judged where rho is 1."""


@jax.jit
def settled(
    level: Level,
    predicted: Float[Array, " K"],
    requests: Float[Array, " K"],
    informed: Float[Array, ""] | float = 0.0,
    *,
    log_alone: Level | None = None,
    caution: float = CAUTION,
) -> Float[Array, " K"]:
    """The levels to decide on.

    Args:
        level: of ``levels.posterior`` or ``priors.posterior``.
        predicted: [K] mean predictions on the log's prompts, quality units.
        requests: [K] rows of every model.
        informed: see ``priors.Trusted``; 0 where there is no prior.
        log_alone: levels where the prior says nothing, which rho is of; None: ``level``.
        caution: posterior deviations that are taken off where rho is 1.

    Returns:
        [K] quality units.

    Example:
        The log chose the better models more often, or all alike:

        >>> level = Level(jnp.array([0.6, 0.5, 0.4]), jnp.array([0.01, 0.02, 0.1]))
        >>> for requests in ([99.0, 9.0, 0.0], [9.0, 9.0, 9.0]):
        ...     print(*(f"{m:.2f}" for m in settled(level, level.mean, jnp.array(requests))))
        0.58 0.45 0.15
        0.60 0.50 0.40
    """
    of_log = (log_alone or level).mean
    follows = jnp.maximum(jnp.mean(standard(jnp.log1p(requests)) * standard(of_log)), 0.0)
    of_prediction = OF_PREDICTION * (1 - follows) * (1 - informed)
    return (1 - of_prediction) * level.mean + of_prediction * predicted - caution * follows * level.deviation
