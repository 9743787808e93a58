"""Baselines from the literature that are neither a plug-in of our outcome models nor a network of ours.

Guarded kNN on the log, the low-rank router of RouteLLM and EmbedLLM, CARROT's convention. Each takes an Arena
and returns decisions on the test prompts, [S, L, N, K], like every method of experiments/baselines.py.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from experiments.objectives import softmax_regret
from jaxroute import counterfactual, networks, nuisance, policies, population, sweep
from jaxroute.numerics import map_blocks, safe_divide
from jaxroute.types import Examples, Key, Outcomes

if TYPE_CHECKING:
    from experiments.baselines import Arena

NEIGHBOURS = (50, 100, 200, 400)
GUARD = 1.64  # standard errors by which neighbours must favour another model: 95% one-sided
RANK, STEPS, RATE = 16, 600, 1e-2  # of the low-rank router
DECAYS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # shrinkage a step, picked on validation


def guarded_neighbours(arena: Arena, *, full: bool = False) -> Array:
    """kNN on the log that leaves the best single model only on evidence.

        gain_k(x) = mean_j (u_jk - u_jb),   j the n nearest log rows of x,  b the best single model
        choose argmax_k gain_k(x) - GUARD sd_j / sqrt(n), and b where no bound is above 0

    u are doubly robust utilities, so differences are paired prompt by prompt. n has the highest mean utility on
    the validation log, per seed and cost weight.

    Reference: Routing to the Expert / kNN routers of RouterBench (https://arxiv.org/abs/2403.12031); the guard
    is ours.
    """
    problems = arena.problems
    learn, validate = problems.learn, problems.validate
    if full:
        learn, validate = problems.learn_full, problems.validate_full
    weights = jnp.asarray(arena.config.weights, jnp.float32)
    sizes = [n for n in NEIGHBOURS if n <= learn.features.shape[1]] or [learn.features.shape[1]]

    def one_seed(learn: Examples, validate: Examples, test: Examples) -> Array:
        def at(weight: Array) -> Array:
            gains = jnp.where(learn.available, counterfactual.utility(learn.outcomes, weight), jnp.nan)
            best = jnp.argmax(jnp.nanmean(gains, 0))
            gains = gains - gains[:, best, None]
            choose = partial(_guarded, learn.features, gains, best)
            worth = jnp.where(validate.available, counterfactual.utility(validate.outcomes, weight), 0.0)
            value = jnp.stack(
                [jnp.mean(jnp.sum(choose(validate.features, validate.available, n) * worth, 1)) for n in sizes]
            )
            decisions = jnp.stack([choose(test.features, test.available, n) for n in sizes])
            return decisions[jnp.argmax(value)]

        return jax.lax.map(at, weights)

    return jax.lax.map(lambda parts: one_seed(*parts), (learn, validate, problems.test))


def _guarded(
    known: Float[Array, "N D"],
    gains: Float[Array, "N K"],
    best: Array,
    features: Float[Array, "M D"],
    available: Bool[Array, "M K"],
    count: int,
) -> Float[Array, "M K"]:
    """One-hot decisions [M, K]; gains are NaN where a model or the best single one was not available."""

    def bound(x: Array) -> Array:
        distance = jnp.sum((known - x[None]) ** 2, -1)
        near = gains[jax.lax.top_k(-distance, count)[1]]
        seen = jnp.isfinite(near)
        rows = jnp.maximum(jnp.sum(seen, 0), 2)
        mean = jnp.sum(jnp.where(seen, near, 0.0), 0) / rows
        variance = jnp.sum(jnp.where(seen, (near - mean[None]) ** 2, 0.0), 0) / (rows - 1)
        lower = mean - GUARD * jnp.sqrt(variance / rows)
        return jnp.where(jnp.sum(seen, 0) > 2, lower, -jnp.inf).at[best].set(0.0)

    return policies.greedy(map_blocks(bound, features, 256), available=available)


def carrot(arena: Arena, outcome_model: str) -> Array:
    """CARROT's plug-in with its own utility: argmax (1 - mu) quality - mu cost, mu = w / (1 + w).

    The same decisions as the plug-in with utility quality - w cost: the convention changes nothing.

    Reference: CARROT: A Cost Aware Rate Optimal Router, https://arxiv.org/abs/2502.03261 (2025).
    """
    predicted, available = arena.problems.predicted[outcome_model], arena.problems.test.available

    def at(weight: Array) -> Array:
        share = weight / (1 + weight)
        return policies.greedy((1 - share) * predicted.quality - share * predicted.cost, available=available)

    return jnp.moveaxis(jax.lax.map(at, jnp.asarray(arena.config.weights, jnp.float32)), 0, 1)


class Factors(NamedTuple):
    """Prompt projection [D, R], model vectors [R, K], model offsets [K] on the logit scale."""

    prompts: Float[Array, "D R"]
    models: Float[Array, "R K"]
    offset: Float[Array, " K"]


def low_rank(arena: Arena, *, full: bool = False) -> Array:
    """Matrix factorisation: quality_k(x) = sigmoid(<P x, v_k> + b_k), cost the model's mean; then choose.

    Fitted to the observed answers by cross entropy (graded answers are shares), full batch, weight decay on P and v:
    of DECAYS the one with the lowest cross entropy on the validation log. With two models this is RouteLLM's
    factorised win probability, with many EmbedLLM's; a log observes one cell a row, so most of what they learn from
    is missing here, which is the point of the comparison.

    Reference: RouteLLM, https://arxiv.org/abs/2406.18665 (2024); EmbedLLM, https://arxiv.org/abs/2410.02223 (2024).
    """
    problems = arena.problems
    features = problems.learn.features
    cells, seen = answered(arena, full=full)
    held, held_seen = jax.vmap(nuisance.as_cells)(problems.validation_log)
    if full:
        held, held_seen = problems.validate_full.outcomes, problems.validate_full.available
    validate = (problems.validate.features, held.quality, held_seen & jnp.isfinite(held.quality))
    keys = jax.vmap(jax.random.key)(jnp.arange(arena.config.seeds))

    def one_seed(parts: tuple[Key, Array, Outcomes, Array, tuple[Array, Array, Array], Examples]) -> Outcomes:
        key, features, outcomes, seen, validate, test = parts
        quality, cost = (jnp.where(seen, y, 0.0) for y in outcomes)
        every = jax.lax.map(partial(fit_factors, key, features, quality, seen), jnp.asarray(DECAYS))
        best = jnp.argmin(jax.lax.map(lambda factors: cross_entropy(factors, *validate), every))
        factors = jax.tree.map(lambda y: y[best], every)
        level = safe_divide(jnp.sum(cost, 0), jnp.sum(seen, 0), 0.0)
        chance = jax.nn.sigmoid(logits(factors, test.features))
        return Outcomes(chance, jnp.broadcast_to(level, chance.shape))

    predicted = jax.lax.map(one_seed, (keys, features, cells, seen, validate, problems.test))

    def at(weight: Array) -> Array:
        return policies.greedy(counterfactual.utility(predicted, weight), available=problems.test.available)

    return jnp.moveaxis(jax.lax.map(at, jnp.asarray(arena.config.weights, jnp.float32)), 0, 1)


def answered(arena: Arena, *, full: bool) -> tuple[Outcomes, Bool[Array, "S N K"]]:
    """Outcomes [S, N, K] and which of them were seen: one a row of the log, all of a shadow's (or the full table's)."""
    problems = arena.problems
    if full:
        return problems.learn_full.outcomes, problems.learn_full.available
    outcomes, seen = jax.vmap(nuisance.as_cells)(problems.train_log)
    rows = seen.shape[1]
    outcomes = jax.tree.map(lambda a, b: jnp.concatenate([a, b[:, rows:]], 1), outcomes, problems.learn.outcomes)
    seen = jnp.concatenate([seen, problems.learn.available[:, rows:]], 1)
    return outcomes, seen & jnp.isfinite(outcomes.quality)


def logits(factors: Factors, features: Float[Array, "N D"]) -> Float[Array, "N K"]:
    return features @ factors.prompts @ factors.models + factors.offset[None]


def cross_entropy(
    factors: Factors, features: Float[Array, "N D"], quality: Float[Array, "N K"], seen: Bool[Array, "N K"]
) -> Float[Array, ""]:
    """Mean over the seen cells."""
    entropy = optax.sigmoid_binary_cross_entropy(logits(factors, features), jnp.where(seen, quality, 0.0))
    return jnp.sum(jnp.where(seen, entropy, 0.0)) / jnp.sum(seen)


def fit_factors(
    key: Key,
    features: Float[Array, "N D"],
    quality: Float[Array, "N K"],
    seen: Bool[Array, "N K"],
    decay: Float[Array, ""] | float,
) -> Factors:
    """Full-batch AdamW on the cross entropy of the seen cells, STEPS steps from small random factors.

    The factors shrink by ``decay`` a step (at the full rate), the offsets do not.
    """
    first, second = jax.random.split(key)
    dims, models = features.shape[1], quality.shape[1]
    start = Factors(
        jax.random.normal(first, (dims, RANK)) / np.sqrt(dims),
        0.1 * jax.random.normal(second, (RANK, models)),
        jnp.zeros(models),
    )
    shrunk = Factors(True, True, False)  # type: ignore[arg-type]  # a mask: which of them shrink
    optimise = optax.adamw(optax.cosine_decay_schedule(RATE, STEPS), weight_decay=decay / RATE, mask=shrunk)

    def step(_: int, state: tuple[Factors, optax.OptState]) -> tuple[Factors, optax.OptState]:
        factors, memory = state
        gradient = jax.grad(cross_entropy)(factors, features, quality, seen)
        change, memory = optimise.update(gradient, memory, factors)
        return optax.apply_updates(factors, change), memory

    return jax.lax.fori_loop(0, STEPS, step, (start, optimise.init(start)))[0]


RAW_WEIGHTS = np.linspace(0.0, 1000.0, 30)
"""Quality per US dollar, as they stand."""


def published_stand_in(arena: Arena, name: str = "published_stand_in") -> Array:
    """What is published in place of RM-*: full feedback, and the raw cost weight as one more feature.

    Every prompt is copied once per weight of RAW_WEIGHTS, the weight (0 to 1000) stands beside features of unit
    variance, and one network is trained on the regret of all copies. It shows what conditioning on a raw dollar
    weight does; it is no reproduction of anybody's numbers.
    """
    problems, config = arena.problems, arena.config

    def copied(part: Examples) -> Examples:
        seeds, rows = part.available.shape[:2]
        raw = jnp.asarray(RAW_WEIGHTS, jnp.float32)

        def spread(x: Array) -> Array:
            return jnp.broadcast_to(x[:, None], (seeds, len(raw), *x.shape[1:])).reshape(seeds, -1, x.shape[-1])

        weight = jnp.broadcast_to(raw[None, :, None, None], (seeds, len(raw), rows, 1)).reshape(seeds, -1, 1)
        cost = spread(part.outcomes.cost) * arena.cost_scale
        utility = spread(part.outcomes.quality) - weight * cost
        features = jnp.concatenate([spread(part.features), weight], -1)
        return Examples(features, Outcomes(utility, jnp.zeros_like(utility)), spread(part.available))

    points = population.grouped_grid(
        config.seeds,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        temperature=config.temperature,
    )
    points, _ = sweep.pad(points, arena.mesh.size, axis=1)
    network = networks.router(len(arena.models), config.training.hidden)
    state = population.train(
        points,
        copied(problems.learn_full),
        copied(problems.validate_full),
        network=network,
        objective=softmax_regret,
        spec=config.training,
        mesh=arena.mesh,
        folder=None if arena.checkpoints is None else arena.checkpoints / name,
        about={"config": dataclasses.asdict(config)},
        on_chunk=lambda steps, _: arena.on_chunk(steps),
    )
    test = problems.test

    def at(weight: float) -> Array:
        raw = jnp.full((*test.features.shape[:2], 1), weight / arena.cost_scale, jnp.float32)
        asked = jnp.concatenate([test.features, raw], -1)
        chosen = population.choose(points, state, asked, test.available, network=network, mesh=arena.mesh)
        return jax.nn.one_hot(chosen[:, 0], len(arena.models))

    return jnp.stack([at(weight) for weight in config.weights], 1)
