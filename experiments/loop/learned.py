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
import optax
import pandas as pd
from jaxtyping import Array, Float

from experiments.loop import bayes, problem, rounds, simulate
from experiments.loop.problem import ROUNDS, START, Loop
from experiments.loop.rounds import REQUESTS, Measured, Rows, World
from experiments.loop.simulate import NEURAL, Policy
from jaxroute import metrics, policies
from jaxroute.numerics import expectation
from jaxroute.types import Key, Outcomes

HIDDEN, LAST = 64, 32
STEPS, BATCH, RATE = 150, 256, 3e-3
ENTROPY, WEIGHT_AT_MOST = 0.01, 10.0
TOTAL = START + ROUNDS * REQUESTS
Parameters = list[tuple[Array, Array]]


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


def layers(key: Key, sizes: tuple[int, ...]) -> Parameters:
    """Weights and biases of a network of these widths."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (a, b)) * jnp.sqrt(2 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def hidden(parameters: Parameters, x: Array) -> Array:
    """The last hidden layer."""
    for matrix, bias in parameters[:-1]:
        x = jax.nn.gelu(x @ matrix + bias[None])
    return x


def trained(key: Key, parameters: Parameters, loss: Any, weight: Array) -> Parameters:
    """Adam on batches of the rows that are there; ``loss(parameters, rows)``."""
    count = jnp.sum(weight).astype(int)  # rows come in order: those with weight 0 are not there yet
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))

    def step(carry: tuple[Parameters, Any], key: Key) -> tuple[tuple[Parameters, Any], None]:
        parameters, state = carry
        rows = jax.random.randint(key, (BATCH,), 0, count)
        update, state = optimiser.update(jax.grad(loss)(parameters, rows), state)
        return (optax.apply_updates(parameters, update), state), None

    (parameters, _), _ = jax.lax.scan(step, (parameters, optimiser.init(parameters)), jax.random.split(key, STEPS))
    return parameters


def neural_features(key: Key, world: World, log: Rows) -> World:
    """The world with a trained network's last hidden layer as its features."""
    x = world.x[log.prompt]
    start = layers(key, (x.shape[1], HIDDEN, LAST, world.price.shape[0]))

    def loss(parameters: Parameters, rows: Array) -> Array:
        predicted = hidden(parameters, x[rows]) @ parameters[-1][0] + parameters[-1][1][None]
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
    _, measured, rows = rounds.one_round(
        key, world, problem.state_of(seen, bayes.choose(seen)), knobs, weather, prompts
    )
    return measured, rows, jnp.ones(len(prompts))


def logits(parameters: Parameters, x: Array, weight: Array) -> Float[Array, "N K"]:
    """BaRP's scores of prompts under preferences: of quality 1 / (1 + w) and of cost w / (1 + w)."""
    told = jnp.stack([1 / (1 + weight), weight / (1 + weight)], 1)
    return hidden(parameters, jnp.concatenate([x, told], 1)) @ parameters[-1][0] + parameters[-1][1][None]


def barp_loss(scores: Float[Array, "N K"], action: Array, reward: Array, propensity: Array) -> Float[Array, ""]:
    """Entropy-regularised REINFORCE on logged rows: -mean(min(pi/p, cap) (reward - mean) + entropy bonus)."""
    log_chance = jax.nn.log_softmax(scores)
    chance = jnp.exp(jnp.take_along_axis(log_chance, action[:, None], 1)[:, 0])
    weight = jnp.minimum(chance / propensity, WEIGHT_AT_MOST)
    entropy = -jnp.sum(jnp.exp(log_chance) * log_chance, 1)
    return -jnp.mean(weight * (reward - jnp.mean(reward)) + ENTROPY * entropy)


def _one_barp(
    key: Key, world: World, log: Rows, propensity: Array, weather: rounds.Weather, prompts: Array
) -> tuple[Measured, Rows, Array]:
    of_start, of_training, of_action = jax.random.split(key, 3)
    x, told = world.x[log.prompt], jnp.resize(world.weights, log.action.shape)
    start = layers(of_start, (x.shape[1] + 2, HIDDEN, LAST, world.price.shape[0]))
    cost = log.outcome[1] * world.price[log.action]
    reward = (log.outcome[0] - told * cost) / (1 + told)

    def loss(parameters: Parameters, rows: Array) -> Array:
        scores = logits(parameters, x[rows], told[rows])
        return barp_loss(scores, log.action[rows], reward[rows], propensity[rows])

    parameters = trained(of_training, start, loss, log.weight)
    weight = jnp.resize(world.weights, prompts.shape)
    available = world.available[prompts] & weather.available[None]
    chances = policies.softmax(logits(parameters, world.x[prompts], weight), available=available)
    action = jax.random.categorical(of_action, jnp.log(chances))
    spent, quality = world.cost[prompts] * weather.price[None], world.quality[prompts] * weather.quality[None]
    chosen = jnp.arange(len(prompts)), action
    outcome = jnp.stack([quality[chosen], spent[chosen] / world.price[action]])
    truth = Outcomes(quality - weight[:, None] * spent, jnp.zeros_like(quality))
    ceiling = rounds.ceiling(world, weather, prompts, weight, available)
    there = world.test_available & weather.available[None]

    def at(w: Array) -> Array:
        router = policies.greedy(logits(parameters, world.test_x, jnp.full(len(there), w)), available=there)
        return jnp.mean(metrics.regret(router, Outcomes(world.test_quality, world.test_cost), w, available=there))

    unknown = jnp.full((), jnp.nan)
    measured = Measured(
        jnp.mean(jax.lax.map(at, world.weights)),
        jnp.mean(metrics.regret(chances, truth, 0.0, available=available)),
        jnp.mean(metrics.regret(ceiling, truth, 0.0, available=available)),
        jnp.sum(expectation(chances, spent)),
        *(unknown, unknown, unknown, unknown),
    )
    return measured, Rows(prompts, action, outcome, jnp.ones(len(prompts))), chances[chosen]


_neural_round = jax.jit(jax.vmap(_one_neural, (0, 0, 0, None, 0, 0)))
_barp_round = jax.jit(jax.vmap(_one_barp, (0, 0, 0, 0, 0, 0)))
