"""A shadow sample's own values and their pooling with a log's, against NumPy, and bias and coverage in simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.estimators import Rows
from jaxroute.estimators.evaluation import Evaluation
from jaxroute.numerics import as_arrays
from jaxroute.types import Estimate, Examples, Logs, Nuisances, Outcomes


def rows_of(rng, size, groups=None):
    group = None if groups is None else jnp.asarray(rng.integers(groups, size=size))
    z, weight = rng.normal(0.5, 0.2, size), rng.exponential(size=size)
    return Rows(jnp.asarray(z, jnp.float32), jnp.ones(size, bool), jnp.asarray(weight, jnp.float32), group)


def a_shadow(rng, size=40, models=3):
    quality, cost = rng.random((2, size, models)).astype(np.float32)
    quality[rng.random((size, models)) < 0.1] = np.nan
    available = rng.random((size, models)) < 0.9
    return as_arrays(Examples(np.zeros((size, 1), np.float32), Outcomes(quality, cost), available))


@pytest.mark.modes
def test_rows_of_a_shadow_match_a_loop():
    rng = np.random.default_rng(0)
    shadow = a_shadow(rng)
    target = rng.dirichlet(np.ones(3), 40) * (rng.random((40, 3)) < 0.7)
    target = (target / np.maximum(target.sum(1, keepdims=True), 1e-9)).astype(np.float32)
    found = estimators.shadow_rows(shadow, jnp.asarray(target), 0.5)
    quality, cost, available = (np.asarray(y) for y in (*shadow.outcomes, shadow.available))
    values = []
    for s in range(40):
        asked = [k for k in range(3) if target[s, k] > 0]
        counts = all(available[s, k] and np.isfinite(quality[s, k]) for k in asked)
        assert bool(found.counted[s]) == counts == bool(found.weight[s])
        if counts:
            values.append(sum(target[s, k] * (quality[s, k] - 0.5 * cost[s, k]) for k in asked))
            np.testing.assert_allclose(found.influence[s], values[-1], rtol=1e-5, atol=1e-7)
    assert 5 < len(values) < 38
    estimate = estimators.estimate(found)
    np.testing.assert_allclose(estimate.value, np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(estimate.standard_error, np.std(values, ddof=1) / len(values) ** 0.5, rtol=1e-4)
    assert estimate.effective_sample_size == len(values)
    unpriced = shadow._replace(outcomes=shadow.outcomes._replace(cost=np.full((40, 3), np.nan, np.float32)))
    free = estimators.shadow_rows(shadow, jnp.asarray(target), 0.0)
    np.testing.assert_array_equal(estimators.shadow_rows(unpriced, jnp.asarray(target), 0.0).influence, free.influence)
    assert not estimators.shadow_rows(unpriced, jnp.asarray(target), 0.5).counted[np.asarray(target).any(1)].any()


@pytest.mark.parametrize(("size", "usable"), [(31, True), (31, False), (29, True)])
def test_a_shadow_is_pooled_is_all_there_is_or_is_not_used(size, usable):
    rng = np.random.default_rng(2)
    log, shadow = (jax.tree.map(lambda *x: jnp.stack(x), *(rows_of(rng, n) for _ in "ab")) for n in (70, size))
    pooled, share = estimators.pool_each(log, shadow, np.array([True, False]), np.array([usable, usable]))
    own = jax.vmap(estimators.shadow_share)(log, shadow)[0]
    np.testing.assert_allclose(share, [own, 1] if usable and size >= 30 else [0, 0], rtol=1e-6)
    values = [jax.vmap(estimators.estimate)(of).value for of in (pooled, log, shadow)]
    np.testing.assert_allclose(values[0], (1 - share) * values[1] + share * values[2], rtol=1e-5)


@pytest.mark.modes
@pytest.mark.parametrize("groups", [None, 9])
@pytest.mark.parametrize("share", [None, 0.3])
def test_pool_is_the_weighted_mean_with_its_error(groups, share):
    rng = np.random.default_rng(1)
    log, shadow = rows_of(rng, 70, groups), rows_of(rng, 31)
    shadow = shadow._replace(weight=jnp.ones(31), counted=jnp.arange(31) < 25)
    shadow = shadow._replace(weight=shadow.counted.astype(jnp.float32))
    (v, s, m), (w, t, n) = (map(float, estimators.estimate(x)) for x in (log, shadow))
    assert n == 25
    part = n / (m + n) if share is None else share
    pooled = estimators.estimate(estimators.pool(log, shadow, share=share))
    np.testing.assert_allclose(pooled.value, (1 - part) * v + part * w, rtol=1e-5)
    np.testing.assert_allclose(pooled.standard_error, np.hypot((1 - part) * s, part * t), rtol=1e-4)
    size = 1 / ((1 - part) ** 2 / m + part**2 / n)
    np.testing.assert_allclose(pooled.effective_sample_size, size, rtol=1e-4)
    if share is None:
        np.testing.assert_allclose(size, m + n, rtol=1e-5)


@pytest.mark.parametrize("groups", [None, 9])
def test_shares_of_nothing_and_of_all_are_the_two_estimates(groups):
    rng = np.random.default_rng(2)
    log, shadow = rows_of(rng, 50, groups), rows_of(rng, 30)
    for share, alone in ((0.0, log), (1.0, shadow)):
        pooled = estimators.estimate(estimators.pool(log, shadow, share=share))
        np.testing.assert_allclose(pooled, estimators.estimate(alone), rtol=1e-4)
    lost = log._replace(influence=log.influence * jnp.nan, weight=0 * log.weight)
    np.testing.assert_allclose(
        estimators.estimate(estimators.pool(lost, shadow, share=1.0)), estimators.estimate(shadow), rtol=1e-4
    )


def test_pooled_gains_are_paired():
    """The two policies' noise is shared, and cancels within the log and within the shadow."""
    rng = np.random.default_rng(3)
    a, b = rows_of(rng, 60), rows_of(rng, 40)
    other = [x._replace(influence=x.influence + 0.1 + 0.01 * rng.normal(size=len(x.weight))) for x in (a, b)]
    other[0] = other[0]._replace(weight=jnp.ones(60))  # of the larger effective sample size
    gain = estimators.estimate(estimators.pool(*map(estimators.paired, other, (a, b))))
    size = [float(estimators.estimate(x).effective_sample_size) for x in (a, b)]
    d, e = (np.asarray(x.influence - y.influence, np.float64) for x, y in zip(other, (a, b), strict=True))
    share = size[1] / sum(size)
    np.testing.assert_allclose(gain.value, (1 - share) * d.mean() + share * e.mean(), rtol=1e-4)
    error = np.hypot((1 - share) * d.std(ddof=1) / 60**0.5, share * e.std(ddof=1) / 40**0.5)
    np.testing.assert_allclose(gain.standard_error, error, rtol=1e-3)


