"""Values and gains of a policy at every cost weight, as tables: estimates, intervals, bounds and verdicts. Host side.

The two tables of `evidence`. A value is self-normalised doubly robust, and a gain is the difference of two on the same
rows. Where the log does not support an estimate, both are the outcome model's guess without an interval, unless a
shadow sample stands in.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from jaxroute import estimators, metrics
from jaxroute.estimators import sensitivity
from jaxroute.estimators.influence import Rows, utility_range
from jaxroute.estimators.prediction_powered import by_judge, check_scale
from jaxroute.numerics import relative, weighted_mean
from jaxroute.types import Estimate, Examples, Key, Logs, Nuisances, Outcomes

FEWEST_DIFFERING = 5
"""Prompts of a shadow sample on which two policies must differ for it to be the only evidence on their difference."""


def values(
    key: Key,
    logs: Logs,
    nuisances: Nuisances,
    router: Float[Array, "L N K"],
    cost_weights: Float[Array, " L"],
    *,
    clip: float,
    strength: float,
    models: Sequence[str] | None = None,
    truth: Outcomes | None = None,
    shadow: Examples | None = None,
    on_shadow: Float[Array, "L S K"] | None = None,
) -> tuple[pd.DataFrame, Bool[np.ndarray, " L"]]:
    """What a log, and a shadow sample where there is one, say of a router's value at L cost weights.

    Args:
        key: of the bands' simulation. The others: as in ``evidence.gather``; shadow: ``estimators.complete``.
        on_shadow: the router on its prompts.

    Returns:
        (``Evidence.values``, whether the log supports the value by itself).
    """
    check_scale(logs.human_quality is not None, shadow)
    judged = estimators.evaluate(logs, router, cost_weights, nuisances, clip=clip, models=models)
    by_log = np.array([e.interval is not None for e in judged])
    of = of_log = estimators.at_weights(logs, router, cost_weights, nuisances, clip)
    share = np.zeros(len(cost_weights))
    if shadow is not None:
        of_shadow = jax.vmap(estimators.shadow_rows, (None, 0, 0))(shadow, on_shadow, cost_weights)
        of, share = estimators.pool_each(of_log, of_shadow, by_log)
    estimate = _estimates(of)
    if shadow is not None:
        judged = estimators.with_shadow(judged, estimate, share, np.asarray(of_shadow.counted).sum(1))
    value, supported = np.array([e.value for e in judged]), np.array([e.interval is not None for e in judged])
    hidden = _hidden(logs, router, cost_weights, nuisances, clip, strength)
    if shadow is not None:
        _add_shadow(hidden, value, np.asarray(_estimates(of_log).value), share)
    if logs.human_quality is not None:
        _add_ratings(hidden, logs, router, cost_weights, nuisances, clip)
    half, band_half = _half_widths(key, of, estimate)
    frame = pd.DataFrame(
        {
            "cost_weight": np.asarray(cost_weights, float),
            "value": value,
            "low": np.where(supported, value - half, np.nan),
            "high": np.where(supported, value + half, np.nan),
            "band_low": np.where(supported, value - band_half, np.nan),
            "band_high": np.where(supported, value + band_half, np.nan),
            "effective_sample_size": [e.effective_sample_size for e in judged],
            **{part: np.where(by_log, column, np.nan) for part, column in hidden.items()},
            "label": [e.label for e in judged],
            "verdict": [e.verdict for e in judged],
            "reasons": [list(e.reasons) for e in judged],
            **({} if shadow is None else {"shadow_share": share}),
        }
    )
    least, most = utility_range(logs, np.asarray(cost_weights))
    for bounded in ("value", "low", "high", "band_low", "band_high", "hidden_low", "hidden_high"):
        frame[bounded] = np.clip(frame[bounded], least, most)
    if truth is not None:
        frame["truth"] = _mean_value(router, truth, cost_weights, logs)
    return frame, by_log


def gains(
    logs: Logs,
    nuisances: Nuisances,
    router: Float[Array, "L N K"],
    other: Float[Array, "L N K"],
    cost_weights: Sequence[float] | Float[Array, " L"],
    *,
    truth: Outcomes | None = None,
    clip: float | None = None,
    shadow: Examples | None = None,
    on_shadow: tuple[Float[Array, "L S K"], Float[Array, "L S K"]] | None = None,
    among: int = 1,
) -> pd.DataFrame:
    """Value of one router minus another's on the same rows, paired; an interval only where the log supports both.

    The best of several policies, picked on the rows that value it, looks better than it is, and the gain over it
    smaller: the upper ends then hold for whichever was picked (``estimators.wider``), and the lower ends hold as
    they are.

    Args:
        router, other: the policies at every cost weight. truth, clip, shadow: as in ``evidence.gather``.
        among: of how many policies the other was picked on these rows.
        on_shadow: both policies on the shadow's prompts; None: the log alone. Where the log does not support both,
            they have to part on five of them (or nowhere in the log) for an interval.

    Returns:
        A row per cost weight: cost_weight, gain, low, high (95% interval; NaN where either policy is refused and no
        shadow stands in, the gain is then the outcome model's guess), the columns of ``estimators.spending`` (of the
        log alone, NaN where it does not support both), and truth and shadow_share where known.
    """
    check_scale(logs.human_quality is not None, shadow)
    weights = jnp.asarray(cost_weights, jnp.float32)
    clip = estimators.trusted_clip(logs, router, other) if clip is None else clip
    policies = (router, other)
    supported = np.all(
        [
            [e.interval is not None for e in estimators.evaluate(logs, p, weights, nuisances, clip=clip)]
            for p in policies
        ],
        axis=0,
    )
    by_log = supported
    a, b = (estimators.at_weights(logs, p, weights, nuisances, clip) for p in policies)
    of, share = _paired(a, b), np.zeros(len(weights))
    if shadow is not None and on_shadow is not None:
        answers = estimators.complete(shadow, jnp.all(logs.available, 0))
        a, b = (jax.vmap(estimators.shadow_rows, (None, 0, 0))(answers, p, weights) for p in on_shadow)
        of_shadow = jax.vmap(estimators.paired)(a, b)
        differing = np.asarray(jnp.any(on_shadow[0] != on_shadow[1], -1) & of_shadow.counted).sum(1)
        same = np.asarray(jnp.all(router == other, (1, 2)))
        usable = supported | same | (differing >= FEWEST_DIFFERING)
        of, share = estimators.pool_each(of, of_shadow, supported, usable)
        supported = supported | (share > 0)
    paired = _estimates(of)
    half = estimators.half_width(paired.effective_sample_size) * np.asarray(paired.standard_error)
    guess = _mean_value(router, nuisances.outcomes, weights, logs) - _mean_value(
        other, nuisances.outcomes, weights, logs
    )
    gain = np.where(supported, np.asarray(paired.value), guess)
    frame = pd.DataFrame({"cost_weight": np.asarray(weights, float), "gain": gain})
    wider = estimators.wider(among)
    frame["low"], frame["high"] = (np.where(supported, gain + side * half, np.nan) for side in (-1, wider))
    parts = estimators.spending(logs, nuisances, router, other, clip=clip)
    parts["quality_high"] = parts["quality"] + wider * (parts["quality_high"] - parts["quality"])
    frame = frame.join(parts.where(np.broadcast_to(by_log[:, None], parts.shape)))
    least, most = utility_range(logs, np.asarray(weights))
    for bounded in ("gain", "low", "high"):
        frame[bounded] = np.clip(frame[bounded], least - most, most - least)
    if truth is not None:
        frame["truth"] = _mean_value(router, truth, weights, logs) - _mean_value(other, truth, weights, logs)
    return frame if shadow is None else frame.assign(shadow_share=share)


def logging_policy(logs: Logs, nuisances: Nuisances, levels: int) -> Float[Array, "L N K"]:
    """The policy that wrote the log, as the nuisances have it, once for each of L cost weights."""
    own = np.where(logs.available, nuisances.propensity, np.float32(0))
    return jnp.broadcast_to(own / own.sum(1, keepdims=True), (levels, *own.shape))


_estimates = jax.jit(jax.vmap(estimators.estimate))
_paired = jax.jit(jax.vmap(estimators.paired))
_band = jax.jit(estimators.simultaneous)


def _hidden(
    logs: Logs, target: Array, weights: Array, nuisances: Nuisances, clip: float, strength: float
) -> dict[str, np.ndarray]:
    bounds, tip = sensitivity.of_policies(
        logs, target, weights, nuisances, strength=strength, clip=clip, outcome_model=True
    )
    names = ("hidden_low", "hidden_high", "advantage", "flips_at")
    return {name: np.asarray(column, float) for name, column in zip(names, (*bounds, *tip), strict=True)}


def _add_shadow(hidden: dict[str, np.ndarray], value: np.ndarray, alone: np.ndarray, share: np.ndarray) -> None:
    """Add a shadow sample, whose share of the value has no confounder. alone: [L] the values of the log alone."""
    for bound in ("hidden_low", "hidden_high"):
        hidden[bound] = value + (1 - share) * (hidden[bound] - alone)
    hidden["advantage"] = hidden["advantage"] + value - alone


def _add_ratings(
    hidden: dict[str, np.ndarray], logs: Logs, router: Array, weights: Array, nuisances: Nuisances, clip: float
) -> None:
    """Add what people's ratings correct in the values by the judge's scores."""
    own = logging_policy(logs, nuisances, len(weights))
    of_router, of_logger = (_correction(logs, policy, weights, nuisances, clip) for policy in (router, own))
    for bound in ("hidden_low", "hidden_high"):
        hidden[bound] = hidden[bound] + of_router
    hidden["advantage"] = hidden["advantage"] + of_router - of_logger


def _half_widths(key: Key, of: Rows, estimate: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Half of the 95% intervals, and of the band that holds at all cost weights at once: [L] each."""
    quantile = estimators.half_width(estimate.effective_sample_size)
    band = _band(key, of._replace(influence=jnp.nan_to_num(of.influence)))  # what is not known has no say
    # The band's multiple is a normal's: it gets the small-sample factor that every interval has.
    small = quantile / estimators.half_width(np.nan)
    return quantile * np.asarray(estimate.standard_error), small * np.asarray(band.high - band.low) / 2


def _correction(logs: Logs, policy: Array, weights: Array, nuisances: Nuisances, clip: float) -> np.ndarray:
    """What people's ratings add to the values of a policy by the judge's scores, [L]."""
    both = (estimators.at_weights(of, policy, weights, nuisances, clip) for of in (logs, by_judge(logs)))
    corrected, plain = (np.asarray(_estimates(of).value) for of in both)
    return corrected - plain


def _mean_value(policy: Array, outcomes: Outcomes, weights: Array, logs: Logs) -> np.ndarray:
    return np.asarray(_values(policy, outcomes, weights, relative(logs.weight)), float)


@jax.jit
def _values(policy: Array, outcomes: Outcomes, weights: Array, times: Array | None) -> Array:
    return weighted_mean(jax.vmap(metrics.value, (0, None, 0))(policy, outcomes, weights).T, times)
