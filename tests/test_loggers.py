"""Propensities of logs that several policies wrote: against NumPy, and simulated bias, error and coverage."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute import estimators
from jaxroute.estimators import loggers
from jaxroute.types import Logs, Nuisances, Outcomes

DRAWS, ROWS = 400, 300  # of each of two policies
QUALITY = jnp.array([0.5, 0.7, 0.3])
OLD, NEW = jnp.array([0.9, 0.02, 0.08]), jnp.array([0.1, 0.6, 0.3])
TARGET = jnp.array([0.1, 0.8, 0.1])


def two_policies(rng, rows=80):
    """(by_logger [N, 2], logger, log) with random propensities."""
    by_policy = rng.dirichlet(np.ones(3), (rows, 2))  # [N, 2, K]
    logger = (np.arange(rows) >= 50).astype(int)
    action = np.array([rng.choice(3, p=p[of]) for p, of in zip(by_policy, logger, strict=True)])
    by_logger = by_policy[np.arange(rows), :, action]
    own = by_logger[np.arange(rows), logger]
    logs = Logs(np.zeros((rows, 1)), action, rng.random(rows), rng.random(rows), own, np.ones((rows, 3), bool))
    return by_logger, logger, jax.tree.map(jnp.asarray, logs)


def test_balanced_weights_match_a_loop():
    rng = np.random.default_rng(0)
    by_logger, logger, logs = two_policies(rng)
    target = rng.dirichlet(np.ones(3), 80)
    found = logs._replace(propensity=estimators.balanced(by_logger, logger))
    total = 0.0
    for i in range(80):
        mixture = (50 * by_logger[i, 0] + 30 * by_logger[i, 1]) / 80
        total += target[i, logs.action[i]] / mixture * float(logs.quality[i] - 0.3 * logs.cost[i])
    np.testing.assert_allclose(estimators.ipw(found, jnp.asarray(target), 0.3).value, total / 80, rtol=1e-5)


def test_weighted_is_the_weighted_mean_of_the_policies_own_estimates():
    rng = np.random.default_rng(1)
    _, logger, logs = two_policies(rng)
    target = rng.dirichlet(np.ones(3), 80)
    w = target[np.arange(80), np.asarray(logs.action)] / np.asarray(logs.propensity)
    share = np.array([(logger == of).sum() ** 2 / (w[logger == of] ** 2).sum() for of in (0, 1)])
    share /= share.sum()
    own = [(w * np.asarray(logs.quality - 0.3 * logs.cost))[logger == of].mean() for of in (0, 1)]
    changed = logs._replace(propensity=estimators.weighted(logs, jnp.asarray(target), logger, 2))
    np.testing.assert_allclose(estimators.ipw(changed, jnp.asarray(target), 0.3).value, share @ own, rtol=1e-5)


def test_a_policy_that_never_chose_as_the_target_has_no_share():
    _, logger, logs = two_policies(np.random.default_rng(2))
    target = np.zeros((80, 3))
    target[:, 1] = 1
    logs = logs._replace(action=jnp.where(logger == 0, 0, logs.action))
    propensity = np.asarray(estimators.weighted(logs, jnp.asarray(target), logger, 2))
    assert np.isinf(propensity[:50]).all()
    np.testing.assert_allclose(propensity[50:], np.asarray(logs.propensity)[50:] * 30 / 80, rtol=1e-5)


def test_propensities_are_put_where_estimators_read_them():
    rng = np.random.default_rng(3)
    by_logger, logger, logs = two_policies(rng)
    rest = jnp.asarray(rng.random((80, 3)))
    nuisances = Nuisances(rest, Outcomes(rest, rest))
    balanced = estimators.balanced(by_logger, logger)
    changed, beside = estimators.with_propensity(logs, nuisances, balanced)
    target = jnp.asarray(rng.dirichlet(np.ones(3), 80))
    for one, other in zip(
        estimators.ipw(changed, target, 0.3), estimators.ipw(changed, target, 0.3, beside), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    others = np.asarray(jax.nn.one_hot(logs.action, 3)) == 0
    np.testing.assert_array_equal(np.asarray(beside.propensity)[others], np.asarray(rest)[others])


@jax.jit
def simulated(key):
    """One log: doubly robust values with own, weighted and balanced propensities."""
    first, second, third = jax.random.split(key, 3)
    logger = (jnp.arange(2 * ROWS) >= ROWS).astype(int)
    probability = jnp.stack([OLD, NEW])
    action = jax.random.categorical(first, jnp.log(probability)[logger])
    hard = jax.random.uniform(third, (2 * ROWS,), minval=-0.2, maxval=0.2)
    quality = (jax.random.uniform(second, (2 * ROWS,)) < QUALITY[action] + hard).astype(jnp.float32)
    zeros, every = jnp.zeros(2 * ROWS), jnp.ones((2 * ROWS, 3), bool)
    logs = Logs(hard[:, None], action, quality, zeros, probability[logger, action], every)
    target = jnp.broadcast_to(TARGET, (2 * ROWS, 3))
    believed = jnp.broadcast_to(QUALITY[::-1], (2 * ROWS, 3))  # wrong
    nuisances = Nuisances(probability[logger], Outcomes(believed, jnp.zeros((2 * ROWS, 3))))
    propensities = (
        logs.propensity,
        estimators.weighted(logs, target, logger, 2),
        estimators.balanced(probability[:, action].T, logger),
    )
    changed = (estimators.with_propensity(logs, nuisances, p) for p in propensities)
    return [estimators.doubly_robust(log, target, 0.0, beside) for log, beside in changed]


def test_bias_error_and_coverage():
    """400 logs of 300 rows before and 300 after a change of policy; the outcome model is wrong."""
    truth = float(TARGET @ QUALITY)
    found = []
    for estimate in jax.vmap(simulated)(jax.random.split(jax.random.key(0), DRAWS)):
        miss = np.asarray(estimate.value, float) - truth
        half = estimators.half_width(estimate.effective_sample_size) * np.asarray(estimate.standard_error)
        found.append((miss.mean(), (miss**2).mean() ** 0.5, (np.abs(miss) <= half).mean()))
    print(found)
    own, weighted, balanced = found
    for bias, error, coverage in found:
        assert abs(bias) < 3 * error / DRAWS**0.5
        assert coverage > 0.92
    assert balanced[1] < 0.8 * own[1]
    assert weighted[1] < 0.9 * own[1]
    assert balanced[1] < weighted[1]


def test_the_policy_of_a_log_has_the_value_of_the_log_where_the_logger_knew_more_than_the_features():
    rng, worth = np.random.default_rng(0), np.array([[0.9, 0.9, 0.9], [0.2, 0.5, 0.9]])
    hard = rng.integers(0, 2, 4000)
    chances = np.where(hard[:, None] == 1, [0.05, 0.05, 0.9], [0.9, 0.05, 0.05])
    action = (chances.cumsum(1) > rng.random((4000, 1))).argmax(1)
    quality = (rng.random(4000) < worth[hard, action]).astype(float)
    known = chances[np.arange(4000), action]
    logs = Logs(np.zeros((4000, 1)), action, quality, np.ones(4000), known, np.ones((4000, 3), bool))
    logs = jax.tree.map(jnp.asarray, logs)
    share = np.tile(np.bincount(action) / 4000, (4000, 1))  # all that the features say
    share[np.arange(4000), action] = known
    level = jnp.tile(jnp.array([0.55, 0.7, 0.9]), (4000, 1))
    nuisances = Nuisances(jnp.asarray(share, jnp.float32), Outcomes(level, jnp.ones((4000, 3))))
    target = loggers.of_log(logs, nuisances, clip=0.06)
    found = estimators.self_normalised_doubly_robust(logs, target, 0.0, nuisances, clip=0.06)
    weights = np.asarray(target)[np.arange(4000), action] / np.maximum(known, 0.06)
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    predicted = np.asarray(level)
    direct = (np.asarray(target) * predicted).sum(1)
    by_hand = (direct + quality - predicted[np.arange(4000), action]).mean()
    np.testing.assert_allclose(found.value, by_hand, rtol=1e-5)
    np.testing.assert_allclose(found.value, quality.mean(), atol=0.005)  # 0.85 of a policy that is scaled to one


def test_the_policy_of_a_log_takes_what_is_left_where_one_model_was_available():
    available = np.array([[True, False], [True, True]])
    logs = Logs(np.zeros((2, 1)), np.zeros(2, int), np.ones(2), np.ones(2), np.array([0.5, 0.25]), available)
    half = jnp.full((2, 2), 0.5).at[:, 0].set(jnp.array([0.5, 0.25]))
    np.testing.assert_allclose(loggers.of_log(logs, Nuisances(half, Outcomes(half, half))), [[1, 0], [0.25, 0.75]])
