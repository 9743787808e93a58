"""A router's value from a log it has never seen, beside the truth: the test prompts of the first seed, logged once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array

from experiments.problem import build
from experiments.problem.table import Data
from experiments.settings import Config
from jaxroute import nuisance
from jaxroute.data import simulate
from jaxroute.estimators import by_weight, evidence
from jaxroute.types import Key, Logs, Nuisances, Outcomes

HELD_OUT_LOG, NUISANCE, BAND = range(100, 103)
LIKE = Nuisances(0.0, Outcomes(0.0, 0.0))  # type: ignore[arg-type]


def value(
    config: Config,
    data: Data,
    router: Array,
    against: Mapping[str, Array],
    name: str,
    keep: Callable[[Callable[[], Nuisances], Nuisances], Nuisances] = lambda fit, _: fit(),
) -> evidence.Evidence:
    """What the held-out log says, its nuisances cross-fitted on that log alone.

    The same logging policy that wrote the training log answers every test prompt with one model.

    Args:
        router, against: [L, N, K] policies on the test prompts, at the grid's cost weights.
        name: of the router. keep: ``keep(fit, structure)``, where the nuisances are kept.
    """
    logs = log_of(config, data)
    nuisances = keep(lambda: fit(config, logs), LIKE)
    return evidence.gather(
        _key(BAND),
        logs,
        nuisances,
        router,
        config.cost_weights,
        against={"logging policy": by_weight.logging_policy(logs, nuisances, len(config.cost_weights)), **against},
        truth=Outcomes(*(jnp.asarray(y) for y in data.table.rows(data.rows[0].test).outcomes)),
        models=data.table.models,
        name=name,
    )


def log_of(config: Config, data: Data) -> Logs:
    """The test prompts, each answered by one model."""
    test, earlier = (data.table.rows(part) for part in (data.rows[0].test, data.rows[0].earlier))
    policy = build.logging_policy(config, _key(build.LOGGER), earlier)
    return jax.tree.map(jnp.asarray, simulate.simulate(_key(HELD_OUT_LOG), test, policy))


def fit(config: Config, logs: Logs) -> Nuisances:
    """Cross-fitted on the held-out log alone."""
    return nuisance.fit(_key(NUISANCE), logs, config.nuisance)[0]


def _key(purpose: int) -> Key:
    return jax.random.fold_in(jax.random.key(0), purpose)
