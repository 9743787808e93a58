"""Tests, per model, whether the logged propensities agree with the choices; no outcomes are needed. Host side.

Wrong propensities are a common silent failure of logs: every weighted estimate is then biased, and nothing in the log
looks wrong.
"""

from __future__ import annotations

import numpy as np

from jaxroute.types import Logs

LEAST = 1e-12


def mass_test(
    action: np.ndarray,
    propensity: np.ndarray,
    available: np.ndarray,
    fitted: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the propensities of the chosen models agree with how often each was chosen: (mass, z), each [K].

        mass_k = sum_i 1{a_i = k} / p_i / n_k,   E[mass_k] = 1   (n_k rows on which k was available)

    This needs only the propensity of the chosen model. It changes if the logger writes wrong probabilities (before
    masking, of another version, of the argmax). It does not change if they are wrong for single prompts but right on
    average; the calibration curves show that.

    The standard error is the empirical one. It misses choices that a nearly deterministic logger could have made but
    did not, so with ``fitted`` it is at least sqrt(mean(1/fitted - 1) / n_k), which counts every row.

    Args:
        action: [N]. propensity: [N] of the chosen model; rows with NaN are left out. available: [N, K].
        fitted: [N, K] estimated propensities, for the error only.
        times: [N] how often every row counts (``logs.weight``); None: once.

    Returns:
        mass, and (mass - 1) / standard error; NaN where the model was never chosen.

    Example:
        >>> mass, z = mass_test(np.array([0, 0, 0, 1]), np.full(4, 0.5), np.ones((4, 2), bool))
        >>> print(mass, z)
        [1.5 0.5] [ 1. -1.]
    """
    known = np.isfinite(propensity)
    action, propensity, available = action[known], np.maximum(propensity[known], LEAST), available[known]
    chosen = action[:, None] == np.arange(available.shape[1])
    inverse = chosen / propensity[:, None]
    times = np.ones(len(known)) if times is None else times / np.mean(times)
    there = available * times[known, None]
    rows, count = np.maximum(available.sum(0), 1), there.sum(0)
    count = np.where(count > 0, count, 1.0)
    mass = np.where(chosen.any(0), (inverse * there).sum(0) / count, np.nan)
    scale = (rows / count) ** 2  # of the weighted deviations, 1 where every row counts once
    variance = scale * (((inverse - mass) * there) ** 2).sum(0) / np.maximum(rows - 1, 1)
    if fitted is not None:
        odds = 1 / np.maximum(fitted[known], LEAST) - 1
        variance = np.maximum(variance, scale * (np.where(available, odds, 0.0) * there**2).sum(0) / rows)
    return mass, _z(mass - 1, np.sqrt(variance / rows))


def share_test(
    action: np.ndarray, propensity: np.ndarray, available: np.ndarray, times: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The same test if the logger wrote the propensity of EVERY model: (expected share, z), each [K].

        z_k = sum_i (1{a_i = k} - p_ik) / sqrt(sum_i p_ik (1 - p_ik))

    Args:
        action: [N]. propensity: [N, K]; rows with NaN on an available model are left out. available: [N, K].
        times: [N] how often every row counts; None: once.

    Returns:
        The expected share of the rows according to the propensities, and z.

    Example:
        >>> print(*share_test(np.array([0, 0, 0, 1]), np.full((4, 2), 0.5), np.ones((4, 2), bool)))
        [0.5 0.5] [ 1. -1.]
    """
    p = np.where(available, propensity, 0.0)
    whole = np.isfinite(p).all(1)
    p, chosen = p[whole], action[whole, None] == np.arange(p.shape[1])
    times = (np.ones(len(action)) if times is None else times)[whole, None]
    gap, variance = (times * (chosen - p)).sum(0), (times**2 * p * (1 - p)).sum(0)
    return (times * p).sum(0) / times.sum(), _z(gap, np.sqrt(variance))


def _z(gap: np.ndarray, error: np.ndarray) -> np.ndarray:
    """gap / error; if the error is 0, 0 for no gap (up to rounding) and infinite for a gap."""
    certain = np.where(np.abs(gap) < 1e-6, 0.0, np.copysign(np.inf, gap))
    z = np.where(error > 0, gap / np.where(error > 0, error, 1), certain)
    return np.where(np.isnan(gap), np.nan, z)


def propensity_source(logs: Logs) -> str:
    """Where the log's propensities stand: "known", "partly estimated", "estimated" or "deterministic".

    Exactly 1 on every row is a deterministic log; NaN is unknown, to be estimated, never taken as uniform.

    >>> ones = np.ones(2)
    >>> propensity_source(Logs(ones[:, None], ones.astype(int), ones, ones, ones, np.ones((2, 2), bool)))
    'deterministic'
    """
    propensity = np.asarray(logs.propensity)
    missing = np.isnan(propensity)
    if missing.any():
        return "estimated" if missing.all() else "partly estimated"
    return "deterministic" if (propensity == 1).all() and len(propensity) else "known"
