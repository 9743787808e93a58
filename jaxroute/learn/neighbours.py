"""Nearest neighbours on the log, with a guard: leave the best single model only where the neighbours clearly say so.

    gain_k(x) = mean_j (u_jk - u_jb),   j the n nearest rows of x,  b the best single model at the cost weight
    bound_k(x) = gain_k(x) - GUARD sd_k / sqrt(n),   bound_b(x) = 0;   the choice is argmax_k bound_k(x)

u are doubly robust utilities, so differences between models are paired prompt by prompt; n has the highest value on
validation rows.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxroute import counterfactual, engine, losses, sweep
from jaxroute.engine import networks
from jaxroute.learn import folds, members, objectives, training_set
from jaxroute.learn.end_to_end import of_networks
from jaxroute.learn.inputs import MethodInput, MethodResult
from jaxroute.learn.plug_ins import loss_of_choices
from jaxroute.numerics import map_blocks, masked_argmax
from jaxroute.types import Examples, Outcomes

NEIGHBOURS = (50, 100, 200, 400)
GUARD = 1.64
"""Standard errors by which neighbours must favour another model: 95%, one-sided."""
ROWS_PER_BLOCK = 64
LEAST_BOUND = -1.0
"""What a network learns where fewer than three neighbours answer for a model: that it is not to be chosen."""
OBJECTIVE = objectives.bind(losses.squared_utility_error)
TEMPERATURE = 0.05


def lower_bounds(
    known: Examples,
    validate: Examples,
    features: Float[Array, "M d"],
    cost_weights: Float[Array, " L"],
    *,
    itself: Int[Array, " M"] | None = None,
) -> Float[Array, "L M K"]:
    """Guarded gains on the best single model, of new prompts.

    Args:
        known: rows that neighbours are looked for in; a row without an available model is none.
        validate: rows that pick the number of neighbours, of NEIGHBOURS, for each cost weight.
        features: [M, d] of the prompts. cost_weights: [L], in the units of the examples' costs.
        itself: each prompt's own row among the known ones, which is no neighbour of it; None: they are new.

    Returns:
        [L, M, K] quality units; 0 for the best single model, -inf where fewer than three neighbours know a model.

    Example:
        >>> x = jnp.linspace(-1.0, 1.0, 400)[:, None]
        >>> good = jnp.concatenate([x < 0, x > 0.5], 1) + 0.0  # the first model is better on average
        >>> rows = Examples(x, Outcomes(good, good * 0), jnp.ones((400, 2), bool))
        >>> print(lower_bounds(rows, rows, jnp.array([[-0.8], [0.8]]), jnp.zeros(1)))
        [[[ 0. -1.]
          [ 0.  1.]]]

    Reference: kNN routers of RouterBench, by Hu et al., https://arxiv.org/abs/2403.12031 (2024); the guard is ours.
    """
    sizes = [n for n in NEIGHBOURS if n <= len(known.features)] or [len(known.features)]
    utilities = jax.vmap(counterfactual.utility, (None, 0))(known.outcomes, cost_weights)  # [L, N, K]
    utilities = jnp.where(known.available, utilities, jnp.nan)
    means = jnp.nanmean(utilities, 1)
    best = masked_argmax(means, jnp.isfinite(means))  # [L]
    gains = utilities - jnp.take_along_axis(utilities, best[:, None, None], 2)
    there, number = jnp.any(known.available, 1), jnp.arange(len(known.features))

    def bounds(x: Float[Array, " d"], own: Int[Array, ""] | int = -1) -> Float[Array, "S L K"]:
        distance = jnp.sum((known.features - x[None]) ** 2, -1)
        distance = jnp.where(there & (number != own), distance, jnp.inf)
        near = gains[:, jax.lax.top_k(-distance, sizes[-1])[1]]
        return jnp.stack([_bound(near[:, :n], best) for n in sizes])

    def value(rows: Examples) -> Float[Array, "S L"]:
        available = jnp.broadcast_to(rows.available, (len(sizes), len(cost_weights), len(rows.available)))
        chosen = masked_argmax(bounds(rows.features), available)
        worth = jax.vmap(counterfactual.utility, (None, 0))(rows.outcomes, cost_weights)
        gained = jnp.take_along_axis(jnp.broadcast_to(worth, available.shape), chosen[..., None], -1)[..., 0]
        return jnp.where(jnp.any(rows.available), gained, 0.0)

    picked = jnp.argmax(jnp.mean(map_blocks(value, validate, ROWS_PER_BLOCK), 0), 0)  # [L]
    own = jnp.full(len(features), -1) if itself is None else itself
    found = map_blocks(lambda row: bounds(*row), (features, own), ROWS_PER_BLOCK)  # [M, S, L, K]
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
    """The method ``knn_guarded``: networks that learn the bounds, for no router may hold rows of a log.

    In each fold neighbours are rows that are learnt from, and the networks learn the bounds of these same rows (none
    its own neighbour); their best step has the highest doubly robust value on validation rows. So the networks, not
    the neighbours, are what decides held-out rows and is judged there, beside how often the neighbours would decide
    otherwise.
    """
    fold_key, seed_key = jax.random.split(given.training_key)
    data = training_set.of_method(fold_key, given)
    rows, num_models = data.folds, data.learn.available.shape[1]
    weights = np.asarray(given.cost_weights) * given.cost_scale
    learn, validate = folds.take(data.learn, rows.learn), folds.take(data.validate, rows.validate)
    held_out = folds.take(data.learn.features, rows.held_out)

    given.on_stage("neighbours, cross-fitted")

    @jax.jit
    def of_folds(*groups: Any) -> tuple[Float[Array, "F L A K"], Float[Array, "F L B K"]]:
        def of(group: tuple[Examples, Examples, Array]) -> tuple[Array, Array]:
            known, chosen_on, new = group
            itself = jnp.arange(len(known.features))
            at = jnp.asarray(weights, jnp.float32)
            own = lower_bounds(known, chosen_on, known.features, at, itself=itself)
            return own, lower_bounds(known, chosen_on, new, at)

        return jax.lax.map(of, groups)

    taught, of_held_out = of_folds(learn, validate, held_out)
    bounds = folds.put_back(jnp.moveaxis(of_held_out, 1, 2), rows.held_out, len(rows.fold))  # [R, L, K]

    given.on_stage("networks that learn the bounds")
    network = networks.router(num_models, given.training.hidden)
    program = engine.Program(network, OBJECTIVE, given.training, given.mesh)
    seeds = members.seeds_of(seed_key, given.seeds, len(held_out))
    policies, params = [], []
    for at, weight in enumerate(weights):  # of the same shapes: one program, run once a cost weight
        quality = jnp.maximum(taught[:, at], LEAST_BOUND)
        points = members.points(given.hyperparams, [weight], seeds)
        outcomes = Outcomes(quality, jnp.zeros_like(quality))
        state = members.train(program, points, learn._replace(outcomes=outcomes), validate)
        scores = members.scores(program, points, state, data.learn.features, rows)
        policies.append(members.log_mean_policy(scores, TEMPERATURE))
        params.append(members.by_weight(sweep.gather(state.best_params, len(given.seeds), axis=1), 1))
    learnt = jnp.stack(policies)
    masked = jnp.where(data.learn.available, jnp.maximum(jnp.moveaxis(bounds, 1, 0), LEAST_BOUND), -jnp.inf)
    return of_networks(
        given,
        data.axes,
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *params),
        members.decide(learnt, data.learn.available),
        temperature=TEMPERATURE,
        summary={"distilling": loss_of_choices(masked, jnp.where(data.learn.available, learnt, -jnp.inf))},
    )
