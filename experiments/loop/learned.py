"""Rivals with networks of their own: neural-linear Thompson sampling, and BaRP online.

    neural-linear   a network's last hidden layer, trained on the log so far, in the place of the features; then
                    Thompson sampling as the linear one does (https://arxiv.org/abs/1802.09127)
    BaRP            a policy network that is told the preference, trained by REINFORCE with an entropy bonus
                    (https://arxiv.org/abs/2510.07429); here on the whole log, each row with its capped importance
                    weight, which is at least as good as one pass over the newest rows

Both are run where nothing changes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array

from experiments.loop import bayes, problem, rounds, simulate
from experiments.loop.problem import ROUNDS, START, Loop
from experiments.loop.rounds import REQUESTS, Measured, Rows, World
from experiments.loop.simulate import NEURAL, Policy
from experiments.methods.reinforce import HIDDEN, LAST, Parameters, barp_loss, hidden, layers, output, told, trained
from jaxroute import metrics, policies
from jaxroute.numerics import expectation
from jaxroute.types import Key, Outcomes

TOTAL = START + ROUNDS * REQUESTS


def run(loop: Loop, scenario: str, policy: Policy) -> pd.DataFrame:
    """As `simulate.run`."""
    seeds, models = len(loop.seeds), loop.world.price.shape[1]
    conditions = [problem.weather(scenario, int(best), models) for best in loop.best]
    log, propensity = _first(loop, conditions)
    found = []
    for number in range(1, ROUNDS + 1):
        weather = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[each[number] for each in conditions])
        keys = jnp.stack([simulate.key_of(seed, number) for seed in loop.seeds])
        place = START + (number - 1) * REQUESTS
        prompts = loop.world.order[:, place : place + REQUESTS]
        if policy.learner == NEURAL:
            found_here, rows, chances = _neural_round(keys, loop.world, log, policy.knobs, weather, prompts)
        else:
            found_here, rows, chances = _barp_round(keys, loop.world, log, propensity, weather, prompts)
        log = jax.tree.map(lambda whole, part, at=place: _put(whole, part, at), log, rows)
        propensity = _put(propensity, chances, place)
        found.append(jax.block_until_ready(found_here))
    return simulate.frame(loop, found, seeds)


def _put(whole: Array, part: Array, place: int) -> Array:
    return whole.at[..., place : place + part.shape[-1]].set(part)


def _first(loop: Loop, conditions: list[list[rounds.Weather]]) -> tuple[Rows, Array]:
    """Logs [S, TOTAL] that hold the start log, with weight 0 where there is no row yet; and propensities."""
    rows, chances = [], []
    for place, seed in enumerate(loop.seeds):
        world = jax.tree.map(lambda leaf, i=place: leaf[i], loop.world)
        _, action, outcome = problem.start(world, loop.first[place], conditions[place][0], seed)
        empty = Rows(world.order[:TOTAL], *(jnp.zeros(TOTAL, int), jnp.zeros((2, TOTAL)), jnp.zeros(TOTAL)))
        first = Rows(world.order[:START], jnp.asarray(action), jnp.asarray(outcome), jnp.ones(START))
        rows.append(jax.tree.map(lambda whole, part: _put(whole, part, 0), empty, first))
        chances.append(_put(jnp.ones(TOTAL), jnp.asarray(loop.first[place][jnp.arange(START), action]), 0))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows), jnp.stack(chances)


def neural_features(key: Key, world: World, log: Rows) -> World:
    """The world with a trained network's last hidden layer as its features."""
    x = world.x[log.prompt]
    start = layers(key, (x.shape[1], HIDDEN, LAST, world.price.shape[0]))

    def loss(parameters: Parameters, rows: Array) -> Array:
        predicted = output(parameters, x[rows])
        chosen = jnp.take_along_axis(predicted, log.action[rows][:, None], 1)[:, 0]
        return jnp.mean((log.outcome[0, rows] - chosen) ** 2)

    parameters = trained(key, start, loss, log.weight)
    scale = jnp.sqrt(jnp.mean(jnp.sum(hidden(parameters, world.x) ** 2, 1)))

    def seen(x: Array) -> Array:
        return jnp.concatenate([jnp.ones((len(x), 1)), hidden(parameters, x) / scale], 1)

    return world._replace(x=seen(world.x), test_x=seen(world.test_x))


def _one_neural(
    key: Key, world: World, log: Rows, knobs: Any, weather: rounds.Weather, prompts: Array
) -> tuple[Measured, Rows, Array]:
    world = neural_features(jax.random.fold_in(key, 1), world, log)
    seen = bayes.summed(world.x[log.prompt], log.action, log.outcome, log.weight, world.price.shape[0])
    state = problem.state_of(seen, bayes.choose(seen), weather.available)
    _, measured, rows = rounds.one_round(key, world, state, knobs, weather, prompts)
    return measured, rows, jnp.ones(len(prompts))


def _one_barp(
    key: Key, world: World, log: Rows, propensity: Array, weather: rounds.Weather, prompts: Array
) -> tuple[Measured, Rows, Array]:
    of_start, of_training, of_action = jax.random.split(key, 3)
    x, preference = world.x[log.prompt], jnp.resize(world.weights, log.action.shape)
    start = layers(of_start, (x.shape[1] + 2, HIDDEN, LAST, world.price.shape[0]))
    cost = log.outcome[1] * world.price[log.action]
    reward = (log.outcome[0] - preference * cost) / (1 + preference)

    def loss(parameters: Parameters, rows: Array) -> Array:
        scores = output(parameters, told(x[rows], preference[rows]))
        return barp_loss(scores, log.action[rows], reward[rows], propensity[rows])

    parameters = trained(of_training, start, loss, log.weight)
    weight = jnp.resize(world.weights, prompts.shape)
    available = world.available[prompts] & weather.available[None]
    chances = policies.softmax(output(parameters, told(world.x[prompts], weight)), available=available)
    action = jax.random.categorical(of_action, jnp.log(chances))
    spent, quality = world.cost[prompts] * weather.price[None], world.quality[prompts] * weather.quality[None]
    chosen = jnp.arange(len(prompts)), action
    outcome = jnp.stack([quality[chosen], spent[chosen] / world.price[action]])
    truth = Outcomes(quality - weight[:, None] * spent, jnp.zeros_like(quality))
    ceiling = rounds.ceiling(world, weather, prompts, weight, available)
    there = world.test_available & weather.available[None]

    def at(w: Array) -> Array:
        seen = told(world.test_x, jnp.full(len(there), w))
        router = policies.greedy(output(parameters, seen), available=there)
        return jnp.mean(metrics.regret(router, Outcomes(world.test_quality, world.test_cost), w, available=there))

    unknown = jnp.full((), jnp.nan)
    measured = Measured(
        jnp.mean(jax.lax.map(at, world.weights)),
        jnp.mean(metrics.regret(chances, truth, 0.0, available=available)),
        jnp.mean(metrics.regret(policies.greedy(chances, available=available), truth, 0.0, available=available)),
        jnp.mean(metrics.regret(ceiling, truth, 0.0, available=available)),
        jnp.sum(expectation(chances, spent)),
        *(unknown, unknown, unknown, unknown),
    )
    return measured, Rows(prompts, action, outcome, jnp.ones(len(prompts))), chances[chosen]


_neural_round = jax.jit(jax.vmap(_one_neural, (0, 0, 0, None, 0, 0)))
_barp_round = jax.jit(jax.vmap(_one_barp, (0, 0, 0, 0, 0, 0)))
