"""Propensity models: multinomial logistic regression and a small network, by cross-fitted log loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxroute.engine import networks, training
from jaxroute.nuisance.ridge import with_intercept
from jaxroute.numerics import masked_log_softmax
from jaxroute.types import Hyperparams, Key, NuisanceSpec, Params

LOGISTIC_ITERATIONS = 60


def log_loss(
    logits: Float[Array, "N K"], action: Int[Array, " N"], available: Bool[Array, "N K"]
) -> Float[Array, " N"]:
    """-log of the probability given to the logged model."""
    log_probability = masked_log_softmax(logits, available)
    return -jnp.take_along_axis(log_probability, action[:, None], -1)[:, 0]


def fit_logistic(
    features: Float[Array, "N d"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    weight: Float[Array, " N"],
    penalties: tuple[float, ...],
) -> Float[Array, "C K d+1"]:
    """Ridge-penalised multinomial logistic regression, one candidate per penalty.

    Böhning's fixed bound on the Hessian, 1/2 X'WX, gives a monotone Newton-like iteration with one factorisation;
    Nesterov's momentum accelerates it.

    Reference: Böhning, "Multinomial logistic regression algorithm" (1992).
    """
    x = with_intercept(features)
    num_models = available.shape[1]
    chosen = jax.nn.one_hot(action, num_models, dtype=x.dtype)
    gram = (x * weight[:, None]).T @ x

    def one_penalty(penalty: Array) -> Array:
        ridge = jnp.full(x.shape[1], penalty).at[-1].set(1.0)
        factor = jax.scipy.linalg.cho_factor(0.5 * gram + jnp.diag(ridge))

        def climb(i: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            b, previous = carry
            ahead = b + i / (i + 3.0) * (b - previous)
            fitted = jnp.exp(masked_log_softmax(x @ ahead.T, available)) * available
            gradient = ((chosen - fitted) * weight[:, None]).T @ x - ridge[None] * ahead
            return ahead + jax.scipy.linalg.cho_solve(factor, gradient.T).T, b

        zeros = jnp.zeros((num_models, x.shape[1]), x.dtype)
        return jax.lax.fori_loop(0, LOGISTIC_ITERATIONS, climb, (zeros, zeros))[0]

    return jax.lax.map(one_penalty, jnp.asarray(penalties, x.dtype))


def fit_mlp(
    key: Key,
    features: Float[Array, "N d"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    weight: Float[Array, " N"],
    spec: NuisanceSpec,
) -> Params:
    """A network on the same log loss; candidates are snapshots along training, as for outcomes."""
    num_rows, num_models = available.shape
    network = networks.router(num_models, spec.hidden)

    def loss(params: Params, rows: Array, key: Key) -> Float[Array, ""]:
        logits = network.apply(params, training.dropout(key, features[rows], spec.dropout))
        return jnp.mean(weight[rows] * log_loss(logits, action[rows], available[rows]))

    return training.run_snapshots(
        network.init(key, features.shape[1]),
        loss,
        Hyperparams(learning_rate=spec.learning_rate, weight_decay=spec.weight_decay),
        num_rows=num_rows,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        count=spec.snapshots,
    )


def predict_logistic(coefficients: Float[Array, "C K d+1"], features: Float[Array, " d"]) -> Array:
    """Logits [C, K] for one prompt."""
    return coefficients @ with_intercept(features)


def predict_mlp(params: Params, features: Float[Array, " d"], num_models: int, spec: NuisanceSpec) -> Array:
    """Logits [C, K] for one prompt."""
    network = networks.router(num_models, spec.hidden)
    return jax.vmap(lambda p: network.apply(p, features))(params)
