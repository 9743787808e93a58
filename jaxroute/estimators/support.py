"""Can this log support an estimate of this policy's value? A verdict on absolute evidence. Host side.

Effective sample size is judged as a number of rows, not as a share of the log: a greedy target under
uniform logging over K models has a share of about 1/K, and a fixed threshold on the share would refuse
every pool of ten models.
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

from jaxroute.counterfactual import propensity_of_action
from jaxroute.estimators.values import rows
from jaxroute.types import Logs, Nuisances

ENOUGH_EFFECTIVE_ROWS = 200
"""Effective sample size from which the verdict may be ok: errors of about std(reward) / 14."""
FEWEST_EFFECTIVE_ROWS = 50
"""Effective sample size below which the verdict is refuse: the normal interval itself is doubtful."""
LARGEST_WEIGHT_SHARE = 0.05
"""Share of the weights' sum that one row may carry for an ok."""
TOLERATED_UNSUPPORTED_MASS = 0.01
"""Share of the target's choices on unsupported models up to which the verdict may be ok."""
LARGEST_UNSUPPORTED_MASS = 0.05
"""Share of the target's choices on unsupported models above which the verdict is refuse."""
FEWEST_ROWS_PER_MODEL = 30
"""Rows with feedback below which a model is unsupported everywhere."""
BINS = 10


