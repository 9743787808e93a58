"""Propensity models: multinomial logistic regression and a small network, by cross-fitted log loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxroute.nuisance.ridge import inverse, with_intercept
from jaxroute.numerics import masked_log_softmax, nesterov
from jaxroute.types import Hyperparams, Key, NuisanceSpec, Params

LOGISTIC_ITERATIONS = 30  # 60 change the log loss on new rows by less than 0.002


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
    weight: Float[Array, "F N"],
    penalties: tuple[float, ...],
) -> Float[Array, "F C K d+1"]:
    """Ridge-penalised multinomial logistic regression on every fold's rows, one candidate per penalty.

    Böhning's fixed bound on the Hessian, 1/2 X'WX, gives a monotone Newton-like iteration with one factorisation;
    Nesterov's momentum accelerates it. Folds and penalties climb together, so that a step is two matrix products.

    Reference: Böhning, "Multinomial logistic regression algorithm" (1992).
    """
    x = with_intercept(features.astype(jnp.result_type(features, weight)))
    chosen = jax.nn.one_hot(action, available.shape[1], dtype=x.dtype)
    ridge = jnp.tile(jnp.asarray(penalties, x.dtype)[:, None], (1, x.shape[1])).at[:, -1].set(1.0)
    gram = jax.lax.map(lambda w: (x * w[:, None]).T @ x, weight)
    bound = inverse(0.5 * gram[:, None] + jax.vmap(jnp.diag)(ridge)[None])
    where = jnp.broadcast_to(available, (*bound.shape[:2], *available.shape))

    def climb(i: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        b, previous = carry
        ahead = b + nesterov(i, b.dtype) * (b - previous)
        fitted = jnp.exp(masked_log_softmax(jnp.einsum("nd,fckd->fcnk", x, ahead), where)) * where
        error = (chosen[None, None] - fitted) * weight[:, None, :, None]
        gradient = jnp.einsum("fcnk,nd->fckd", error, x) - ridge[None, :, None] * ahead
        return ahead + jnp.einsum("fckd,fcde->fcke", gradient, bound), b

    zeros = jnp.zeros((*bound.shape[:2], available.shape[1], x.shape[1]), x.dtype)
    return jax.lax.fori_loop(0, LOGISTIC_ITERATIONS, climb, (zeros, zeros))[0]


def fit_mlp(
    key: Key,
    features: Float[Array, "N d"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    weight: Float[Array, " N"],
    spec: NuisanceSpec,
) -> Params:
    """A network on the same log loss; candidates are snapshots along training, as for outcomes."""
    from jaxroute.engine import networks, training

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
    from jaxroute.engine import networks

    network = networks.router(num_models, spec.hidden)
    return jax.vmap(lambda p: network.apply(p, features))(params)
