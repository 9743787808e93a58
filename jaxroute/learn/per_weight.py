"""Routers of given cost weights from a log: ``learn.fit``, a pure pipeline in one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxroute import counterfactual, engine, estimators, nuisance, projection, recipe, settings, sweep
from jaxroute.data.units import cost_scale as break_even
from jaxroute.engine import networks
from jaxroute.learn import estimates, folds, keywords, members, objectives, training_set
from jaxroute.learn.members import HYPERPARAMS
from jaxroute.numerics import as_arrays
from jaxroute.system.wording import named
from jaxroute.types import (
    Examples,
    Hyperparams,
    InputError,
    Key,
    Logs,
    Loss,
    Nuisances,
    NuisanceSpec,
    Outcomes,
    Params,
    Spec,
)


class Fitted(NamedTuple):
    """Routers of L cost weights, M = folds x seeds members each, and what they say of the rows that they never saw.

    cost_weights: [L] quality per unit of the log's cost. decisions: [L, N, K] of the log's rows, shadow_decisions:
    [L, S, K] of the shadow's (None without one), one-hot, by the members whose fold held the row out.
    log_probabilities: [L, N + S, K] of the same members' mean policy. params: leaves [L, M, ...] of
    ``networks.router(K, hidden)`` on features projected by ``axes``; temperature: of their softmax. value: [L, M] of
    each member on its own validation rows, quality units. nuisances: of the log's rows. outcomes: [N + S, K] that
    decisions are valued on, costs in the log's unit. fold: [N + S]. cost_scale: cost units per normalised unit.
    """

    cost_weights: Float[np.ndarray, " L"]
    decisions: Float[Array, "L N K"]
    shadow_decisions: Float[Array, "L S K"] | None
    log_probabilities: Float[Array, "L R K"]
    params: Params
    axes: projection.Projection
    temperature: float
    hidden: tuple[int, ...]
    value: Float[np.ndarray, "L M"]
    nuisances: Nuisances
    outcomes: Outcomes
    fold: np.ndarray
    cost_scale: float


def fit(
    key: Key,
    logs: Logs,
    *,
    loss: str | Loss = "rm_softmax",
    cost_weights: Sequence[float] | None = None,
    seeds: Sequence[int] = (0,),
    hyperparams: Hyperparams = HYPERPARAMS,
    estimator: str | estimates.Estimator = "dr",
    shadow: Examples | None = None,
    nuisances: Nuisances | None = None,
    spec: NuisanceSpec = NuisanceSpec(),
    training: Spec = Spec(),
    num_folds: int = 5,
    cost_scale: float | None = None,
    mesh: Mesh | None = None,
    folder: Path | None = None,
    on_chunk: Callable[[int, Any], None] | None = None,
) -> Fitted:
    """Learn routers end to end: nuisances, counterfactual outcomes, projection, training, selection, ensembling.

        min over theta of mean_i loss(z_theta(x_i), a^_i - w c^_i)      for each cost weight w, seed and fold at once

    Every cost weight, seed and fold is one point of ONE compiled, vmapped program. The log has F folds; the routers of
    group f learn from all folds but f and f + 1, their best step has the highest doubly robust value on fold f + 1,
    and they decide fold f, which they never saw: ``decisions`` are cross-fitted. A router to keep averages the
    probabilities of all F x seeds members.

    What remains of a row in its own decision: the nuisances of other rows were cross-fitted over all rows, so a
    row's answer had its share in the outcomes that its routers learnt from (pass ``nuisances`` fitted elsewhere to
    exclude that); its features, never its answer, are in the projection; and the unit of cost is the whole log's.

    Args:
        key: of everything random.
        logs: N rows, costs in the data's own unit; rows of one group stay together.
        loss: a name in `objectives.LOSSES`, or any function of the protocol of `types.Loss`.
        cost_weights: [L] ascending, quality per unit of cost; None: the normalised grid `recipe.GRID`.
        seeds: of the members; those of one seed do not depend on the others.
        hyperparams: scalars; cost_weight and seed are taken from above. ``clip`` is the learning clip.
        estimator: of the outcomes learnt from, a name in `estimates.ESTIMATORS` or a function. Selection is always
            doubly robust.
        shadow: S prompts that every available model answered, in the log's units: more rows, all cells observed.
        nuisances: [N, K] cross-fitted for the log's rows; None: fitted here with ``spec``.
        training: static side of the networks.
        num_folds: F, at least 3.
        cost_scale: cost units per normalised unit; None: from the log's doubly robust means.
        mesh: see ``sweep.mesh``; None: all devices. folder, on_chunk: see ``engine.train``.

    Returns:
        Fitted.

    Raises:
        InputError: a wrong loss (see `objectives.check`), estimator, cost weight or hyperparameter, nuisances of
            another shape, too few rows, or a folder that holds another training (`engine.train`); before anything is
            trained.

    Example:
        >>> from jaxroute import losses
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> small = dict(spec=NuisanceSpec(("mean",), folds=3), training=Spec((8,), steps=20, chunk=10), num_folds=3)
        >>> fitted = fit(jax.random.key(2), logs, loss=losses.spo_plus, cost_weights=[0.0, 10.0], **small)
        >>> fitted.decisions.shape, fitted.value.shape
        ((2, 300, 4), (2, 3))

    Reference: Causal LLM Routing: End-to-End Regret Minimization from Observational Data, by Tsiourvas, Sun
    and Perakis, https://arxiv.org/abs/2505.16037 (2025); folds, selection and ensembling are ours.
    """
    given = {"training": training, "hyperparams": hyperparams, "spec": spec, "estimator": estimator}
    keywords.check({**given, "cost_scale": cost_scale, "mesh": mesh})
    for one in settings.several("seeds", seeds, "whole numbers"):
        settings.seed(one, "seeds")
    settings.whole("num_folds", num_folds)
    rows, num_models = logs.available.shape
    function = objectives.named(loss)
    objective = objectives.check(function, num_models, members.scalars(hyperparams))
    nuisance_key, fold_key, seed_key = jax.random.split(key, 3)
    logs, shadow = as_arrays((logs, shadow))
    if nuisances is None:
        nuisances, _ = nuisance.fit(nuisance_key, logs, spec, shadow=shadow)
    elif np.shape(nuisances.propensity) != (rows, num_models):
        raise InputError(f"nuisances of shape {np.shape(nuisances.propensity)} for a log of shape {(rows, num_models)}")
    nuisances = as_arrays(nuisances)
    scale = _unit(logs, nuisances) if cost_scale is None else float(cost_scale)
    weights = ascending([w / scale for w in recipe.GRID] if cost_weights is None else cost_weights)
    data = training_set.prepare(
        fold_key,
        logs,
        nuisances,
        cost_scale=scale,
        shadow=shadow,
        estimator=estimator,
        hyperparams=hyperparams,
        num_folds=num_folds,
        dimensions=spec.dimensions,
    )
    rest, network = data.folds, networks.router(num_models, training.hidden)
    points = members.points(hyperparams, weights * scale, members.seeds_of(seed_key, seeds, num_folds))
    program = engine.Program(network, objective, training, sweep.mesh() if mesh is None else mesh)
    learn, validate = folds.take(data.learn, rest.learn), folds.take(data.validate, rest.validate)
    state = members.train(program, points, learn, validate, folder=folder, on_chunk=on_chunk)

    temperature = hyperparams.temperature if "temperature" in objectives.hyperparameters_of(function) else 1.0
    scores = members.scores(program, points, state, data.learn.features, rest)
    scores = scores.reshape(len(scores), len(weights), len(seeds), num_models)
    log_probabilities = jnp.moveaxis(members.log_mean_policy(scores, float(temperature)), 1, 0)
    decisions = members.decide(log_probabilities, data.learn.available)
    count = len(weights) * len(seeds)
    params, value = (sweep.gather(part, count, axis=1) for part in (state.best_params, state.best_value))
    quality, cost = data.validate.outcomes
    return Fitted(
        weights,
        decisions[:, :rows],
        None if shadow is None else decisions[:, rows:],
        log_probabilities,
        members.by_weight(params, len(weights)),
        data.axes,
        float(temperature),
        training.hidden,
        members.by_weight(value, len(weights)),
        nuisances,
        Outcomes(quality, cost * scale),
        rest.fold,
        scale,
    )


def _unit(logs: Logs, nuisances: Nuisances) -> float:
    """The log's cost units per normalised unit."""
    clip = estimators.evaluation_clip(logs.available.shape[1])
    robust = counterfactual.doubly_robust(logs, nuisances, clip=clip)
    return break_even(robust, np.asarray(logs.available), logs.weight)[0]


def ascending(cost_weights: Sequence[float] | np.ndarray, name: str = "cost_weights") -> Float[np.ndarray, " L"]:
    """The cost weights as an array [L].

    Args:
        cost_weights: L numbers. name: of the argument.

    Raises:
        InputError: none, one that is negative or no finite number, or an order that does not ascend.
    """
    settings.numbers(name, cost_weights)
    weights = np.asarray(cost_weights, float)
    if weights[0] < 0 or (np.diff(weights) <= 0).any():
        raise InputError(f"{named(name)} is {weights.tolist()}; cost weights have to ascend from 0 or more")
    return weights
