"""The methods that are compared: one list, one line each, all on the same splits, logs and nuisances.

A method maps an Arena to action probabilities on the test prompts, [S seeds, L cost weights, N, K], at every
weight of ``config.weights``: the grid that tables show, and weights between its points.
A name that ends in ``_full`` is the full-feedback ceiling: the same learner shown every model's outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from experiments import conditional_methods
from experiments.problem import Problem
from experiments.settings import Config
from jaxroute import counterfactual, losses, networks, policies, population, sweep
from jaxroute.types import Examples, Hyperparams, Objective, Outcomes


class Arena(NamedTuple):
    """What a method may look at, and where it reports to."""

    config: Config
    problems: Problem  # every leaf has a leading seed axis [S]
    models: tuple[str, ...]
    mesh: Mesh
    checkpoints: Path | None
    on_chunk: Callable[[int], None]


Method = Callable[[Arena], Array]


def _weights(arena: Arena) -> Array:
    return jnp.asarray(arena.config.weights, jnp.float32)


def _decide(arena: Arena, outcomes: Outcomes) -> Array:
    """Greedy on the given outcomes [S, N, K] at every cost weight."""
    available = arena.problems.test.available

    def at(weight: Array) -> Array:
        return policies.greedy(counterfactual.utility(outcomes, weight), available=available)

    return jnp.moveaxis(jax.lax.map(at, _weights(arena)), 0, 1)


def _constant(arena: Arena, scores: Array) -> Array:
    """One model per seed and cost weight from scores [S, L, K]; where it is missing, the next best."""
    available = arena.problems.test.available
    shape = (*scores.shape[:2], *available.shape[1:])
    spread = jnp.broadcast_to(scores[:, :, None, :], shape)
    return policies.greedy(spread, available=jnp.broadcast_to(available[:, None], shape))


def uniform(arena: Arena) -> Array:
    available = arena.problems.test.available
    share = available / jnp.sum(available, -1, keepdims=True)
    return jnp.broadcast_to(share[:, None], (len(share), len(arena.config.weights), *share.shape[1:]))


def single(arena: Arena, model: str) -> Array:
    scores = jnp.zeros(len(arena.models)).at[arena.models.index(model)].set(1.0)
    lead = (arena.config.seeds, len(arena.config.weights), len(arena.models))
    return _constant(arena, jnp.broadcast_to(scores, lead))


def best_single(arena: Arena, examples: str) -> Array:
    """The model with the best mean utility on training data: from the log's doubly robust means, or full."""
    data: Examples = getattr(arena.problems, examples)

    def mean(y: Array) -> Array:
        total = jnp.sum(jnp.where(data.available, y, 0.0), 1)
        return total / jnp.maximum(jnp.sum(data.available, 1), 1)

    means = Outcomes(mean(data.outcomes.quality), mean(data.outcomes.cost))
    scores = jax.vmap(lambda w: counterfactual.utility(means, w), out_axes=1)(_weights(arena))
    return _constant(arena, scores)


def cheapest(arena: Arena) -> Array:
    """The model with the lowest mean cost in the training log's doubly robust means."""
    cost = jnp.mean(arena.problems.learn.outcomes.cost, 1)
    lead = (arena.config.seeds, len(arena.config.weights), len(arena.models))
    return _constant(arena, jnp.broadcast_to(-cost[:, None], lead))


def oracle(arena: Arena) -> Array:
    """The realised oracle: reads the test outcomes themselves. A bound, not a policy."""
    return _decide(arena, arena.problems.test.outcomes)


def conditional_oracle(arena: Arena) -> Array:
    """The best policy there is, from known conditional means (synthetic data only)."""
    if arena.problems.expected is None:
        raise KeyError("conditional_oracle")
    return _decide(arena, arena.problems.expected)


def plug_in(arena: Arena, outcome_model: str) -> Array:
    """Direct method: predict quality and cost of every model, then choose."""
    return _decide(arena, arena.problems.predicted[outcome_model])


