"""Routers of every cost weight: scores(x, w), trained on cost weights drawn from a range.

    affine      (A(x) - w B(x)) / eta                                    starts as the plug-in
    interval    (1 - alpha) z_lo + alpha z_hi + alpha (1 - alpha) h      starts as the interpolation of end scores
    plain       f(x, w)                                                  starts as the uniform policy

``ends`` are ascending cost weights that cut the range into intervals; w lies at position alpha in [0, 1] of
one of them. Cost weights reach a network as log(1 + w), which is of the features' size for normalised cost:
costs trained on must be normalised, never raw dollars.

A network here is ``init(key, num_features)`` and ``apply(params, features [..., D], start, ends [J], cost_weight,
width) -> [..., K]``; ``start`` holds, prompt by prompt, what the scores start from (``types.Continuum``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxroute import networks, training
from jaxroute.counterfactual import utility
from jaxroute.numerics import map_blocks, masked_argmax
from jaxroute.types import Continuum, Hyperparams, Key, Network, Objective, Outcomes, Params, Spec, TrainState

COST_WEIGHT = 4  # named constant folded into keys, next to those of training.py
# A power of two: dividing by it rounds nothing, so an affine router at its start ties where the plug-in ties.
ETA = 0.125

Weights = Float[Array, "*batch"]


def position(ends: Float[Array, " J"], cost_weight: Weights) -> tuple[Int[Array, "*batch"], Weights]:
    """The interval that a cost weight lies in, and where.

        alpha = (w - lo) / (hi - lo)

    Args:
        ends: [J], strictly ascending.
        cost_weight: [...]; beyond the first or last end it counts as that end.

    Returns:
        (interval [...] in 0..J-2, alpha [...] in [0, 1]); exactly at an end alpha is exactly 0 or 1.

    Example:
        >>> interval, alpha = position(jnp.array([0.0, 1.0, 3.0]), jnp.array([0.25, 1.0, 3.0, 9.0]))
        >>> print(interval, alpha)
        [0 1 1 1] [0.25 0.   1.   1.  ]
    """
    interval = jnp.clip(jnp.searchsorted(ends, cost_weight, side="right") - 1, 0, ends.shape[0] - 2)
    low, high = ends[interval], ends[interval + 1]
    return interval, jnp.clip((cost_weight - low) / (high - low), 0.0, 1.0)


def end_scores(scores: Float[Array, "*batch J K"], interval: Int[Array, "*batch"]) -> tuple[Array, Array]:
    """Scores of the routers at both ends of each prompt's interval, ([..., K], [..., K])."""
    index = interval[..., None, None]
    low, high = (jnp.take_along_axis(scores, index + side, axis=-2)[..., 0, :] for side in (0, 1))
    return low, high


