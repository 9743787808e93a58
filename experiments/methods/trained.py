"""End-to-end routers as methods: one per cost weight and seed, on the utilities of any estimator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.methods.arena import Arena
from jaxroute import counterfactual, engine, policies, sweep
from jaxroute.engine import networks, training
from jaxroute.estimators import pessimism
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.types import Examples, Logs, Nuisances, Objective, Outcomes

SWITCH, SHRINKAGE = 5.0, 10.0
PESSIMISM, EVIDENCE_ROWS = 1.0, 100.0  # standard errors subtracted; log rows that one prediction rests on
MEMBERS = 5


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
    points = sweep.grouped_grid(
        config.seeds,
        cost_weight=config.cost_weights * members,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        temperature=config.temperature,
        entropy=config.entropy,
    )
    seed = np.arange(config.seeds)[:, None] + config.seeds * np.repeat(np.arange(members), len(config.cost_weights))
    points = points._replace(seed=jnp.asarray(seed, jnp.int32))
    network, mesh = networks.router(len(arena.models), config.training.hidden), arena.mesh
    log = problems.learn if estimator == "dr" else log_outcomes(arena, estimator)
    state = engine.train(
        engine.Program(network, objective, config.training, mesh),
        points,
        problems.learn_full if full else log,
        problems.validate_full if full else problems.validate,
        folder=None if arena.checkpoints is None else arena.checkpoints / name,
        about={"config": dataclasses.asdict(config)},
        on_chunk=lambda steps, _: arena.on_chunk(steps),
    )
    test = problems.test
    nearest = np.argmin(np.abs(np.subtract.outer(config.weights, config.cost_weights)), 1)
    if members == 1:
        chosen = engine.choose(points, state, test.features, test.available, network=network, mesh=mesh)
        return jax.nn.one_hot(np.asarray(chosen)[:, nearest], len(arena.models))
    scores = engine.evaluate(training.scores, points, state, test.features, network=network, mesh=mesh)
    scores = scores.reshape(len(scores), members, -1, *scores.shape[2:])
    available = jnp.broadcast_to(test.available[:, None], (len(scores), *scores.shape[2:]))
    mean = policies.ensemble(jnp.moveaxis(scores, 1, 0), temperature=config.temperature, available=available[None])
    return policies.greedy(mean, available=available)[:, nearest]


def ensemble(arena: Arena, name: str, objective: Objective) -> Array:
    """MEMBERS routers of every seed and cost weight, averaged."""
    return learned(arena, name, objective, members=MEMBERS)


def other_utilities(arena: Arena, name: str, estimator: str) -> Array:
    """RM-Softmax on other utilities: "ipw" is inverse-propensity policy learning, "pessimistic" lower bounds."""
    return learned(arena, name, OBJECTIVES["rm_softmax"], estimator=estimator)
