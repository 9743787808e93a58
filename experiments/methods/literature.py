"""Baselines from the literature that are neither a plug-in of our outcome models nor a network of ours.

Guarded kNN on the log, CARROT's convention, what is published in place of RM-*; `low_rank` is another. Each takes an
Experiment and returns decisions on the test prompts, [S, L, N, K].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from experiments.methods.experiment import Experiment, weights_of
from experiments.methods.trained import members_of, train
from jaxroute import counterfactual, engine, policies
from jaxroute.engine import networks
from jaxroute.numerics import map_blocks
from jaxroute.types import Examples, Objective, Outcomes

NEIGHBOURS = (50, 100, 200, 400)
GUARD = 1.64  # standard errors by which neighbours must favour another model: 95% one-sided


def guarded_neighbours(experiment: Experiment, *, full: bool = False) -> Array:
    """kNN on the log that leaves the best single model only on evidence.

        gain_k(x) = mean_j (u_jk - u_jb),   j the n nearest log rows of x,  b the best single model
        choose argmax_k gain_k(x) - GUARD sd_j / sqrt(n), and b where no bound is above 0

    u are doubly robust utilities, so differences are paired prompt by prompt. n has the highest mean utility on
    the validation log, per seed and cost weight.

    Reference: Routing to the Expert / kNN routers of RouterBench (https://arxiv.org/abs/2403.12031); the guard
    is ours.
    """
    problems = experiment.problems
    learn, validate = problems.rows(full=full)
    weights = weights_of(experiment)
    sizes = [n for n in NEIGHBOURS if n <= learn.features.shape[1]] or [learn.features.shape[1]]

    def one_seed(learn: Examples, validate: Examples, test: Examples) -> Array:
        near = [_nearest(learn.features, part.features, max(sizes)) for part in (validate, test)]

        def at(weight: Array) -> Array:
            gains = jnp.where(learn.available, counterfactual.utility(learn.outcomes, weight), jnp.nan)
            best = jnp.argmax(jnp.nanmean(gains, 0))
            gains = gains - gains[:, best, None]
            worth = jnp.where(validate.available, counterfactual.utility(validate.outcomes, weight), 0.0)
            tried, decisions = (
                jnp.stack([_guarded(rows[:, :n], gains, best, part.available) for n in sizes])
                for rows, part in zip(near, (validate, test), strict=True)
            )
            return decisions[jnp.argmax(jnp.mean(jnp.sum(tried * worth[None], -1), -1))]

        return jax.lax.map(at, weights)

    return jax.lax.map(lambda parts: one_seed(*parts), (learn, validate, problems.test))


def _nearest(known: Float[Array, "N D"], features: Float[Array, "M D"], count: int) -> Int[Array, "M n"]:
    """The ``count`` nearest rows of ``known``, the nearest first: those of fewer neighbours are the first of them."""

    def nearest(x: Array) -> Array:
        return jax.lax.top_k(-jnp.sum((known - x[None]) ** 2, -1), count)[1]

    return map_blocks(nearest, features, 256)


def _guarded(
    nearest: Int[Array, "M n"], gains: Float[Array, "N K"], best: Array, available: Bool[Array, "M K"]
) -> Float[Array, "M K"]:
    """One-hot decisions [M, K]; gains are NaN where a model or the best single one was not available."""

    def bound(rows: Array) -> Array:
        near = gains[rows]
        seen = jnp.isfinite(near)
        count = jnp.maximum(jnp.sum(seen, 0), 2)
        mean = jnp.sum(jnp.where(seen, near, 0.0), 0) / count
        variance = jnp.sum(jnp.where(seen, (near - mean[None]) ** 2, 0.0), 0) / (count - 1)
        lower = mean - GUARD * jnp.sqrt(variance / count)
        return jnp.where(jnp.sum(seen, 0) > 2, lower, -jnp.inf).at[best].set(0.0)

    return policies.greedy(map_blocks(bound, nearest, 256), available=available)


def carrot(experiment: Experiment, outcome_model: str) -> Array:
    """CARROT's plug-in with its own utility: argmax (1 - mu) quality - mu cost, mu = w / (1 + w).

    The same decisions as the plug-in with utility quality - w cost: the convention changes nothing.

    Reference: CARROT: A Cost Aware Rate Optimal Router, https://arxiv.org/abs/2502.03261 (2025).
    """
    predicted, available = experiment.problems.predicted[outcome_model], experiment.problems.test.available

    def at(weight: Array) -> Array:
        share = weight / (1 + weight)
        return policies.greedy((1 - share) * predicted.quality - share * predicted.cost, available=available)

    return jnp.moveaxis(jax.lax.map(at, weights_of(experiment)), 0, 1)


RAW_WEIGHTS = np.linspace(0.0, 1000.0, 30)
"""Quality per US dollar, as they stand."""


def published_stand_in(experiment: Experiment, objective: Objective) -> Array:
    """What is published in place of RM-*: full feedback, and the raw cost weight as one more feature.

    Every prompt is copied once per weight of RAW_WEIGHTS, the weight (0 to 1000) stands beside features of unit
    variance, and one network is trained on the regret of all copies. It shows what conditioning on a raw dollar
    weight does; it is no reproduction of anybody's numbers.
    """
    problems, config, scale = experiment.problems, experiment.config, experiment.cost_scale

    def copied(part: Examples) -> Examples:
        seeds, rows = part.available.shape[:2]
        raw = jnp.asarray(RAW_WEIGHTS, jnp.float32)

        def spread(x: Array) -> Array:
            return jnp.broadcast_to(x[:, None], (seeds, len(raw), *x.shape[1:])).reshape(seeds, -1, x.shape[-1])

        weight = jnp.broadcast_to(raw[None, :, None, None], (seeds, len(raw), rows, 1)).reshape(seeds, -1, 1)
        utility = spread(part.outcomes.quality) - weight * spread(part.outcomes.cost) * scale
        features = jnp.concatenate([spread(part.features), weight], -1)
        return Examples(features, Outcomes(utility, jnp.zeros_like(utility)), spread(part.available))

    points = members_of(config, 1, jnp.zeros((config.seeds, 1)))
    network = networks.router(len(experiment.models), config.training.hidden)
    learn, validate = (copied(part) for part in problems.rows(full=True))
    state = train(experiment, network, objective, points, learn, validate)
    test = problems.test

    def at(weight: float) -> Array:
        raw = jnp.full((*test.features.shape[:2], 1), weight / scale, jnp.float32)
        asked = jnp.concatenate([test.features, raw], -1)
        chosen = engine.choose(points, state, asked, test.available, network=network, mesh=experiment.mesh)
        return jax.nn.one_hot(chosen[:, 0], len(experiment.models))

    return jnp.stack([at(weight) for weight in config.weights], 1)
