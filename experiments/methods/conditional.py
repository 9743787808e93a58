"""Routers of every cost weight as methods: RM-Interval with its ablations, the affine head, plain f(x, w).

They are trained once on the whole range of cost weights and measured at any of them. Interval ends are
quantiles of the pairwise breakpoints of the predicted outcomes, seed by seed. ``config.members`` routers that
differ in their initialisation are averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.methods.arena import Arena, weights_of
from experiments.problem import Starts
from jaxroute import engine, policies, sweep
from jaxroute.engine import networks, training
from jaxroute.learn import conditional
from jaxroute.types import ConditionalExamples, Examples, Hyperparams, Network, Objective, TrainState

Ablation = Literal["no_residual", "probabilities", "nearest"]


def stack_of(arena: Arena, *, full: bool) -> Starts:
    stack = arena.problems.stack_full if full else arena.problems.stack
    assert stack is not None, "fitted where a method named _full is asked for"
    return stack


def interval_ends(arena: Arena, *, full: bool) -> Array:
    """[S, J] from 0 to the largest cost weight measured."""
    config, stack = arena.config, stack_of(arena, full=full)
    available = np.asarray(arena.problems.learn.available)
    high = max(float(weights_of(arena)[-1]), 1e-3)
    ends = []
    for seed in range(config.seeds):
        predicted = jax.tree.map(lambda y: np.asarray(y[seed]), stack.learn)  # noqa: B023
        found = policies.interval_endpoints(predicted, config.intervals, high=high, available=available[seed])
        ends.append(found)
    return jnp.asarray(np.stack(ends), jnp.float32)


def _points(arena: Arena, ends: Array | None = None) -> Hyperparams:
    """Members (times ends, which vary fastest) of every seed, [S, P]."""
    config = arena.config
    seeds, members = config.seeds, config.members
    count = 1 if ends is None else ends.shape[1]
    points = sweep.grouped_grid(
        seeds,
        learning_rate=[config.learning_rate] * (members * count),
        weight_decay=config.weight_decay,
        temperature=config.temperature,
        entropy=config.entropy,
    )
    member = np.repeat(np.arange(members), count)
    seed = np.arange(seeds)[:, None] + seeds * member[None]
    points = points._replace(seed=jnp.asarray(seed, jnp.int32))
    if ends is not None:
        points = points._replace(cost_weight=jnp.tile(ends, (1, members)))
    return points


def _train(
    arena: Arena,
    folder: str,
    points: Hyperparams,
    learn: Examples | ConditionalExamples,
    validate: Examples | ConditionalExamples,
    network: Network,
    objective: Objective,
) -> TrainState:
    task = conditional.EVERY_WEIGHT if isinstance(learn, ConditionalExamples) else engine.ROUTER
    return engine.train(
        engine.Program(network, objective, arena.config.training, arena.mesh, task),
        points,
        learn,
        validate,
        folder=None if arena.checkpoints is None else arena.checkpoints / folder,
        about={"config": dataclasses.asdict(arena.config)},
        on_chunk=lambda steps, _: arena.on_chunk(steps),
    )


def _greedy(arena: Arena, scores_at: Callable[[Array], Array]) -> Array:
    """Scores [S, N, K] as a function of the cost weight -> decisions [S, L, N, K]."""
    available = arena.problems.test.available
    return jnp.stack([policies.greedy(scores_at(w), available=available) for w in weights_of(arena)], 1)


def tuned(
    arena: Arena,
    name: str,
    network: Network,
    starts: Starts,
    ends: Array,
    objective: Objective,
    *,
    full: bool,
    gated: bool = True,
) -> Array:
    """Train a network of every cost weight, decide by the members' mean.

    gated: keep it on evidence against its start; else the best on validation, of which the start is one.
    """
    problems = arena.problems
    points = _points(arena)
    learn = ConditionalExamples(*(problems.learn_full if full else problems.learn), starts.learn, ends)
    validate = ConditionalExamples(*(problems.validate_full if full else problems.validate), starts.validate, ends)
    test = ConditionalExamples(*problems.test, starts.test, ends)
    state = _train(arena, name, points, learn, validate, network, objective)
    if gated:
        evidence = jnp.float32(arena.config.evidence)
        kept = engine.evaluate(
            conditional.keep_on_evidence, points, state, validate, evidence, network=network, mesh=arena.mesh
        )
        state = state._replace(best_params=kept)

    def scores_at(weight: Array) -> Array:
        scores = engine.evaluate(conditional.scores_at, points, state, test, weight, network=network, mesh=arena.mesh)
        return policies.ensemble(jnp.moveaxis(scores, 1, 0), average="scores")

    return _greedy(arena, scores_at)


def end_scores(arena: Arena, ends: Array, objective: Objective, *, full: bool) -> Starts:
    """Scores [S, N, J, K] of routers trained at the interval ends, members averaged.

    Their checkpoint is shared: the interval router and its ablations find it finished.
    """
    problems, points = arena.problems, _points(arena, ends)
    network = networks.router(len(arena.models), arena.config.training.hidden)
    learn, validate = problems.learn_full, problems.validate_full
    if not full:
        learn, validate = problems.learn, problems.validate
    folder = "rm_interval_ends_full" if full else "rm_interval_ends"
    state = _train(arena, folder, points, learn, validate, network, objective)

    def scores(part: Examples) -> Array:
        found = engine.evaluate(training.scores, points, state, part.features, network=network, mesh=arena.mesh)
        members = found.reshape(len(found), -1, ends.shape[1], *found.shape[2:])
        return jnp.moveaxis(policies.ensemble(jnp.moveaxis(members, 1, 0), average="scores"), 1, 2)

    return Starts(scores(learn), scores(validate), scores(problems.test))


def interval(arena: Arena, name: str, objective: Objective, *, full: bool = False) -> Array:
    """RM-Interval: routers at the ends, then one joint network for all insides."""
    ends = interval_ends(arena, full=full)
    starts = end_scores(arena, ends, objective, full=full)
    network = conditional.interval(len(arena.models), arena.config.training.hidden)
    return tuned(arena, name, network, starts, ends, objective, full=full)


def interpolated(arena: Arena, kind: Ablation, objective: Objective) -> Array:
    """RM-Interval's end routers without the joint network."""
    ends = interval_ends(arena, full=False)
    scores, available = end_scores(arena, ends, objective, full=False).test, arena.problems.test.available

    def at(ends: Array, scores: Array, available: Array, weight: Array) -> Array:
        number, alpha = conditional.position(ends, jnp.broadcast_to(weight, scores.shape[:1]))
        low, high = conditional.end_scores(scores, number)
        if kind == "no_residual":
            return conditional.interpolate(low, high, alpha)
        if kind == "nearest":
            return conditional.nearest(low, high, alpha)
        low, high = (jnp.where(available, z, -jnp.inf) for z in (low, high))
        return conditional.interpolate_probabilities(low, high, alpha, temperature=arena.config.temperature)

    return _greedy(arena, lambda weight: jax.vmap(at, (0, 0, 0, None))(ends, scores, available, weight))


