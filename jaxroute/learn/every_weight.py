"""Methods with one router for every cost weight: RM-Interval and the affine head, cross-fitted like the others.

The networks and their training are `conditional`'s. Each fold's members start from what was made without the fold,
are kept only where validation rows show a gain on that start, and decide the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxroute import engine, policies, sweep
from jaxroute.engine import networks, training
from jaxroute.engine.interpolation import ETA
from jaxroute.learn import conditional, folds, members, training_set
from jaxroute.learn.inputs import MethodInput, MethodResult
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.learn.plug_ins import distilled, of_predictions, stacked
from jaxroute.learn.training_set import TrainingSet
from jaxroute.numerics import as_arrays
from jaxroute.policies import budgets
from jaxroute.serving.kinds import Affine, Interval
from jaxroute.types import (
    ConditionalExamples,
    Examples,
    Hyperparams,
    InputError,
    Network,
    Outcomes,
    Params,
    TrainState,
)

INTERVALS = 5
EVIDENCE = 1.0
"""Standard errors by which members must gain on what they start from, or go back to it."""
OBJECTIVE = OBJECTIVES["rm_softmax_entropic"]
"""An entropic loss gives scores at different cost weights one common scale, which interpolation needs."""
POINTS_PER_INTERVAL = 8
"""Cost weights in an interval at which an interval router's spend is measured on the log."""


class Tuned(NamedTuple):
    """Members of F folds and S seeds, trained on the whole range of cost weights, and the rows that they decide."""

    program: engine.Program
    points: Hyperparams
    state: TrainState
    held_out: ConditionalExamples


def interval(given: MethodInput) -> MethodResult:
    """The method ``rm_interval``: routers at the ends of intervals of cost weights, one residual network inside."""
    data, ends, seeds = _begin(given)
    num_models, hidden = data.learn.available.shape[1], given.training.hidden
    network = networks.router(num_models, hidden)
    points = members.points(given.hyperparams, ends, seeds)
    program = engine.Program(network, OBJECTIVE, given.training, given.mesh)
    given.on_stage("routers at the ends of the intervals")
    learn, validate = folds.take(data.learn, data.folds.learn), folds.take(data.validate, data.folds.validate)
    state = members.train(program, points, learn, validate)

    def end_scores(rows: Int[np.ndarray, "F A"]) -> Float[Array, "F A J K"]:
        features = folds.take(data.learn.features, rows)
        scores = engine.evaluate(training.scores, points, state, features, network=network, mesh=given.mesh)
        apart = scores.reshape(len(scores), len(ends), -1, *scores.shape[2:])  # [F, J, S, A, K]
        return jnp.moveaxis(jnp.mean(apart, 2), 1, 2)

    tuned = _tune(given, data, ends, seeds, networks.interval(num_models, hidden), end_scores)
    end_params = members.by_weight(sweep.gather(state.best_params, len(ends) * len(given.seeds), axis=1), len(ends))
    scale = data.cost_scale
    kind = Interval(
        data.axes, jnp.asarray(ends / scale, jnp.float32), as_arrays(end_params), _members(tuned), hidden, scale
    )

    def policy(cost_weights: Sequence[float]) -> Float[Array, "L R K"]:
        scores = [_out_of_fold(tuned, data.folds, weight * scale) for weight in cost_weights]
        return members.decide(jnp.stack(scores), data.learn.available)

    inside = np.linspace(0, len(ends) - 1, POINTS_PER_INTERVAL * (len(ends) - 1) + 1)
    grid = np.interp(inside, np.arange(len(ends)), ends) / scale
    of_log = policy(grid)[:, : len(given.logs.action)]
    curve = budgets.curve_of_policies(grid, of_log, given.robust, given.logs.available, given.logs.weight)
    return MethodResult(kind, policy, curve, {"training": _summary(tuned, ends, scale, 1 + len(ends))})


