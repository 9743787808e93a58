"""From which logging propensity on a choice is evidence of it. Host side.

    min(0.05, 0.5 / K)                              where propensities are estimated
    max(min_i p_i / 2, TRUSTED_ROWS / n)            where the log says them, if that is less; n rated rows

An estimated propensity near 0 may be far off, and so is a weight that divides by it. A propensity that was logged is
exact, and a clip above it would throw evidence away; whether such rows suffice is for the effective sample size to say.
Half of the least p_i is used because the log has the propensities of the models that were chosen only: those of the
others are fitted, and may come out somewhat below the least one that was logged. At TRUSTED_ROWS / n, a choice that is
made on every prompt with that probability has TRUSTED_ROWS rated rows.

Where the log can never choose a model, the fitted propensities may not show it. Importance weights of logged
propensities have mean 1 if the log can make every choice of a policy, and mean 1 - m if it cannot make a share m of
them. If their mean is below 1 by more than ERRORS standard errors, the first line holds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from jaxroute.estimators.support import evaluation_clip
from jaxroute.types import Logs

TRUSTED_ROWS = 100
ERRORS = 3.0


def trusted_clip(logs: Logs, *targets: Float[Array, "N K"] | Float[Array, "L N K"]) -> float:
    """The clip of propensities where these policies are valued on a log.

    Args:
        logs: N rows.
        targets: the policies that are valued or compared, each one or one per cost weight.

    Returns:
        A propensity: smaller ones are raised to it, and choices that the log makes less often are no evidence.

    Example:
        A log of 20,000 rows that tries the second of two models on 2% of the requests:

        >>> second = np.arange(20_000) % 50 == 0
        >>> p, every = np.where(second, 0.02, 0.98), np.ones((20_000, 2))
        >>> logs = Logs(every, second.astype(int), every[:, 0], every[:, 0], p, every > 0)
        >>> trusted_clip(logs, np.eye(2)[np.ones(20_000, int)]), trusted_clip(logs._replace(propensity=p * np.nan))
        (0.01, 0.05)
    """
    clip = evaluation_clip(logs.available.shape[1])
    known, rated = np.asarray(logs.propensity, float), np.isfinite(np.asarray(logs.quality)).sum()
    if not len(known) or not rated or not np.isfinite(known).all():
        return clip
    least = float(max(known.min() / 2, TRUSTED_ROWS / rated))
    if least >= clip or any(_falls_short(logs, known, np.asarray(target)) for target in targets):
        return clip
    return least


def _falls_short(logs: Logs, known: np.ndarray, target: np.ndarray) -> bool:
    """Whether the importance weights of a policy, or of one per cost weight, have a mean that is surely below 1."""
    action = np.asarray(logs.action)
    weight = target[..., np.arange(len(known)), action].reshape(-1, len(known)) / known
    times = np.ones(len(known)) if logs.weight is None else np.asarray(logs.weight, float)
    mean = weight @ times / times.sum()
    deviation = (weight - mean[:, None]) * times
    if logs.group is not None:
        label = np.unique(np.asarray(logs.group), return_inverse=True)[1]
        deviation = np.stack([np.bincount(label, row) for row in deviation])
    error = np.sqrt((deviation**2).sum(1)) / times.sum()
    return bool((mean + ERRORS * error < 1 - 1e-6).any())
