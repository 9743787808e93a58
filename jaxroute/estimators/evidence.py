"""The evidence about a router in a log that it was not fitted on: value, gains, confounding, calibration. Host side.

Everything that a report shows, computed once: off-policy values with intervals and verdicts at every cost weight,
paired gains over other policies, the range of values that a hidden confounder would allow, and whether the nuisances
can be trusted. If the full table is known, the true values are included. A shadow sample (further prompts that every
model answered) adds rows to values and gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from jaxroute import estimators, metrics, nuisance
from jaxroute.estimators import sensitivity
from jaxroute.estimators.frontier import beside_single_models
from jaxroute.estimators.influence import utility_range
from jaxroute.estimators.prediction_powered import by_judge
from jaxroute.nuisance.diagnostics import Diagnostics
from jaxroute.numerics import relative, weighted_mean
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, Outcomes

LOGGER, BEST_SINGLE = "logging policy", "best single"
"""The opponents that have a meaning of their own, by name."""
STRENGTH = 1.5
"""Strength of the hidden confounder in the bounds: a factor on the odds of being chosen."""
FEWEST_DIFFERING = 5
"""Prompts of a shadow sample on which two policies must differ for it to be the only evidence on their difference."""


class Evidence(NamedTuple):
    """One router on one log, and on a shadow sample of ``shadow`` prompts.

    values: a row per cost weight: cost_weight, value, low, high (95% interval; NaN for an extrapolation), band_low,
    band_high (all weights at once), effective_sample_size, hidden_low, hidden_high (range under a hidden confounder of
    ``strength``), advantage (over the logging policy), flips_at (the strength at which it may be 0), label, verdict,
    reasons, and truth if the full table is known. gains: a row per cost weight and opponent: cost_weight, against,
    gain, low, high, quality gained and cost saved (``estimators.spending``), and truth. diagnostics: of the log's
    nuisances. In quality units, but for costs.
    frontier: the router at every cost weight, the logging policy if it is an opponent, and every single model: policy,
    kind ("router", "logging policy" or "single model"), cost_weight (NaN but for the router), then the columns of
    ``estimators.frontier``, of the log alone. shares: [L, K] of the requests that the router sends to every model.
    singles: the best single model at each cost weight, if it is an opponent. currency: "USD" where costs are known to
    be in US dollars, else "".
    With a shadow sample both have shadow_share, its weight in the value or gain: 0 if it is not used, 1 if the log does
    not support an estimate. hidden_low and hidden_high then treat its part as unconfounded; flips_at is the log's.
    """

    router: str
    models: tuple[str, ...]
    rows: int
    strength: float
    values: pd.DataFrame
    gains: pd.DataFrame
    diagnostics: Diagnostics
    shadow: int = 0
    frontier: pd.DataFrame = pd.DataFrame()
    shares: np.ndarray = np.empty((0, 0))
    singles: tuple[str, ...] = ()
    currency: str = ""


def gather(
    key: Key,
    logs: Logs,
    nuisances: Nuisances,
    router: Float[Array, "L N K"],
    cost_weights: Sequence[float] | Float[Array, " L"],
    *,
    against: Mapping[str, Float[Array, "L N K"]] | None = None,
    truth: Outcomes | None = None,
    models: Sequence[str] | None = None,
    name: str = "router",
    strength: float = STRENGTH,
    clip: float | None = None,
    shadow: Examples | None = None,
    on_shadow: Mapping[str, Float[Array, "L S K"]] | None = None,
) -> Evidence:
    """Everything a log of N rows says of a router at L cost weights.

    Values are self-normalised doubly robust (``estimators.evaluate``), gains paired on the same rows
    (``estimators.difference``); where the log does not support a value it is the direct method's, without interval,
    and so is a gain where it does not support one of the two. With a shadow sample they are pooled with its own
    (``estimators.pool``), which stand alone where the log supports nothing.

    Args:
        key: of the bands' simulation.
        logs: rows that the router was not fitted on, or that it decides out of fold.
        nuisances: cross-fitted for these rows.
        router: the policy at every cost weight.
        cost_weights: [L] quality per unit of the logs' cost.
        against: opponents by name, each a policy at every cost weight.
        truth: [N, K] every model's outcomes, where known.
        models: K names. name: of the router. strength: odds ratio of the hidden confounder.
        clip: smaller propensities are raised to it; None: ``estimators.evaluation_clip(K)``.
        shadow: S prompts drawn like the log's; one that lacks an answer of a model that the log could always choose
            is left out. None: the log alone.
        on_shadow: the same policies on its prompts, by name: the router's, decided out of fold, and the opponents';
            gains on an opponent that is not there are the log's alone.

    Returns:
        Evidence.

    Raises:
        InputError: not one policy per cost weight, on the log or on the shadow; none of the router's on the shadow;
            another number of models in the shadow.

    Example:
        >>> from jaxroute.estimators.influence import example
        >>> logs, target = example()
        >>> half = jnp.full((4, 2), 0.5)
        >>> found = gather(jax.random.key(0), logs, Nuisances(half, Outcomes(half, half)), target[None], [0.5])
        >>> print(found.values["value"].round(3).tolist(), found.values["verdict"].tolist())
        [0.25] ['refuse']
    """
    weights = jnp.asarray(cost_weights, jnp.float32)
    for other, policy in {name: router, **(against or {})}.items():
        if policy.shape != (len(weights), *logs.available.shape):
            raise InputError(
                f"{other}: the policy on the log has shape {policy.shape}; "
                f"it must be {(len(weights), *logs.available.shape)} (cost weights, rows, models)"
            )
    on_shadow = on_shadow or {}
    _check_scale(logs, shadow)
    if shadow is not None:
        shadow = estimators.complete(shadow, jnp.all(logs.available, 0))
        for other, policy in on_shadow.items():
            if policy.shape != (len(weights), *shadow.available.shape):
                raise InputError(
                    f"{other}: the policy on the shadow sample has shape {policy.shape}; "
                    f"it must be {(len(weights), *shadow.available.shape)} (cost weights, prompts, models)"
                )
        if name not in on_shadow:
            raise InputError(f"on_shadow holds {[*on_shadow]}; add the policy of {name} on the shadow sample's prompts")
    clip = estimators.evaluation_clip(logs.available.shape[1]) if clip is None else clip
    judged = estimators.evaluate(logs, router, weights, nuisances, clip=clip, models=models)
    by_log = np.array([e.interval is not None for e in judged])
    of = of_log = estimators.at_weights(logs, router, weights, nuisances, clip)
    share = np.zeros(len(weights))
    if shadow is not None:
        of_shadow = jax.vmap(estimators.shadow_rows, (None, 0, 0))(shadow, on_shadow[name], weights)
        of, share = estimators.pool_each(of_log, of_shadow, by_log)
    estimate = _estimates(of)
    if shadow is not None:
        judged = estimators.with_shadow(judged, estimate, share, np.asarray(of_shadow.counted).sum(1))
    supported = np.array([e.interval is not None for e in judged])
    half = estimators.half_width(estimate.effective_sample_size) * np.asarray(estimate.standard_error)
    band = _band(key, of._replace(influence=jnp.nan_to_num(of.influence)))  # what is not known has no say
    # The band's multiple is a normal's: it gets the small-sample factor that every interval has.
    small = estimators.half_width(estimate.effective_sample_size) / estimators.half_width(np.nan)
    band_half = small * np.asarray(band.high - band.low) / 2
    value = np.array([e.value for e in judged])
    hidden = _hidden(logs, router, weights, nuisances, clip, strength)
    if shadow is not None:
        alone = np.asarray(_estimates(of_log).value)
        for bound in ("hidden_low", "hidden_high"):
            hidden[bound] = value + (1 - share) * (hidden[bound] - alone)
        hidden["advantage"] = hidden["advantage"] + value - alone
    if logs.human_quality is not None:
        own = logging_policy(logs, nuisances, len(weights))
        of_router, of_logger = (_correction(logs, policy, weights, nuisances, clip) for policy in (router, own))
        for bound in ("hidden_low", "hidden_high"):
            hidden[bound] = hidden[bound] + of_router
        hidden["advantage"] = hidden["advantage"] + of_router - of_logger
    columns = {
        "cost_weight": np.asarray(weights, float),
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
    values = pd.DataFrame(columns)
    least, most = utility_range(logs, np.asarray(weights))
    for bounded in ("value", "low", "high", "band_low", "band_high", "hidden_low", "hidden_high"):
        values[bounded] = np.clip(values[bounded], least, most)
    if truth is not None:
        values["truth"] = _mean_value(router, truth, weights, logs)
    both = {other: (on_shadow[name], policy) for other, policy in on_shadow.items()}
    paired = [
        gains(
            logs,
            nuisances,
            router,
            policy,
            weights,
            truth=truth,
            clip=clip,
            shadow=shadow,
            on_shadow=both.get(opponent),
        ).assign(against=opponent)
        for opponent, policy in (against or {}).items()
    ]
    names = tuple(models) if models is not None else tuple(f"model {k}" for k in range(logs.available.shape[1]))
    logger, single = ((against or {}).get(opponent) for opponent in (LOGGER, BEST_SINGLE))
    return Evidence(
        name,
        names,
        len(logs.action),
        strength,
        values,
        pd.concat(paired, ignore_index=True) if paired else pd.DataFrame(),
        nuisance.diagnose(logs, nuisances, models=names),
        0 if shadow is None else int(np.isfinite(shadow.outcomes.quality).any(1).sum()),
        beside_single_models(
            logs,
            nuisances,
            (name, router, weights.tolist()),
            by_log.tolist(),
            None if logger is None else logger[0],
            names,
            clip,
        ),
        np.asarray(estimators.shares(router, logs.weight), float),
        () if single is None else tuple(names[k] for k in np.asarray(single.sum(1)).argmax(1).tolist()),
    )


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
) -> pd.DataFrame:
    """Value of one router minus another's on the same rows, paired; an interval only where the log supports both.

    Args:
        router, other: the policies at every cost weight. truth, clip, shadow: as in ``gather``.
        on_shadow: both policies on the shadow's prompts; None: the log alone. Where the log does not support both,
            they have to part on five of them (or nowhere in the log) for an interval.

    Returns:
        A row per cost weight: cost_weight, gain, low, high (95% interval; NaN where either policy is refused and no
        shadow stands in, the gain is then the outcome model's guess), the columns of ``estimators.spending`` (of the
        log alone, NaN where it does not support both), and truth and shadow_share where known.
    """
    _check_scale(logs, shadow)
    weights = jnp.asarray(cost_weights, jnp.float32)
    clip = estimators.evaluation_clip(logs.available.shape[1]) if clip is None else clip
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
    frame["low"], frame["high"] = (np.where(supported, gain + sign * half, np.nan) for sign in (-1, 1))
    parts = estimators.spending(logs, nuisances, router, other, clip=clip)
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


def _correction(logs: Logs, policy: Array, weights: Array, nuisances: Nuisances, clip: float) -> np.ndarray:
    """What people's ratings add to the values of a policy by the judge's scores, [L]."""
    both = (estimators.at_weights(of, policy, weights, nuisances, clip) for of in (logs, by_judge(logs)))
    corrected, plain = (np.asarray(_estimates(of).value) for of in both)
    return corrected - plain


def _check_scale(logs: Logs, shadow: Examples | None) -> None:
    if shadow is not None and logs.human_quality is not None:
        raise InputError(
            "the values of this log are corrected by people's ratings, and a shadow sample has the judge's scores "
            "alone: give one of the two"
        )


def _mean_value(policy: Array, outcomes: Outcomes, weights: Array, logs: Logs) -> np.ndarray:
    return np.asarray(_values(policy, outcomes, weights, relative(logs.weight)), float)


@jax.jit
def _values(policy: Array, outcomes: Outcomes, weights: Array, times: Array | None) -> Array:
    return weighted_mean(jax.vmap(metrics.value, (0, None, 0))(policy, outcomes, weights).T, times)
