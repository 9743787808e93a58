"""Training of ONE sweep point: optimiser, init, step, run_steps. No vmap, no sharding, no I/O.

Everything a point may differ in is traced (`types.Hyperparams`), so `jit(vmap(run_steps))` over a
batched Hyperparams IS the sweep. Minibatches are drawn from a step counter that is never batched: under
vmap the rows are gathered once, every cost weight of a seed sees the same rows (paired comparisons) and
the first layer of all points is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxroute.counterfactual import utility
from jaxroute.numerics import map_blocks, masked_argmax
from jaxroute.types import Examples, Hyperparams, Key, Network, Objective, Params, Spec, TrainState

# Named constants folded into keys: what is drawn never depends on a position in the grid.
INIT, MINIBATCH, DROPOUT = 1, 2, 3
ROWS_PER_BLOCK = 4096

MinibatchLoss = Callable[[Params, Array, Key], Float[Array, ""]]
"""(params, rows [B], key) -> scalar."""


def optimiser(hyperparams: Hyperparams, steps: int) -> optax.GradientTransformation:
    """AdamW with linear warm-up and cosine decay, rebuilt inside the trace from traced numbers.

    The schedule has unit peak and static length; the traced learning rate multiplies it. Biases are not
    decayed. Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
    https://arxiv.org/abs/1711.05101 (2019).
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(1, steps // 20), max(2, steps))
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(hyperparams.weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
        optax.scale_by_schedule(lambda step: -hyperparams.learning_rate * schedule(step)),
    )


def init(network: Network, hyperparams: Hyperparams, spec: Spec, num_features: int) -> TrainState:
    """State before the first step; parameters depend on the seed alone."""
    return start(network.init(init_key(hyperparams), num_features), optimiser(hyperparams, spec.steps))


def init_key(hyperparams: Hyperparams) -> Key:
    """Key of a point's initial parameters: its seed's, whatever else the point is."""
    return jax.random.fold_in(jax.random.key(hyperparams.seed), INIT)


def start(params: Params, optimise: optax.GradientTransformation) -> TrainState:
    """State at step 0 from given parameters (a warm start, or a network's own init)."""
    return TrainState(params, optimise.init(params), jnp.int32(0), params, jnp.float32(-jnp.inf))


def step(
    state: TrainState,
    rows: Int[Array, " B"],
    key: Key,
    loss: MinibatchLoss,
    optimise: optax.GradientTransformation,
) -> TrainState:
    """One optimiser step of ``loss(params, rows, key)``."""
    gradient = jax.grad(loss)(state.params, rows, key)
    updates, opt_state = optimise.update(gradient, state.opt_state, state.params)
    return state._replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state, step=state.step + 1)


