"""Routers of every cost weight: scores(x, w), trained on cost weights drawn from a range.

    affine      (A(x) - w B(x)) / eta                                    starts as the plug-in
    interval    (1 - alpha) z_lo + alpha z_hi + alpha (1 - alpha) h      starts as the interpolation of end scores
    plain       f(x, w)                                                  starts as the uniform policy

``ends`` are ascending cost weights that cut the range into intervals; w lies at position alpha in [0, 1] of
one of them. Cost weights reach a network as log(1 + w), which is of the features' size for normalised cost:
costs trained on must be normalised, never raw dollars.

The three are in `engine.networks`; ``initial`` holds, prompt by prompt, what their scores start from
(``types.ConditionalExamples``).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.counterfactual import utility
from jaxroute.engine import training
from jaxroute.engine.interpolation import end_scores as end_scores
from jaxroute.engine.interpolation import interpolate as interpolate
from jaxroute.engine.interpolation import interpolate_probabilities as interpolate_probabilities
from jaxroute.engine.interpolation import nearest as nearest
from jaxroute.engine.interpolation import position as position
from jaxroute.engine.networks import affine as affine
from jaxroute.engine.networks import interval as interval
from jaxroute.engine.networks import plain as plain
from jaxroute.engine.program import Task
from jaxroute.numerics import map_blocks, masked_argmax
from jaxroute.types import ConditionalExamples, Hyperparams, Key, Network, Objective, Params, Spec

COST_WEIGHT = 4  # named constant folded into keys, next to those of training.py


def draw(key: Key, ends: Float[Array, " J"], count: int) -> Float[Array, " B"]:
    """``count`` cost weights: an interval at random, then uniform on it."""
    where = jax.random.uniform(key, (count,), maxval=ends.shape[0] - 1)
    return jnp.interp(where, jnp.arange(ends.shape[0], dtype=ends.dtype), ends)


def loss(
    network: Network, objective: Objective, spec: Spec, hyperparams: Hyperparams, examples: ConditionalExamples
) -> training.MinibatchLoss:
    """Mean surrogate regret of a minibatch, each row at a cost weight of its own.

    The key is shared by all points of a step, hence so are the positions drawn.
    """

    def of_batch(params: Params, rows: Array, key: Key) -> Float[Array, ""]:
        features = training.dropout(key, examples.features[rows], spec.dropout)
        weights = draw(jax.random.fold_in(key, COST_WEIGHT), examples.ends, len(rows))
        initial, outcomes = jax.tree.map(lambda x: x[rows], (examples.initial, examples.outcomes))
        scores = network.apply(params, features, initial, examples.ends, weights, hyperparams.width)
        return jnp.mean(objective(scores, utility(outcomes, weights), examples.available[rows], hyperparams))

    return of_batch


def scores_at(
    network: Network, params: Params, hyperparams: Hyperparams, examples: ConditionalExamples, cost_weight: Array
) -> Float[Array, "N K"]:
    """Scores of every prompt at one cost weight, in blocks of prompts and at full precision."""

    def row(prompt: tuple[Array, Any]) -> Array:
        return network.apply(params, *prompt, examples.ends, cost_weight, hyperparams.width)

    with jax.default_matmul_precision("highest"):
        return map_blocks(row, (examples.features, examples.initial), training.ROWS_PER_BLOCK)


def values(
    network: Network, params: Params, hyperparams: Hyperparams, examples: ConditionalExamples
) -> Float[Array, " N"]:
    """Utility of the greedy policy under ``examples.outcomes``, mean over the intervals' ends and middles.

    Pools evidence over cost weights: a value at one of them is too noisy to choose between routers.
    """
    ends = examples.ends
    weights = jnp.concatenate([ends, (ends[1:] + ends[:-1]) / 2])

    def at(weight: Array) -> Array:
        chosen = masked_argmax(scores_at(network, params, hyperparams, examples, weight), examples.available)
        return jnp.take_along_axis(utility(examples.outcomes, weight), chosen[:, None], axis=-1)[:, 0]

    return jnp.mean(jax.lax.map(at, weights), 0)


def _mean_value(
    network: Network, params: Params, hyperparams: Hyperparams, examples: ConditionalExamples
) -> Float[Array, ""]:
    return jnp.mean(values(network, params, hyperparams, examples))


EVERY_WEIGHT = Task(loss, _mean_value, start_counts=True, whole=("ends",))
"""A router of every cost weight; what it starts as is a candidate for the best."""


def keep_on_evidence(
    network: Network,
    params: Params,
    hyperparams: Hyperparams,
    validation: ConditionalExamples,
    errors: Float[Array, ""] | float = 1.0,
) -> Params:
    """Trained parameters if they beat the start they came from on validation, else the start's.

        mean(v - v_start) > errors * standard error of that mean,   v_i the value of row i over all cost weights

    The best of several chunks looks better on validation than it is; a good start (a plug-in, an interpolation)
    deserves more than a lucky draw against it.

    Args:
        params: trained from ``network.init`` at the point's seed.
        validation: N rows, outcomes doubly robust (from logs), so the difference is that of policy values.
        errors: how many standard errors it takes, >= 0; traced.

    Returns:
        Parameters of the same structure.
    """
    start = network.init(training.init_key(hyperparams), validation.features.shape[-1])
    value, value_of_start = (values(network, p, hyperparams, validation) for p in (params, start))
    gain = value - value_of_start
    kept = jnp.mean(gain) > errors * jnp.std(gain, ddof=1) / jnp.sqrt(gain.shape[0])
    return jax.tree.map(lambda new, old: jnp.where(kept, new, old), params, start)
