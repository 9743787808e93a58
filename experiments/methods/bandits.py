"""Rivals that learn a policy from bandit feedback: BaRP, POEM, NNPolicyLearner, LinUCB and PILOT, on the log alone.

Each is offered a few settings, and every seed takes the one of the highest doubly robust value on its validation log,
as all learners here pick theirs. Rewards are utilities of the row's own answer. A method takes an Experiment and
returns decisions on the test prompts, [S, L, N, K]; networks of one cost weight decide at the nearest others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from experiments.loop import bayes
from experiments.methods import reinforce
from experiments.methods.experiment import Experiment, weights_of
from experiments.methods.reinforce import HIDDEN, LAST, Parameters, layers, output, told, trained
from jaxroute import counterfactual, policies
from jaxroute.numerics import weighted_mean
from jaxroute.types import Examples, Key, Outcomes

STEPS = 300
"""Of a network: twice those of a round of the loop, as many as our own routers train for."""
ENTROPIES = (0.003, 0.01, 0.03, 0.1)
CLIPS, PENALTIES = (3.0, 10.0, 30.0), (0.0, 0.3, 1.0)
CONSTRAINTS, VARIANCES = (0.0, 0.1), (0.0, 0.01, 0.1)
WIDTHS = (0.0, 0.05, 0.1, 0.3)
WITHOUT = -1e9
"""The score of a model that a prompt does not have."""


class Logged(NamedTuple):
    """One seed's log: what bandit feedback says, and what our nuisances predict for it, for those that ask."""

    features: Float[Array, "N d"]
    action: Int[Array, " N"]
    answer: Outcomes
    propensity: Float[Array, " N"]
    available: Bool[Array, "N K"]
    predicted: Outcomes

    def reward(self, weight: Array) -> Float[Array, " N"]:
        return self.answer.quality - weight * self.answer.cost


Fit = Callable[[Key, Logged, Array, Array], Parameters]
"""(key, log, cost weight, setting) -> a policy network."""


def logged(experiment: Experiment) -> Logged:
    """Of every seed, leaves [S, ...]."""
    problems = experiment.problems
    log, rows = problems.train_log, problems.train_log.action.shape[1]
    chosen = log.action[..., None]
    propensity = jnp.take_along_axis(problems.nuisances.propensity, chosen, -1)[..., 0]
    features, answer = problems.learn.features[:, :rows], Outcomes(log.quality, log.cost)
    return Logged(features, log.action, answer, propensity, log.available, problems.nuisances.outcomes)


def _scores(parameters: Parameters, x: Array, available: Bool[Array, "N K"]) -> Float[Array, "N K"]:
    return jnp.where(available, output(parameters, x), WITHOUT)


def _fit_barp(key: Key, log: Logged, weights: Float[Array, " L"], entropy: Array) -> Parameters:
    """One network for every preference: each logged row is there at each of them."""
    rows, count = len(log.action), len(weights)
    of_start, of_training = jax.random.split(key)
    weight, row = jnp.tile(weights, rows), jnp.repeat(jnp.arange(rows), count)
    rewards = jax.vmap(log.reward)(weights).T.ravel() / (1 + weight)
    start = layers(of_start, (log.features.shape[1] + 2, HIDDEN, LAST, log.available.shape[1]))

    def loss(parameters: Parameters, at: Array) -> Array:
        i = row[at]
        scores = _scores(parameters, told(log.features[i], weight[at]), log.available[i])
        return reinforce.barp_loss(scores, log.action[i], rewards[at], log.propensity[i], entropy)

    return trained(of_training, start, loss, jnp.ones(rows * count), steps=STEPS)


