"""End-to-end routers as methods: one per cost weight and seed, on the utilities of any estimator."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.methods.experiment import Experiment
from experiments.settings import Config
from jaxroute import engine, policies, sweep
from jaxroute.engine import networks, training
from jaxroute.learn import estimates
from jaxroute.learn.objectives import hyperparameters_of
from jaxroute.types import Examples, Hyperparams, Network, Objective, TrainState

MEMBERS = 5  # of an ensemble
_SHARED = threading.Lock()  # methods that share a checkpoint train it one after another


def log_outcomes(experiment: Experiment, estimator: str) -> Examples:
    """The training rows with outcomes of another of `learn.ESTIMATORS`; a shadow's rows stay as answered.

    Its clip is the config's learning_clip. "ipw" is inverse-propensity policy learning.
    """
    problems, function = experiment.problems, estimates.ESTIMATORS[estimator]
    clips = "clip" in hyperparameters_of(function)
    bound = partial(function, clip=experiment.config.learning_clip) if clips else function
    of_log = jax.vmap(bound)(problems.train_log, problems.nuisances)
    rows = problems.train_log.action.shape[1]
    outcomes = jax.tree.map(lambda new, old: jnp.concatenate([new, old[:, rows:]], 1), of_log, problems.learn.outcomes)
    return problems.learn._replace(outcomes=outcomes)


def learned(
    experiment: Experiment,
    objective: Objective,
    *,
    full: bool = False,
    estimator: str = "dr",
    members: int | None = None,
) -> Array:
    """End-to-end: a router per grid point and seed, one compiled, vmapped program; between, the nearest router.

    ``members`` routers that differ in their initialisation decide by the mean of their probabilities.
    """
    config, problems, mesh = experiment.config, experiment.problems, experiment.mesh
    members = config.members if members is None else members
    grid = jnp.asarray(config.cost_weights, jnp.float32)
    points = members_of(config, members, jnp.broadcast_to(grid, (config.seeds, len(grid))))
    network = networks.router(len(experiment.models), config.training.hidden)
    learn, validate = problems.rows(full=full)
    if not full and estimator != "dr":
        learn = log_outcomes(experiment, estimator)
    state = train(experiment, network, objective, points, learn, validate)
    test = problems.test
    nearest = np.argmin(np.abs(np.subtract.outer(config.weights, config.cost_weights)), 1)
    if members == 1:
        chosen = engine.choose(points, state, test.features, test.available, network=network, mesh=mesh)
        return jax.nn.one_hot(np.asarray(chosen)[:, nearest], len(experiment.models))
    scores = engine.evaluate(training.scores, points, state, test.features, network=network, mesh=mesh)
    scores = scores.reshape(len(scores), members, -1, *scores.shape[2:])
    available = jnp.broadcast_to(test.available[:, None], (len(scores), *scores.shape[2:]))
    mean = policies.ensemble(jnp.moveaxis(scores, 1, 0), temperature=config.temperature, available=available[None])
    return policies.greedy(mean, available=available)[:, nearest]


def members_of(config: Config, members: int, cost_weight: Float[Array, "S J"]) -> Hyperparams:
    """Points [S, members x J] with the config's numbers: J cost weights, which vary fastest, of each member.

    Members differ in the seed of their initialisation and batches.
    """
    seeds, count = cost_weight.shape
    numbers = {name: getattr(config, name) for name in ("weight_decay", "temperature", "entropy")}
    points = sweep.grouped_grid(seeds, learning_rate=[config.learning_rate] * (members * count), **numbers)
    seed = np.arange(seeds)[:, None] + seeds * np.repeat(np.arange(members), count)
    return points._replace(seed=jnp.asarray(seed, jnp.int32), cost_weight=jnp.tile(cost_weight, (1, members)))


def train(
    experiment: Experiment,
    network: Network,
    objective: Objective,
    points: Hyperparams,
    learn: Any,
    validate: Any,
    *,
    task: engine.Task = engine.ROUTER,
    shared: str = "",
) -> TrainState:
    """Train the points, resumable in the method's checkpoints, or (``shared``) in a folder of several methods."""
    folder = experiment.checkpoints
    with _SHARED if shared else nullcontext():
        return engine.train(
            engine.Program(network, objective, experiment.config.training, experiment.mesh, task),
            points,
            learn,
            validate,
            folder=folder.with_name(shared) if folder and shared else folder,
            about={"config": dataclasses.asdict(experiment.config)},
            on_chunk=lambda steps, _: experiment.on_chunk(steps),
        )
