"""Routers of every cost weight as methods: RM-Interval with its ablations, the affine head, plain f(x, w).

They are trained once on the whole range of cost weights and measured at any of them. Interval ends are
quantiles of the pairwise breakpoints of the predicted outcomes, seed by seed. ``config.members`` routers that
differ in their initialisation are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.methods.experiment import Experiment, weights_of
from experiments.methods.trained import members_of, train
from experiments.problem import Parts
from jaxroute import engine, policies
from jaxroute.engine import networks, training
from jaxroute.learn import conditional
from jaxroute.types import ConditionalExamples, Examples, Network, Objective

Ablation = Literal["no_residual", "probabilities", "nearest"]


def interval_ends(experiment: Experiment, *, full: bool) -> Array:
    """[S, J] from 0 to the largest cost weight measured."""
    config, problems = experiment.config, experiment.problems
    predicted, available = jax.tree.map(np.asarray, (problems.stacked(full=full).learn, problems.learn.available))
    high = max(float(weights_of(experiment)[-1]), 1e-3)
    ends = []
    for seed in range(config.seeds):
        of_seed = jax.tree.map(lambda y: y[seed], predicted)  # noqa: B023
        ends.append(policies.interval_endpoints(of_seed, config.intervals, high=high, available=available[seed]))
    return jnp.asarray(np.stack(ends), jnp.float32)


def _greedy(experiment: Experiment, scores_at: Callable[[Array], Array]) -> Array:
    """Scores [S, N, K] as a function of the cost weight -> decisions [S, L, N, K]."""
    available = experiment.problems.test.available
    return jnp.stack([policies.greedy(scores_at(w), available=available) for w in weights_of(experiment)], 1)


def tuned(
    experiment: Experiment,
    network: Network,
    start: Parts,
    ends: Array,
    objective: Objective,
    *,
    full: bool,
    gated: bool = True,
) -> Array:
    """Train a network of every cost weight, decide by the members' mean.

    Args:
        start: predictions that the network starts from. gated: keep the network on evidence against its start; else
            its best step on validation, of which the start is one.
    """
    config, problems = experiment.config, experiment.problems
    points = members_of(config, config.members, jnp.zeros((config.seeds, 1)))
    parts = zip((*problems.rows(full=full), problems.test), start, strict=True)
    learn, validate, test = (ConditionalExamples(*rows, predicted, ends) for rows, predicted in parts)
    state = train(experiment, network, objective, points, learn, validate, task=conditional.EVERY_WEIGHT)
    if gated:
        evidence = jnp.float32(config.evidence)
        kept = engine.evaluate(
            conditional.keep_on_evidence, points, state, validate, evidence, network=network, mesh=experiment.mesh
        )
        state = state._replace(best_params=kept)

    def scores_at(weight: Array) -> Array:
        scores = engine.evaluate(
            conditional.scores_at, points, state, test, weight, network=network, mesh=experiment.mesh
        )
        return policies.ensemble(jnp.moveaxis(scores, 1, 0), average="scores")

    return _greedy(experiment, scores_at)


def end_scores(experiment: Experiment, ends: Array, objective: Objective, *, full: bool) -> Parts:
    """Scores [S, N, J, K] of routers trained at the interval ends, members averaged.

    Their checkpoint is shared: the interval router and its ablations find it finished.
    """
    config, problems = experiment.config, experiment.problems
    points = members_of(config, config.members, ends)
    network = networks.router(len(experiment.models), config.training.hidden)
    learn, validate = problems.rows(full=full)
    shared = "rm_interval_ends_full" if full else "rm_interval_ends"
    state = train(experiment, network, objective, points, learn, validate, shared=shared)

    def scores(part: Examples) -> Array:
        found = engine.evaluate(training.scores, points, state, part.features, network=network, mesh=experiment.mesh)
        members = found.reshape(len(found), -1, ends.shape[1], *found.shape[2:])
        return jnp.moveaxis(policies.ensemble(jnp.moveaxis(members, 1, 0), average="scores"), 1, 2)

    return Parts(scores(learn), scores(validate), scores(problems.test))


def interval(experiment: Experiment, objective: Objective, *, full: bool = False) -> Array:
    """RM-Interval: routers at the ends, then one joint network for all insides."""
    ends = interval_ends(experiment, full=full)
    start = end_scores(experiment, ends, objective, full=full)
    network = conditional.interval(len(experiment.models), experiment.config.training.hidden)
    return tuned(experiment, network, start, ends, objective, full=full)


def interpolated(experiment: Experiment, objective: Objective, kind: Ablation) -> Array:
    """RM-Interval's end routers without the joint network."""
    ends, available = interval_ends(experiment, full=False), experiment.problems.test.available
    scores, temperature = end_scores(experiment, ends, objective, full=False).test, experiment.config.temperature

    def at(ends: Array, scores: Array, available: Array, weight: Array) -> Array:
        number, alpha = conditional.position(ends, jnp.broadcast_to(weight, scores.shape[:1]))
        low, high = conditional.end_scores(scores, number)
        if kind == "no_residual":
            return conditional.interpolate(low, high, alpha)
        if kind == "nearest":
            return conditional.nearest(low, high, alpha)
        low, high = (jnp.where(available, z, -jnp.inf) for z in (low, high))
        return conditional.interpolate_probabilities(low, high, alpha, temperature=temperature)

    return _greedy(experiment, lambda weight: jax.vmap(at, (0, 0, 0, None))(ends, scores, available, weight))


def affine(experiment: Experiment, objective: Objective, *, full: bool = False, gated: bool = True) -> Array:
    """Affine head that starts as the stack's plug-in and is tuned over the range of cost weights."""
    network = conditional.affine(len(experiment.models), experiment.config.training.hidden)
    start, ends = experiment.problems.stacked(full=full), interval_ends(experiment, full=full)
    return tuned(experiment, network, start, ends, objective, full=full, gated=gated)


def plain(experiment: Experiment, objective: Objective, *, full: bool = False) -> Array:
    """f(x, w): the cost weight as one more feature, and nothing else known about it."""
    network = conditional.plain(len(experiment.models), experiment.config.training.hidden)
    return tuned(experiment, network, Parts((), (), ()), interval_ends(experiment, full=full), objective, full=full)
