"""The counterfactual outcomes that a router can learn from, by name; any other function of them will do as well.

An estimator is ``(logs, nuisances, **traced scalars) -> Outcomes [N, K]``. Like a loss it gets hyperparameters by
the names of its keywords: ``clip`` is `Hyperparams.clip`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from jaxroute import counterfactual
from jaxroute.estimators import pessimism
from jaxroute.learn.objectives import hyperparameters_of, name_of
from jaxroute.numerics import relative, weighted_mean
from jaxroute.recipe import attributes, caution, levels
from jaxroute.recipe.recommended import shrink_contrasts
from jaxroute.types import Hyperparams, InputError, Logs, Nuisances, Outcomes

Estimator = Callable[..., Outcomes]

THRESHOLD, SHRINKAGE = 5.0, 10.0
ERRORS, EVIDENCE_ROWS = 1.0, 100.0
"""Standard errors subtracted, and the log rows that one prediction is taken to rest on."""


def pessimistic(logs: Logs, nuisances: Nuisances, *, clip: counterfactual.Scalar = 0.0) -> Outcomes:
    """Doubly robust outcomes less one standard error of what the log knows of each model; see `pessimism`."""
    error = pessimism.standard_error(nuisances.propensity, pessimism.noise(logs, nuisances), rows=EVIDENCE_ROWS)
    robust = counterfactual.doubly_robust(logs, nuisances, clip=clip)
    return pessimism.pessimistic(robust, error, strength=ERRORS)


def calibrated(logs: Logs, nuisances: Nuisances) -> Outcomes:
    """Predictions calibrated in the large: every model's mean is doubly robust, the differences between prompts are
    as predicted.

        a_ik = m_k + r_ik - mean r_k

    m_k are the recipe's levels (`levels`, `caution`): doubly robust means of the log, shrunk. The doubly robust outcome
    of one row has the noise of one answer, which a loss that takes an argmax or a softmax of it does not average out.

    Args:
        logs: N rows. nuisances: cross-fitted for them.

    Returns:
        Outcomes [N, K], cost as predicted.

    Example:
        >>> import jax.numpy as jnp
        >>> half, turn = jnp.full((40, 2), 0.5), jnp.arange(40)
        >>> logs = Logs(half[:, :1], turn % 2, turn % 2 * 1.0, half[:, 0], half[:, 0], jnp.ones((40, 2), bool))
        >>> print(*(f"{q:.2f}" for q in calibrated(logs, Nuisances(half, Outcomes(half, half))).quality[0]))
        0.22 0.78
    """
    predicted = nuisances.outcomes
    centre = weighted_mean(predicted.quality, relative(logs.weight))
    level = caution.settled(levels.fit(logs, nuisances), centre, attributes.requests(logs))
    return shrink_contrasts(predicted, level, centre, share=1.0)


ESTIMATORS: dict[str, Estimator] = {
    "dr": counterfactual.doubly_robust,
    "dm": counterfactual.direct,
    "ipw": counterfactual.inverse_propensity,
    "switch": partial(counterfactual.switch_doubly_robust, threshold=THRESHOLD),
    "shrinkage": partial(counterfactual.shrinkage_doubly_robust, shrinkage=SHRINKAGE),
    "pessimistic": pessimistic,
    "calibrated": calibrated,
}


def outcomes(estimator: str | Estimator, logs: Logs, nuisances: Nuisances, hyperparams: Hyperparams) -> Outcomes:
    """What every model would have answered, by an estimator of ``ESTIMATORS`` or of one's own.

    Args:
        estimator: a name, or a function (logs, nuisances, keywords named like hyperparameters) -> Outcomes.
        logs: N rows. nuisances: cross-fitted for them. hyperparams: scalars.

    Returns:
        Outcomes [N, K], costs in the log's unit.

    Raises:
        InputError: an unknown name, outcomes of another shape, or one of an available model that is not finite.
    """
    if isinstance(estimator, str) and estimator not in ESTIMATORS:
        raise InputError(f"unknown estimator {estimator!r}: choose from {', '.join(ESTIMATORS)}, or pass a function")
    function = ESTIMATORS[estimator] if isinstance(estimator, str) else estimator
    bound = {name: getattr(hyperparams, name) for name in hyperparameters_of(function)}
    found = function(logs, nuisances, **bound)
    if not isinstance(found, tuple) or len(found) != 2:
        raise InputError(f"estimator {name_of(function)}: gives {type(found).__name__}, not Outcomes(quality, cost)")
    for part, y in zip(("quality", "cost"), found, strict=True):
        if np.shape(y) != logs.available.shape:
            raise InputError(
                f"estimator {name_of(function)}: {part} of shape {np.shape(y)} for {logs.available.shape} cells"
            )
        if len(bad := np.argwhere(np.asarray(logs.available) & ~np.isfinite(np.asarray(y)))):
            raise InputError(f"estimator {name_of(function)}: {part} is not finite, row {bad[0][0]}, model {bad[0][1]}")
    return Outcomes(*found)
