"""The methods that are compared: one list, one line each, all on the same splits, logs and nuisances.

A method maps an Arena to action probabilities on the test prompts, [S seeds, L cost weights, N, K], at every
weight of ``config.weights``: the grid that tables show, and weights between its points.
A name that ends in ``_full`` is the full-feedback ceiling: the same learner shown every model's outcome.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from experiments import conditional_methods, rivals
from experiments.objectives import OBJECTIVES, classification, entropic_regret, softmax_regret, squared_error
from experiments.problem import Problem
from experiments.settings import Config
from jaxroute import counterfactual, networks, pessimism, policies, population, sweep, training
from jaxroute.types import Examples, Logs, Nuisances, Objective, Outcomes


class Arena(NamedTuple):
    """What a method may look at, and where it reports to."""

    config: Config
    problems: Problem  # every leaf has a leading seed axis [S]
    models: tuple[str, ...]
    mesh: Mesh
    checkpoints: Path | None
    on_chunk: Callable[[int], None]
    cost_scale: float = 1.0  # cost units of the data per normalised unit


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


def by_cost(arena: Arena, sign: float) -> Array:
    """The model with the lowest (sign -1) or highest (+1) mean cost in the training log's doubly robust means."""
    cost = jnp.mean(arena.problems.learn.outcomes.cost, 1)
    lead = (arena.config.seeds, len(arena.config.weights), len(arena.models))
    return _constant(arena, jnp.broadcast_to(sign * cost[:, None], lead))


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


def log_outcomes(arena: Arena, estimator: str) -> Examples:
    """The training rows with counterfactual outcomes of another estimator; a shadow's rows stay as answered.

    Switching at SWITCH, shrinking with SHRINKAGE and PESSIMISM standard errors below the doubly robust outcomes are
    fixed here; clip is the config's learning_clip.
    """
    problems, clip = arena.problems, arena.config.learning_clip

    def lower_bounds(logs: Logs, nuisances: Nuisances) -> Outcomes:
        error = pessimism.standard_error(nuisances.propensity, pessimism.noise(logs, nuisances), rows=EVIDENCE_ROWS)
        robust = counterfactual.doubly_robust(logs, nuisances, clip=clip)
        return pessimism.pessimistic(robust, error, strength=PESSIMISM)

    estimates: dict[str, Callable[[Logs, Nuisances], Outcomes]] = {
        "dm": counterfactual.direct,
        "ipw": partial(counterfactual.inverse_propensity, clip=clip),
        "switch": partial(counterfactual.switch_doubly_robust, clip=clip, threshold=SWITCH),
        "dros": partial(counterfactual.shrinkage_doubly_robust, clip=clip, shrinkage=SHRINKAGE),
        "pessimistic": lower_bounds,
    }
    of_log = jax.vmap(estimates[estimator])(problems.train_log, problems.nuisances)
    rows = problems.train_log.action.shape[1]
    outcomes = jax.tree.map(lambda new, old: jnp.concatenate([new, old[:, rows:]], 1), of_log, problems.learn.outcomes)
    return problems.learn._replace(outcomes=outcomes)


def learned(
    arena: Arena,
    name: str,
    objective: Objective,
    *,
    full: bool = False,
    estimator: str = "dr",
    members: int | None = None,
) -> Array:
    """End-to-end: a router per grid point and seed, one compiled, vmapped program; between, the nearest router.

    ``members`` routers that differ in their initialisation decide by the mean of their probabilities.
    """
    config, problems = arena.config, arena.problems
    members = config.members if members is None else members
    points = population.grouped_grid(
        config.seeds,
        cost_weight=config.cost_weights * members,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        temperature=config.temperature,
        entropy=config.entropy,
    )
    seed = np.arange(config.seeds)[:, None] + config.seeds * np.repeat(np.arange(members), len(config.cost_weights))
    points, count = sweep.pad(points._replace(seed=jnp.asarray(seed, jnp.int32)), arena.mesh.size, axis=1)
    network = networks.router(len(arena.models), config.training.hidden)
    log = problems.learn if estimator == "dr" else log_outcomes(arena, estimator)
    state = population.train(
        points,
        problems.learn_full if full else log,
        problems.validate_full if full else problems.validate,
        network=network,
        objective=objective,
        spec=config.training,
        mesh=arena.mesh,
        folder=None if arena.checkpoints is None else arena.checkpoints / name,
        about={"config": dataclasses.asdict(config)},
        on_chunk=lambda steps, _: arena.on_chunk(steps),
    )
    test = problems.test
    nearest = np.argmin(np.abs(np.subtract.outer(config.weights, config.cost_weights)), 1)
    if members == 1:
        chosen = population.choose(points, state, test.features, test.available, network=network, mesh=arena.mesh)
        return jax.nn.one_hot(sweep.gather(chosen, count, axis=1)[:, nearest], len(arena.models))
    scores = population.evaluate(training.scores, points, state, test.features, network=network, mesh=arena.mesh)
    scores = scores[:, :count].reshape(len(scores), members, -1, *scores.shape[2:])
    available = jnp.broadcast_to(test.available[:, None], (len(scores), *scores.shape[2:]))
    mean = policies.ensemble(jnp.moveaxis(scores, 1, 0), temperature=config.temperature, available=available[None])
    return policies.greedy(mean, available=available)[:, nearest]