def affine(arena: Arena, name: str, objective: Objective, *, full: bool = False, gated: bool = True) -> Array:
    """Affine head that starts as the stack's plug-in and is tuned over the range of cost weights."""
    stack = stack_of(arena, full=full)
    network = conditional.affine(len(arena.models), arena.config.training.hidden)
    ends = interval_ends(arena, full=full)
    return tuned(arena, name, network, stack, ends, objective, full=full, gated=gated)


def started(name: str, objective: Objective) -> Callable[[Arena], Array]:
    """A surrogate whose router starts as the stack's plug-in and may leave it without a gate."""
    return partial(affine, name=name, objective=objective, gated=False)


def plain(arena: Arena, name: str, objective: Objective, *, full: bool = False) -> Array:
    """f(x, w): the cost weight as one more feature, and nothing else known about it."""
    network = conditional.plain(len(arena.models), arena.config.training.hidden)
    nothing = Starts((), (), ())
    return tuned(arena, name, network, nothing, interval_ends(arena, full=full), objective, full=full)


LEARNERS = {"rm_interval": interval, "rm_affine": affine, "rm_conditional": plain}
ABLATIONS: tuple[Ablation, ...] = ("no_residual", "probabilities", "nearest")
NAMES = (*LEARNERS, *(f"{name}_full" for name in LEARNERS), *(f"rm_interval_{kind}" for kind in ABLATIONS))


def methods(objective: Objective) -> dict[str, Callable[[Arena], Array]]:
    """Every method of this file with one surrogate loss; an entropic one gives end scores a common scale."""
    found: dict[str, Callable[[Arena], Array]] = {}
    for name, learner in LEARNERS.items():
        found[name] = partial(learner, name=name, objective=objective)
        found[f"{name}_full"] = partial(learner, name=f"{name}_full", objective=objective, full=True)
    for kind in ABLATIONS:
        found[f"rm_interval_{kind}"] = partial(interpolated, kind=kind, objective=objective)
    return found
