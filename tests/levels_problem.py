"""A small log with known propensities and random outcome models, for what is learnt of the models' levels."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute.types import Logs, Nuisances, Outcomes


def small_log(rows=30, models=4):
    rng = np.random.default_rng(0)
    quality, cost = rng.random((2, rows, models)).astype(np.float32)
    action = rng.integers(0, models, rows)
    available = np.ones((rows, models), bool)
    available[0, (action[0] + 1) % models] = False
    seen = rng.random(rows) < quality[np.arange(rows), action]
    quarter = jnp.full((rows, models), 1 / models)
    logs = Logs(jnp.zeros((rows, 1)), action, seen.astype(np.float32), cost[:, 0], quarter[:, 0], available)
    nuisances = Nuisances(quarter, Outcomes(jnp.asarray(quality), jnp.asarray(cost)))
    return jax.tree.map(jnp.asarray, logs), nuisances
