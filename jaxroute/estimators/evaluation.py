"""From a log to the value of a policy: estimate, interval if the log supports one, verdict and label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.arguments import checked
from jaxroute.estimators import sensitivity
from jaxroute.estimators.influence import example as example
from jaxroute.estimators.influence import not_empty, utility_range
from jaxroute.estimators.intervals import interval as confidence
from jaxroute.estimators.support import support
from jaxroute.estimators.trusted import trusted_clip
from jaxroute.estimators.values import direct_method, self_normalised_doubly_robust
from jaxroute.types import Estimate, InputError, Logs, Nuisances

EVIDENCE = "self-normalised doubly robust"
ESTIMATED = "self-normalised doubly robust, propensities estimated"
CORRECTED = ", corrected by people's ratings"
EXTRAPOLATION = "extrapolation"


@dataclass(frozen=True)
class Evaluation:
    """A target policy's value and the evidence for it.

    value: in quality units. interval: (low, high), None for an extrapolation. label: the kind of value; "extrapolation"
    is the outcome model's guess, without evidence from the log. verdict, reasons: of ``support`` for this target.
    effective_sample_size: NaN for an extrapolation. bounds: (low, high) under a hidden confounder of the given
    strength, without sampling noise. tipping_point: the strength at which the comparison with the logging policy is no
    longer certain, inf if no strength up to 100 suffices. Both are None if no strength was given or the value is an
    extrapolation.
    """

    cost_weight: float
    value: float
    interval: tuple[float, float] | None
    label: str
    verdict: str
    reasons: tuple[str, ...]
    effective_sample_size: float
    bounds: tuple[float, float] | None = None
    tipping_point: float | None = None


@checked
def evaluate(
    logs: Logs,
    target: Float[Array, "N K"] | Float[Array, "L N K"],
    cost_weight: float | Sequence[float] | Float[Array, " L"],
    nuisances: Nuisances,
    *,
    clip: float | None = None,
    level: float = 0.95,
    models: Sequence[str] | None = None,
    strength: float | None = None,
) -> tuple[Evaluation, ...]:
    """Value of one or several target policies, with an interval only where the log supports one.

        ok, caution    self-normalised doubly robust, with its `intervals.interval`
        refuse         direct method, labelled "extrapolation", no interval

    A deterministic log (every known propensity is 1) contains nothing about other policies: every target other than its
    own choices is an extrapolation, whatever the other numbers say.

    Args:
        logs: N rows.
        target: [N, K] one policy for all cost weights, or [L, N, K] one per cost weight.
        cost_weight: quality per unit of cost; one or L.
        nuisances: cross-fitted for these rows.
        clip: smaller propensities are raised to it; None: ``trusted_clip``.
        level: intended coverage, between 0 and 1.
        models: K names for the reasons; None uses their positions.
        strength: odds ratio of a hidden confounder, at least 1: bounds and tipping point beside the value
            (``sensitivity``, doubly robust); None: neither.

    Returns:
        One Evaluation per cost weight.

    Raises:
        InputError: a log without rows, a propensity that is NaN in the nuisances, L policies and another number of
            cost weights, a level outside (0, 1), a strength below 1.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> half = jnp.full((4, 2), 0.5)
        >>> found = evaluate(*example(), 0.5, Nuisances(half, Outcomes(half, half)))
        >>> print(found[0].value, found[0].label, found[0].interval)  # four rows support nothing
        0.25 extrapolation None
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}; it must be between 0 and 1, as in 0.95")
    weights = np.atleast_1d(np.asarray(cost_weight, np.float64))
    policies = jnp.asarray(target)
    if policies.ndim == 3 and len(policies) != len(weights):
        raise InputError(
            f"{len(policies)} target policies for {len(weights)} cost weights; give one policy per cost weight"
        )
    not_empty(logs)
    clip = trusted_clip(logs, policies) if clip is None else clip
    report = support(logs, policies, nuisances, clip=clip, models=models)
    known = np.asarray(logs.propensity)
    certain = bool((known >= 1 - 1e-6).all())

    each = policies if policies.ndim == 3 else jnp.broadcast_to(policies, (len(weights), *policies.shape))
    at = jnp.asarray(weights, policies.dtype)
    robust, guess = jax.tree.map(np.asarray, _values(logs, each, at, nuisances, clip))
    hidden = None
    if strength is not None:
        sensitivity.check_strength(strength)
        found_bounds, tip = sensitivity.of_policies(
            logs, each, at, nuisances, strength=strength, clip=clip, outcome_model=True
        )
        hidden = np.stack([*found_bounds, tip.strength], 1).tolist()
    own = np.asarray(each)[:, np.arange(len(known)), np.asarray(logs.action)].min(1) >= 1 - 1e-6

    found = []
    for i, weight in enumerate(weights):
        record = report.targets[0 if policies.ndim == 2 else i]
        bounds, tipping, effective = None, None, float("nan")
        if record["verdict"] == "refuse" or (certain and not own[i]):
            value, label, interval = float(guess[i]), EXTRAPOLATION, None
        else:
            here = Estimate(*(part[i] for part in robust))
            value, interval = float(here.value), confidence(here, level)
            label = ESTIMATED if np.isnan(known).any() else EVIDENCE
            label += "" if logs.human_quality is None else CORRECTED
            effective = float(here.effective_sample_size)
            if hidden is not None:
                low, high, tipping = hidden[i]
                bounds = low, high
        value, *ends = (float(np.clip(x, *utility_range(logs, weight))) for x in (value, *(interval or ())))
        interval = (ends[0], ends[1]) if ends else None
        verdict = "refuse" if label == EXTRAPOLATION else record["verdict"]
        found.append(
            Evaluation(float(weight), value, interval, label, verdict, record["reasons"], effective, bounds, tipping)
        )
    return tuple(found)


@jax.jit
def _values(
    logs: Logs, policies: Float[Array, "L N K"], weights: Float[Array, " L"], nuisances: Nuisances, clip: float
) -> tuple[Estimate, Float[Array, " L"]]:
    """What the log says of every policy at its cost weight, and what the outcome model alone says."""

    def at(policy: Float[Array, "N K"], weight: Array) -> tuple[Estimate, Array]:
        robust = self_normalised_doubly_robust(logs, policy, weight, nuisances, clip=clip)
        return robust, direct_method(logs, policy, weight, nuisances).value

    return jax.vmap(at)(policies, weights)