def test_a_band_over_pooled_rows_holds_both_parts():
    """Two cost weights whose estimates are one: the band is the normal interval of the pooled error."""
    rng = np.random.default_rng(4)
    log, shadow = rows_of(rng, 300), rows_of(rng, 200)
    of = jax.tree.map(lambda x: jnp.stack([x, x]), estimators.pool(log, shadow, share=0.5))
    band = estimators.simultaneous(jax.random.key(0), of, resamples=20000)
    s, t = (float(estimators.estimate(x).standard_error) for x in (log, shadow))
    np.testing.assert_allclose(np.asarray(band.high - band.low) / 2, 1.96 * 0.5 * np.hypot(s, t), rtol=0.03)


def test_what_a_shadow_does_to_an_evaluation():
    guess = Evaluation(0.5, 0.4, None, "extrapolation", "refuse", ("why",), np.nan)
    held = Evaluation(0.5, 0.55, (0.5, 0.6), "self-normalised doubly robust", "ok", (), 300.0)
    pooled = Estimate(*(jnp.full(4, x) for x in (0.6, 0.02, 150.0)))
    share, prompts = np.array([1, 1, 0, 1 / 3]), np.array([150, 200, 29, 150])
    alone, enough, few, both = estimators.with_shadow([guess, guess, guess, held], pooled, share, prompts)
    assert (alone.label, alone.verdict, enough.verdict) == ("shadow sample alone", "caution", "ok")
    assert alone.value == pytest.approx(0.6)
    assert alone.interval == estimators.interval(jax.tree.map(lambda x: x[0], pooled))
    assert (few.value, few.interval, few.verdict) == (0.4, None, "refuse")
    assert "29 prompts" in few.reasons[-1]
    assert (both.label, both.verdict) == ("self-normalised doubly robust, with a shadow sample", "ok")
    assert both.reasons == ("150 shadow prompts carry 33% of the value",)


N, S, K, DRAWS = 400, 100, 3, 1000
CUTS = (0.0, 0.5, 0.3, 0.34)
PROPENSITY = jnp.array([0.6, 0.2, 0.2])
LEVEL, SLOPE, COST = jnp.array([0.6, 0.7, 0.75]), jnp.array([0.2, 0.3, 0.5]), jnp.array([0.0, 0.05, 0.1])


def chance(x):
    """Probability [n, K] of a good answer to prompts of difficulty x in (-1/2, 1/2)."""
    return LEVEL[None] + SLOPE[None] * x[:, None]


def policy(x, cut):
    """The dear model above the cut, the middle one below."""
    return jax.nn.one_hot(jnp.where(x > cut, 2, 1), K)