def learned(arena: Arena, name: str, objective: Objective, *, full: bool = False) -> Array:
    """End-to-end: a router per grid point and seed, one compiled, vmapped program; between, the nearest router."""
    config, problems = arena.config, arena.problems
    points = population.grouped_grid(
        config.seeds,
        cost_weight=config.cost_weights,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        temperature=config.temperature,
        entropy=config.entropy,
    )
    points, count = sweep.pad(points, arena.mesh.size, axis=1)
    network = networks.router(len(arena.models), config.training.hidden)
    state = population.train(
        points,
        problems.learn_full if full else problems.learn,
        problems.validate_full if full else problems.validate,
        network=network,
        objective=objective,
        spec=config.training,
        mesh=arena.mesh,
        folder=None if arena.checkpoints is None else arena.checkpoints / name,
        on_chunk=lambda steps, _: arena.on_chunk(steps),
    )
    test = problems.test
    chosen = population.choose(points, state, test.features, test.available, network=network, mesh=arena.mesh)
    trained = sweep.gather(chosen, count, axis=1)
    nearest = np.argmin(np.abs(np.subtract.outer(config.weights, config.cost_weights)), 1)
    return jax.nn.one_hot(trained[:, nearest], len(arena.models))


def classification(scores: Array, utility: Array, where: Array, _: Hyperparams) -> Array:
    """RM-Classification: cross entropy with the (noisy) best model as the label."""
    return losses.regret_cross_entropy(scores, utility, where=where)


def softmax_regret(scores: Array, utility: Array, where: Array, h: Hyperparams) -> Array:
    """RM-Softmax: regret of the softmax policy."""
    return losses.softmax_regret(scores, utility, temperature=h.temperature, where=where)


def entropic_regret(scores: Array, utility: Array, where: Array, h: Hyperparams) -> Array:
    """RM-Softmax with an entropy bonus, which removes the plateaus."""
    return losses.softmax_regret(scores, utility, temperature=h.temperature, entropy=h.entropy, where=where)


OBJECTIVES: dict[str, Objective] = {
    "rm_classification": classification,
    "rm_softmax": softmax_regret,
    "rm_softmax_entropic": entropic_regret,
}

OUTCOME_MODELS = ("ridge", "hierarchical", "knn", "mlp", "stack")

METHODS: dict[str, Method] = {
    "random": uniform,
    "cheapest": cheapest,
    "best_single": partial(best_single, examples="learn"),
    "best_single_full": partial(best_single, examples="learn_full"),
    "oracle": oracle,
    "conditional_oracle": conditional_oracle,
    **{f"plug_in_{m}": partial(plug_in, outcome_model=m) for m in OUTCOME_MODELS},
    **{f"plug_in_{m}_full": partial(plug_in, outcome_model=f"{m}_full") for m in OUTCOME_MODELS},
    "recommended": partial(plug_in, outcome_model="recommended"),
    "recommended_full": partial(plug_in, outcome_model="recommended_full"),
    **{n: partial(learned, name=n, objective=o) for n, o in OBJECTIVES.items()},
    **{f"{n}_full": partial(learned, name=f"{n}_full", objective=o, full=True) for n, o in OBJECTIVES.items()},
    **conditional_methods.methods(entropic_regret),
}


def method(name: str) -> Method:
    """The method called ``name``; ``single:<model>`` is any one model."""
    if name.startswith("single:"):
        return partial(single, model=name.removeprefix("single:"))
    return METHODS[name]


def names_for(arena: Arena) -> list[str]:
    """The config's methods, or all that apply to this table."""
    if arena.config.methods:
        return list(arena.config.methods)
    singles = [f"single:{model}" for model in arena.models]
    absent = {f"plug_in_{m}{end}" for m in OUTCOME_MODELS for end in ("", "_full") if m not in arena.problems.predicted}
    if arena.problems.expected is None:
        absent.add("conditional_oracle")
    return singles + [name for name in METHODS if name not in absent]


def is_trained(name: str) -> bool:
    return name.removesuffix("_full") in OBJECTIVES or name in conditional_methods.NAMES


def choices(probabilities: Array) -> np.ndarray:
    return np.asarray(jnp.argmax(probabilities, -1))
