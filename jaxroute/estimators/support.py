"""Can this log support an estimate of this policy's value? A verdict on absolute evidence. Host side.

The numbers are counted here; thresholds, verdict and advice are in ``verdict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.arguments import checked
from jaxroute.counterfactual import propensity_of_action
from jaxroute.estimators import verdict
from jaxroute.estimators.influence import rows
from jaxroute.estimators.prediction_powered import by_judge
from jaxroute.estimators.verdict import FEWEST_ROWS_PER_MODEL
from jaxroute.types import Logs, Nuisances

BINS = 10


def evaluation_clip(num_models: int) -> float:
    """The default clip of propensities where a policy is valued: min(0.05, 0.5 / K).

    With many models a uniform logging policy has propensities near 1 / K, so a fixed clip would shrink every weight.

    >>> evaluation_clip(4), evaluation_clip(20)
    (0.05, 0.025)
    """
    return min(0.05, 0.5 / num_models)


@dataclass(frozen=True)
class Support:
    """What a log can say about a target policy.

    verdict: "ok", "caution" or "refuse". reasons: one line each, with what would fix it. numbers: of the
    log, and of the hardest target. targets: one record per target policy (cost weight), with a verdict and
    reasons of its own. models: one record per model, with its verdict, the rows it needs and the line that
    would fix it (``verdict.rows_needed``); target_mass is that of the target that needs most rows of it,
    unsupported_mass the largest over the targets.
    """

    verdict: str
    reasons: tuple[str, ...]
    numbers: dict[str, float]
    targets: tuple[dict[str, Any], ...]
    models: tuple[dict[str, Any], ...]


@checked
def support(
    logs: Logs,
    target: Float[Array, "N K"] | Float[Array, "L N K"],
    nuisances: Nuisances | None = None,
    *,
    clip: float | None = None,
    models: Sequence[str] | None = None,
) -> Support:
    """Verdict on the log's evidence about one or several target policies, with reasons and numbers.

    ok: effective sample size >= 200, no row with more than 5% of the weights' sum, at most 1% of the
    target's choices unsupported. refuse: effective sample size < 50, or more than 5% unsupported. Else
    caution. A choice is unsupported if the model is not available there, has fewer than 30 rows with
    feedback, or had a logging propensity below the clip. Several targets: the hardest one decides.

    Where the log's own propensity p of the chosen model is known, the others had at most 1 - p: a
    deterministic log supports nothing but its own choices, whatever a fitted propensity model says. Known
    propensities that do not match how often the models were chosen forbid an ok.

    Args:
        logs: N rows.
        target: [N, K] the policy to value, or [L, N, K] one per cost weight.
        nuisances: cross-fitted for these rows; None: ``logs.propensity`` alone, and no calibration.
        clip: smallest propensity trusted; None: ``evaluation_clip(K)``.
        models: K names for the reasons; None: their positions.

    Returns:
        Support.

    Raises:
        InputError: a propensity is NaN.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> report = support(*example(), models=["small", "large"])
        >>> print(report.verdict, report.numbers["effective_sample_size"])
        refuse 2.0
    """
    N, K = logs.available.shape
    policies = np.asarray(target)
    policies = policies if policies.ndim == 3 else policies[None]
    chex.assert_shape(policies, (None, N, K))
    clip = evaluation_clip(K) if clip is None else clip
    names = [str(k) for k in range(K)] if models is None else list(models)

    action, available = np.asarray(logs.action), np.asarray(logs.available)
    observed = ~np.isnan(np.asarray(logs.quality))
    logged = np.asarray(propensity_of_action(logs, nuisances))
    known = np.asarray(logs.propensity)
    certain = np.where(np.isnan(known), logged, known)  # the log's own word, whatever was fitted
    fitted = np.full((N, K), np.nan) if nuisances is None else np.asarray(nuisances.propensity)
    propensity = _bounded_propensity(logs, nuisances)
    feedback = np.bincount(action[observed], minlength=K)
    # A millionth of slack: 1 - 0.95 must not fall below 0.05 by rounding.
    supported = available & (feedback >= FEWEST_ROWS_PER_MODEL)[None, :] & (propensity >= clip * (1 - 1e-6))

    weight = np.asarray(_weights(by_judge(logs), jnp.asarray(policies), nuisances, clip), np.float64)
    total = weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(total > 0, total**2 / (weight**2).sum(1), 0.0)
        largest = weight.max(1) / total
    stands = None if logs.weight is None else np.asarray(logs.weight, np.float64)
    unsupported = _mean(np.where(supported, 0.0, policies), 1, stands)
    per_target: list[dict[str, Any]] = [
        {
            "effective_sample_size": float(e),
            "effective_sample_size_share": float(e / max(observed.sum(), 1)),
            "largest_weight_share": float(w),
            "unsupported_mass": float(u),
        }
        for e, w, u in zip(effective, largest, unsupported.sum(1), strict=True)
    ]
    if logs.human_quality is not None:
        of_ratings = np.asarray(_weights(logs, jnp.asarray(policies), nuisances, clip), np.float64)
        for record, row in zip(per_target, of_ratings, strict=True):
            record["effective_ratings"] = float(row.sum() ** 2 / max((row**2).sum(), 1e-12))
    numbers = {
        "rows": float(N),
        "rows_with_feedback": float(observed.sum()),
        "groups": float(N if logs.group is None else len(np.unique(np.asarray(logs.group)))),
        "models": float(K),
        "uniform_greedy_share": 1 / K,
        "clip": float(clip),
        "effective_sample_size": float(effective.min()),
        "effective_sample_size_share": float(effective.min() / max(observed.sum(), 1)),
        "largest_weight_share": float(largest.max()),
        **(
            {"effective_ratings": min(record["effective_ratings"] for record in per_target)}
            if logs.human_quality is not None
            else {}
        ),
        "unsupported_mass": float(unsupported.sum(1).max()),
        "propensity_min": float(logged.min()),
        **{f"propensity_quantile_{q:.2f}": float(np.quantile(logged, q)) for q in (0.01, 0.05, 0.25, 0.5)},
        "propensity_below_clip": float((logged < clip).mean()),
        "propensity_known_share": float((~np.isnan(known)).mean()),
        "deterministic_share": float((certain >= 1 - 1e-6)[available.sum(1) > 1].sum() / N),
        **_calibration(logs, nuisances),
    }
    mass = _mean(policies, 1, stands)
    chosen = action[:, None] == np.arange(K)[None, :]
    total, squares = weight @ chosen, weight**2 @ chosen
    effective_of_model = np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)

    def models_of(masses: np.ndarray, needs: np.ndarray, lost: np.ndarray) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "model": names[k],
                "verdict": verdict.verdict_of_model(feedback[k], needs[k], float(lost[k])),
                "fix": verdict.fix_of_model(names[k], feedback[k], needs[k], masses[k]),
                "rows": float((action == k).sum()),
                "rows_with_feedback": float(feedback[k]),
                "rows_needed": float(needs[k]),
                "share": float(_mean(action == k, 0, stands)),
                "available_share": float(_mean(available[:, k], 0, stands)),
                "smallest_logged_propensity": float(logged[action == k].min(initial=1.0)),
                "mean_propensity": float(_mean(np.where(available, fitted, 0.0)[:, k], 0, stands)),
                "target_mass": float(masses[k]),
                "unsupported_mass": float(lost[k]),
            }
            for k in range(K)
        )

    need = np.array(
        [
            [verdict.rows_needed(*map(float, of)) for of in zip(feedback, e, m, strict=True)]
            for e, m in zip(effective_of_model, mass, strict=True)
        ]
    )
    # The line that would fix a model quotes the target that asks most of it.
    most = np.where(need.any(0), np.take_along_axis(mass, need.argmax(0)[None], 0)[0], mass.max(0))
    per_model = models_of(most, need.max(0), unsupported.max(0))
    mismatches = _mismatches(logs, names)
    for record, m, n, u in zip(per_target, mass, need, unsupported, strict=True):
        judged = verdict.judge({**numbers, **record}, models_of(m, n, u), mismatches)
        record["verdict"], record["reasons"] = judged
    whole, reasons = verdict.judge(numbers, per_model, mismatches)
    return Support(whole, reasons, numbers, tuple(per_target), per_model)


@jax.jit
def _weights(logs: Logs, policies: Array, nuisances: Nuisances | None, clip: float) -> Array:
    """Importance weights [T, N] of every policy."""

    def of(policy: Array) -> Array:
        return rows(logs, policy, 0.0, nuisances, clip=clip, outcome_model=False).weight

    return jax.vmap(of)(policies)


def _mismatches(logs: Logs, names: Sequence[str]) -> tuple[str, ...]:
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


def _bounded_propensity(logs: Logs, nuisances: Nuisances | None) -> np.ndarray:
    """Propensity of every model: fitted where given, never above what the log's own values leave over."""
    known = np.asarray(logs.propensity)[:, None]
    chosen = np.asarray(logs.action)[:, None] == np.arange(logs.available.shape[1])[None, :]
    most = np.where(np.isnan(known), 1.0, np.where(chosen, known, 1.0 - known))
    return most if nuisances is None else np.minimum(np.asarray(nuisances.propensity), most)


def _calibration(logs: Logs, nuisances: Nuisances | None) -> dict[str, float]:
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
        "propensity_calibration_error": _calibration_error(
            np.asarray(nuisances.propensity)[available],
            chosen[available],
            np.broadcast_to(times[:, None], available.shape)[available],
        ),
        "quality_calibration_error": _calibration_error(
            np.asarray(nuisances.outcomes.quality)[taken], np.asarray(logs.quality)[observed], times[observed]
        ),
        "cost_ratio": float((times[observed] * predicted_cost).sum() / (times[observed] * cost).sum())
        if cost.sum()
        else float("nan"),
    }


def _mean(y: np.ndarray, axis: int, stands: np.ndarray | None) -> np.ndarray:
    """Mean over the rows of a log, each counted as many times as it stands for."""
    return y.mean(axis, dtype=np.float64) if stands is None else np.average(y, axis, stands)


def _calibration_error(predicted: np.ndarray, observed: np.ndarray, times: np.ndarray) -> float:
    if not len(predicted):
        return float("nan")
    order = np.argsort(predicted, kind="stable")
    gap = (times * (predicted.astype(np.float64) - observed))[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, BINS)) / times.sum())
