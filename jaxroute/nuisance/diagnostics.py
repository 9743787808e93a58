"""Whether nuisances can be trusted: loss, calibration, overlap, and whether logged propensities match the choices.

Host side. ``diagnose(logs, nuisances)`` judges OUT-OF-FOLD predictions, as ``nuisance.fit`` returns them; on rows that
a model was fitted to, all of these numbers are too good. Everything is per model. A model with few rows has large
errors, so warnings depend on z-scores and on the size of a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import numpy as np

from jaxroute.nuisance.checks import LEAST, mass_test, propensity_source, share_test
from jaxroute.nuisance.curves import BINS, Curve, calibration_curve, calibration_error
from jaxroute.nuisance.feedback import feedback_rate
from jaxroute.types import InputError, Logs, Nuisances

Z_ALARM = 4.0
"""Standard errors from which a propensity is called wrong: 1 false alarm in 16,000 tests."""
CALIBRATION_ALARM = 0.05
"""Expected calibration error of the propensities above which there is a warning, if it is more than noise."""
SEPARATED = 0.95
"""AUC above which the prompts of one model hardly overlap with those of the others."""


class Diagnostics(NamedTuple):
    """Per model [K] unless said otherwise; NaN for a model without rows to judge by.

    source: "deterministic", "known", "partly estimated" or "estimated" propensities. rows, feedback: rows of
    the model and the share with feedback. share: of the log. predicted_share: mean propensity where the model
    was available. mass: mean of 1{a=k} / p over those rows, 1 if the propensities are right; mass_z: its
    distance from 1 in standard errors. share_z: of the rows against every model's logged propensity
    (``checks.share_test``), NaN where those are not given. propensity_log_loss: of the rows that chose it.
    propensity_error: expected calibration error of one against the rest. auc: how well the propensity tells
    the model's rows from the others. separation: largest standardised mean difference of a feature. quality_log_loss,
    quality_brier: of the predicted quality. quality_error: calibration error. cost_error: sum |c - c^| / sum
    c. curves: curves.Curve per model. warnings: one line each.
    """

    source: str
    rows: np.ndarray
    feedback: np.ndarray
    share: np.ndarray
    predicted_share: np.ndarray
    mass: np.ndarray
    mass_z: np.ndarray
    share_z: np.ndarray
    propensity_log_loss: np.ndarray
    propensity_error: np.ndarray
    auc: np.ndarray
    separation: np.ndarray
    quality_log_loss: np.ndarray
    quality_brier: np.ndarray
    quality_error: np.ndarray
    cost_error: np.ndarray
    propensity_curves: tuple[Curve, ...]
    quality_curves: tuple[Curve, ...]
    warnings: tuple[str, ...]


def diagnose(
    logs: Logs,
    nuisances: Nuisances,
    *,
    logging_propensity: np.ndarray | None = None,
    models: Sequence[str] | None = None,
    bins: int = BINS,
) -> Diagnostics:
    """Every diagnostic of one log and its out-of-fold nuisances.

    Args:
        logs: N rows. nuisances: cross-fitted for them. Their propensities are judged, so pass those fitted with
            ``propensity="estimated"`` to judge the propensity model of a log that has propensities.
        logging_propensity: [N, K] of every model, if the log has them all: shares are then tested too.
        models: names for the warnings.
        bins: of the calibration curves.

    Returns:
        Diagnostics.

    Raises:
        InputError: the log is empty, or a known propensity is not a probability.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> one, half = np.ones(4), np.full((4, 2), 0.5)
        >>> logs = Logs(np.zeros((4, 1)), np.array([0, 0, 1, 1]), one, one, one, np.ones((4, 2), bool))
        >>> print(diagnose(logs, Nuisances(half, Outcomes(half, half)), models=["small", "large"]).warnings[0])
        the log is deterministic (every propensity is exactly 1), so only the outcome model's extrapolation is left

    Reference: On Calibration of Modern Neural Networks, by Guo et al. (2017), for the calibration error.
    """
    N, K = logs.available.shape
    names = [f"model {k}" for k in range(K)] if models is None else list(models)
    if not N:
        raise InputError("diagnostics: the log is empty; at least one row is needed")
    if len(names) != K:
        raise InputError(f"{len(names)} model names for {K} models in the log; give one name per model")
    chex.assert_shape([nuisances.propensity, *nuisances.outcomes], (N, K))
    own = np.asarray(logs.propensity, float)
    wrong = np.flatnonzero((own <= 0) | (own > 1))
    if wrong.size:
        raise InputError(
            f"logs.propensity, row {wrong[0]}: {own[wrong[0]]:g} is not in (0, 1]; correct it, or use NaN if unknown"
        )

    action, available = np.asarray(logs.action), np.asarray(logs.available, bool)
    fitted = np.clip(np.nan_to_num(np.asarray(nuisances.propensity, float)), 0, 1)
    features = np.asarray(logs.features, float)
    quality, cost = np.asarray(logs.quality, float), np.asarray(logs.cost, float)
    chosen = action[:, None] == np.arange(K)
    at_chosen = fitted[np.arange(N), action]
    # Where the chosen model's entry is the log's own and the others' are estimates, their order says nothing.
    estimated = ~np.isclose(at_chosen, own, rtol=1e-6, atol=0)
    times = np.ones(N) if logs.weight is None else np.asarray(logs.weight, float) / np.mean(logs.weight)
    mass, mass_z = mass_test(action, np.where(np.isfinite(own), own, at_chosen), available, fitted, times)
    share_z = np.full(K, np.nan)
    if logging_propensity is not None:
        share_z = share_test(action, np.asarray(logging_propensity, float), available, times)[1]

    predicted_quality = np.clip(np.asarray(nuisances.outcomes.quality, float), 0, 1)
    predicted_cost = np.asarray(nuisances.outcomes.cost, float)
    heard = chosen & np.isfinite(quality)[:, None] & np.isfinite(predicted_quality)
    paid = chosen & np.isfinite(cost)[:, None]

    def curves(predicted: np.ndarray, observed: np.ndarray, mask: np.ndarray) -> tuple[Curve, ...]:
        here = ((m, k) for k, m in enumerate(mask.T))
        of = (lambda m: None) if logs.weight is None else times.__getitem__
        return tuple(calibration_curve(predicted[m, k], observed[m, k], bins, of(m)) for m, k in here)

    p_curves = curves(fitted, chosen, available)
    q_curves = curves(predicted_quality, np.broadcast_to(quality[:, None], (N, K)), heard)

    def per_model(function: Callable[[int, np.ndarray], float], mask: np.ndarray) -> np.ndarray:
        return np.array([function(k, mask[:, k]) if mask[:, k].any() else np.nan for k in range(K)])

    count = chosen.sum(0)
    found = Diagnostics(
        source=propensity_source(logs),
        rows=count,
        feedback=feedback_rate(logs),
        share=times @ chosen / times.sum(),
        predicted_share=per_model(lambda k, m: np.average(fitted[m, k], weights=times[m]), available),
        mass=mass,
        mass_z=mass_z,
        share_z=share_z,
        propensity_log_loss=per_model(
            lambda k, m: -np.average(np.log(np.maximum(fitted[m, k], LEAST)), weights=times[m]), chosen
        ),
        propensity_error=np.array([calibration_error(c) for c in p_curves]),
        auc=per_model(lambda k, m: _auc(fitted[m, k], chosen[m, k]), available & estimated[:, None]),
        separation=per_model(lambda k, m: _separation(features[m], chosen[m, k]), available),
        quality_log_loss=per_model(lambda k, m: _cross_entropy(predicted_quality[m, k], quality[m], times[m]), heard),
        quality_brier=per_model(
            lambda k, m: np.average((predicted_quality[m, k] - quality[m]) ** 2, weights=times[m]), heard
        ),
        quality_error=np.array([calibration_error(c) for c in q_curves]),
        cost_error=per_model(lambda k, m: _relative(predicted_cost[m, k], cost[m], times[m]), paid),
        propensity_curves=p_curves,
        quality_curves=q_curves,
        warnings=(),
    )
    return found._replace(warnings=_warnings(found, own, names))


def _cross_entropy(predicted: np.ndarray, observed: np.ndarray, times: np.ndarray) -> float:
    p = np.clip(predicted, 1e-6, 1 - 1e-6)
    return float(-np.average(observed * np.log(p) + (1 - observed) * np.log1p(-p), weights=times))


def _relative(predicted: np.ndarray, observed: np.ndarray, times: np.ndarray) -> float:
    total = times @ np.abs(observed)
    return float(times @ np.abs(observed - predicted) / total) if total else float("nan")


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
    """P(score of a positive > score of a negative) + half the ties (Mann-Whitney)."""
    others, own = np.sort(score[~positive]), score[positive]
    lower = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
    return float(lower.mean() / (2 * len(others))) if len(own) and len(others) else float("nan")


def _separation(features: np.ndarray, positive: np.ndarray) -> float:
    """max_d |mean_1 - mean_0| / sqrt((var_1 + var_0) / 2)"""
    if positive.sum() < 2 or (~positive).sum() < 2:
        return float("nan")
    a, b = features[positive], features[~positive]
    scale = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 2)
    gap = np.abs(a.mean(0) - b.mean(0))
    return float(np.where(scale > 0, gap / np.where(scale > 0, scale, 1), 0.0).max())


def _warnings(of: Diagnostics, own: np.ndarray, names: list[str]) -> tuple[str, ...]:
    lines = []
    if of.source == "deterministic":
        lines.append(
            "the log is deterministic (every propensity is exactly 1), so only the outcome model's extrapolation is "
            "left"
        )
    elif of.source != "known":
        missing = np.isnan(own).mean()
        lines.append(
            f"the propensities of {missing:.0%} of the rows are estimated; hidden confounding cannot be ruled out"
        )
    for k, name in enumerate(names):
        if not of.rows[k]:
            lines.append(f"{name} was never chosen, so its outcomes are extrapolated from other models")
            continue
        if of.source != "deterministic" and abs(of.mass_z[k]) > Z_ALARM:
            kind, cure = ("", "check whether the logger writes the right probabilities")
            if of.source == "estimated":
                kind, cure = ("estimated ", "try other propensity models, or log the propensities")
            lines.append(
                f"{name}: {kind}propensities do not match its share of the log (the mean of 1{{chosen}}/p is "
                f"{of.mass[k]:.2f} and should be 1, z = {of.mass_z[k]:+.1f}); {cure}"
            )
        elif abs(of.share_z[k]) > Z_ALARM:
            lines.append(
                f"{name}: has {of.share[k]:.1%} of the rows, which does not match the logged propensities of all "
                f"models (z = {of.share_z[k]:+.1f}); check whether the logger writes the right probabilities"
            )
        # bins of n_b rows differ by about sum sqrt(p (1 - p) n_b) / n even when the model is calibrated
        curve = of.propensity_curves[k]
        p = np.nan_to_num(curve.predicted)
        noise = np.sqrt(p * (1 - p) * curve.rows).sum() / max(curve.rows.sum(), 1)
        if of.source in ("estimated", "partly estimated") and of.propensity_error[k] > CALIBRATION_ALARM + 2 * noise:
            lines.append(
                f"{name}: the calibration error of its propensities is {of.propensity_error[k]:.2f} on average"
            )
        if of.auc[k] > SEPARATED:
            lines.append(
                f"{name}: its prompts hardly overlap with those of other models (AUC {of.auc[k]:.2f}); weights will "
                "be large"
            )
        if of.feedback[k] < 1:
            lines.append(
                f"{name}: has feedback on {of.feedback[k]:.0%} of its rows; the rest is assumed missing at random "
                "given the prompt"
            )
    return tuple(lines)
