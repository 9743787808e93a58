"""One round of the loop: serve 300 requests, log them with propensities, learn, and ask whether the next router gains.

Everything here is of one seed; the command vmaps it. Regret is `metrics.regret` to the realised oracle at the
request's own normalised cost weight; the six weights of the study take turns.

The next router's gain over this one is estimated on the round's own rows: a router fitted without half of the rows
decides that half, the difference to this round's router is estimated doubly robustly with the exact propensities,

    z = sum_k d_k u^_k + d_a / p_a (u - u^_a),    d = next - now

and its error is the larger of the spread of z and of what the design implies (`planning.row_deviation`), because a
rare large weight that did not occur is not seen in the spread.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from experiments.loop import bayes, rules
from experiments.loop.bayes import Posterior, Statistics
from experiments.loop.rules import Believed, Knobs
from jaxroute import metrics, policies
from jaxroute.types import Key, Outcomes

REQUESTS = 300
SHADOW_AT_MOST = 16
Z = 1.96


class World(NamedTuple):
    """A seed's prompts and every answer to them. Costs are in normalised units; NaN-free, holes are masked.

    x [P, D], quality, cost, available [P, K]: of the prompts that requests are drawn from. test_*: of held-out prompts.
    full [2, P, K]: out-of-fold predictions of the same outcome model fitted on every answer. order [T]: the prompt of
    each request, the start log's first. price [K]: mean cost, the list price. weights [L]: normalised cost weights.
    """

    x: Float[Array, "P D"]
    quality: Float[Array, "P K"]
    cost: Float[Array, "P K"]
    available: Bool[Array, "P K"]
    test_x: Float[Array, "M D"]
    test_quality: Float[Array, "M K"]
    test_cost: Float[Array, "M K"]
    test_available: Bool[Array, "M K"]
    full: Float[Array, "2 P K"]
    order: Int[Array, " T"]
    price: Float[Array, " K"]
    weights: Float[Array, " L"]


class Weather(NamedTuple):
    """What holds in one round. available, quality, price [K]: whether a model can be chosen, factors of its quality
    and price. feedback: share of requests that are rated. late: 1 where ratings arrive a round later."""

    available: Bool[Array, " K"]
    quality: Float[Array, " K"]
    price: Float[Array, " K"]
    feedback: Float[Array, ""]
    late: Float[Array, ""]


class State(NamedTuple):
    """What is carried from round to round. waiting: statistics of ratings that have not arrived. age: rounds in which
    each model could be chosen."""

    seen: Statistics
    waiting: Statistics
    ratios: Float[Array, "2 3"]
    age: Float[Array, " K"]


class Measured(NamedTuple):
    """Numbers of one round: means over its requests, but for ``regret``, of the round's router on test prompts.

    served, own, ceiling: regret of what was served, of the router's own choices, and of full feedback's.
    """

    regret: Array
    served: Array
    own: Array
    ceiling: Array
    dollars: Array
    gain: Array
    half_width: Array
    truth: Array
    covered: Array


class Rows(NamedTuple):
    """The round's log: prompt, action, outcomes [2, N] (quality, relative cost) and the weight of each row."""

    prompt: Int[Array, " N"]
    action: Int[Array, " N"]
    outcome: Float[Array, "2 N"]
    weight: Float[Array, " N"]


def ages(forget: Array | float, rows: int) -> Float[Array, " N"]:
    """What a round's rows still count at its end: the last one fully, each one before it ``forget`` times less."""
    return forget ** jnp.arange(rows - 1, -1, -1)


def faded(statistics: Statistics, forget: Array | float, rows: int) -> Statistics:
    """Geometric forgetting of what was seen before these rows; with ``ages`` it is A <- forget A + x x' row by row."""
    return jax.tree.map(lambda total: forget**rows * total, statistics)


def utilities(posterior: Posterior, x: Array, weight: Array, price: Array) -> Float[Array, "N K"]:
    """Predicted utilities of N prompts at N cost weights."""
    quality, relative = bayes.means(posterior, x)
    return quality - weight[:, None] * relative * price[None]


