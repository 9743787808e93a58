"""The loop's problem: a study's table as prompts that arrive, the start log of a weak router, and what may change.

Requests are drawn without replacement from the training part; a table with fewer prompts than the loop needs is gone
through again in another order.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.loop import bayes
from experiments.loop.rounds import REQUESTS, State, Statistics, Weather, World
from experiments.problem import build
from experiments.problem.table import Data, prepare
from experiments.settings import Config
from jaxroute import projection
from jaxroute.types import Table

START, ROUNDS = 500, 10
DIMENSIONS = 32
ARRIVES, CHANGES, LEAVES = 4, 5, 5
"""Rounds, from 1 on, in which a model is new, changes, or is gone."""
STARTED = 5.0
"""Rounds that the start log counts as, in the age of its models."""
LEAST_PRICE = 1e-6
"""Of the dearest model's list price: what a free model counts as, where costs are relative to it."""


class Loop(NamedTuple):
    """All seeds of a table. world: leaves [S, ...]. first: the start log's probabilities [S, START, K]. best [S]: the
    model that full feedback chooses most, which scenarios change. scale: cost units of a normalised one. requests: of
    one round."""

    world: World
    first: np.ndarray
    best: np.ndarray
    scale: float
    seeds: list[int]
    rounds: int = ROUNDS
    requests: int = REQUESTS


def make(config: Config, *, rounds: int = ROUNDS, requests: int = REQUESTS) -> Loop:
    """The loop's problem of a study's table."""
    data = prepare(dataclasses.replace(config, log_size=None))
    found = [_seed(config, data, place, START + rounds * requests) for place in range(config.seeds)]
    worlds, first, best = zip(*found, strict=True)
    world = jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds)
    return Loop(world, np.stack(first), np.array(best), data.scale, list(config.draws), rounds, requests)


def _seed(config: Config, data: Data, place: int, needed: int) -> tuple[World, np.ndarray, int]:
    rows, seed = data.rows[place], config.draws[place]
    pool, test = data.table.rows(rows.train), data.table.rows(np.concatenate([rows.test, rows.validation]))
    policy = build.logging_policy(config, build.keys_of(seed)[build.LOGGER], data.table.rows(rows.earlier))
    axes = projection.fit(jnp.asarray(pool.features, jnp.float32), jnp.ones(len(pool)), DIMENSIONS)
    price = np.sum(pool.outcomes.cost, 0, where=pool.available) / pool.available.sum(0)
    price = np.maximum(price, LEAST_PRICE * price.max())
    rng = np.random.default_rng([seed, 1])
    passes = [rng.permutation(len(pool)) for _ in range(-(-needed // len(pool)))]
    order = np.concatenate(passes)[:needed]
    x, full = features(axes, pool), np.zeros((2, *pool.available.shape), np.float32)
    for half in range(2):
        train = np.arange(len(pool)) % 2 != half
        full[:, ~train] = np.asarray(bayes.means(_full(x, pool, price, train), x[~train]))
    (quality, cost), (test_quality, test_cost) = _answers(pool), _answers(test)
    world = World(
        x=x,
        quality=quality,
        cost=cost,
        available=jnp.asarray(pool.available),
        test_x=features(axes, test),
        test_quality=test_quality,
        test_cost=test_cost,
        test_available=jnp.asarray(test.available),
        full=jnp.asarray(full),
        order=jnp.asarray(order),
        price=jnp.asarray(price, jnp.float32),
        weights=jnp.asarray(config.cost_weights, jnp.float32),
    )
    utility = full[0][None] - np.array(config.cost_weights)[:, None, None] * full[1][None] * price
    chosen = np.where(pool.available, utility, -np.inf).argmax(-1)
    best = int(np.bincount(chosen.ravel(), minlength=len(price)).argmax())
    return world, policy(pool)[order[:START]], best


def features(axes: projection.Projection, table: Table) -> jax.Array:
    """An intercept, and principal components on their own scale: squares sum to one on average."""
    scale = axes.deviation / jnp.linalg.norm(axes.deviation)
    z = projection.project(axes, jnp.asarray(table.features, jnp.float32)) * scale[None]
    return jnp.concatenate([jnp.ones((len(z), 1)), z], 1)


def _answers(table: Table) -> tuple[jax.Array, jax.Array]:
    """Quality and cost, 0 where there is no answer."""
    quality, cost = (jnp.asarray(np.where(table.available, y, 0.0), jnp.float32) for y in table.outcomes)
    return quality, cost


@jax.jit
def _fitted(x: jax.Array, outcome: jax.Array, there: jax.Array) -> bayes.Posterior:
    statistics = bayes.summed_all(x, outcome, there)
    return bayes.fit(statistics, bayes.choose(statistics))


def _full(x: jax.Array, pool: Table, price: np.ndarray, train: np.ndarray) -> bayes.Posterior:
    """The outcome model on every answer to some prompts."""
    there = pool.available & train[:, None]
    outcome = np.stack([pool.outcomes.quality, pool.outcomes.cost / price])
    return _fitted(x, jnp.asarray(np.where(there, outcome, 0.0), jnp.float32), jnp.asarray(there, jnp.float32))


SCENARIOS = ("stationary", "new model", "removed", "quality falls", "price rises", "tenth rated, late")


def weather(scenario: str, best: int, models: int, rounds: int = ROUNDS) -> list[Weather]:
    """What holds in the start log (place 0) and in each round."""
    found = []
    for number in range(rounds + 1):
        changed = np.arange(models) == best
        gone = {"new model": number < ARRIVES, "removed": number >= LEAVES}.get(scenario, False)
        worse = scenario == "quality falls" and number >= CHANGES
        dearer = scenario == "price rises" and number >= CHANGES
        rare = scenario == "tenth rated, late" and number > 0
        found.append(
            Weather(
                jnp.asarray(~(changed & gone)),
                jnp.asarray(np.where(changed & worse, 0.6, 1.0), jnp.float32),
                jnp.asarray(np.where(changed & dearer, 3.0, 1.0), jnp.float32),
                jnp.float32(0.1 if rare else 1.0),
                jnp.float32(rare),
            )
        )
    return found


def start(world: World, first: np.ndarray, weather: Weather, seed: int) -> tuple[Statistics, np.ndarray, np.ndarray]:
    """The start log of one seed: its statistics, its actions and its outcomes [2, START]."""
    there = np.asarray(world.available)[np.asarray(world.order)[:START]] & np.asarray(weather.available)
    chances = np.where(there, first, 0.0)
    cumulative = np.cumsum(chances / chances.sum(1, keepdims=True), 1)
    cumulative /= cumulative[:, -1:]
    action = (cumulative > np.random.default_rng([seed, 2]).random(START)[:, None]).argmax(1)
    prompt = np.asarray(world.order)[:START]
    quality, cost = np.asarray(world.quality)[prompt, action], np.asarray(world.cost)[prompt, action]
    outcome = np.stack([quality, cost / np.asarray(world.price)[action]]).astype(np.float32)
    x = world.x[prompt]
    return _summed(x, action, outcome, len(world.price)), action, outcome


def _summed(x: jax.Array, action: np.ndarray, outcome: np.ndarray, models: int) -> Statistics:
    return bayes.summed(x, jnp.asarray(action), jnp.asarray(outcome), jnp.ones(len(action)), models)


def state_of(statistics: Statistics, ratios: jax.Array, available: jax.Array) -> State:
    """Before the first round, of one seed. available [K]: whether a model could be chosen in the start log."""
    nothing = jax.tree.map(jnp.zeros_like, statistics)
    return State(statistics, nothing, ratios, STARTED * available)
