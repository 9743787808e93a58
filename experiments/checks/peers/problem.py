"""The inputs that every library gets, and what jaxroute says of them.

Two logging policies, a greedy and a stochastic target, an outcome model that is wrong on purpose, and two cost weights,
in float64. The peers take one reward, so they get quality - cost_weight * cost. They have no clip of propensities, no
missing feedback and no masks, so the logs have none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute import estimators, losses, policies
from jaxroute.data import simulate, synthetic
from jaxroute.types import Estimate, Logs, Nuisances, Outcomes, Table

THRESHOLD, SHRINKAGE, CAP = 5.0, 20.0, 3.0
FAMILY: Any = np.array([0, 1, 1, 0, 2, 2])
COST_WEIGHTS = (0.0, 50.0)  # per US dollar
ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    "dm": estimators.direct_method,
    "ipw": estimators.ipw,
    "snipw": estimators.snipw,
    "dr": estimators.doubly_robust,
    "sndr": estimators.self_normalised_doubly_robust,
    "switch": partial(estimators.switch_doubly_robust, threshold=THRESHOLD),
    "dros": partial(estimators.shrinkage_doubly_robust, shrinkage=SHRINKAGE),
    "ipw, capped": partial(estimators.ipw, weight_clip=CAP),
    "snipw, capped": partial(estimators.snipw, weight_clip=CAP),
    "dr, capped": partial(estimators.doubly_robust, weight_clip=CAP),
    "sndr, capped": partial(estimators.self_normalised_doubly_robust, weight_clip=CAP),
    "families": partial(estimators.marginalised_doubly_robust, family=FAMILY),
}
SPO = "spo_plus"


class Case(NamedTuple):
    """A log, a target policy, a cost weight, and the nuisances believed: one number per estimator."""

    name: str
    logs: Logs
    target: np.ndarray
    cost_weight: float
    nuisances: Nuisances


def cases(rows: int = 3000) -> list[Case]:
    """Eight of them, each with ``rows`` rows and six models."""
    table = synthetic.make(jax.random.key(0), num_prompts=rows, num_models=6)
    loggers = {"cost_biased": simulate.cost_biased(), "task_dependent": simulate.task_dependent(jax.random.key(1))}
    found = []
    for seed, (logger, policy) in enumerate(loggers.items()):
        logs, nuisances = _log(table, policy, seed)
        for cost_weight, target in product(COST_WEIGHTS, ("greedy", "softmax")):
            scores = nuisances.outcomes.quality - cost_weight * nuisances.outcomes.cost
            chosen = policies.greedy(scores) if target == "greedy" else policies.softmax(scores, temperature=0.1)
            name = f"{logger}, {target}, {cost_weight:g}"
            found.append(Case(name, logs, np.asarray(chosen, np.float64), cost_weight, nuisances))
    return found


def _log(table: Table, policy: simulate.Policy, seed: int) -> tuple[Logs, Nuisances]:
    """A simulated log in float64, with the true propensities and an outcome model that is wrong."""
    logs = simulate.simulate(jax.random.key(seed), table, policy)
    rng = np.random.default_rng(seed)
    shape = logs.available.shape
    expected = table.expected or table.outcomes
    predicted = Outcomes(
        jnp.asarray(np.asarray(expected.quality, np.float64) * 0.7 + 0.1 * rng.random(shape)),
        jnp.asarray(np.asarray(expected.cost, np.float64) * rng.uniform(0.5, 1.5, shape)),
    )
    wide = {name: jnp.asarray(getattr(logs, name), jnp.float64) for name in ("quality", "cost", "propensity")}
    logs = logs._replace(**wide, group=None)  # the peers take every row as a draw of its own
    probability = jnp.asarray(policy(table), jnp.float64)
    chosen = jax.nn.one_hot(logs.action, shape[1], dtype=bool)
    return logs, Nuisances(jnp.where(chosen, logs.propensity[:, None], probability), predicted)


def ours(found: list[Case]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{estimator: (values [C], standard errors [C])}, and the losses and gradients of SPO+."""
    said = {}
    for name, function in ESTIMATORS.items():
        each = [function(c.logs, jnp.asarray(c.target), c.cost_weight, c.nuisances) for c in found]
        said[name] = np.array([e.value for e in each]), np.array([e.standard_error for e in each])
    scores, utility = (jnp.asarray(y) for y in decisions())
    gradient = jax.grad(lambda z: losses.spo_plus(z, utility).sum())(scores)
    said[SPO] = np.asarray(losses.spo_plus(scores, utility)), np.asarray(gradient).ravel()
    return said


def decisions() -> tuple[np.ndarray, np.ndarray]:
    """Scores and utilities [50, 6] for the losses."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 6)), rng.uniform(size=(50, 6))


def save(found: list[Case], path: Path) -> None:
    """Everything that the peers' scripts need, as arrays [C, N, ...] of one .npz file."""
    rows = [c.logs for c in found]
    stacked = {
        "action": [np.asarray(log.action) for log in rows],
        "propensity": [np.asarray(log.propensity) for log in rows],
        "propensities": [np.asarray(c.nuisances.propensity) for c in found],
        "reward": [np.asarray(c.logs.quality - c.cost_weight * c.logs.cost) for c in found],
        "target": [c.target for c in found],
        "predicted": [
            np.asarray(c.nuisances.outcomes.quality - c.cost_weight * c.nuisances.outcomes.cost) for c in found
        ],
        "features": [np.asarray(log.features, np.float64) for log in rows],
    }
    scores, utility = decisions()
    about = {"threshold": THRESHOLD, "shrinkage": SHRINKAGE, "cap": CAP, "family": FAMILY}
    about |= {"scores": scores, "utility": utility}
    np.savez(path, **{name: np.stack(arrays) for name, arrays in stacked.items()}, **about)  # type: ignore[arg-type]
