"""Small policy networks, and the objectives that rivals train them on from logged rows; also of `experiments.loop`.

    BaRP             https://arxiv.org/abs/2510.07429: a network that is told the preference, REINFORCE with an entropy
                     bonus; on logged rows, each with its capped importance weight
    POEM             Swaminathan and Joachims, https://arxiv.org/abs/1502.02362: counterfactual risk minimisation
    NNPolicyLearner  of Open Bandit Pipeline, Saito and others, https://arxiv.org/abs/2008.07146

The formulas are theirs and the code is ours. Losses take what the logged action says of one batch, all [N].
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxroute.types import Key

HIDDEN, LAST = 64, 32
STEPS, BATCH, RATE = 150, 256, 3e-3
ENTROPY, WEIGHT_AT_MOST = 0.01, 10.0
Parameters = list[tuple[Array, Array]]


def layers(key: Key, sizes: tuple[int, ...]) -> Parameters:
    """Weights and biases of a network of these widths."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (a, b)) * jnp.sqrt(2 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def hidden(parameters: Parameters, x: Array) -> Array:
    """The last hidden layer."""
    for matrix, bias in parameters[:-1]:
        x = jax.nn.gelu(x @ matrix + bias[None])
    return x


def output(parameters: Parameters, x: Float[Array, "N D"]) -> Float[Array, "N K"]:
    """The network's scores; one layer is a linear policy."""
    return hidden(parameters, x) @ parameters[-1][0] + parameters[-1][1][None]


def trained(key: Key, parameters: Parameters, loss: Any, weight: Array, *, steps: int = STEPS) -> Parameters:
    """Adam on batches of the rows that are there; ``loss(parameters, rows)``."""
    count = jnp.sum(weight).astype(int)  # rows come in order: those with weight 0 are not there yet
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def step(carry: tuple[Parameters, Any], key: Key) -> tuple[tuple[Parameters, Any], None]:
        parameters, state = carry
        rows = jax.random.randint(key, (BATCH,), 0, count)
        update, state = optimiser.update(jax.grad(loss)(parameters, rows), state)
        return (optax.apply_updates(parameters, update), state), None

    (parameters, _), _ = jax.lax.scan(step, (parameters, optimiser.init(parameters)), jax.random.split(key, steps))
    return parameters


def told(x: Float[Array, "N D"], weight: Float[Array, " N"]) -> Float[Array, "N E"]:
    """What BaRP's network sees: the features and the preference, of quality 1 / (1 + w) and of cost w / (1 + w)."""
    return jnp.concatenate([x, jnp.stack([1 / (1 + weight), weight / (1 + weight)], 1)], 1)


def barp_loss(
    scores: Float[Array, "N K"],
    action: Array,
    reward: Array,
    propensity: Array,
    entropy: Array | float = ENTROPY,
) -> Float[Array, ""]:
    """Entropy-regularised REINFORCE on logged rows.

    -mean_i [min(pi_i / p_i, cap) (r_i - mean r) + entropy H(pi(x_i))]
    """
    log_chance = jax.nn.log_softmax(scores)
    ratio = _ratio(log_chance, action, propensity)
    spread = -jnp.sum(jnp.exp(log_chance) * log_chance, 1)
    return -jnp.mean(jnp.minimum(ratio, WEIGHT_AT_MOST) * (reward - jnp.mean(reward)) + entropy * spread)


def poem_loss(
    scores: Float[Array, "N K"],
    action: Array,
    reward: Array,
    propensity: Array,
    clip: Array | float,
    variance: Array | float,
) -> Float[Array, ""]:
    """POEM: the clipped inverse-propensity risk, and a penalty on its standard error.

        mean_i u_i + variance sqrt(var(u) / n),   u_i = -r_i min(pi_i / p_i, clip)

    Rewards have to be in [0, 1]: the losses -r of the paper's generalisation bound are in [-1, 0].
    """
    u = -reward * jnp.minimum(_ratio(jax.nn.log_softmax(scores), action, propensity), clip)
    return jnp.mean(u) + variance * jnp.sqrt(jnp.var(u, ddof=1) / len(u) + 1e-12)


def pipeline_loss(
    scores: Float[Array, "N K"],
    action: Array,
    reward: Array,
    propensity: Array,
    predicted: Float[Array, "N K"],
    constraint: Array | float,
    variance: Array | float,
) -> Float[Array, ""]:
    """NNPolicyLearner's objective with doubly robust values, in the form that differentiates the value itself.

        -mean_i v_i + constraint log mean_i(pi_i / p_i) + variance var(v)
        v_i = sum_k pi_ik q^_ik + pi_i / p_i (r_i - q^_i)

    ``predicted`` is q^ of every model.
    """
    log_chance = jax.nn.log_softmax(scores)
    ratio = _ratio(log_chance, action, propensity)
    of_action = jnp.take_along_axis(predicted, action[:, None], 1)[:, 0]
    value = jnp.sum(jnp.exp(log_chance) * predicted, 1) + ratio * (reward - of_action)
    return -jnp.mean(value) + constraint * jnp.log(jnp.mean(ratio)) + variance * jnp.var(value, ddof=1)


def _ratio(log_chance: Float[Array, "N K"], action: Array, propensity: Array) -> Float[Array, " N"]:
    """Importance weights of the logged actions."""
    return jnp.exp(jnp.take_along_axis(log_chance, action[:, None], 1)[:, 0]) / propensity
