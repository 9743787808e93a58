"""Can this log support an estimate of this policy's value? A verdict on absolute evidence. Host side.

The numbers are counted here; thresholds, verdict and advice are in `verdict`, and whether propensities and predictions
match the log in `calibration`.
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
from jaxroute.estimators import calibration, verdict
from jaxroute.estimators.influence import not_empty, rows
from jaxroute.estimators.prediction_powered import by_judge
from jaxroute.estimators.verdict import FEWEST_ROWS_PER_MODEL
from jaxroute.types import Logs, Nuisances


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
        InputError: a log without rows, or a propensity that is NaN.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> report = support(*example(), models=["small", "large"])
        >>> print(report.verdict, report.numbers["effective_sample_size"])
        refuse 2.0
    """
    not_empty(logs)
    N, K = logs.available.shape
    policies = np.asarray(target)
    policies = policies if policies.ndim == 3 else policies[None]
    chex.assert_shape(policies, (None, N, K))
    clip = evaluation_clip(K) if clip is None else clip
    names = [str(k) for k in range(K)] if models is None else list(models)

    observed = ~np.isnan(np.asarray(logs.quality))
    feedback = np.bincount(np.asarray(logs.action)[observed], minlength=K)
    # A millionth of slack: 1 - 0.95 must not fall below 0.05 by rounding.
    trusted = _bounded_propensity(logs, nuisances) >= clip * (1 - 1e-6)
    supported = np.asarray(logs.available) & (feedback >= FEWEST_ROWS_PER_MODEL)[None, :] & trusted
    stands = None if logs.weight is None else np.asarray(logs.weight, np.float64)
    mass, unsupported = (_mean(part, 1, stands) for part in (policies, np.where(supported, 0.0, policies)))
    weight = np.asarray(_weights(by_judge(logs), jnp.asarray(policies), nuisances, clip), np.float64)
    need = _rows_needed(logs, weight, feedback, mass)

    targets = _of_targets(weight, unsupported, int(observed.sum()), logs.group)
    if logs.human_quality is not None:
        for record, row in zip(targets, _weights(logs, jnp.asarray(policies), nuisances, clip), strict=True):
            record["effective_ratings"] = float(_independent(np.asarray(row, np.float64)[None], logs.group)[0])
    numbers = _of_log(logs, nuisances, clip) | _of_hardest(targets) | calibration.of_log(logs, nuisances)
    known, mismatches = _of_models(logs, nuisances, names, feedback), calibration.mismatches(logs, names)
    # The line that would fix a model quotes the target that asks most of it.
    most = np.where(need.any(0), np.take_along_axis(mass, need.argmax(0)[None], 0)[0], mass.max(0))
    models_of = _with_target(known, most, need.max(0), unsupported.max(0))
    for record, *of in zip(targets, mass, need, unsupported, strict=True):
        judged = verdict.judge({**numbers, **record}, _with_target(known, *of), mismatches)
        record["verdict"], record["reasons"] = judged
    whole, reasons = verdict.judge(numbers, models_of, mismatches)
    return Support(whole, reasons, numbers, tuple(targets), models_of)