def believed(
    posterior: Posterior, x: Array, weight: Array, price: Array, available: Array, informed: Array, age: Array
) -> Believed:
    """What the outcome model says of N requests."""
    mean = utilities(posterior, x, weight, price)
    best = jnp.argmax(jnp.where(available, mean, -jnp.inf), 1)
    marginal, contrast = bayes.deviations(posterior, x, best)
    noise = posterior.noise[0] ** 2 + (weight[:, None] * price[None] * posterior.noise[1]) ** 2
    cost = bayes.means(posterior, x)[1] * price[None]
    width, error = marginal / posterior.noise[0], jnp.sqrt(noise + marginal**2)
    return Believed(mean, marginal, contrast, width, error, cost, informed, age, available)


def one_round(
    key: Key, world: World, state: State, knobs: Knobs, weather: Weather, prompt: Int[Array, " N"]
) -> tuple[State, Measured, Rows]:
    """The round's log, its numbers, and the state after it."""
    of_policy, of_action, of_rating, of_shadow = jax.random.split(key, 4)
    models, rows = world.price.shape[0], prompt.shape[0]
    price = world.price * weather.price
    weight = jnp.resize(world.weights, (rows,))
    x, available = world.x[prompt], world.available[prompt] & weather.available[None]
    quality, cost = world.quality[prompt] * weather.quality[None], world.cost[prompt] * weather.price[None]
    utility = quality - weight[:, None] * cost

    now = bayes.fit(state.seen, state.ratios)
    informed = ceiling(world, weather, prompt, weight, available)
    seen = believed(now, x, weight, price, available, informed, state.age)
    chances = rules.probabilities(of_policy, seen, knobs)
    action = jax.random.categorical(of_action, jnp.log(chances))
    rated = (jax.random.uniform(of_rating, (rows,)) < weather.feedback).astype(x.dtype)

    # Learning: what was seen fades, this round's ratings join, or wait.
    outcome = jnp.stack([_at(quality, action), _at(cost, action) / price[action]])
    log = Rows(prompt, action, outcome, rated * ages(knobs.forget, rows))
    half = (jnp.arange(rows) // len(world.weights)) % 2
    parts = [bayes.summed(x, action, outcome, log.weight * (half == part), models) for part in range(2)]
    relative, there = cost / price[None], available.astype(x.dtype)
    everything = bayes.summed_all(x, jnp.stack([quality, relative]), there)
    fresh = jax.tree.map(lambda a, b, c: jnp.where(knobs.every > 0, c, a + b), *parts, everything)
    prompts = jnp.ceil(knobs.shadow * rows / models)
    shadow, spent = _shadow(of_shadow, world, weather, prompts, price)
    old = jax.tree.map(lambda a, b: a + weather.late * b, faded(state.seen, knobs.forget, rows), state.waiting)
    old = jax.tree.map(jnp.add, old, shadow)
    soon = 1 - weather.late
    after = State(
        jax.tree.map(lambda a, b: a + soon * b, old, fresh),
        fresh,
        state.ratios,
        state.age + weather.available,
    )

    # Does the next router gain? Each half of the rows is decided by a router that never saw it.
    without = [bayes.fit(jax.tree.map(lambda a, b: a + soon * b, old, part), state.ratios) for part in parts[::-1]]
    first, second = (utilities(p, x, weight, price) for p in without)
    predicted = jnp.where(half[:, None] == 0, first, second)
    router = policies.greedy(seen.mean, available=available)
    moved = policies.greedy(predicted, available=available) - router
    direct = jnp.sum(moved * predicted, 1)
    correction = _at(moved, action) / _at(chances, action) * (_at(utility, action) - _at(predicted, action))
    count = jnp.maximum(jnp.sum(rated), 2.0)
    gain = jnp.sum(rated * (direct + correction)) / count
    spread = jnp.sum(rated * (direct + correction - gain) ** 2) / (count - 1)
    inflated = jnp.where(moved != 0, (moved * seen.error) ** 2 / chances, 0.0)
    design = jnp.mean(jnp.sum(inflated, 1)) + jnp.var(direct)
    paired = jnp.mean(jnp.sum((moved * seen.error) ** 2, 1)) / jnp.maximum(prompts, 1.0) + jnp.var(direct) / rows
    error = jnp.sqrt(jnp.where(knobs.shadow > 0, paired, jnp.maximum(spread, design) / count))
    half_width = jnp.where(jnp.isfinite(error), Z * error, jnp.nan)

    test = _tested(world, weather, now, without, price)
    off = jnp.where(knobs.shadow > 0, jnp.nan, jnp.abs(gain - test.gain))
    covered = jnp.where(jnp.isfinite(half_width + off), off <= jnp.hypot(half_width, Z * test.error), jnp.nan)
    served = jnp.where(knobs.free > 0, router, chances)
    truth = Outcomes(utility, jnp.zeros_like(utility))
    measured = Measured(
        test.regret,
        jnp.mean(metrics.regret(served, truth, 0.0, available=available)),
        jnp.mean(metrics.regret(router, truth, 0.0, available=available)),
        jnp.mean(metrics.regret(informed, truth, 0.0, available=available)),
        jnp.sum(served * jnp.where(available, cost, 0.0)) + spent,
        gain,
        half_width,
        test.gain,
        covered,
    )
    return after, measured, log


def ceiling(world: World, weather: Weather, prompt: Array, weight: Array, available: Array) -> Float[Array, "N K"]:
    """Decisions of the same outcome model fitted on every answer to other prompts."""
    quality, relative = world.full[:, prompt]
    utility = quality * weather.quality[None] - weight[:, None] * relative * (world.price * weather.price)[None]
    return policies.greedy(utility, available=available)


class _Tested(NamedTuple):
    regret: Array
    gain: Array
    error: Array


def _tested(world: World, weather: Weather, now: Posterior, without: list[Posterior], price: Array) -> _Tested:
    """On held-out prompts at every cost weight: the router's regret; the true gain of the two routers fitted without
    a half, on average, and the error that it has because these prompts are a sample as well."""
    available = world.test_available & weather.available[None]
    quality = world.test_quality * weather.quality[None]

    def at(weight: Array) -> tuple[Array, Array]:
        each = jnp.full(len(world.test_x), weight)
        utility = quality - weight * world.test_cost * weather.price[None]
        router, *others = (
            policies.greedy(utilities(p, world.test_x, each, price), available=available) for p in (now, *without)
        )
        truth = Outcomes(utility, jnp.zeros_like(utility))
        gains = [jnp.sum((other - router) * jnp.where(available, utility, 0.0), 1) for other in others]
        return jnp.mean(metrics.regret(router, truth, 0.0, available=available)), (gains[0] + gains[1]) / 2

    regret, gain = jax.lax.map(at, world.weights)
    gain = jnp.mean(gain, 0)
    return _Tested(jnp.mean(regret), jnp.mean(gain), jnp.std(gain) / jnp.sqrt(len(gain)))


def _shadow(key: Key, world: World, weather: Weather, prompts: Array, price: Array) -> tuple[Statistics, Array]:
    """Statistics and cost of so many prompts that every model answers."""
    at = jax.random.randint(key, (SHADOW_AT_MOST,), 0, len(world.x))
    there = (jnp.arange(SHADOW_AT_MOST) < prompts)[:, None] & world.available[at] & weather.available[None]
    count = there.astype(world.x.dtype)
    x, quality = world.x[at], world.quality[at] * weather.quality[None]
    relative = world.cost[at] * weather.price[None] / price[None]
    return bayes.summed_all(x, jnp.stack([quality, relative]), count), jnp.sum(count * relative * price[None])


def _at(values: Float[Array, "N K"], action: Int[Array, " N"]) -> Float[Array, " N"]:
    return jnp.take_along_axis(values, action[:, None], 1)[:, 0]
