"""Nearest neighbours on the log, with a guard: leave the best single model only where the neighbours clearly say so.

    gain_k(x) = mean_j (u_jk - u_jb),   j the n nearest rows of x,  b the best single model at the cost weight
    bound_k(x) = gain_k(x) - GUARD sd_k / sqrt(n),   bound_b(x) = 0;   the choice is argmax_k bound_k(x)

u are doubly robust utilities, so differences between models are paired prompt by prompt; n has the highest value on
validation rows. Neighbours are rows of the log, which no router may hold: `guarded` teaches the bounds to networks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute import counterfactual, engine, losses, sweep
from jaxroute.engine import networks, training
from jaxroute.learn import folds, members, objectives, training_set
from jaxroute.learn.end_to_end import of_networks
from jaxroute.learn.inputs import MethodInput, MethodResult
from jaxroute.learn.plug_ins import loss_of_choices
from jaxroute.numerics import map_blocks, masked_argmax
from jaxroute.types import Examples, Key, Outcomes, Params

NEIGHBOURS = (50, 100, 200, 400)
GUARD = 1.64
"""Standard errors by which neighbours must favour another model: 95%, one-sided."""
ROWS_PER_BLOCK = 64
LEAST_BOUND = -1.0
"""What a network learns where fewer than three neighbours answer for a model: that it is not to be chosen."""
OBJECTIVE = objectives.bind(losses.squared_utility_error)
TEMPERATURE = 0.05


def lower_bounds(
    known: Examples, validate: Examples, features: Float[Array, "M d"], cost_weights: Float[Array, " L"]
) -> Float[Array, "L M K"]:
    """Guarded gains on the best single model, of new prompts.

    Args:
        known: rows that neighbours are looked for in; a row without an available model is none.
        validate: rows that pick the number of neighbours, of NEIGHBOURS, for each cost weight.
        features: [M, d] of the prompts. cost_weights: [L], in the units of the examples' costs.

    Returns:
        [L, M, K] quality units; 0 for the best single model, -inf where fewer than three neighbours know a model.

    Example:
        >>> x = jnp.linspace(-1.0, 1.0, 40)[:, None]
        >>> good = jnp.concatenate([x < 0, x > 0], 1) + 0.0
        >>> rows = Examples(x, Outcomes(good + jnp.array([[0.1, 0.0]]), good * 0), jnp.ones((40, 2), bool))
        >>> bounds = lower_bounds(rows._replace(features=x), rows, jnp.array([[-0.9], [0.9]]), jnp.zeros(1))
        >>> print(bounds.argmax(-1))
        [[0 0]]

    Reference: kNN routers of RouterBench, by Hu et al., https://arxiv.org/abs/2403.12031 (2024); the guard is ours.
    """
    sizes = [n for n in NEIGHBOURS if n <= len(known.features)] or [len(known.features)]
    utilities = jax.vmap(counterfactual.utility, (None, 0))(known.outcomes, cost_weights)  # [L, N, K]
    utilities = jnp.where(known.available, utilities, jnp.nan)
    means = jnp.nanmean(utilities, 1)
    best = masked_argmax(means, jnp.isfinite(means))  # [L]
    gains = utilities - jnp.take_along_axis(utilities, best[:, None, None], 2)
    there = jnp.any(known.available, 1)

    def bounds(x: Float[Array, " d"]) -> Float[Array, "S L K"]:
        distance = jnp.where(there, jnp.sum((known.features - x[None]) ** 2, -1), jnp.inf)
        near = gains[:, jax.lax.top_k(-distance, sizes[-1])[1]]
        return jnp.stack([_bound(near[:, :n], best) for n in sizes])

    def value(rows: tuple[Array, Outcomes, Array]) -> Float[Array, "S L"]:
        x, outcomes, available = rows
        chosen = masked_argmax(bounds(x), jnp.broadcast_to(available, (len(sizes), len(cost_weights), len(available))))
        worth = jax.vmap(counterfactual.utility, (None, 0))(outcomes, cost_weights)
        gained = jnp.take_along_axis(jnp.broadcast_to(worth, (len(sizes), *worth.shape)), chosen[..., None], -1)[..., 0]
        return jnp.where(jnp.any(available), gained, 0.0)

    picked = jnp.argmax(jnp.mean(map_blocks(value, tuple(validate), ROWS_PER_BLOCK), 0), 0)  # [L]
    found = map_blocks(bounds, features, ROWS_PER_BLOCK)  # [M, S, L, K]
    return jnp.take_along_axis(found, picked[None, None, :, None], 1)[:, 0].swapaxes(0, 1)


def _bound(near: Float[Array, "L n K"], best: Array) -> Float[Array, "L K"]:
    """Lower bounds from the gains of the neighbours, NaN where one says nothing of a model."""
    seen = jnp.isfinite(near)
    count = jnp.sum(seen, 1)
    rows = jnp.maximum(count, 2)
    mean = jnp.sum(jnp.where(seen, near, 0.0), 1) / rows
    variance = jnp.sum(jnp.where(seen, (near - mean[:, None]) ** 2, 0.0), 1) / (rows - 1)
    lower = jnp.where(count > 2, mean - GUARD * jnp.sqrt(variance / rows), -jnp.inf)
    return jnp.where(jnp.arange(near.shape[-1])[None] == best[:, None], 0.0, lower)


def guarded(given: MethodInput) -> MethodResult:
    """The method ``knn_guarded``: cross-fitted bounds decide the log's rows, networks that learnt them new prompts."""
    fold_key, seed_key, split_key = jax.random.split(given.training_key, 3)
    data = training_set.of_method(fold_key, given)
    weights = jnp.asarray(given.cost_weights, jnp.float32) * given.cost_scale
    rows = data.folds
    given.on_stage("neighbours, cross-fitted")

    def of_fold(known: Examples, validate: Examples, held_out: Array) -> Float[Array, "L B K"]:
        return lower_bounds(known, validate, held_out, weights)

    groups = (folds.take(data.learn, rows.learn), folds.take(data.validate, rows.validate))
    held_out = folds.take(data.learn.features, rows.held_out)
    found = jax.jit(lambda *parts: jax.lax.map(lambda group: of_fold(*group), parts))(*groups, held_out)
    bounds = jnp.moveaxis(folds.put_back(jnp.moveaxis(found, 1, 2), rows.held_out, len(rows.fold)), 1, 0)

    given.on_stage("networks that learn the bounds")
    params, loss = _distilled(given, seed_key, split_key, data.learn.features, jnp.maximum(bounds, LEAST_BOUND))
    decisions = members.decide(bounds, data.learn.available)
    return of_networks(given, data.axes, params, decisions, temperature=TEMPERATURE, summary={"distilling": loss})


