"""Off-policy estimators on many logs of a simulated truth: bias with either nuisance wrong, and coverage."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.types import Estimate, Logs, Nuisances, Outcomes

# With 200 rows the normal interval of the self-normalised estimators covers 93.5%, with 600 some 94.5%.
N, K, DRAWS = 600, 3, 2000
COST_WEIGHT = 0.5
METHODS = {
    "dm": estimators.direct_method,
    "ipw": estimators.ipw,
    "snipw": estimators.snipw,
    "dr": estimators.doubly_robust,
    "sndr": estimators.self_normalised_doubly_robust,
}


def world(x):
    """Conditional mean quality and cost, and logging propensity, of three models on features x [N]."""
    slope, level = jnp.array([[0.4, -0.3, 0.1]]), jnp.array([[0.3, 0.6, 0.5]])
    quality = level + slope * x[:, None]
    cost = jnp.array([[0.1, 0.4, 0.2]]) * (1 + x[:, None])
    propensity = jax.nn.softmax(jnp.array([[1.0, -1.0, 0.0]]) * (2 * x[:, None] - 1), -1)
    return quality, cost, 0.1 + 0.7 * propensity


def policy(x):
    return jax.nn.softmax(jnp.array([[-1.0, 2.0, 0.0]]) * x[:, None], -1)


def draw(key, wrong_propensity, wrong_outcomes, answered):
    """One log with some feedback lost, its target policy, and nuisances of which either may be wrong."""
    keys = jax.random.split(key, 5)
    x = jax.random.uniform(keys[0], (N,))
    mean, cost, propensity = world(x)
    action = jax.random.categorical(keys[1], jnp.log(propensity))
    taken = action[:, None]
    chance = jnp.take_along_axis(mean, taken, 1)[:, 0]
    quality = (jax.random.uniform(keys[2], (N,)) < chance).astype(float)
    quality = jnp.where(jax.random.uniform(keys[4], (N,)) < answered, quality, jnp.nan)
    noise = 0.1 * jax.random.uniform(keys[3], (N,))
    logs = Logs(
        x[:, None],
        action,
        quality,
        jnp.take_along_axis(cost, taken, 1)[:, 0] + noise - 0.05,
        jnp.take_along_axis(propensity, taken, 1)[:, 0],
        jnp.ones((N, K), bool),
    )
    propensity = jnp.where(wrong_propensity, 1 / K, propensity)
    right, wrong = Outcomes(mean, cost), Outcomes(1 - mean, cost[:, ::-1])
    predicted = jax.tree.map(partial(jnp.where, wrong_outcomes), wrong, right)
    return logs, policy(x), Nuisances(propensity, predicted)


@jax.jit
def estimates_of_logs(keys, *settings):
    def one(key):
        logs, target, nuisances = draw(key, *settings)
        return {name: method(logs, target, COST_WEIGHT, nuisances) for name, method in METHODS.items()}

    return jax.vmap(one)(keys)


@cache
def replicates(wrong_propensity, wrong_outcomes, answered=1.0) -> dict[str, Estimate]:
    """Estimates of every method on the same 2000 logs."""
    every = estimates_of_logs(jax.random.split(jax.random.key(0), DRAWS), wrong_propensity, wrong_outcomes, answered)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), every)


@pytest.fixture(scope="module")
def truth():
    grid = np.linspace(0, 1, 20_001, dtype=np.float32)  # features are uniform: an integral by the trapezoid rule
    (quality, cost, _), target = jax.jit(lambda x: (world(x), policy(x)))(grid)
    return float(np.trapezoid(np.sum(np.asarray(target) * (quality - COST_WEIGHT * cost), -1), grid))


def bias_in_errors(estimates, truth):
    return (estimates.value.mean() - truth) / (estimates.value.std(ddof=1) / np.sqrt(DRAWS))


@pytest.mark.parametrize(("wrong_propensity", "wrong_outcomes", "victim"), [(True, False, "ipw"), (False, True, "dm")])
def test_doubly_robust_survives_either_nuisance_wrong(truth, wrong_propensity, wrong_outcomes, victim):
    estimates = replicates(wrong_propensity, wrong_outcomes)
    assert abs(bias_in_errors(estimates["dr"], truth)) < 4
    # and the wrong nuisance is wrong enough to matter
    assert abs(bias_in_errors(estimates[victim], truth)) > 10


def test_nothing_survives_both_nuisances_wrong(truth):
    assert abs(bias_in_errors(replicates(True, True)["dr"], truth)) > 10


@pytest.mark.parametrize("name", ["ipw", "snipw", "dr", "sndr"])
@pytest.mark.parametrize("answered", [1.0, 0.6])
def test_coverage_of_the_normal_interval(truth, name, answered):
    estimates = replicates(False, True, answered)[name]
    covered = (np.abs(estimates.value - truth) <= 1.96 * estimates.standard_error).mean()
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / DRAWS)
    np.testing.assert_allclose(estimates.standard_error.mean(), estimates.value.std(ddof=1), rtol=0.06)
