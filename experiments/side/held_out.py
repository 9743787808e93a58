"""A router's value from a log it has never seen, beside the truth: the test prompts of one seed, logged once."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments import problem
from experiments.settings import Config
from jaxroute import nuisance
from jaxroute.data import simulate
from jaxroute.estimators import evidence
from jaxroute.types import Outcomes, Table

HELD_OUT_LOG, NUISANCE, BAND = range(100, 103)


def value(
    config: Config, table: Table, rows: list[np.ndarray], router: Array, against: Mapping[str, Array], name: str
) -> evidence.Evidence:
    """What the held-out log of seed 0 says, its nuisances cross-fitted on that log alone.

    The same logging policy that wrote the training log answers every test prompt with one model.

    Args:
        table: with normalised costs. rows: seed 0's (train, validation, test, earlier).
        router, against: [L, N, K] policies on the test prompts, at the grid's cost weights.
        name: of the router.
    """
    root = jax.random.key(0)
    test, earlier = table.rows(rows[2]), table.rows(rows[3])
    policy = problem.logging_policy(config, jax.random.fold_in(root, problem.LOGGER), earlier)
    logs = jax.tree.map(jnp.asarray, simulate.simulate(jax.random.fold_in(root, HELD_OUT_LOG), test, policy))
    nuisances, _ = nuisance.fit(jax.random.fold_in(root, NUISANCE), logs, config.nuisance)
    return evidence.gather(
        jax.random.fold_in(root, BAND),
        logs,
        nuisances,
        router,
        config.cost_weights,
        against={"logging policy": evidence.logging_policy(logs, nuisances, len(config.cost_weights)), **against},
        truth=Outcomes(*(jnp.asarray(y) for y in test.outcomes)),
        models=table.models,
        name=name,
    )
