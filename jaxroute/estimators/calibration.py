"""Whether propensities and predictions match what a log shows. Host side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxroute.estimators import verdict
from jaxroute.estimators.verdict import FEWEST_ROWS_PER_MODEL
from jaxroute.types import Logs, Nuisances

BINS = 10


def mismatches(logs: Logs, names: Sequence[str]) -> tuple[str, ...]:
    """Models whose known propensities do not add up to how often they were chosen."""
    known = np.asarray(logs.propensity, np.float64)
    # Where a choice was certain, the other models had no chance: nothing to add up.
    random = known < 1 - 1e-6
    lines = []
    for k, name in enumerate(names):
        here = random & np.asarray(logs.available)[:, k]
        count, taken = here.sum(), (np.asarray(logs.action) == k)[here]
        if taken.sum() < FEWEST_ROWS_PER_MODEL:
            continue
        inverse = taken / known[here]
        times = np.ones(count) if logs.weight is None else np.asarray(logs.weight, np.float64)[here]
        mean = float(np.average(inverse, weights=times))
        error = float(((times / times.sum() * (inverse - mean)) ** 2).sum() * count / (count - 1)) ** 0.5
        lines.append(verdict.mismatch_of_model(name, mean, error))
    return tuple(line for line in lines if line)


def of_log(logs: Logs, nuisances: Nuisances | None) -> dict[str, float]:
    """Mean gap between predicted and observed over ten equally filled bins of the prediction."""
    if nuisances is None:
        return {}
    action, available = np.asarray(logs.action), np.asarray(logs.available)
    observed = ~np.isnan(np.asarray(logs.quality))
    taken = np.arange(len(action))[observed], action[observed]
    chosen = action[:, None] == np.arange(available.shape[1])[None, :]
    cost = np.asarray(logs.cost)[observed]
    stands = np.ones(len(action)) if logs.weight is None else np.asarray(logs.weight, np.float64)
    times = stands / stands.mean()
    predicted_cost = np.asarray(nuisances.outcomes.cost)[taken]
    return {
        "propensity_calibration_error": _error(
            np.asarray(nuisances.propensity)[available],
            chosen[available],
            np.broadcast_to(times[:, None], available.shape)[available],
        ),
        "quality_calibration_error": _error(
            np.asarray(nuisances.outcomes.quality)[taken], np.asarray(logs.quality)[observed], times[observed]
        ),
        "cost_ratio": float((times[observed] * predicted_cost).sum() / (times[observed] * cost).sum())
        if cost.sum()
        else float("nan"),
    }


def _error(predicted: np.ndarray, observed: np.ndarray, times: np.ndarray) -> float:
    if not len(predicted):
        return float("nan")
    order = np.argsort(predicted, kind="stable")
    gap = (times * (predicted.astype(np.float64) - observed))[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, BINS)) / times.sum())
