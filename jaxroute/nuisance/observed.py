"""The rows of a log, and of a shadow sample beside it, as a table of models in which few cells are observed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute.numerics import nan_is_unknown, relative
from jaxroute.types import Examples, Logs, NuisanceSpec, Outcomes


def groups(group: np.ndarray | None, log_rows: int, rows: int) -> np.ndarray | None:
    """Groups of the log's rows, and one of its own for every shadow prompt."""
    if group is None or rows == log_rows:
        return group
    return np.concatenate([group, np.max(group) + 1 + np.arange(rows - log_rows)])


def times(logs: Logs, rows: int) -> Float[Array, " R"] | None:
    """How often rows count in means, those of a log and then of a shadow sample, R in all; None: once each."""
    found = relative(logs.weight)
    return None if found is None else jnp.concatenate([found, jnp.ones(rows - len(found), found.dtype)])


@nan_is_unknown()
@jax.jit
def as_cells(logs: Logs) -> tuple[Outcomes, Bool[Array, "N K"]]:
    """A log as a table with one observed cell a row: (outcomes [N, K], observed [N, K])."""
    chosen = jax.nn.one_hot(logs.action, logs.available.shape[1], dtype=bool)
    return Outcomes(*(jnp.where(chosen, jnp.asarray(y)[:, None], jnp.nan) for y in (logs.quality, logs.cost))), chosen


@nan_is_unknown()
def cells(logs: Logs, shadow: Examples | None = None) -> Examples:
    """What outcome models are fitted to: a log's observed cells, then a shadow sample's; ``available``: observed."""
    of_log = Examples(jnp.asarray(logs.features), *as_cells(logs))
    if shadow is None:
        return of_log
    return jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.asarray(b, a.dtype)]), of_log, shadow)


def known_propensity(fitted: Float[Array, "N K"], logs: Logs, spec: NuisanceSpec) -> Float[Array, "N K"]:
    """Fitted propensities with the log's own at the chosen model, where known and wanted."""
    if spec.propensity == "estimated":
        return fitted
    return _with_known(fitted, logs.action, logs.propensity)


@jax.jit
def _with_known(fitted: Array, action: Array, propensity: Array) -> Array:
    chosen = jax.nn.one_hot(action, fitted.shape[1], dtype=bool)
    known = jnp.isfinite(propensity)[:, None] & chosen
    return jnp.where(known, propensity[:, None], fitted)