def simulated(key):
    """Influence rows of one log and of one shadow: the policy of every cut."""
    keys = jax.random.split(key, 5)
    x, y = jax.random.uniform(keys[0], (N,)) - 0.5, jax.random.uniform(keys[1], (S,)) - 0.5
    action = jax.random.categorical(keys[2], jnp.log(PROPENSITY), shape=(N,))
    good = jax.random.uniform(keys[3], (N,)) < jnp.take_along_axis(chance(x), action[:, None], 1)[:, 0]
    cost = jnp.broadcast_to(COST, (N, K))
    logs = Logs(x[:, None], action, good * 1.0, COST[action], PROPENSITY[action], jnp.ones((N, K), bool))
    wrong = Outcomes(0.9 * chance(x) ** 2, cost)  # an outcome model that is off by 20 points
    nuisances = Nuisances(jnp.broadcast_to(PROPENSITY, (N, K)), wrong)
    answers = Outcomes((jax.random.uniform(keys[4], (S, K)) < chance(y)) * 1.0, cost[:S])
    shadow = Examples(y[:, None], answers, jnp.ones((S, K), bool))
    cuts = jnp.array(CUTS)
    on_log = jax.vmap(lambda c: estimators.rows(logs, policy(x, c), 1.0, nuisances, self_normalised=True))(cuts)
    return on_log, jax.vmap(lambda c: estimators.shadow_rows(shadow, policy(y, c), 1.0))(cuts)


def truth(cut):
    """Integral of (chance - cost) of the policy's choice over x: linear in x, so the value at the midpoints."""
    low, high = (-0.5 + cut) / 2, (cut + 0.5) / 2
    value = LEVEL - COST
    return float((cut + 0.5) * (value[1] + SLOPE[1] * low) + (0.5 - cut) * (value[2] + SLOPE[2] * high))


@pytest.fixture(scope="module")
def draws():
    """Estimates from log, shadow and both, [DRAWS, what] each: a value, a gain, and a gain on 4% of the prompts."""

    def one(key):
        log, shadow = simulated(key)
        first, second = jnp.array([0, 0, 2]), jnp.array([0, 1, 3])

        def either(of):
            """The pair's rows, or the first policy's own where both are the same."""
            a, b = (jax.tree.map(lambda x, i=index: x[i], of) for index in (first, second))
            gain = jax.vmap(estimators.paired)(a, b)
            return gain._replace(influence=gain.influence.at[0].set(a.influence[0]))

        log, shadow = either(log), either(shadow)
        return [jax.vmap(estimators.estimate)(x) for x in (log, shadow, jax.vmap(estimators.pool)(log, shadow))]

    keys = jax.random.split(jax.random.key(5), DRAWS)
    return jax.jit(lambda k: jax.lax.map(one, k, batch_size=100))(keys)


@pytest.mark.parametrize("what", [0, 1, 2])
def test_bias_and_coverage_of_pooled_estimates(draws, what):
    """No bias, 95% coverage, and less error than either alone; a difference on 4 prompts is too rare for 95%."""
    found = jax.tree.map(lambda x: np.asarray(x[:, what], np.float64), draws)
    true = [truth(CUTS[0]), truth(CUTS[0]) - truth(CUTS[1]), truth(CUTS[2]) - truth(CUTS[3])][what]
    error = [of.value - true for of in found]
    covered = np.array(
        [
            np.mean(np.abs(e) <= estimators.half_width(of.effective_sample_size) * of.standard_error)
            for e, of in zip(error, found, strict=True)
        ]
    )
    bias, spread = (np.array([f(e) for e in error]) for f in (np.mean, np.std))
    assert (np.abs(bias) < 4 * spread / DRAWS**0.5).all()
    assert spread[2] < 0.85 * spread[:2].min()
    log, shadow, pooled = found
    np.testing.assert_allclose(np.mean(pooled.standard_error**2), spread[2] ** 2, rtol=0.15)
    weight = log.standard_error**2 / (log.standard_error**2 + shadow.standard_error**2)
    inverse = (1 - weight) * error[0] + weight * error[1]
    kept = np.mean(np.abs(inverse) <= 1.96 * log.standard_error * np.sqrt(weight))
    if what < 2:
        assert np.abs(covered - 0.95).max() < 4 * (0.95 * 0.05 / DRAWS) ** 0.5  # 0.028
    else:
        assert kept + 0.05 < covered[2]
        assert covered[2] > 0.87
        assert inverse.mean() < -4 * spread[2] / DRAWS**0.5  # towards the shadow's zeros


@pytest.mark.study
def test_the_check_of_fitted_routers_counts_what_it_says():
    from experiments.checks import shadow_evidence

    found = shadow_evidence.simulated(2)
    assert found.groupby("estimate").size().to_dict() == {
        **dict.fromkeys(shadow_evidence.ESTIMATES, 2),
        shadow_evidence.ELSEWHERE: 1,
    }
    assert found["truth"].between(-0.5, 1).all()
    assert (found["low"] < found["high"]).all()
    line = shadow_evidence.summary(found).loc["both, value"]
    error = (found["value"] - found["truth"])[found["estimate"] == "both, value"].to_numpy()
    np.testing.assert_allclose(line["bias"], error.mean())
    np.testing.assert_allclose(line["of which Monte Carlo"], error.std(ddof=1) / np.sqrt(2))