def affine(given: MethodInput) -> MethodResult:
    """The method ``rm_affine``: the stacked plug-in, corrected end to end over the whole range of cost weights."""
    data, ends, seeds = _begin(given)
    num_models, hidden, scale = data.learn.available.shape[1], given.training.hidden, data.cost_scale
    quality, cost = given.predicted
    predicted = Outcomes(quality, cost / scale)
    tuned = _tune(
        given, data, ends, seeds, networks.affine(num_models, hidden), lambda rows: folds.take(predicted, rows)
    )
    # Scores are (A - w B) / eta: two cost weights tell A and B, and these the policy at every other one.
    at_zero, at_one = (_out_of_fold(tuned, data.folds, weight) for weight in (0.0, 1.0))
    corrected = Outcomes(ETA * at_zero, ETA * (at_zero - at_one) * scale)
    student, loss = distilled(given, stacked(given))
    kind = Affine(student, given.hidden, data.axes, _members(tuned), hidden, ETA)
    summary = {"training": _summary(tuned, ends, scale, 1), "distilling": loss}
    return MethodResult(kind, *of_predictions(given, corrected), summary)


def _begin(given: MethodInput) -> tuple[TrainingSet, Float[np.ndarray, " J"], Int[Array, "F S"]]:
    """Rows, the ends of the intervals of normalised cost weights, and the members' seeds."""
    if not (high := max(given.cost_weights) * given.cost_scale) > 0:
        raise InputError("a router of every cost weight needs a cost weight above 0: it is trained between 0 and that")
    fold_key, seed_key = jax.random.split(given.training_key)
    data = training_set.of_method(fold_key, given)
    normalised = given.predicted._replace(cost=given.predicted.cost / given.cost_scale)
    ends = policies.interval_endpoints(normalised, INTERVALS, high=high, available=np.asarray(given.available))
    return data, ends, members.seeds_of(seed_key, given.seeds, len(data.folds.held_out))


def _tune(
    given: MethodInput,
    data: TrainingSet,
    ends: Float[np.ndarray, " J"],
    seeds: Int[Array, "F S"],
    network: Network,
    initial: Callable[[Int[np.ndarray, "F A"]], Any],
) -> Tuned:
    """Members that start from ``initial`` of their rows, trained at cost weights drawn from the whole range."""

    def examples(part: Examples, rows: Int[np.ndarray, "F A"]) -> ConditionalExamples:
        whole = jnp.broadcast_to(jnp.asarray(ends, jnp.float32), (len(rows), len(ends)))
        taken = folds.take(part, rows)
        return ConditionalExamples(taken.features, taken.outcomes, taken.available, initial(rows), whole)

    given.on_stage("one router for every cost weight")
    points = members.points(given.hyperparams, [0.0], seeds)
    program = engine.Program(network, OBJECTIVE, given.training, given.mesh, task=conditional.EVERY_WEIGHT)
    validate = examples(data.validate, data.folds.validate)
    state = members.train(program, points, examples(data.learn, data.folds.learn), validate)
    errors = jnp.float32(EVIDENCE * data.folds.copies**0.5)  # a row that is there twice is one piece of evidence
    kept = engine.evaluate(
        conditional.keep_on_evidence, points, state, validate, errors, network=network, mesh=given.mesh
    )
    return Tuned(program, points, state._replace(best_params=kept), examples(data.validate, data.folds.held_out))


def _out_of_fold(tuned: Tuned, rows: folds.Folds, cost_weight: float) -> Float[Array, "R K"]:
    """Mean scores, at a normalised cost weight, of the members that never saw the row."""
    program, points, state, held_out = tuned
    weight = jnp.float32(cost_weight)
    return jnp.mean(members.out_of_fold(conditional.scores_at, program, points, state, held_out, rows, weight), 1)


def _members(tuned: Tuned) -> Params:
    """Leaves [M, ...]."""
    count = np.shape(tuned.points.seed)[1]
    params = sweep.gather(tuned.state.best_params, count, axis=1)
    return as_arrays(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), params))


def _summary(tuned: Tuned, ends: Float[np.ndarray, " J"], scale: float, networks_each: int) -> dict[str, Any]:
    """How many networks there are, and how many members left what they started from (their read-out was 0)."""
    kernel = _members(tuned)["params"]["scores"]["kernel"]
    moved = int(jnp.sum(jnp.any(kernel != 0, (1, 2))))
    return {
        "loss": "rm_softmax_entropic",
        "networks": len(kernel) * networks_each,
        "folds": len(tuned.held_out.available),
        "ends": [float(end) for end in ends / scale],
        "members": len(kernel),
        "members_that_gained_on_their_start": moved,
    }
