"""Multi-head network for quality and relative cost of all models, with snapshots as candidates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxroute.engine import networks, training
from jaxroute.nuisance.targets import HUBER_DELTA, Levels
from jaxroute.types import Hyperparams, Key, NuisanceSpec, Outcomes, Params


def fit(
    key: Key,
    features: Float[Array, "N d"],
    targets: Outcomes,
    weight: Float[Array, "N K"],
    level: Levels,
    spec: NuisanceSpec,
) -> Params:
    """Parameters with a leading axis of ``spec.snapshots`` equally spaced snapshots along training.

        loss = mean over cells, weighted, of log loss(quality) + Huber(relative cost)

    Log loss is proper for any quality in [0, 1]. Output biases are initialised at the models' levels, so that training
    only has to fit differences between prompts. Selecting a snapshot by out-of-fold loss is early stopping.
    """
    num_rows, num_models = weight.shape
    network = networks.outcome(num_models, spec.hidden)
    scale = jnp.mean(jnp.sum(weight, -1))

    def loss(params: Params, rows: Array, key: Key) -> Float[Array, ""]:
        out = network.apply(params, training.dropout(key, features[rows], spec.dropout))
        quality = optax.sigmoid_binary_cross_entropy(out.quality, targets.quality[rows])
        cost = optax.huber_loss(out.cost, targets.cost[rows], delta=HUBER_DELTA)
        return jnp.sum(weight[rows] * (quality + cost)) / (rows.shape[0] * scale)

    mean = jnp.clip(level.quality, 0.01, 0.99)
    return training.run_snapshots(
        network.init(key, features.shape[1], jnp.log(mean / (1.0 - mean))),
        loss,
        Hyperparams(learning_rate=spec.learning_rate, weight_decay=spec.weight_decay),
        num_rows=num_rows,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        count=spec.snapshots,
    )


def predict(params: Params, features: Float[Array, " d"], num_models: int, spec: NuisanceSpec) -> Outcomes:
    """Quality and relative cost [C, K] for one prompt."""
    network = networks.outcome(num_models, spec.hidden)
    out = jax.vmap(lambda p: network.apply(p, features))(params)
    return Outcomes(jax.nn.sigmoid(out.quality), out.cost)
