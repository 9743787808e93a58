"""Weights by age: chosen where a log drifted and left alone where it did not, and better for what comes next."""

import jax
import numpy as np
import pytest
from test_drift import simulated

from jaxroute.estimators import recency
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

DAYS = 86400.0 / 60


def at(seed, **change):
    logs, nuisances, time = simulated(seed, sessions=1, **change)
    return logs, nuisances, time * DAYS / 10  # a log of 60 days


def test_without_a_change_no_half_life_is_chosen_in_nine_logs_of_ten():
    chosen = [recency.choose(*at(seed)).half_life for seed in range(100)]
    assert np.mean(np.isinf(chosen)) >= 0.9


def drifting(seed, rows=1200):
    """Two of three models change places within 60 days: their quality is 0.35 and 0.7 at the end."""
    draws = np.random.default_rng(seed)
    share, action = np.linspace(0, 1, rows), draws.integers(0, 3, rows)
    chance = np.stack([0.7 - 0.35 * share, 0.35 + 0.35 * share, np.full(rows, 0.5)], 1)[np.arange(rows), action]
    quality = (draws.random(rows) < chance).astype(float)
    third, every = np.full((rows, 3), 1 / 3), np.ones((rows, 3), bool)
    logs = Logs(np.zeros((rows, 1)), action, quality, np.ones(rows), third[:, 0], every)
    believed = np.broadcast_to([quality[action == k].mean() for k in range(3)], (rows, 3))
    return logs, Nuisances(third, Outcomes(believed, np.ones((rows, 3)))), share * 60 * recency.DAY


def test_after_a_change_the_half_life_is_finite_and_the_levels_are_those_of_the_end():
    found, weighed, plain = [], [], []
    for seed in range(40):
        logs, nuisances, time = drifting(seed)
        found.append(recency.choose(logs, nuisances, time).half_life)
        weight = recency.weigh(logs, time, found[-1]).weight
        weight = np.ones(len(time)) if weight is None else weight
        for weights, errors in ((weight, weighed), (np.ones(len(time)), plain)):
            means = [np.average(logs.quality[own], weights=weights[own]) for own in (logs.action == k for k in (0, 1))]
            errors.append(np.square(np.subtract(means, [0.35, 0.7])).mean())
    assert np.mean(np.isfinite(found)) >= 0.9
    assert np.sqrt(np.mean(weighed)) < 0.6 * np.sqrt(np.mean(plain))


def test_weights_halve_multiply_and_ask_for_times():
    logs, _, time = at(0)
    own = recency.weigh(logs._replace(weight=np.full(600, 3.0)), time, 30.0).weight
    np.testing.assert_allclose(own, 3 * 0.5 ** ((time.max() - time) / (30 * 86400)), rtol=1e-6)
    assert recency.apply(jax.tree.map(np.asarray, logs), time, "7")[1] == 7
    assert recency.weigh(logs, time, np.inf).weight is None
    for wrong in ("soon", -1):
        with pytest.raises(InputError, match="give days"):
            recency.apply(logs, time, wrong)
    with pytest.raises(InputError, match="no times"):
        recency.apply(logs, None, "auto")
    with pytest.raises(InputError, match="1 rows have no time"):
        recency.apply(logs, np.where(np.arange(600) == 3, np.nan, time), 7)
    with pytest.raises(InputError, match="all rows have the same time"):
        recency.apply(logs, np.full(600, 3.0), 7)