def _effective(weight: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Effective number of the rows that are ``chosen`` [N] or [N, K], by their weights [N] or [L, N]; 0 without any."""
    total, squares = weight @ chosen, weight**2 @ chosen
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)


def _independent(weight: np.ndarray, group: Any) -> np.ndarray:
    """Effective number of independent draws [L], by the rows' weights [L, N]: of groups where there are any."""
    if group is not None:
        _, label = np.unique(np.asarray(group), return_inverse=True)
        weight = np.stack([np.bincount(label, row) for row in weight])
    return _effective(weight, np.ones(weight.shape[1]))


def _rows_needed(logs: Logs, weight: np.ndarray, feedback: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Rows of every model that every target needs, [L, K]. mass: [L, K] its share of the target's choices."""
    chosen = np.asarray(logs.action)[:, None] == np.arange(len(feedback))[None, :]
    one = np.vectorize(verdict.rows_needed, otypes=[float])
    return one(feedback[None].astype(float), _effective(weight, chosen), mass.astype(float))


def _of_targets(weight: np.ndarray, unsupported: np.ndarray, rows: int, group: Any) -> list[dict[str, Any]]:
    """Numbers of every target policy, of its weights [L, N] and unsupported choices [L, K]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = weight.max(1) / weight.sum(1)
    effective = _independent(weight, group)
    return [
        {
            "effective_sample_size": float(e),
            "effective_sample_size_share": float(e / max(rows, 1)),
            "largest_weight_share": float(w),
            "unsupported_mass": float(u),
        }
        for e, w, u in zip(effective, largest, unsupported.sum(1), strict=True)
    ]


def _of_hardest(targets: list[dict[str, Any]]) -> dict[str, float]:
    """The worst of every number over the targets."""
    worst = {"largest_weight_share": np.max, "unsupported_mass": np.max}
    return {name: float(worst.get(name, np.min)([record[name] for record in targets])) for name in targets[0]}


def _of_log(logs: Logs, nuisances: Nuisances | None, clip: float) -> dict[str, float]:
    """Counts and propensities of the log, whatever the target."""
    N, K = logs.available.shape
    logged, known = np.asarray(propensity_of_action(logs, nuisances)), np.asarray(logs.propensity)
    certain = np.where(np.isnan(known), logged, known)  # the log's own word, whatever was fitted
    choice = np.asarray(logs.available).sum(1) > 1
    return {
        "rows": float(N),
        "rows_with_feedback": float((~np.isnan(np.asarray(logs.quality))).sum()),
        "groups": float(N if logs.group is None else len(np.unique(np.asarray(logs.group)))),
        "models": float(K),
        "uniform_greedy_share": 1 / K,
        "clip": float(clip),
        "propensity_min": float(logged.min()),
        **{f"propensity_quantile_{q:.2f}": float(np.quantile(logged, q)) for q in (0.01, 0.05, 0.25, 0.5)},
        "propensity_below_clip": float((logged < clip).mean()),
        "propensity_known_share": float((~np.isnan(known)).mean()),
        "deterministic_share": float((certain >= 1 - 1e-6)[choice].sum() / N),
    }


def _of_models(
    logs: Logs, nuisances: Nuisances | None, names: Sequence[str], feedback: np.ndarray
) -> list[dict[str, Any]]:
    """What the log says of every model, whatever the target."""
    action, available = np.asarray(logs.action), np.asarray(logs.available)
    logged = np.asarray(propensity_of_action(logs, nuisances))
    fitted = np.nan if nuisances is None else np.asarray(nuisances.propensity)
    stands = None if logs.weight is None else np.asarray(logs.weight, np.float64)
    propensity = _mean(np.where(available, fitted, 0.0), 0, stands)
    return [
        {
            "model": name,
            "rows": float((action == k).sum()),
            "rows_with_feedback": float(feedback[k]),
            "share": float(_mean(action == k, 0, stands)),
            "available_share": float(_mean(available[:, k], 0, stands)),
            "smallest_logged_propensity": float(logged[action == k].min(initial=1.0)),
            "mean_propensity": float(propensity[k]),
        }
        for k, name in enumerate(names)
    ]


def _with_target(
    known: list[dict[str, Any]], mass: np.ndarray, need: np.ndarray, lost: np.ndarray
) -> tuple[dict[str, Any], ...]:
    """The records of ``_of_models`` with a target's choices [K] of every model, and what they need."""
    return tuple(
        {
            **model,
            "verdict": verdict.verdict_of_model(model["rows_with_feedback"], rows, float(left)),
            "fix": verdict.fix_of_model(model["model"], model["rows_with_feedback"], rows, share),
            "rows_needed": float(rows),
            "target_mass": float(share),
            "unsupported_mass": float(left),
        }
        for model, share, rows, left in zip(known, mass, need, lost, strict=True)
    )


@jax.jit
def _weights(logs: Logs, policies: Array, nuisances: Nuisances | None, clip: float) -> Array:
    """Importance weights [T, N] of every policy."""

    def of(policy: Array) -> Array:
        return rows(logs, policy, 0.0, nuisances, clip=clip, outcome_model=False).weight

    return jax.vmap(of)(policies)


def _bounded_propensity(logs: Logs, nuisances: Nuisances | None) -> np.ndarray:
    """Propensity of every model: fitted where given, never above what the log's own values leave over."""
    known = np.asarray(logs.propensity)[:, None]
    chosen = np.asarray(logs.action)[:, None] == np.arange(logs.available.shape[1])[None, :]
    most = np.where(np.isnan(known), 1.0, np.where(chosen, known, 1.0 - known))
    return most if nuisances is None else np.minimum(np.asarray(nuisances.propensity), most)


def _mean(y: np.ndarray, axis: int, stands: np.ndarray | None) -> np.ndarray:
    """Mean over the rows of a log, each counted as many times as it stands for."""
    return y.mean(axis, dtype=np.float64) if stands is None else np.average(y, axis, stands)