def run_steps(
    state: TrainState,
    first: Int[Array, ""] | int,
    loss: MinibatchLoss,
    optimise: optax.GradientTransformation,
    *,
    num_rows: int,
    batch_size: int,
    steps: int,
) -> TrainState:
    """``steps`` steps from step ``first`` on, over epochs of shuffled minibatches.

    Args:
        state: the point's state (batched under vmap).
        first: number of the first step; NOT batched. Calling with (0, 2n steps) or with (0, n) and then
            (n, n) gives the same bits, which is what resuming relies on.
        loss: (params, rows [B], key) -> scalar; the key is shared by all points of a step.
        optimise: optax transformation.
        num_rows: N. batch_size: B, cut to N. steps: static.

    Returns:
        The state after the last step.
    """
    batch_size = min(batch_size, num_rows)
    per_epoch = num_rows // batch_size
    base = jax.random.key(0)

    def shuffle(epoch: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(base, MINIBATCH), epoch)
        return jax.random.permutation(key, num_rows)

    def body(carry: tuple[TrainState, Array], number: Array) -> tuple[tuple[TrainState, Array], None]:
        state, order = carry
        epoch, position = number // per_epoch, number % per_epoch
        order = jax.lax.cond(position == 0, shuffle, lambda _: order, epoch)
        rows = jax.lax.dynamic_slice(order, (position * batch_size,), (batch_size,))
        key = jax.random.fold_in(jax.random.fold_in(base, DROPOUT), number)
        return (step(state, rows, key, loss, optimise), order), None

    numbers = first + jnp.arange(steps)
    (state, _), _ = jax.lax.scan(body, (state, shuffle(numbers[0] // per_epoch)), numbers)
    return state


def run_snapshots(
    params: Params,
    loss: MinibatchLoss,
    hyperparams: Hyperparams,
    *,
    num_rows: int,
    batch_size: int,
    epochs: int,
    count: int,
) -> Params:
    """Train for about ``epochs`` epochs; parameters at ``count`` equally spaced times, leading axis [count].

    Choosing among them by held-out loss is early stopping.
    """
    steps = max(1, epochs * (num_rows // min(batch_size, num_rows)) // count)
    optimise = optimiser(hyperparams, steps * count)

    def snapshot(state: TrainState, first: Array) -> tuple[TrainState, Params]:
        state = run_steps(state, first, loss, optimise, num_rows=num_rows, batch_size=batch_size, steps=steps)
        return state, state.params

    return jax.lax.scan(snapshot, start(params, optimise), steps * jnp.arange(count))[1]


def dropout(key: Key, features: Float[Array, "B D"], rate: float) -> Float[Array, "B D"]:
    """Input dropout with one mask for all sweep points of a step (so the product stays shared)."""
    if rate == 0.0:
        return features
    keep = jax.random.bernoulli(key, 1.0 - rate, features.shape)
    return jnp.where(keep, features / (1.0 - rate), 0.0)


def router_loss(
    network: Network, objective: Objective, spec: Spec, hyperparams: Hyperparams, examples: Examples
) -> MinibatchLoss:
    """Mean surrogate regret of a minibatch at the point's cost weight."""

    def loss(params: Params, rows: Array, key: Key) -> Float[Array, ""]:
        features = dropout(key, examples.features[rows], spec.dropout)
        scores = network.apply(params, features, hyperparams.width)
        outcomes = jax.tree.map(lambda x: x[rows], examples.outcomes)
        target = utility(outcomes, hyperparams.cost_weight)
        return jnp.mean(objective(scores, target, examples.available[rows], hyperparams))

    return loss


def scores(
    network: Network, params: Params, hyperparams: Hyperparams, features: Float[Array, "N D"]
) -> Float[Array, "N K"]:
    """Scores of every prompt, in blocks of prompts and at full precision."""
    with jax.default_matmul_precision("highest"):
        return map_blocks(lambda row: network.apply(params, row, hyperparams.width), features, ROWS_PER_BLOCK)


def choose(
    network: Network,
    params: Params,
    features: Float[Array, "N D"],
    available: Array,
    width: Array | int,
) -> Int[Array, " N"]:
    """Model chosen for each prompt, in blocks of prompts and at full precision.

    TF32 errors are as large as the regret gaps reported, so decisions use matmul precision "highest".
    """
    with jax.default_matmul_precision("highest"):
        return map_blocks(
            lambda row: masked_argmax(network.apply(params, row[0], width), row[1]),
            (features, available),
            ROWS_PER_BLOCK,
        )


def policy_value(network: Network, params: Params, hyperparams: Hyperparams, examples: Examples) -> Float[Array, ""]:
    """Mean utility of the greedy policy under ``examples.outcomes``.

    With doubly robust outcomes of a validation log this is the doubly robust off-policy value: linear in
    the outcomes, hence unbiased where a regret (a maximum over noisy outcomes) would not be.
    """
    chosen = choose(network, params, examples.features, examples.available, hyperparams.width)
    gained = utility(examples.outcomes, hyperparams.cost_weight)
    return jnp.mean(jnp.take_along_axis(gained, chosen[:, None], axis=-1))


def keep_best(state: TrainState, value: Float[Array, ""]) -> TrainState:
    """Remember the parameters if ``value`` (validation, higher is better) beats the best so far."""
    value = value.astype(state.best_value.dtype)
    better = value > state.best_value
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.params, state.best_params)
    return state._replace(best_params=best, best_value=jnp.where(better, value, state.best_value))


def averaged(optimise: optax.GradientTransformation, axis: str) -> optax.GradientTransformation:
    """The same optimiser, given the mean of the gradients of all devices along a mesh axis.

        g = (g_1 + ... + g_d) / d

    With equally many rows on each device that is the gradient of the mean over all of them. The optimiser's state
    is then the same on every device. Runs where the axis is bound.
    """

    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        return optimise.update(jax.lax.pmean(gradient, axis), state, params)

    return optax.GradientTransformation(optimise.init, update)


def own_draws(loss: MinibatchLoss, axis: str) -> MinibatchLoss:
    """The same loss with a key of its own on each device of a mesh axis: rows of different devices share no mask."""
    return lambda params, rows, key: loss(params, rows, jax.random.fold_in(key, jax.lax.axis_index(axis)))
