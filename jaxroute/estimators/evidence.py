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

from jaxroute import estimators, nuisance
from jaxroute.estimators import by_weight, influence
from jaxroute.estimators.frontier import beside_single_models
from jaxroute.nuisance.diagnostics import Diagnostics
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, Outcomes

LOGGER, BEST_SINGLE = "logging policy", "best single"
"""The opponents that have a meaning of their own, by name."""
STRENGTH = 1.5
"""Strength of the hidden confounder in the bounds: a factor on the odds of being chosen."""


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
    among: Mapping[str, int] | None = None,
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
        clip: smaller propensities are raised to it; None: ``estimators.trusted_clip``.
        shadow: S prompts drawn like the log's; one that lacks an answer of a model that the log could always choose
            is left out. None: the log alone.
        on_shadow: the same policies on its prompts, by name: the router's, decided out of fold, and the opponents';
            gains on an opponent that is not there are the log's alone.
        among: by name, of how many policies an opponent was picked on these rows, see ``by_weight.gains``; 1 if it is
            not there.

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
    weights, against, on_shadow = jnp.asarray(cost_weights, jnp.float32), against or {}, on_shadow or {}
    among = among or {}
    _check_policies({name: router, **against}, (len(weights), *logs.available.shape), "the log", "rows")
    if shadow is not None:
        shadow = estimators.complete(shadow, jnp.all(logs.available, 0))
        _check_policies(on_shadow, (len(weights), *shadow.available.shape), "the shadow sample", "prompts")
        if name not in on_shadow:
            raise InputError(f"on_shadow holds {[*on_shadow]}; add the policy of {name} on the shadow sample's prompts")
    clip = estimators.trusted_clip(logs, router, *against.values()) if clip is None else clip
    names = tuple(models) if models is not None else tuple(f"model {k}" for k in range(logs.available.shape[1]))
    values, supported = by_weight.values(
        key, logs, nuisances, router, weights,
        clip=clip, strength=strength, models=models, truth=truth, shadow=shadow, on_shadow=on_shadow.get(name),
    )  # fmt: skip
    both = {} if shadow is None else {other: (on_shadow[name], policy) for other, policy in on_shadow.items()}
    paired = [
        by_weight.gains(
            logs, nuisances, router, policy, weights,
            clip=clip, truth=truth, shadow=shadow, on_shadow=both.get(other), among=among.get(other, 1),
        ).assign(against=other)
        for other, policy in against.items()
    ]  # fmt: skip
    logger, single = against.get(LOGGER), against.get(BEST_SINGLE)
    own_policy = None if logger is None else logger[0]
    by_itself = (name, router, weights.tolist())
    frontier = beside_single_models(logs, nuisances, by_itself, supported.tolist(), own_policy, names, clip)
    return Evidence(
        router=name,
        models=names,
        rows=len(logs.action),
        strength=strength,
        values=values,
        gains=pd.concat(paired, ignore_index=True) if paired else pd.DataFrame(),
        diagnostics=nuisance.diagnose(logs, nuisances, models=names),
        shadow=0 if shadow is None else int(np.isfinite(shadow.outcomes.quality).any(1).sum()),
        frontier=frontier,
        shares=np.asarray(estimators.shares(router, logs.weight), float),
        singles=() if single is None else tuple(names[k] for k in np.asarray(single.sum(1)).argmax(1).tolist()),
    )


def example() -> Evidence:
    """What four rows say of a router that always takes the first of two models, at two cost weights.

    >>> example().values["verdict"].tolist()
    ['refuse', 'refuse']
    """
    logs, target = influence.example()
    half = jnp.full((4, 2), 0.5)
    policies = {LOGGER: half, BEST_SINGLE: 1 - target}
    against = {name: jnp.stack([policy, policy]) for name, policy in policies.items()}
    found = jnp.stack([target, target])
    return gather(jax.random.key(0), logs, Nuisances(half, Outcomes(half, half)), found, [0.0, 0.5], against=against)


def _check_policies(policies: Mapping[str, Array], shape: tuple[int, ...], where: str, of: str) -> None:
    for name, policy in policies.items():
        if policy.shape != shape:
            must = f"it must be {shape} (cost weights, {of}, models)"
            raise InputError(f"{name}: the policy on {where} has shape {policy.shape}; {must}")
