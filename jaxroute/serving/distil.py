"""One network that predicts what a recipe predicts.

The recipe may hold log rows (the Gaussian process, kNN) or trees, the network cannot.

    z(x) = ridge(x) + mlp(x),   quality_k = z_k,   cost_k = level_k max(z_{K+k}, FLOOR)

The ridge is in closed form, the MLP starts at zero and learns what the ridge leaves, so the student is never
worse than a linear one on the prompts it is fitted on. Costs are relative to each model's mean cost.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxroute import projection
from jaxroute.engine import networks
from jaxroute.serving.portable import FLOOR
from jaxroute.types import Key, Outcomes, Params

LEAST_LEVEL = 1e-12
"""Of the cost scale: what the mean cost of a free model counts as."""
ROWS_PER_DIMENSION = 4
"""Rows that every projected dimension has at least: whitened directions of fewer rows than that are noise."""


class Student(NamedTuple):
    """All that prediction needs: arrays, no row of any log."""

    axes: projection.Projection
    linear: Float[Array, "d 2K"]
    bias: Float[Array, " 2K"]
    mlp: Params
    level: Float[Array, " K"]


def fit(
    key: Key,
    features: Float[Array, "N D"],
    teacher: Outcomes,
    *,
    cost_scale: Float[Array, ""] | float,
    hidden: tuple[int, ...] = (256, 128),
    dimensions: int = 128,
    steps: int = 500,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    penalty: float = 1.0,
) -> Student:
    """Fit the student to a teacher's predictions by squared error, in units of utility at cost weight 1 / cost_scale.

        mean_nk (quality - teacher quality)^2 + (min(level_k / cost_scale, 1) (relative cost - teacher's))^2

    Args:
        key: of the MLP and the minibatches.
        features: [N, D] prompts; the teacher's answers need no log, so any prompts will do.
        teacher: [N, K] predicted quality and cost.
        cost_scale: cost units per normalised unit.
        hidden, dimensions, steps, batch_size: of the network and its training; there are at most a quarter as many
            dimensions as rows. Static.
        learning_rate: of Adam, on a cosine to 0. penalty: of the ridge.

    Returns:
        Student.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (200, 3))
        >>> teacher = Outcomes(x[:, :2], 1.0 + 0.1 * x[:, 1:])
        >>> student = fit(jax.random.key(1), x, teacher, cost_scale=1.0, hidden=(8,), steps=50)
        >>> bool(jnp.abs(predict(student, x, (8,)).quality - teacher.quality).max() < 0.05)
        True

    Reference:
        Distilling the Knowledge in a Neural Network, by Hinton, Vinyals and Dean
        (https://arxiv.org/abs/1503.02531), 2015.
    """
    directions = max(1, min(dimensions, len(features) // ROWS_PER_DIMENSION))
    cost_scale, penalty, learning_rate = jax.device_put((cost_scale, penalty, learning_rate))  # nothing moves unasked
    linear, x, residual, weight = _ridge(features, teacher, cost_scale, penalty, directions)
    return linear._replace(mlp=_train(key, x, residual, weight, hidden, steps, batch_size, learning_rate))


@partial(jax.jit, static_argnames="dimensions")
def _ridge(
    features: Float[Array, "N D"],
    teacher: Outcomes,
    cost_scale: Float[Array, ""] | float,
    penalty: float,
    dimensions: int,
) -> tuple[Student, Float[Array, "N d"], Float[Array, "N C"], Float[Array, " C"]]:
    """The student without its MLP, and what that learns: features, what the ridge leaves, the columns' weights."""
    axes = projection.fit(features, jnp.ones(len(features)), dimensions)
    x = projection.project(axes, features)
    level = jnp.maximum(jnp.mean(teacher.cost, 0), LEAST_LEVEL * cost_scale)  # whatever unit costs are in
    target = jnp.concatenate([teacher.quality, teacher.cost / level[None]], 1)
    bias = jnp.mean(target, 0)
    gram = x.T @ x + penalty * jnp.eye(x.shape[1])
    linear = jax.scipy.linalg.solve(gram, x.T @ (target - bias[None]), assume_a="pos")
    weight = jnp.concatenate([jnp.ones(len(level)), jnp.minimum(level / cost_scale, 1.0)])
    return Student(axes, linear, bias, None, level), x, target - bias[None] - x @ linear, weight


@partial(jax.jit, static_argnames=("hidden", "steps", "batch_size"))
def _train(
    key: Key,
    x: Float[Array, "N d"],
    residual: Float[Array, "N C"],
    weight: Float[Array, " C"],
    hidden: tuple[int, ...],
    steps: int,
    batch_size: int,
    learning_rate: float,
) -> Params:
    network = networks.router(residual.shape[1], hidden)
    init_key, batch_key = jax.random.split(key)
    params = network.init(init_key, x.shape[1])
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(params: Params, rows: Array) -> Array:
        error = network.apply(params, x[rows]) - residual[rows]
        return jnp.mean(jnp.sum((weight[None] * error) ** 2, -1))

    def step(carry: tuple[Params, optax.OptState], index: Array) -> tuple[tuple[Params, optax.OptState], None]:
        params, state = carry
        rows = jax.random.randint(jax.random.fold_in(batch_key, index), (batch_size,), 0, len(x))
        updates, state = optimiser.update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(steps))
    return params


@partial(jax.jit, static_argnames="hidden")
def predict(student: Student, features: Float[Array, "N D"], hidden: tuple[int, ...]) -> Outcomes:
    """Quality and cost [N, K] of prompts.

    Args:
        student: of ``fit``. features: [N, D]. hidden: the widths it was fitted with. Static.
    """
    num_models = student.level.shape[0]
    x = projection.project(student.axes, features)
    z = x @ student.linear + student.bias[None] + networks.router(2 * num_models, hidden).apply(student.mlp, x)
    relative = jnp.maximum(z[:, num_models:], FLOOR)
    return Outcomes(z[:, :num_models], student.level[None] * relative)
