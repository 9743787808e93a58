"""How each policy explores: from what the round's outcome model says to the probabilities of the models.

Ours are functions of ``jaxroute.policies``; rivals are their published rules on the same features:

    greedy          no exploration; also what a shadow sample serves
    uniform         epsilon-greedy
    upper           the largest mean + width: LinUCB (Li and others, https://arxiv.org/abs/1003.0146), PILOT
                    (https://arxiv.org/abs/2508.21141) and ParetoBandit's rule differ in learner and width;
                    ParetoBandit's rows fade (`rounds.faded`), so a model that is not chosen gets wider by itself
    thompson        posterior sampling: with marginal deviations linear Thompson sampling (Agrawal and Goyal,
                    https://arxiv.org/abs/1209.3352), on learnt features the neural-linear one (Riquelme, Tucker and
                    Snoek, https://arxiv.org/abs/1802.09127); with deviations of contrasts and limits it is ours
    contenders      ours
    evaluation      ours: the log in which the next router's difference to this one shows best
    informed        no policy but a bound: that of evaluation, for the router that full feedback would give
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxroute import policies
from jaxroute.types import Key

GREEDY, UNIFORM, UPPER, THOMPSON, CONTENDERS, EVALUATION, INFORMED = range(7)
SIMULATIONS = 64


class Believed(NamedTuple):
    """What the round's outcome model says of N requests, [N, K] each.

    mean: of utility. marginal, contrast: posterior deviations of utility, of a model's own and of its difference to
    the best. width: sqrt(x' P^-1 x), the deviation in units of the noise. error: root mean squared error of the
    prediction, noise included. cost: expected. informed: decisions of full feedback, for the bound alone. age: rounds
    in which a model could be chosen, [K].
    """

    mean: Float[Array, "N K"]
    marginal: Float[Array, "N K"]
    contrast: Float[Array, "N K"]
    width: Float[Array, "N K"]
    error: Float[Array, "N K"]
    cost: Float[Array, "N K"]
    informed: Float[Array, "N K"]
    age: Float[Array, " K"]
    available: Bool[Array, "N K"]


class Knobs(NamedTuple):
    """A rule and its numbers, all traced, so that one compiled round serves every policy.

    rate: epsilon, or the factor of the width or of the deviation. fade: what a model's deviation is multiplied by with
    every round of its age, so that exploration comes early, and again for a new model. floor: share spread evenly.
    loss: limit on a request's expected loss against the router, in quality units. joint: deviations of contrasts, not
    marginal ones. forget: what a row's weight is multiplied by with every further request. shadow: answers bought for
    each request, for prompts that every model answers; uniform exploration of that epsilon buys as many. free: 1 where
    the router's own answer is served and the explored one is logged, at no cost; every: 1 where every
    model's is. Both are no policies but bounds.
    """

    rule: int
    rate: float = 0.0
    floor: float = 0.0
    loss: float = jnp.inf
    level: float = policies.exploration.LEVEL
    joint: float = 0.0
    forget: float = 1.0
    shadow: float = 0.0
    fade: float = 1.0
    free: float = 0.0
    every: float = 0.0


def probabilities(key: Key, seen: Believed, knobs: Knobs) -> Float[Array, "N K"]:
    """[N, K] of the rule, after the limit on loss."""
    router = policies.greedy(seen.mean, available=seen.available)
    deviation = knobs.rate * (knobs.fade**seen.age)[None] * jnp.where(knobs.joint > 0, seen.contrast, seen.marginal)
    mask = {"available": seen.available}

    def sampled(floor: Array | float) -> Array:
        return policies.thompson(key, seen.mean, deviation, simulations=SIMULATIONS, floor=floor, **mask).probabilities

    def upper() -> Array:
        return policies.greedy(seen.mean + knobs.rate * seen.width, **mask)

    rules = (
        lambda: router,
        lambda: policies.epsilon_greedy(seen.mean, epsilon=knobs.rate, **mask),
        upper,
        lambda: sampled(knobs.floor),
        lambda: policies.contenders(
            seen.mean, seen.contrast, epsilon=knobs.rate, floor=knobs.floor, level=knobs.level, **mask
        ),
        lambda: policies.for_evaluation(sampled(0.0), seen.error, floor=knobs.floor, baseline=router, **mask),
        lambda: policies.for_evaluation(seen.informed, seen.error, floor=0.0, baseline=router, **mask),
    )
    explored = jax.lax.switch(knobs.rule, rules)
    return policies.limited(explored, router, cost=seen.cost, utility=seen.mean, loss=knobs.loss, **mask)