def ensemble(arena: Arena, name: str, objective: Objective) -> Array:
    """MEMBERS routers of every seed and cost weight, averaged."""
    return learned(arena, name, objective, members=MEMBERS)


def other_utilities(arena: Arena, name: str, estimator: str) -> Array:
    """RM-Softmax on other utilities: "ipw" is inverse-propensity policy learning, "pessimistic" lower bounds."""
    return learned(arena, name, softmax_regret, estimator=estimator)


SWITCH, SHRINKAGE = 5.0, 10.0
PESSIMISM, EVIDENCE_ROWS = 1.0, 100.0  # standard errors subtracted; log rows that one prediction rests on

OUTCOME_MODELS = ("ridge", "hierarchical", "knn", "gp", "mlp", "trees", "stack")
ESTIMATORS = ("dm", "ipw", "switch", "dros", "pessimistic")
MEMBERS = 5
STARTED = ("rm_classification", "rm_softmax", "rm_softmax_entropic")
CARROT = {"knn": "knn", "linear": "ridge"}

METHODS: dict[str, Method] = {
    "random": uniform,
    "cheapest": partial(by_cost, sign=-1.0),
    "dearest": partial(by_cost, sign=1.0),
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
    **{f"{n}_ensemble": partial(ensemble, name=f"{n}_ensemble", objective=o) for n, o in OBJECTIVES.items()},
    **{f"rm_softmax_{e}": partial(other_utilities, name=f"rm_softmax_{e}", estimator=e) for e in ESTIMATORS},
    "rm_softmax_entropic_dm": partial(
        learned, name="rm_softmax_entropic_dm", objective=entropic_regret, estimator="dm"
    ),
    "rm_classification_dm": partial(learned, name="rm_classification_dm", objective=classification, estimator="dm"),
    **{f"{n}_started": conditional_methods.started(f"{n}_started", OBJECTIVES[n]) for n in STARTED},
    "plug_in_student": partial(learned, name="plug_in_student", objective=squared_error, estimator="dm"),
    "plug_in_student_dr": partial(learned, name="plug_in_student_dr", objective=squared_error),
    "knn_guarded": rivals.guarded_neighbours,
    "knn_guarded_full": partial(rivals.guarded_neighbours, full=True),
    **{f"carrot_{name}": partial(rivals.carrot, outcome_model=model) for name, model in CARROT.items()},
    "low_rank": rivals.low_rank,
    "low_rank_full": partial(rivals.low_rank, full=True),
    **conditional_methods.methods(entropic_regret),
    "published_stand_in": rivals.published_stand_in,
}


MAIN = (
    *("random", "cheapest", "best_single", "best_single_full", "oracle", "conditional_oracle"),
    *(f"plug_in_{m}{end}" for end in ("", "_full") for m in OUTCOME_MODELS),
    *("recommended", "recommended_full"),
    *(f"rm_{name}{end}" for end in ("", "_full") for name in ("classification", "softmax", "softmax_entropic")),
    *conditional_methods.methods(entropic_regret),
)
"""What `make experiment` compares; `make baselines` compares all."""


def method(name: str) -> Method:
    """The method called ``name``; ``single:<model>`` is any one model."""
    if name.startswith("single:"):
        return partial(single, model=name.removeprefix("single:"))
    return METHODS[name]


def names_for(arena: Arena) -> list[str]:
    """The config's methods; none named: those of the main job, "*": every one; of both, what applies to this table."""
    named = arena.config.methods
    if named and "*" not in named:
        return list(named)
    singles = [f"single:{model}" for model in arena.models]
    models = [m for m in OUTCOME_MODELS if m not in arena.problems.predicted]
    absent = {f"plug_in_{m}{end}" for m in models for end in ("", "_full")}
    absent.add("published_stand_in")  # by name alone: it trains on every prompt thirty times
    absent |= {f"carrot_{name}" for name, model in CARROT.items() if model in models}
    if arena.problems.expected is None:
        absent.add("conditional_oracle")
    return singles + [name for name in (METHODS if named else MAIN) if name not in absent]


def is_trained(name: str) -> bool:
    return name.startswith(("rm_", "dr_", "plug_in_student", "published"))


def choices(probabilities: Array) -> np.ndarray:
    return np.asarray(jnp.argmax(probabilities, -1))
