"""The low-rank router of RouteLLM and EmbedLLM as a method: quality factorised over prompts and models."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from experiments.methods.experiment import Experiment, decide
from jaxroute import nuisance
from jaxroute.numerics import safe_divide
from jaxroute.types import Examples, Key, Outcomes

RANK, STEPS, RATE = 16, 600, 1e-2
DECAYS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # shrinkage a step, picked on validation


class Factors(NamedTuple):
    """Prompt projection [D, R], model vectors [R, K], model offsets [K] on the logit scale."""

    prompts: Float[Array, "D R"]
    models: Float[Array, "R K"]
    offset: Float[Array, " K"]


def low_rank(experiment: Experiment, *, full: bool = False) -> Array:
    """Matrix factorisation: quality_k(x) = sigmoid(<P x, v_k> + b_k), cost the model's mean; then choose.

    Fitted to the observed answers by cross entropy (graded answers are shares), full batch, weight decay on P and v:
    of DECAYS the one with the lowest cross entropy on the validation log. With two models this is RouteLLM's
    factorised win probability, with many EmbedLLM's; a log observes one cell a row, so most of what they learn from
    is missing here, which is the point of the comparison.

    Reference: RouteLLM, https://arxiv.org/abs/2406.18665 (2024); EmbedLLM, https://arxiv.org/abs/2410.02223 (2024).
    """
    problems = experiment.problems
    features = problems.learn.features
    cells, seen = answered(experiment, full=full)
    held, held_seen = jax.vmap(nuisance.as_cells)(problems.validation_log)
    if full:
        held, held_seen = problems.validate_full.outcomes, problems.validate_full.available
    validate = (problems.validate.features, held.quality, held_seen & jnp.isfinite(held.quality))
    keys = jax.vmap(jax.random.key)(jnp.arange(experiment.config.seeds))

    def one_seed(parts: tuple[Key, Array, Outcomes, Array, tuple[Array, Array, Array], Examples]) -> Outcomes:
        key, features, outcomes, seen, validate, test = parts
        quality, cost = (jnp.where(seen, y, 0.0) for y in outcomes)
        every = jax.lax.map(partial(fit_factors, key, features, quality, seen), jnp.asarray(DECAYS))
        best = jnp.argmin(jax.lax.map(lambda factors: cross_entropy(factors, *validate), every))
        factors = jax.tree.map(lambda y: y[best], every)
        level = safe_divide(jnp.sum(cost, 0), jnp.sum(seen, 0), 0.0)
        chance = jax.nn.sigmoid(logits(factors, test.features))
        return Outcomes(chance, jnp.broadcast_to(level, chance.shape))

    return decide(experiment, jax.lax.map(one_seed, (keys, features, cells, seen, validate, problems.test)))


def answered(experiment: Experiment, *, full: bool) -> tuple[Outcomes, Bool[Array, "S N K"]]:
    """Outcomes [S, N, K] and which of them were seen: one a row of the log, all of a shadow's (or the full table's)."""
    problems = experiment.problems
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
