"""Estimators whose weights are those of families of models: against NumPy, and simulated bias, error and coverage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.numerics import as_arrays
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

DRAWS, ROWS, FAMILIES, SIZE = 400, 500, 5, 8
K = FAMILIES * SIZE
FAMILY = np.arange(K) // SIZE
RNG = np.random.default_rng(0)
LEVEL, SLOPE = RNG.uniform(0.3, 0.7, FAMILIES), RNG.uniform(-0.4, 0.4, FAMILIES)
WITHIN = RNG.uniform(-0.15, 0.15, K)
LOGIT = 0.8 * RNG.normal(size=K)
WRONG = RNG.uniform(-0.3, 0.3, FAMILIES)


def a_log(rng, rows=60, models=7):
    """A log with missing feedback, and nuisances, all random."""
    propensity = rng.dirichlet(np.ones(models), rows)
    action = np.array([rng.choice(models, p=p) for p in propensity])
    quality = np.where(rng.random(rows) < 0.2, np.nan, rng.random(rows))
    available = np.ones((rows, models), bool)
    logs = Logs(np.zeros((rows, 1)), action, quality, rng.random(rows), propensity[np.arange(rows), action], available)
    outcomes = Outcomes(rng.random((rows, models)), rng.random((rows, models)))
    return as_arrays((logs, Nuisances(propensity, outcomes))), rng.dirichlet(np.ones(models), rows)


@pytest.mark.modes
@pytest.mark.parametrize("response", [False, True])
def test_values_match_a_loop(response):
    (logs, nuisances), target = a_log(np.random.default_rng(3))
    rows, models = target.shape
    family, clip, cap, cost_weight = np.array([0, 1, 0, 2, 1, 1, 2]), 0.2, 1.5, 0.4
    answered = np.random.default_rng(4).uniform(0.5, 1, rows) if response else np.ones(rows)
    if response:
        nuisances = nuisances._replace(response=jnp.asarray(answered))
    p, (q, c) = np.asarray(nuisances.propensity), (np.asarray(y) for y in nuisances.outcomes)
    direct, corrected, weighed, seen = [], [], [], 0
    for i in range(rows):
        a = int(logs.action[i])
        direct.append(sum(target[i, k] * (q[i, k] - cost_weight * c[i, k]) for k in range(models)))
        if np.isnan(logs.quality[i]):
            continue
        seen += 1
        mates = [k for k in range(models) if family[k] == family[a]]
        w = sum(target[i, k] for k in mates) / max(sum(p[i, k] for k in mates), clip) / answered[i]
        r = float(logs.quality[i] - cost_weight * logs.cost[i])
        weighed.append(min(w, cap) * r)
        corrected.append(min(w, cap) * (r - (q[i, a] - cost_weight * c[i, a])))
    given = {"family": family, "clip": clip, "weight_clip": cap}
    count = rows if response else seen
    value = estimators.marginalised_ipw(logs, jnp.asarray(target), cost_weight, nuisances, **given).value
    np.testing.assert_allclose(value, np.sum(weighed) / count, rtol=1e-5)
    value = estimators.marginalised_doubly_robust(logs, jnp.asarray(target), cost_weight, nuisances, **given).value
    np.testing.assert_allclose(value, np.mean(direct) + np.sum(corrected) / count, rtol=1e-5)


def test_families_of_one_model_change_nothing():
    (logs, nuisances), target = a_log(np.random.default_rng(5))
    for ours, plain in (
        (estimators.marginalised_ipw, estimators.ipw),
        (estimators.marginalised_doubly_robust, estimators.doubly_robust),
    ):
        found = ours(logs, jnp.asarray(target), 0.3, nuisances, family=jnp.arange(7), clip=0.1, weight_clip=4.0)
        np.testing.assert_allclose(found, plain(logs, target, 0.3, nuisances, clip=0.1, weight_clip=4.0), rtol=1e-5)


def test_models_that_answer_alike_are_one_family():
    rng = np.random.default_rng(6)
    of_prompts = rng.random((3, 50))
    label = np.array([2, 0, 0, 1, 2, 1, 0])
    np.testing.assert_array_equal(
        estimators.families(of_prompts[label] + 0.05 * rng.random((7, 50)), 3), [0, 1, 1, 2, 0, 2, 1]
    )
    assert len(set(estimators.families(rng.random((6, 2)), 6))) == 6
    for wrong, message in ((0, "count=0: there are 6 models"), (7, "count=7")):
        with pytest.raises(InputError, match=message):
            estimators.families(rng.random((6, 2)), wrong)
    with pytest.raises(InputError, match="not finite"):
        estimators.families(np.full((3, 1), np.nan), 2)


def policy(logit):
    z = np.exp(logit - logit.max())
    return jnp.asarray(z / z.sum(), jnp.float32)


LOGGED, TARGET = policy(LOGIT), policy(-1.0 * LOGIT + 3 * WITHIN)


def quality_of(x, within):
    return (LEVEL[FAMILY] + within)[None] + SLOPE[FAMILY][None] * x[:, None]


@jax.jit
def simulated(key, within, believed_within):
    """One log: dr, marginalised dr and marginalised ipw of the target."""
    keys = jax.random.split(key, 3)
    x = jax.random.uniform(keys[0], (ROWS,), minval=-0.5, maxval=0.5)
    action = jax.random.categorical(keys[1], jnp.log(LOGGED), shape=(ROWS,))
    quality = quality_of(x, within)
    answered = jax.random.uniform(keys[2], (ROWS,)) < jnp.take_along_axis(quality, action[:, None], 1)[:, 0]
    zero, every = jnp.zeros(ROWS), jnp.ones((ROWS, K), bool)
    logs = Logs(x[:, None], action, answered.astype(jnp.float32), zero, LOGGED[action], every)
    believed = quality_of(x, believed_within) + WRONG[FAMILY][None] * (1 + x[:, None])
    nuisances = Nuisances(jnp.broadcast_to(LOGGED, (ROWS, K)), Outcomes(believed, jnp.zeros((ROWS, K))))
    target = jnp.broadcast_to(TARGET, (ROWS, K))
    return (
        estimators.doubly_robust(logs, target, 0.0, nuisances),
        estimators.marginalised_doubly_robust(logs, target, 0.0, nuisances, family=FAMILY),
        estimators.marginalised_ipw(logs, target, 0.0, nuisances, family=FAMILY),
    )


def truth(within):
    """x has mean 0."""
    return float(np.asarray(TARGET) @ (LEVEL[FAMILY] + within))


def summary(found, value):
    """(bias, root mean squared error, coverage of 95% intervals)."""
    miss = np.asarray(found.value, float) - value
    half = estimators.half_width(found.effective_sample_size) * np.asarray(found.standard_error)
    return miss.mean(), (miss**2).mean() ** 0.5, (np.abs(miss) <= half).mean()


def test_bias_error_and_coverage():
    """400 logs: unbiased with the error of families where their assumption holds, biased where it does not."""
    keys = jax.random.split(jax.random.key(0), DRAWS)
    every = jax.vmap(simulated, (0, None, None))
    robust, ours, _ = (summary(y, truth(WITHIN)) for y in every(keys, WITHIN, WITHIN))
    *_, alike = (summary(y, truth(0 * WITHIN)) for y in every(keys, 0 * WITHIN, 0 * WITHIN))
    _, wrong, weighed = (summary(y, truth(WITHIN)) for y in every(keys, WITHIN, -WITHIN))
    print(f"dr {robust}, marginalised dr {ours}, ipw alike {alike}, wrong within {wrong}, {weighed}")
    monte_carlo = 3 * ours[1] / DRAWS**0.5
    assert abs(ours[0]) < monte_carlo
    assert abs(alike[0]) < 3 * alike[1] / DRAWS**0.5
    assert ours[1] < robust[1] / 3
    for coverage in (ours[2], alike[2]):
        assert abs(coverage - 0.95) < 0.035  # three Monte Carlo errors
    assert abs(wrong[0]) > 10 * monte_carlo
    assert wrong[2] < 0.8
    assert weighed[2] < 0.92