def barp(experiment: Experiment) -> Array:
    """BaRP off policy; the entropy's weight is picked of ENTROPIES.

    Reference: Learning to Route LLMs from Bandit Feedback: One Policy, Many Trade-offs, arXiv 2510.07429 (2025).
    """
    grid, every = jnp.asarray(experiment.config.cost_weights, jnp.float32), weights_of(experiment)
    settings = jnp.asarray(ENTROPIES)

    def one_seed(parts: tuple[Key, Logged, Examples, Examples]) -> Array:
        key, log, validate, test = parts
        fitted = jax.lax.map(lambda entropy: _fit_barp(key, log, grid, entropy), settings)

        def decide(parameters: Parameters, part: Examples, weight: Array) -> Array:
            seen = told(part.features, jnp.full(len(part.features), weight))
            return policies.greedy(_scores(parameters, seen, part.available), available=part.available)

        def value(parameters: Parameters) -> Array:
            return jnp.mean(jax.lax.map(lambda w: _value(decide(parameters, validate, w), validate, w), grid))

        best = _at(fitted, jnp.argmax(jax.lax.map(value, fitted)))
        return jax.lax.map(lambda w: decide(best, test, w), every)

    return _each_seed(one_seed, experiment)


def _fit_poem(key: Key, log: Logged, weight: Array, setting: Float[Array, 2]) -> Parameters:
    """A linear policy, as in the paper; rewards are moved to [0, 1]."""
    reward = log.reward(weight)
    reward = (reward - jnp.min(reward)) / jnp.maximum(jnp.max(reward) - jnp.min(reward), 1e-6)
    start = [(jnp.zeros((log.features.shape[1], log.available.shape[1])), jnp.zeros(log.available.shape[1]))]

    def loss(parameters: Parameters, i: Array) -> Array:
        scores = _scores(parameters, log.features[i], log.available[i])
        return reinforce.poem_loss(scores, log.action[i], reward[i], log.propensity[i], *setting)

    return trained(key, start, loss, jnp.ones(len(reward)), steps=STEPS)


def _fit_pipeline(key: Key, log: Logged, weight: Array, setting: Float[Array, 2]) -> Parameters:
    of_start, of_training = jax.random.split(key)
    reward, predicted = log.reward(weight), counterfactual.utility(log.predicted, weight)
    predicted = jnp.where(log.available, predicted, 0.0)
    start = layers(of_start, (log.features.shape[1], HIDDEN, LAST, log.available.shape[1]))

    def loss(parameters: Parameters, i: Array) -> Array:
        scores = _scores(parameters, log.features[i], log.available[i])
        return reinforce.pipeline_loss(scores, log.action[i], reward[i], log.propensity[i], predicted[i], *setting)

    return trained(of_training, start, loss, jnp.ones(len(reward)), steps=STEPS)


def _per_weight(experiment: Experiment, fit: Fit, settings: Float[Array, "C P"]) -> Array:
    """A network for each cost weight of the grid."""
    grid = jnp.asarray(experiment.config.cost_weights, jnp.float32)

    def one_seed(parts: tuple[Key, Logged, Examples, Examples]) -> Array:
        key, log, validate, test = parts

        def at(weight: Array) -> Array:
            fitted = jax.vmap(partial(fit, key, log, weight))(settings)

            def value(parameters: Parameters) -> Array:
                scores = _scores(parameters, validate.features, validate.available)
                return _value(policies.greedy(scores, available=validate.available), validate, weight)

            best = _at(fitted, jnp.argmax(jax.vmap(value)(fitted)))
            return policies.greedy(_scores(best, test.features, test.available), available=test.available)

        return jax.lax.map(at, grid)

    nearest = np.argmin(np.abs(np.subtract.outer(experiment.config.weights, experiment.config.cost_weights)), 1)
    return _each_seed(one_seed, experiment)[:, nearest]


def poem(experiment: Experiment) -> Array:
    """Counterfactual risk minimisation, a linear policy; the clip and the penalty are picked of CLIPS x PENALTIES."""
    return _per_weight(experiment, _fit_poem, jnp.asarray(list(product(CLIPS, PENALTIES))))