def interpolate(
    low: Float[Array, "*batch K"],
    high: Float[Array, "*batch K"],
    alpha: Weights,
    residual: Float[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch K"]:
    """Scores inside an interval from those at its ends, and a residual that vanishes at both.

        (1 - alpha) z_lo + alpha z_hi + alpha (1 - alpha) h

    Utilities are affine in the cost weight: where end scores are utilities up to one COMMON positive scale and
    a per-prompt shift, the interpolation chooses exactly right inside, also models that win at neither end.

    Args:
        low, high: [..., K], scores at alpha = 0 and 1.
        alpha: [...], in [0, 1].
        residual: h [..., K]; None: pure interpolation.

    Returns:
        [..., K]; exactly ``low`` at 0 and ``high`` at 1.

    Example:
        >>> print(interpolate(jnp.array([0.0, 4.0]), jnp.array([2.0, 0.0]), jnp.array(0.5), jnp.array([0.0, 4.0])))
        [1. 3.]

    Reference: "exact interpolation under affine utility" and RM-Interval of Causal LLM Routing: End-to-End
    Regret Minimization from Observational Data, by Tsiourvas, Sun and Perakis,
    https://arxiv.org/abs/2505.16037 (2025); the form is our reconstruction.
    """
    alpha = jnp.asarray(alpha)[..., None]
    between = (1 - alpha) * low + alpha * high
    return between if residual is None else between + alpha * (1 - alpha) * residual


def interpolate_probabilities(
    low: Float[Array, "*batch K"], high: Float[Array, "*batch K"], alpha: Weights, *, temperature: Array | float = 1.0
) -> Float[Array, "*batch K"]:
    """Interpolation of tempered policies instead of scores: no common scale needed, nor exactness to be had.

        (1 - alpha) softmax(z_lo / temperature) + alpha softmax(z_hi / temperature)

    Masked models must have been given -inf, or be masked when choosing.
    """
    alpha = jnp.asarray(alpha)[..., None]
    return (1 - alpha) * jax.nn.softmax(low / temperature, -1) + alpha * jax.nn.softmax(high / temperature, -1)


def nearest(low: Float[Array, "*batch K"], high: Float[Array, "*batch K"], alpha: Weights) -> Float[Array, "*batch K"]:
    """Scores of the nearer end, the lower one at alpha = 1/2."""
    return jnp.where(jnp.asarray(alpha)[..., None] <= 0.5, low, high)


def affine_scores(
    outcomes: Outcomes,
    cost_weight: Weights,
    residual: Float[Array, "*batch K"],
    log_factor: Weights,
    *,
    eta: float = ETA,
) -> Float[Array, "*batch K"]:
    """Scores linear in the cost weight, the plug-in's with a correction to each side of the trade.

        (A - w B) / eta,   A = quality + residual,   B = cost * exp(log_factor)

    The factor is one positive number a prompt, so of two models the one with the higher PREDICTED cost loses
    ground as w grows: the chosen predicted cost never rises with w, whatever the residual. (Realised cost
    then falls only on average.) With residual and log_factor 0 the choice is the plug-in's.

    Args:
        outcomes: predicted quality and cost [..., K].
        cost_weight: [...], >= 0, quality per unit of the cost array.
        residual: [..., K], quality units.
        log_factor: [...].
        eta: scale of the scores, > 0, quality units; a power of two keeps the plug-in's ties.

    Returns:
        [..., K].

    Example:
        >>> outcomes = Outcomes(jnp.array([0.5, 1.0]), jnp.array([0.0, 1.0]))
        >>> print(affine_scores(outcomes, jnp.array(0.25), jnp.zeros(2), jnp.zeros(()), eta=0.5))
        [1.  1.5]
    """
    kept = Outcomes(outcomes.quality + residual, outcomes.cost * jnp.exp(log_factor)[..., None])
    return utility(kept, cost_weight) / eta


@cache
def affine(num_models: int, hidden: tuple[int, ...] = (128, 128), eta: float = ETA) -> Network:
    """``affine_scores`` with residual and factor from one network; ``start`` is predicted Outcomes [..., K]."""
    heads = networks.router(num_models + 1, hidden)

    def apply(
        params: Params, features: Array, start: Outcomes, ends: Array, cost_weight: Array, width: Array | int
    ) -> Array:
        out = heads.apply(params, features, width)
        return affine_scores(start, cost_weight, out[..., :-1], out[..., -1], eta=eta)

    return Network(heads.init, apply)


@cache
def interval(num_models: int, hidden: tuple[int, ...] = (128, 128)) -> Network:
    """RM-Interval: ``interpolate`` with ONE residual network h(x, alpha, lo, hi) for all intervals.

    ``start`` holds the scores of frozen routers at the ends, [..., J, K].
    """
    residual = networks.router(num_models, hidden)

    def init(key: Key, num_features: int) -> Params:
        return residual.init(key, num_features + 3)

    def apply(
        params: Params, features: Array, start: Array, ends: Array, cost_weight: Array, width: Array | int
    ) -> Array:
        number, alpha = position(ends, cost_weight)
        ends = jnp.log1p(ends)
        inputs = _beside(features, alpha, ends[number], ends[number + 1])
        low, high = end_scores(start, number)
        return interpolate(low, high, alpha, residual.apply(params, inputs, width))

    return Network(init, apply)


@cache
def plain(num_models: int, hidden: tuple[int, ...] = (128, 128)) -> Network:
    """f(x, w) without any structure in w; ``start`` is not looked at."""
    scores = networks.router(num_models, hidden)

    def init(key: Key, num_features: int) -> Params:
        return scores.init(key, num_features + 1)

    def apply(
        params: Params, features: Array, start: Any, ends: Array, cost_weight: Array, width: Array | int
    ) -> Array:
        return scores.apply(params, _beside(features, jnp.log1p(cost_weight)), width)

    return Network(init, apply)


def draw(key: Key, ends: Float[Array, " J"], count: int) -> Float[Array, " B"]:
    """``count`` cost weights: an interval at random, then uniform on it."""
    where = jax.random.uniform(key, (count,), maxval=ends.shape[0] - 1)
    return jnp.interp(where, jnp.arange(ends.shape[0], dtype=ends.dtype), ends)


def continuum_loss(
    network: Network, objective: Objective, spec: Spec, hyperparams: Hyperparams, examples: Continuum
) -> Callable[[Params, Array, Key], Float[Array, ""]]:
    """Mean surrogate regret of a minibatch, each row at a cost weight of its own.

    The key is shared by all points of a step, hence so are the positions drawn.
    """

    def loss(params: Params, rows: Array, key: Key) -> Float[Array, ""]:
        features = training.dropout(key, examples.features[rows], spec.dropout)
        weights = draw(jax.random.fold_in(key, COST_WEIGHT), examples.ends, len(rows))
        start, outcomes = jax.tree.map(lambda x: x[rows], (examples.start, examples.outcomes))
        scores = network.apply(params, features, start, examples.ends, weights, hyperparams.width)
        return jnp.mean(objective(scores, utility(outcomes, weights), examples.available[rows], hyperparams))

    return loss


def scores_at(
    network: Network, params: Params, hyperparams: Hyperparams, examples: Continuum, cost_weight: Array
) -> Float[Array, "N K"]:
    """Scores of every prompt at one cost weight, in blocks of prompts and at full precision."""

    def row(prompt: tuple[Array, Any]) -> Array:
        return network.apply(params, *prompt, examples.ends, cost_weight, hyperparams.width)

    with jax.default_matmul_precision("highest"):
        return map_blocks(row, (examples.features, examples.start), training.ROWS_PER_BLOCK)


def continuum_values(
    network: Network, params: Params, hyperparams: Hyperparams, examples: Continuum
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


def keep_on_evidence(
    network: Network,
    params: Params,
    hyperparams: Hyperparams,
    validation: Continuum,
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
    value, value_of_start = (continuum_values(network, p, hyperparams, validation) for p in (params, start))
    gain = value - value_of_start
    kept = jnp.mean(gain) > errors * jnp.std(gain, ddof=1) / jnp.sqrt(gain.shape[0])
    return jax.tree.map(lambda new, old: jnp.where(kept, new, old), params, start)


def train_chunk(
    point: tuple[Hyperparams, TrainState],
    data: tuple[Continuum, Continuum],
    first: Int[Array, ""] | int,
    *,
    network: Network,
    objective: Objective,
    spec: Spec,
) -> TrainState:
    """``training.train_chunk`` for a router of every cost weight; the start itself is a candidate for best."""
    hyperparams, state = point
    train, validation = data

    def consider(state: TrainState) -> TrainState:
        return training.keep_best(state, jnp.mean(continuum_values(network, state.params, hyperparams, validation)))

    with jax.default_matmul_precision(spec.matmul_precision):
        state = jax.lax.cond(jnp.equal(first, 0), consider, lambda state: state, state)
        state = training.run_steps(
            state,
            first,
            continuum_loss(network, objective, spec, hyperparams, train),
            training.optimiser(hyperparams, spec.steps),
            num_rows=train.features.shape[0],
            batch_size=spec.batch_size,
            steps=spec.chunk,
        )
        return consider(state)


def _beside(features: Float[Array, "*batch D"], *numbers: Weights) -> Array:
    """Features with further columns, each one number a row (or one for all)."""
    columns = [jnp.broadcast_to(x, features.shape[:-1])[..., None] for x in numbers]
    return jnp.concatenate([features, *columns], -1)
