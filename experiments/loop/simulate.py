"""Ten rounds of one policy on one table under one scenario, all seeds in one program."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.loop import bayes, problem, rounds
from experiments.loop.problem import START, Loop
from experiments.loop.rounds import Statistics
from experiments.loop.rules import Knobs
from jaxroute.types import Key

COMMON, RIDGE, PRIOR, NEURAL, BARP = "common", "ridge", "prior", "neural", "barp"
"""Learners: the loop's own; a ridge regression for each model; the same around what the start log says; networks."""
LOOP = 7
CHOOSES = (0, 3, 6)
"""Rounds done before which the ratios are chosen anew."""


class Policy(NamedTuple):
    """What a line of the tables is: how it explores, and what it learns with."""

    knobs: Knobs
    learner: str = COMMON


_round = jax.jit(jax.vmap(rounds.one_round, (0, 0, 0, None, 0, 0)))
_choose = jax.jit(jax.vmap(bayes.choose))
_fit = jax.jit(jax.vmap(bayes.fit))


def run(loop: Loop, scenario: str, policy: Policy) -> pd.DataFrame:
    """A row per seed and round. Regrets are in points, cumulative ones in answers' worth of quality."""
    models, seeds = loop.world.price.shape[1], len(loop.seeds)
    conditions = [problem.weather(scenario, int(best), models, loop.rounds) for best in loop.best]
    state = _start(loop, conditions, policy)
    found = []
    for number in range(1, loop.rounds + 1):
        weather = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[each[number] for each in conditions])
        if policy.learner == COMMON and number - 1 in CHOOSES:
            state = jax.block_until_ready(state._replace(ratios=_choose(state.seen)))
        keys = jnp.stack([key_of(seed, number) for seed in loop.seeds])
        place = START + (number - 1) * loop.requests
        prompts = loop.world.order[:, place : place + loop.requests]
        state, measured, _ = jax.block_until_ready(_round(keys, loop.world, state, policy.knobs, weather, prompts))
        found.append(measured)
    return frame(loop, found, seeds)


def _start(loop: Loop, conditions: list[list[rounds.Weather]], policy: Policy) -> rounds.State:
    worlds = [jax.tree.map(lambda leaf, i=i: leaf[i], loop.world) for i in range(len(loop.seeds))]
    statistics = [
        problem.start(world, first, each[0], seed)[0]
        for world, first, each, seed in zip(worlds, loop.first, conditions, loop.seeds, strict=True)
    ]
    seen: Statistics = jax.tree.map(lambda *leaves: jnp.stack(leaves), *statistics)
    ridge = jnp.broadcast_to(jnp.array([bayes.DISJOINT, 1.0, 1.0]), (len(worlds), 2, 3))
    there = jnp.stack([each[0].available for each in conditions])
    if policy.learner == COMMON:
        return jax.vmap(problem.state_of)(seen, _choose(seen), there)
    if policy.learner == PRIOR:  # the start log is no data: its coefficients are what the ridge shrinks to
        known = _fit(seen, _choose(seen)).mean
        seen = jax.tree.map(jnp.zeros_like, seen)._replace(moment=known)
    return jax.vmap(problem.state_of)(seen, ridge, there)


def key_of(seed: int, number: int) -> Key:
    """Of a seed's round: the same draws for every policy."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), LOOP), number)


def frame(loop: Loop, found: list[rounds.Measured], seeds: int) -> pd.DataFrame:
    """Rounds as rows: seed, round, and what was measured."""
    numbers = {name: np.stack([np.asarray(getattr(m, name)) for m in found], 1) for name in rounds.Measured._fields}
    served, own, ceiling = (loop.requests * np.cumsum(numbers[name], 1) for name in ("served", "own", "ceiling"))
    return pd.DataFrame(
        {
            "seed": np.repeat(loop.seeds, loop.rounds),
            "round": np.tile(np.arange(1, loop.rounds + 1), seeds),
            "regret": 100 * numbers["regret"].ravel(),
            "cumulative_regret": served.ravel(),
            "dollars": loop.scale * numbers["dollars"].ravel(),
            "half_width": 100 * numbers["half_width"].ravel(),
            "served": 100 * numbers["served"].ravel(),
            "cumulative_excess": (served - ceiling).ravel(),
            "cumulative_exploration": (served - own).ravel(),
            "gain": 100 * numbers["gain"].ravel(),
            "true_gain": 100 * numbers["truth"].ravel(),
            "covered": numbers["covered"].ravel(),
        }
    )