def nn_policy_learner(experiment: Experiment) -> Array:
    """Open Bandit Pipeline's NNPolicyLearner on its doubly robust objective, with the nuisances that ours have."""
    return _per_weight(experiment, _fit_pipeline, jnp.asarray(list(product(CONSTRAINTS, VARIANCES))))


def upper_bounds(experiment: Experiment, *, prior: bool) -> Array:
    """LinUCB after the log, a ridge regression for each model; PILOT is the same around a prior.

        A_k = I + sum_i x x',   theta_k = A_k^-1 (b_k + sum_i x r),   choose argmax x.theta_k + width sqrt(x' A_k^-1 x)

    b_k is 0, or what a joint regression on the log's first quarter says, as `experiments.loop` starts PILOT: a log has
    no preferences between answers. The width is picked of WIDTHS. Quality and relative cost are two regressions.

    Reference: LinUCB, by Li and others, arXiv 1003.0146 (2010); PILOT, arXiv 2508.21141 (2025).
    """
    every, axes = weights_of(experiment), experiment.problems.axes
    scale = axes.deviation / jnp.linalg.norm(axes.deviation, axis=-1, keepdims=True)

    def seen(x: Array, scale: Array) -> Array:
        return jnp.concatenate([jnp.ones((len(x), 1)), x * scale[None]], 1)

    def one_seed(parts: tuple[Key, Logged, Examples, Examples, Array, Array]) -> Array:
        _, log, validate, test, scale, price = parts
        x, outcome = seen(log.features, scale), jnp.stack([log.answer.quality, log.answer.cost / price[log.action]])
        first = jnp.arange(len(x)) < len(x) // 4
        models = log.available.shape[1]
        summed = partial(bayes.summed, x, log.action, outcome, models=models)
        found = summed(weight=jnp.where(prior & first, 0.0, 1.0))
        if prior:
            start = summed(weight=first * 1.0)
            known = bayes.fit(start, bayes.choose(start)).mean
            found = found._replace(moment=found.moment + known)
        ridge = jnp.tile(jnp.array([bayes.DISJOINT, 1.0, 1.0]), (2, 1))
        posterior = bayes.fit(found, ridge)

        def decide(part: Examples, width: Array, weight: Array) -> Array:
            x = seen(part.features, scale)
            quality, relative = bayes.means(posterior, x)
            bonus = jnp.sqrt(jnp.einsum("nd,kde,ne->nk", x, posterior.own[0], x))
            upper = quality - weight * relative * price[None] + width * bonus
            return policies.greedy(upper, available=part.available)

        def value(width: Array) -> Array:
            return jnp.mean(jax.lax.map(lambda w: _value(decide(validate, width, w), validate, w), every))

        widths = jnp.asarray(WIDTHS)
        best = widths[jnp.argmax(jax.lax.map(value, widths))]
        return jax.lax.map(lambda w: decide(test, best, w), every)

    price = jnp.maximum(jnp.mean(experiment.problems.learn.outcomes.cost, 1), 1e-6)
    return _each_seed(one_seed, experiment, scale, price)


def _each_seed(one_seed: Callable[..., Array], experiment: Experiment, *more: Array) -> Array:
    problems = experiment.problems
    keys = jax.vmap(jax.random.key)(jnp.arange(experiment.config.seeds))
    return jax.lax.map(one_seed, (keys, logged(experiment), problems.validate, problems.test, *more))


def _value(policy: Float[Array, "N K"], part: Examples, weight: Array) -> Float[Array, ""]:
    """Doubly robust, on rows that were not learned from."""
    utility = jnp.where(part.available, counterfactual.utility(part.outcomes, weight), 0.0)
    return weighted_mean(jnp.sum(policy * utility, 1), None)


def _at(tree: Parameters, place: Array) -> Parameters:
    return jax.tree.map(lambda leaf: leaf[place], tree)
