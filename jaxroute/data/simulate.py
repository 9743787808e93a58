"""Logs simulated from a full table: biased logging policies, and one answer per prompt.

A policy maps a table's N prompts to action probabilities [N, K] (``types.Policy``). The functions here return
policies, and any other function of that type works too. Answers that the table lacks have probability 0.

Most policies keep a floor, so that every available model has a positive probability (overlap):

    probabilities = (1 - floor) softmax(preference) + floor / number of available models
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxroute.data import shapes
from jaxroute.data.randomness import generator
from jaxroute.types import InputError, Key, Logs, Policy, Table

RIDGE_PENALTY = 100.0  # on standardised features
LEAST_COST = 1e-6  # times the largest mean cost: replaces the cost of a free model inside the logarithm


def simulate(key: Key, table: Table, policy: Policy, *, known: bool = True, rows: np.ndarray | None = None) -> Logs:
    """Let a policy answer every prompt of the table with one model.

        action_i ~ policy(table)[i],    propensity_i = policy(table)[i, action_i]

    Args:
        key: JAX random key; the same key under two policies gives common random numbers.
        table: full table of N prompts.
        policy: the logging policy.
        known: whether the log records propensities; if not, they are NaN.
        rows: indices of the rows to log (the policy still sees the whole table); None logs all rows in order.

    Returns:
        Logs of NumPy arrays, one row per entry of ``rows``.

    Raises:
        InputError: the table is none (``shapes.check``), or the policy does not return probabilities or may choose a
            model whose answer is missing.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=100)
        >>> logs = simulate(jax.random.key(1), table, uniform())
        >>> print(logs.action.shape, logs.propensity[:3])
        (100,) [0.1 0.1 0.1]
    """
    shapes.check(table)
    probabilities = _checked(np.asarray(policy(table), float), table)
    rows = np.arange(len(table)) if rows is None else np.asarray(rows)
    table, probabilities = table.rows(rows), probabilities[rows]
    # Inverse distribution function. The last available model ends at exactly 1, above every draw.
    cumulative = np.cumsum(probabilities, 1)
    cumulative /= cumulative[:, -1:]
    draw = generator(key, "logging.simulate").random(len(rows))
    action = (cumulative > draw[:, None]).argmax(1)
    every = np.arange(len(rows))
    # Any: the record is declared with JAX arrays and holds NumPy arrays until it is moved to the device.
    columns: dict[str, Any] = {
        "features": table.features,
        "action": action.astype(np.int32),
        "quality": table.outcomes.quality[every, action],
        "cost": table.outcomes.cost[every, action],
        "propensity": probabilities[every, action] if known else np.full(len(rows), np.nan),
        "available": table.available,
        "group": table.group,
    }
    return Logs(**columns)


def uniform() -> Policy:
    """Every available model is equally likely, as in a randomised experiment without bias.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> print(uniform()(synthetic.make(jax.random.key(0), num_prompts=2, num_models=4)))
        [[0.25 0.25 0.25 0.25]
         [0.25 0.25 0.25 0.25]]
    """
    return lambda table: _floored(np.zeros(table.available.shape), table.available, 1.0)


def cost_biased(strength: float = 1.0, floor: float = 0.1) -> Policy:
    """Cheap models are preferred for every prompt: preference_k = -strength log(mean cost of k).

    At strength 1 the odds of two models are inversely proportional to their mean costs in the given table.

    Args:
        strength: 0 is uniform; negative values prefer expensive models.
        floor: probability that is spread evenly over the available models.

    Returns:
        The policy.

    Raises:
        InputError: the floor is outside [0, 1].
    """
    _check_floor(floor)

    def policy(table: Table) -> np.ndarray:
        answers = np.maximum(table.available.sum(0), 1)
        mean = np.sum(table.outcomes.cost, 0, where=table.available) / answers
        least = LEAST_COST * mean.max() if mean.max() > 0 else 1.0
        preference = -strength * np.log(np.maximum(mean, least))
        return _floored(np.tile(preference, (len(table), 1)), table.available, floor)

    return policy


def weak_router(key: Key, table: Table, *, fraction: float = 0.1, beta: float = 2.0, floor: float = 0.1) -> Policy:
    """An earlier, weak router: it prefers the models that a linear model of few prompts predicts to be best.

        preference = beta * standardised (ridge prediction of quality)

    Predictions are centred over models and divided by their overall standard deviation on the fitted prompts.
    The policy depends on the outcomes of those prompts. To keep them out of the log, fit on a separate part:
    ``weak_router(key, table.rows(earlier), fraction=1.0)``.

    Args:
        key: JAX random key that decides which prompts are fitted.
        table: full table to fit on.
        fraction: share of its rows that is fitted; at least two rows.
        beta: 0 is uniform; from about 5 on it is nearly deterministic apart from the floor.
        floor: probability that is spread evenly over the available models.

    Returns:
        The policy, a fixed function of the features.

    Raises:
        InputError: the fraction or the floor is out of range, or there are too few rows.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=500)
        >>> policy = weak_router(jax.random.key(1), table, fraction=0.2, beta=2.0, floor=0.1)
        >>> quality = (policy(table) * table.expected.quality).sum(1).mean()
        >>> bool(quality > table.expected.quality.mean())
        True
    """
    _check_floor(floor)
    size = round(fraction * len(table)) if 0 < fraction <= 1 else 0
    if size < 2:
        raise InputError(
            f"weak_router: fraction {fraction} of {len(table)} prompts is fewer than two, or above 1; give a larger "
            "share, up to 1"
        )
    fitted = table.rows(generator(key, "logging.weak_router").permutation(len(table))[:size])
    centre, spread = fitted.features.mean(0, dtype=float), fitted.features.std(0, dtype=float)
    spread = np.where(spread > 0, spread, 1.0)

    def design(features: np.ndarray) -> np.ndarray:
        return np.c_[np.ones(len(features)), (features - centre) / spread]

    x = design(fitted.features)
    penalty = RIDGE_PENALTY * np.eye(x.shape[1])
    penalty[0, 0] = 1e-6  # the intercept is not penalised, but a model without any answer stays solvable
    coefficients = np.empty((x.shape[1], len(fitted.models)))
    for k, seen in enumerate(fitted.available.T):
        coefficients[:, k] = np.linalg.solve(
            x[seen].T @ x[seen] + penalty, x[seen].T @ fitted.outcomes.quality[seen, k]
        )

    def contrast(features: np.ndarray) -> np.ndarray:
        predicted = design(features) @ coefficients
        return predicted - predicted.mean(1, keepdims=True)

    scale = contrast(fitted.features).std() or 1.0
    return lambda other: _floored(beta * contrast(other.features) / scale, other.available, floor)


def task_dependent(key: Key, strength: float = 1.0, floor: float = 0.1) -> Policy:
    """Every task has its own favourite models: preference = strength * standard normal per task and model.

    The draws depend only on the key and the name of the task, so a part of a table gets the same policy as the whole.
    The task is not a feature of the log. Unless the features reveal it, such a log is confounded.

    Args:
        key: JAX random key that decides which models are the favourites.
        strength: 0 is uniform.
        floor: probability that is spread evenly over the available models.

    Returns:
        The policy.

    Raises:
        InputError: the floor is outside [0, 1].
    """
    _check_floor(floor)

    def favourites(task: str, num_models: int) -> np.ndarray:
        return generator(key, f"logging.task_dependent {task}").standard_normal(num_models)

    def policy(table: Table) -> np.ndarray:
        names, task = np.unique(table.task.astype(str), return_inverse=True)
        preference = np.stack([favourites(str(name), len(table.models)) for name in names])
        return _floored(strength * preference[task], table.available, floor)

    return policy


def deterministic(policy: Policy) -> Policy:
    """Always the most probable model of another policy: the log identifies the chosen model and nothing else.

    Args:
        policy: any policy; ties go to the lowest index.

    Returns:
        The policy with all probability on one model.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=100)
        >>> logs = simulate(jax.random.key(1), table, deterministic(cost_biased()))
        >>> sorted(set(logs.propensity.tolist())), len(set(logs.action.tolist()))
        ([1.0], 1)
    """

    def one_hot(table: Table) -> np.ndarray:
        likeliest = np.where(table.available, policy(table), -1.0).argmax(1)
        return np.eye(len(table.models))[likeliest]

    return one_hot


def _floored(preference: np.ndarray, available: np.ndarray, floor: float) -> np.ndarray:
    """(1 - floor) softmax(preference) + floor uniform, over the available models."""
    preference = np.where(available, preference, -np.inf)
    odds = np.exp(preference - preference.max(1, keepdims=True))
    chosen = odds / odds.sum(1, keepdims=True)
    return (1 - floor) * chosen + floor * available / available.sum(1, keepdims=True)


def _check_floor(floor: float) -> None:
    if not 0 <= floor <= 1:
        raise InputError(f"floor is {floor}; it must be a probability from 0 to 1")


def _checked(probabilities: np.ndarray, table: Table) -> np.ndarray:
    """The policy's probabilities, checked; rows are divided by their sums to remove float32 rounding."""
    if probabilities.shape != table.available.shape:
        raise InputError(f"policy: returned shape {probabilities.shape}; it must return shape {table.available.shape}")
    # Negated, so that NaN is refused too.
    off = ~(np.abs(probabilities.sum(1) - 1) <= 1e-6) | (probabilities < 0).any(1)
    stray = (probabilities > 0) & ~table.available
    if off.any():
        row = int(np.argmax(off))
        raise InputError(f"policy: row {row} is {probabilities[row]}; it must hold probabilities that sum to 1")
    if stray.any():
        row, model = map(int, np.argwhere(stray)[0])
        raise InputError(
            f"policy: row {row} may choose {table.models[model]!r}, whose answer is missing; set that probability to 0"
        )
    return probabilities / probabilities.sum(1, keepdims=True)
