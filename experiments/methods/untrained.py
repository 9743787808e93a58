"""Methods that train no network of their own: one model for all prompts, plug-ins on what is predicted, oracles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from experiments.methods.arena import Arena, constant, decide, weights_of
from jaxroute import policies
from jaxroute.types import InputError, Outcomes


def uniform(arena: Arena) -> Array:
    available = arena.problems.test.available
    share = available / jnp.sum(available, -1, keepdims=True)
    return jnp.broadcast_to(share[:, None], (len(share), len(arena.config.weights), *share.shape[1:]))


def single(arena: Arena, model: str) -> Array:
    scores = jnp.zeros(len(arena.models)).at[arena.models.index(model)].set(1.0)
    lead = (arena.config.seeds, len(arena.config.weights), len(arena.models))
    return constant(arena, jnp.broadcast_to(scores, lead))


def best_single(arena: Arena, *, full: bool = False) -> Array:
    """The model with the best mean utility on training data: from the log's doubly robust means, or full."""
    data = arena.problems.learn_full if full else arena.problems.learn

    def of_seed(outcomes: Outcomes, available: Array, prompts: Array) -> Array:
        return policies.best_single(outcomes, weights_of(arena), available=available, prompts=prompts)

    return jax.vmap(of_seed)(data.outcomes, data.available, arena.problems.test.available)


def by_cost(arena: Arena, sign: float) -> Array:
    """The model with the lowest (sign -1) or highest (+1) mean cost in the training log's doubly robust means."""
    cost = jnp.mean(arena.problems.learn.outcomes.cost, 1)
    lead = (arena.config.seeds, len(arena.config.weights), len(arena.models))
    return constant(arena, jnp.broadcast_to(sign * cost[:, None], lead))


def oracle(arena: Arena) -> Array:
    """The realised oracle: reads the test outcomes themselves. A bound, not a policy."""
    return decide(arena, arena.problems.test.outcomes)


def conditional_oracle(arena: Arena) -> Array:
    """The best policy there is, from known conditional means (synthetic data only)."""
    if arena.problems.expected is None:
        raise InputError("conditional_oracle: only synthetic tables have known means; take it out of the methods")
    return decide(arena, arena.problems.expected)


def plug_in(arena: Arena, outcome_model: str, *, full: bool = False) -> Array:
    """Direct method: predict quality and cost of every model, then choose."""
    return decide(arena, arena.problems.predicted[f"{outcome_model}_full" if full else outcome_model])
