"""Logged propensities are trusted as far down as the log has rows: values, intervals and refusals, simulated."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxroute import estimators
from jaxroute.types import Logs, Nuisances, Outcomes

ROWS, MODELS, FLOOR = 10_000, 4, 0.02
EDGES = 0.5


def quality_of(x):
    return 1 / (1 + np.exp(-(np.array([0.3, 0.6, 0.0, 1.0]) + np.outer(x, [1.0, -1.0, 0.5, 0.2]))))


def target_of(x):
    """Between the edges model 3, which the log hardly tries."""
    return np.eye(MODELS)[np.where(x > EDGES, 0, np.where(x < -EDGES, 1, 3))]


def policy_of(x, hole=0.0):
    """Models 0 and 1 by x, the others on FLOOR of the requests; within the hole model 3 never."""
    first = norm.cdf(x)
    p = np.full((len(x), MODELS), FLOOR)
    p[:, 0] += (1 - MODELS * FLOOR) * first
    p[:, 1] += (1 - MODELS * FLOOR) * (1 - first)
    p[np.abs(x) < hole, 3] = 0
    return p / p.sum(1, keepdims=True)


def drawn(seed, hole=0.0):
    """A log, its target, and nuisances that are wrong: means alone, and the floor everywhere, also in the hole."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=ROWS)
    p = policy_of(x, hole)
    action = (p.cumsum(1) < rng.random((ROWS, 1))).sum(1).clip(0, MODELS - 1)
    n = np.arange(ROWS)
    answers = (rng.random(ROWS) < quality_of(x)[n, action]).astype(float)
    means = np.tile([answers[action == k].mean() for k in range(MODELS)], (ROWS, 1))
    every = np.ones((ROWS, MODELS))
    logs = Logs(*map(jnp.asarray, (x[:, None], action, answers, np.ones(ROWS), p[n, action], every > 0)))
    return logs, target_of(x), Nuisances(jnp.asarray(policy_of(x)), Outcomes(jnp.asarray(means), jnp.asarray(every)))


def test_intervals_hold_the_truth_where_a_model_was_tried_on_two_of_a_hundred_requests():
    """80 logs; with propensities that are estimated each is refused, and the outcome model's guess is 0.07 off."""
    x = np.linspace(-6, 6, 200_001)
    truth = np.average((target_of(x) * quality_of(x)).sum(1), weights=norm.pdf(x))
    found, guessed = [], []
    for seed in range(80):
        logs, target, nuisances = drawn(seed)
        (one,) = estimators.evaluate(logs, jnp.asarray(target), 0.0, nuisances)
        found.append((one.verdict, *(one.interval or (np.nan, np.nan))))
        if seed < 3:
            (other,) = estimators.evaluate(logs._replace(propensity=logs.propensity * jnp.nan), target, 0.0, nuisances)
            guessed.append((other.verdict, other.value))
    verdicts, low, high = zip(*found, strict=True)
    usable = np.array(verdicts) != "refuse"
    assert usable.mean() > 0.85
    covered = (np.array(low) <= truth) & (truth <= np.array(high))
    assert covered[usable].mean() > 0.87  # 0.95 less four of its errors
    assert {verdict for verdict, _ in guessed} == {"refuse"}
    assert all(abs(value - truth) > 0.04 for _, value in guessed)


def test_a_hole_that_fitted_propensities_do_not_see_is_refused():
    for seed in range(5):
        logs, target, nuisances = drawn(seed, hole=0.25)
        assert estimators.trusted_clip(logs, target) == estimators.evaluation_clip(MODELS)
        (one,) = estimators.evaluate(logs, jnp.asarray(target), 0.0, nuisances)
        assert one.verdict == "refuse"


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_rule_against_a_loop(grouped, weighted):
    rng = np.random.default_rng(3)
    rows, models = 3000, 3
    p = rng.dirichlet(np.ones(models), rows)
    p = 0.12 * np.ones_like(p) / models + 0.88 * p
    action = (p.cumsum(1) < rng.random((rows, 1))).sum(1).clip(0, models - 1)
    group = np.arange(rows) // 3 if grouped else None
    times = rng.uniform(0.5, 2.0, rows) if weighted else None
    known = p[np.arange(rows), action]
    rated = np.where(rng.random(rows) < 0.8, 1.0, np.nan)
    logs = Logs(np.zeros((rows, 1)), action, rated, np.ones(rows), known, np.ones((rows, models), bool), group, times)
    for target in (np.eye(models)[np.zeros(rows, int)], 0.9 * p, 0.97 * p):
        s = np.ones(rows) if times is None else times
        sums, total, clusters = 0.0, s.sum(), {}
        weight = [target[i, action[i]] / known[i] for i in range(rows)]
        mean = sum(s[i] * weight[i] for i in range(rows)) / total
        for i in range(rows):
            label = i if group is None else group[i]
            clusters[label] = clusters.get(label, 0.0) + s[i] * (weight[i] - mean)
        error = sum(v**2 for v in clusters.values()) ** 0.5 / total
        sums = mean + 3 * error
        expected = 0.05 if sums < 1 - 1e-6 else min(0.05, max(known.min() / 2, 100 / np.isfinite(rated).sum()))
        assert estimators.trusted_clip(logs, target) == pytest.approx(expected)


def test_logs_of_one_kind_are_as_before():
    logs, target, _ = drawn(0)
    some = jnp.where(jnp.arange(ROWS) < 1, jnp.nan, logs.propensity)
    assert estimators.trusted_clip(logs, target) == pytest.approx(FLOOR / 2)
    assert estimators.trusted_clip(logs._replace(propensity=some), target) == 0.05
    assert estimators.trusted_clip(logs._replace(propensity=jnp.ones(ROWS)), target) == 0.05
    assert estimators.trusted_clip(logs._replace(quality=logs.quality * jnp.nan), target) == 0.05