def _distilled(
    given: MethodInput, seed_key: Key, split_key: Key, features: Float[Array, "R d"], bounds: Float[Array, "L R K"]
) -> tuple[Params, dict[str, float]]:
    """Networks of every cost weight that give the bounds as scores: leaves [L, M, ...], and what they lose on a tenth.

    Another tenth picks their best step, the rest is learnt from.
    """
    count, (weights, rows, num_models) = len(features) // 10, bounds.shape
    held, validate, learn = np.split(np.asarray(jax.random.permutation(split_key, rows)), [count, 2 * count])

    def examples(part: np.ndarray) -> Examples:
        quality = bounds[:, part]
        x = jnp.broadcast_to(features[part], (weights, len(part), features.shape[1]))
        return Examples(x, Outcomes(quality, jnp.zeros_like(quality)), jnp.ones(quality.shape, bool))

    network = networks.router(num_models, given.training.hidden)
    program = engine.Program(network, OBJECTIVE, given.training, given.mesh)
    points = members.points(given.hyperparams, [0.0], members.seeds_of(seed_key, given.seeds, weights))
    state = engine.train(program, points, examples(learn), examples(validate))
    scores = engine.evaluate(training.scores, points, state, examples(held).features, network=network, mesh=given.mesh)
    learnt = members.log_mean_policy(jnp.moveaxis(scores, 1, 2), TEMPERATURE)
    return sweep.gather(state.best_params, len(given.seeds), axis=1), loss_of_choices(bounds[:, held], learnt)
