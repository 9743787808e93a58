"""Paired differences, simultaneous bands and the bootstrap, against NumPy and simulated coverage."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.estimators import Rows
from jaxroute.types import InputError, Logs, Nuisances, Outcomes


def simulated(seed=0, N=60, K=3, groups=None):
    rng = np.random.default_rng(seed)
    propensity = rng.dirichlet(np.full(K, 3.0), N)
    action = np.array([rng.choice(K, p=row) for row in propensity])
    logs = Logs(
        features=jnp.zeros((N, 2)),
        action=jnp.asarray(action),
        quality=jnp.asarray(rng.uniform(size=N), jnp.float32),
        cost=jnp.asarray(rng.uniform(size=N), jnp.float32),
        propensity=jnp.asarray(propensity[np.arange(N), action], jnp.float32),
        available=jnp.ones((N, K), bool),
        group=None if groups is None else jnp.asarray(rng.integers(groups, size=N)),
    )
    predicted = jnp.asarray(rng.uniform(size=(2, N, K)), jnp.float32)
    target = jnp.asarray(rng.dirichlet(np.ones(K), N), jnp.float32)
    return logs, target, Nuisances(jnp.asarray(propensity, jnp.float32), Outcomes(*predicted))


@pytest.mark.modes
@pytest.mark.parametrize("groups", [None, 12])
def test_difference_is_the_paired_one(groups):
    logs, target, nuisances = simulated(groups=groups)
    a, b = (estimators.rows(logs, t, 0.5, nuisances, self_normalised=True) for t in (target, target[::-1]))
    got = estimators.difference(a, b)
    z = np.asarray(a.influence - b.influence, np.float64)
    label = np.arange(60) if groups is None else np.asarray(logs.group)
    sums = np.array([(z - z.mean())[label == g].sum() for g in np.unique(label)])
    G = len(sums)
    np.testing.assert_allclose(got.value, z.mean(), rtol=1e-4)
    np.testing.assert_allclose(got.standard_error, np.sqrt(G / (G - 1) * (sums**2).sum()) / 60, rtol=1e-4)
    sizes = [estimators.estimate(x).effective_sample_size for x in (a, b)]
    assert got.effective_sample_size == min(sizes)
    assert estimators.difference(a, a).standard_error == 0


@pytest.mark.modes
def test_a_band_of_one_estimate_is_the_normal_interval():
    z = jax.random.normal(jax.random.key(0), (1, 400))
    band = estimators.simultaneous(jax.random.key(1), Rows(z, jnp.ones((1, 400), bool), z), resamples=20000)
    assert abs(band.critical - 1.96) < 0.05
    np.testing.assert_allclose(band.value, z.mean(-1), rtol=1e-4)
    np.testing.assert_allclose(band.high - band.low, 2 * band.critical * z.std(-1, ddof=1) / 20, rtol=1e-4)


@pytest.mark.study
@pytest.mark.parametrize("clustered", [False, True])
def test_bands_cover_all_truths_at_once(clustered):
    """Ten correlated means of truth 0: 95% of bands hold all ten zeros, and pointwise intervals do not."""
    draws, L, N = 400, 10, 200
    label = jnp.arange(N) // 4

    def one(key):
        shared, own, noise_key, band_key = jax.random.split(key, 4)
        units = 50 if clustered else N
        each = jax.random.normal(shared, (1, units)) + jax.random.normal(own, (L, units))
        z = jnp.repeat(each, N // units, -1) + 0.1 * jax.random.normal(noise_key, (L, N))
        of = Rows(z, jnp.ones((L, N), bool), jnp.ones((L, N)), label if clustered else None)
        band = estimators.simultaneous(band_key, of, resamples=500)
        half = 1.96 * (band.high - band.low) / 2 / band.critical
        every = (band.low <= 0) & (band.high >= 0)
        return jnp.all(every), jnp.all(jnp.abs(band.value) <= half), band.critical

    keys = jax.random.split(jax.random.key(2), draws)
    covered, pointwise, critical = jax.jit(lambda k: jax.lax.map(one, k, batch_size=20))(keys)
    # 4 standard errors of a share of 0.95 over 400 draws are 0.044; 50 groups cost a point or two
    assert 0.90 < covered.mean() <= 1.0
    assert pointwise.mean() < 0.88
    assert critical.mean() < 2.75  # Bonferroni's is 2.81


def test_estimates_without_spread_do_not_hurt_the_band():
    z = jnp.stack([jnp.full(50, 0.25), jax.random.normal(jax.random.key(0), (50,))])
    band = estimators.simultaneous(jax.random.key(1), Rows(z, jnp.ones((2, 50), bool), z), resamples=500)
    assert band.low[0] == band.high[0] == 0.25
    assert band.low[1] < band.high[1]


def test_bootstrap_recomputes_the_normaliser():
    """Its spread is that of sum w r / sum w recomputed on the same resamples, not of w r / a frozen sum."""
    logs, target, nuisances = simulated(N=80)
    logs = logs._replace(quality=0.8 + 0.2 * logs.quality, cost=0 * logs.cost)  # far from 0: the normaliser matters
    interval = estimators.bootstrap(jax.random.key(0), estimators.snipw, logs, target, 0.5, nuisances, resamples=2000)
    a = np.asarray(logs.action)
    w = np.asarray(target)[np.arange(80), a] / np.asarray(logs.propensity)
    r = np.asarray(logs.quality) - 0.5 * np.asarray(logs.cost)
    rng = np.random.default_rng(0)
    index = rng.integers(80, size=(20000, 80))
    whole = (w[index] * r[index]).sum(1) / w[index].sum(1)
    frozen = (w[index] * r[index]).sum(1) / w.sum()
    width = np.diff(np.quantile(whole, [0.025, 0.975]))[0]
    np.testing.assert_allclose(interval.estimate, (w * r).sum() / w.sum(), rtol=1e-5)
    np.testing.assert_allclose(interval.high - interval.low, width, rtol=0.1)
    assert abs(np.diff(np.quantile(frozen, [0.025, 0.975]))[0] / width - 1) > 0.2


@pytest.mark.slow
def test_bootstrap_draws_whole_groups_and_takes_any_estimator():
    logs, target, nuisances = simulated(N=60, groups=60)
    twice = np.repeat(np.arange(60), 2)
    double = jax.tree.map(lambda x: x[twice], (logs, target, nuisances))
    grouped = (double[0]._replace(group=jnp.asarray(twice)), *double[1:])
    estimator = partial(estimators.switch_doubly_robust, threshold=3.0)

    def width(logs, target, nuisances):
        interval = estimators.bootstrap(jax.random.key(0), estimator, logs, target, 0.5, nuisances, resamples=2000)
        return float(interval.high - interval.low)

    once = width(logs._replace(group=None), target, nuisances)
    assert abs(width(*grouped) / once - 1) < 0.12
    assert abs(width(grouped[0]._replace(group=None), *grouped[1:]) / once - 2**-0.5) < 0.1


def test_bootstrap_says_which_propensity_is_missing():
    logs, target, _ = simulated()
    with pytest.raises(InputError, match="row 7"):
        estimators.bootstrap(
            jax.random.key(0),
            estimators.ipw,
            logs._replace(propensity=logs.propensity.at[7].set(jnp.nan)),
            target,
            0.5,
            resamples=2,
        )