@dataclass(frozen=True)
class Support:
    """What a log can say about a target policy.

    verdict: "ok", "caution" or "refuse". reasons: one line each, with what would fix it. numbers: of the
    log, and of the hardest target. targets: one record per target policy (cost weight). models: one
    record per model; its masses are the largest over the targets.
    """

    verdict: str
    reasons: tuple[str, ...]
    numbers: dict[str, float]
    targets: tuple[dict[str, float], ...]
    models: tuple[dict[str, Any], ...]


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
    deterministic log supports nothing but its own choices, whatever a fitted propensity model says.

    Args:
        logs: N rows.
        target: [N, K] the policy to value, or [L, N, K] one per cost weight.
        nuisances: cross-fitted for these rows; None: ``logs.propensity`` alone, and no calibration.
        clip: smallest propensity trusted; None: min(0.05, 0.5 / K), the default for evaluation.
        models: K names for the reasons; None: their positions.

    Returns:
        Support.

    Raises:
        InputError: a propensity is NaN.

    Example:
        >>> from jaxroute.estimators.values import _example
        >>> report = support(*_example(), models=["small", "large"])
        >>> print(report.verdict, report.numbers["effective_sample_size"])
        refuse 2.0
    """
    N, K = logs.available.shape
    policies = np.asarray(target)
    policies = policies if policies.ndim == 3 else policies[None]
    chex.assert_shape(policies, (None, N, K))
    clip = min(0.05, 0.5 / K) if clip is None else clip
    names = [str(k) for k in range(K)] if models is None else list(models)

    action, available = np.asarray(logs.action), np.asarray(logs.available)
    observed = ~np.isnan(np.asarray(logs.quality))
    logged = np.asarray(propensity_of_action(logs, nuisances))
    fitted = np.full((N, K), np.nan) if nuisances is None else np.asarray(nuisances.propensity)
    propensity = _bounded_propensity(logs, nuisances)
    feedback = np.bincount(action[observed], minlength=K)
    # A millionth of slack: 1 - 0.95 must not fall below 0.05 by rounding.
    supported = available & (feedback >= FEWEST_ROWS_PER_MODEL)[None, :] & (propensity >= clip * (1 - 1e-6))

    def weights(policy: Array) -> Array:
        return rows(logs, policy, 0.0, nuisances, clip=clip, outcome_model=False).weight

    weight = np.asarray(jax.vmap(weights)(jnp.asarray(policies)), np.float64)
    total = weight.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(total > 0, total**2 / (weight**2).sum(1), 0.0)
        largest = weight.max(1) / total
    unsupported = np.where(supported, 0.0, policies).mean(1, dtype=np.float64)
    targets = tuple(
        {
            "effective_sample_size": float(e),
            "effective_sample_size_share": float(e / max(observed.sum(), 1)),
            "largest_weight_share": float(w),
            "unsupported_mass": float(u),
        }
        for e, w, u in zip(effective, largest, unsupported.sum(1), strict=True)
    )
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
        "unsupported_mass": float(unsupported.sum(1).max()),
        "propensity_min": float(logged.min()),
        **{f"propensity_quantile_{q:.2f}": float(np.quantile(logged, q)) for q in (0.01, 0.05, 0.25, 0.5)},
        "propensity_below_clip": float((logged < clip).mean()),
        "deterministic_share": float((logged >= 1 - 1e-6)[available.sum(1) > 1].sum() / N),
        **_calibration(logs, nuisances),
    }
    per_model = tuple(
        {
            "model": names[k],
            "rows": float((action == k).sum()),
            "rows_with_feedback": float(feedback[k]),
            "share": float((action == k).mean()),
            "available_share": float(available[:, k].mean()),
            "smallest_logged_propensity": float(logged[action == k].min(initial=1.0)),
            "mean_propensity": float(np.where(available, fitted, 0.0)[:, k].mean()),
            "target_mass": float(policies[:, :, k].mean(1, dtype=np.float64).max()),
            "unsupported_mass": float(unsupported[:, k].max()),
        }
        for k in range(K)
    )
    verdict, reasons = _verdict(numbers, per_model)
    return Support(verdict, reasons, numbers, targets, per_model)


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
    predicted_cost = np.asarray(nuisances.outcomes.cost)[taken]
    return {
        "propensity_calibration_error": _calibration_error(
            np.asarray(nuisances.propensity)[available], chosen[available]
        ),
        "quality_calibration_error": _calibration_error(
            np.asarray(nuisances.outcomes.quality)[taken], np.asarray(logs.quality)[observed]
        ),
        "cost_ratio": float(predicted_cost.sum() / cost.sum()) if cost.sum() else float("nan"),
    }


def _calibration_error(predicted: np.ndarray, observed: np.ndarray) -> float:
    if not len(predicted):
        return float("nan")
    order = np.argsort(predicted, kind="stable")
    gap = (predicted.astype(np.float64) - observed)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, BINS)) / len(gap))


def _verdict(numbers: dict[str, float], models: Sequence[dict[str, Any]]) -> tuple[str, tuple[str, ...]]:
    # Written so that a NaN fails every test.
    effective, mass = numbers["effective_sample_size"], numbers["unsupported_mass"]
    enough = effective >= ENOUGH_EFFECTIVE_ROWS
    spread = numbers["largest_weight_share"] <= LARGEST_WEIGHT_SHARE
    supported = mass <= TOLERATED_UNSUPPORTED_MASS
    refused = not (effective >= FEWEST_EFFECTIVE_ROWS and mass <= LARGEST_UNSUPPORTED_MASS)
    if enough and spread and supported:
        line = f"effective sample size {effective:.0f} of {numbers['rows_with_feedback']:.0f} rows"
        return "ok", (f"{line}, {mass:.1%} of the target's choices unsupported",)

    reasons = []
    if not enough:
        share, uniform = numbers["effective_sample_size_share"], numbers["uniform_greedy_share"]
        times = f"about {ENOUGH_EFFECTIVE_ROWS / effective:.1f} times as many" if effective else "more"
        reasons.append(
            f"effective sample size {effective:.0f} is below {ENOUGH_EFFECTIVE_ROWS} ({share:.1%} of the "
            f"rows; uniform logging would give a greedy target {uniform:.1%}): log {times} rows, "
            "or value a policy closer to the logging policy"
        )
    if not spread:
        reasons.append(
            f"one row carries {numbers['largest_weight_share']:.1%} of the weights "
            f"(limit {LARGEST_WEIGHT_SHARE:.0%}): log more rows, or explore with larger probabilities"
        )
    if not supported:
        worst = max(models, key=lambda row: row["unsupported_mass"])
        reasons.append(
            f"{mass:.1%} of the target's choices are on models the log hardly tried there "
            f"(limit {TOLERATED_UNSUPPORTED_MASS:.0%}), most on model {worst['model']} "
            f"({worst['rows_with_feedback']:.0f} rows with feedback): send it a random share of the "
            f"traffic of at least {numbers['clip']:.1%}, or take it out of the candidates"
        )
    if numbers["deterministic_share"] > 0.5:
        reasons.append(
            f"{numbers['deterministic_share']:.0%} of the choices were deterministic: there a log identifies "
            "nothing but the direct method's guess, to be labelled so; randomise a share of the traffic"
        )
    return "refuse" if refused else "caution", tuple(reasons)
