import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.estimators import sensitivity
from jaxroute.numerics import as_arrays
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

COST_WEIGHT = 0.3


def random_log(seed: int, rows: int, models: int = 3):
    rng = np.random.default_rng(seed)
    propensity = rng.dirichlet(np.full(models, 2.0), rows).astype(np.float32)
    action = np.array([rng.choice(models, p=p / p.sum()) for p in propensity.astype(np.float64)])
    target = rng.dirichlet(np.ones(models), rows).astype(np.float32)
    quality = rng.random(rows).astype(np.float32)
    quality[0] = np.nan
    logs = Logs(
        features=jnp.zeros((rows, 1)),
        action=jnp.asarray(action),
        quality=as_arrays(quality),
        cost=jnp.asarray(rng.random(rows), jnp.float32),
        propensity=jnp.asarray(propensity[np.arange(rows), action]),
        available=jnp.ones((rows, models), bool),
    )
    outcomes = Outcomes(*(jnp.asarray(rng.random((rows, models)), jnp.float32) for _ in range(2)))
    return logs, jnp.asarray(target), Nuisances(jnp.asarray(propensity), outcomes)


def corners(logs, target, nuisances, strength, outcome_model):
    """Every one of the 2^n corners of the box of weights, in float64."""
    a, n = np.asarray(logs.action), np.arange(len(logs.action))
    error = np.asarray(logs.quality, np.float64) - COST_WEIGHT * np.asarray(logs.cost, np.float64)
    direct = 0.0
    if outcome_model:
        predicted = np.asarray(nuisances.outcomes.quality, np.float64) - COST_WEIGHT * np.asarray(
            nuisances.outcomes.cost, np.float64
        )
        error = error - predicted[n, a]
        direct = (np.asarray(target, np.float64) * predicted).sum(1).mean()
    seen = ~np.isnan(error)
    t, odds = np.asarray(target)[n, a][seen], 1 / np.asarray(logs.propensity, np.float64)[seen] - 1
    t = t if nuisances.response is None else t / np.asarray(nuisances.response)[seen]
    error = error[seen]
    values = []
    for up in itertools.product([False, True], repeat=len(error)):
        weight = t * (1 + odds * np.where(up, strength, 1 / strength))
        values.append((weight * error).sum() / weight.sum())
    return direct + min(values), direct + max(values)


@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("outcome_model", [False, True])
@pytest.mark.parametrize("strength", [1.0, 1.5, 4.0])
def test_threshold_rule_is_the_extremum_over_all_corners(strength, outcome_model, response):
    logs, target, nuisances = random_log(int(strength * 2), 11)
    if response:
        nuisances = nuisances._replace(response=jnp.linspace(0.2, 0.9, 11))
    found = sensitivity.bounds(logs, target, COST_WEIGHT, nuisances, strength=strength, outcome_model=outcome_model)
    np.testing.assert_allclose(found, corners(logs, target, nuisances, strength, outcome_model), atol=2e-6)


@pytest.mark.modes
def test_strength_one_is_the_self_normalised_estimate():
    logs, target, nuisances = random_log(5, 200)
    plain = sensitivity.bounds(logs, target, COST_WEIGHT, strength=1.0, clip=0.1)
    robust = sensitivity.bounds(logs, target, COST_WEIGHT, nuisances, strength=1.0, clip=0.1, outcome_model=True)
    snipw = estimators.snipw(logs, target, COST_WEIGHT, clip=0.1).value
    sndr = estimators.self_normalised_doubly_robust(logs, target, COST_WEIGHT, nuisances, clip=0.1).value
    np.testing.assert_allclose(plain, [snipw, snipw], atol=1e-6)
    np.testing.assert_allclose(robust, [sndr, sndr], atol=1e-6)


def test_selective_feedback_is_weighed_for_as_the_estimator_does():
    logs, target, nuisances = random_log(5, 200)
    silent = np.random.default_rng(0).random(200) < 0.4
    logs = logs._replace(quality=jnp.where(silent, jnp.nan, logs.quality))
    nuisances = nuisances._replace(response=jnp.linspace(0.3, 0.9, 200))
    robust = sensitivity.bounds(logs, target, COST_WEIGHT, nuisances, strength=1.0, clip=0.1, outcome_model=True)
    sndr = estimators.self_normalised_doubly_robust(logs, target, COST_WEIGHT, nuisances, clip=0.1).value
    np.testing.assert_allclose(robust, [sndr, sndr], atol=1e-6)
    reward = np.asarray(logs.quality - COST_WEIGHT * logs.cost, np.float64)
    heard = ~np.isnan(reward)
    logged = np.average(reward[heard], weights=1 / np.asarray(nuisances.response, np.float64)[heard])
    point = sensitivity.tipping_point(logs, target, COST_WEIGHT, nuisances, clip=0.1, outcome_model=True)
    np.testing.assert_allclose(point.advantage, sndr - logged, atol=1e-6)


def test_bounds_widen_with_the_strength_and_stay_within_the_rewards():
    logs, target, _ = random_log(6, 300)
    strengths = jnp.array([1.0, 1.2, 2.0, 5.0, 50.0, 1e4])
    lower, upper = jax.jit(jax.vmap(lambda g: sensitivity.bounds(logs, target, COST_WEIGHT, strength=g)))(strengths)
    assert (np.diff(lower) < 0).all()
    assert (np.diff(upper) > 0).all()
    reward = np.asarray(logs.quality - COST_WEIGHT * logs.cost)
    assert np.nanmin(reward) - 1e-5 <= lower.min()
    assert upper.max() <= np.nanmax(reward) + 1e-5


def test_no_overlap_with_the_log_gives_nan():
    logs, _, _ = random_log(7, 20)
    target = 1.0 - jax.nn.one_hot(logs.action, 3)
    assert np.isnan(sensitivity.bounds(logs, target / 2, 0.0, strength=2.0)).all()
    assert np.isnan(sensitivity.tipping_point(logs, target / 2, 0.0)).all()


@pytest.mark.modes
def test_tipping_point_is_where_a_bound_meets_the_logged_mean():
    logs, _, _ = random_log(8, 400)
    reward = np.float64(logs.quality) - COST_WEIGHT * np.float64(logs.cost)
    # A target that leans to the rows that went well (better), and one that leans away (worse).
    good = jnp.asarray(np.where(np.nan_to_num(reward) > np.nanmean(reward), 0.6, 0.4), jnp.float32)[:, None]
    chosen = jax.nn.one_hot(logs.action, 3)
    for lean, side in ((good, "lower"), (1 - good, "upper")):
        policy = chosen * lean + (1 - chosen) * (1 - lean) / 2
        point = sensitivity.tipping_point(logs, policy, COST_WEIGHT)
        assert (point.advantage > 0) == (side == "lower")
        assert 1.05 < point.strength < 50
        at = sensitivity.bounds(logs, policy, COST_WEIGHT, strength=point.strength)
        np.testing.assert_allclose(getattr(at, side), np.nanmean(reward), atol=1e-5)
    assert np.isinf(sensitivity.tipping_point(logs, policy, COST_WEIGHT, largest=1.01).strength)


def confounded(seed: int, draws: int, rows: int):
    """A hidden coin U moves both the choice and the first model's quality; the log holds the propensity
    averaged over it. Chances 0.7 and 0.3 around 0.5 are odds ratios of 7/3 either way. The truth of "always
    the first model" is 0.5."""
    rng = np.random.default_rng(seed)
    hidden = rng.random((draws, rows)) < 0.5
    first = rng.random((draws, rows)) < np.where(hidden, 0.7, 0.3)
    good = rng.random((draws, rows)) < np.where(hidden, 0.8, 0.2)
    quality = np.where(first, good, 0.1).astype(np.float32)
    target = jnp.tile(jnp.array([1.0, 0.0]), (rows, 1))

    def log(first, quality):
        return Logs(
            features=jnp.zeros((rows, 1)),
            action=jnp.where(first, 0, 1),
            quality=quality,
            cost=jnp.zeros(rows),
            propensity=jnp.full(rows, 0.5),
            available=jnp.ones((rows, 2), bool),
        )

    return log, first, jnp.asarray(quality), target


def test_bounds_contain_the_truth_under_a_confounder_of_known_strength():
    log, first, quality, target = confounded(0, 1, 20_000)
    logs = log(first[0], quality[0])
    naive = estimators.snipw(logs, target, 0.0)
    assert naive.value - 0.5 > 5 * naive.standard_error  # 0.7 * 0.8 + 0.3 * 0.2 = 0.62
    lower, upper = sensitivity.bounds(logs, target, 0.0, strength=7 / 3)
    assert lower < 0.5 < upper
    lower, _ = sensitivity.bounds(logs, target, 0.0, strength=1.2)
    assert lower > 0.5  # too weak a confounder does not explain it


@pytest.mark.study
def test_bootstrap_interval_covers_the_edge_of_the_bounds():
    # By hand, per chosen row of the population: weights 1 + 1 G for the 38% failures and 1 + 1/G for the
    # 62% successes give the lower bound; its own percentile bootstrap must cover it 97.5 times in 100.
    strength, draws, rows = 2.0, 200, 300
    low = 0.62 * 1.5 / (0.62 * 1.5 + 0.38 * 3.0)
    log, first, quality, target = confounded(1, draws, rows)

    @jax.jit
    def intervals(keys, first, quality):
        def one(of):
            key, first, quality = of
            logs = log(first, quality)
            return sensitivity.bounds_interval(key, logs, target, 0.0, strength=strength, replicates=200)

        return jax.lax.map(one, (keys, first, quality))

    found = intervals(jax.random.split(jax.random.key(0), draws), jnp.asarray(first), quality)
    below = float(np.mean(np.asarray(found.lower) <= low))
    assert 0.975 - 4 * np.sqrt(0.975 * 0.025 / draws) < below
    assert below < 1.0


@pytest.mark.modes
@pytest.mark.slow
def test_an_interval_of_the_bounds_is_wider_than_the_bounds():
    logs, target, _ = random_log(9, 24)
    inner = sensitivity.bounds(logs, target, 0.0, strength=1.5)
    outer = sensitivity.bounds_interval(jax.random.key(1), logs, target, 0.0, strength=1.5, replicates=60)
    assert outer.lower < inner.lower < inner.upper < outer.upper


@pytest.mark.slow
def test_bootstrap_draws_whole_groups():
    logs, target, _ = random_log(9, 60)
    repeated = as_arrays(jax.tree.map(lambda x: np.concatenate([x] * 4), logs._replace(group=jnp.arange(60))))
    args = {"strength": 1.5, "replicates": 200}
    once = sensitivity.bounds_interval(jax.random.key(1), logs, target, 0.0, **args)
    grouped = sensitivity.bounds_interval(jax.random.key(1), repeated, jnp.tile(target, (4, 1)), 0.0, **args)
    loose = sensitivity.bounds_interval(
        jax.random.key(1), repeated._replace(group=None), jnp.tile(target, (4, 1)), 0.0, **args
    )
    width, narrow = once.upper - once.lower, loose.upper - loose.lower
    assert abs((grouped.upper - grouped.lower) - width) < 0.2 * width
    assert narrow < 0.85 * width


def test_a_strength_below_one_is_refused():
    logs, target, _ = random_log(10, 5)
    with pytest.raises(InputError, match=r"strength is 0\.5"):
        sensitivity.bounds(logs, target, 0.0, strength=0.5)
    with pytest.raises(InputError, match="level is 95"):
        sensitivity.bounds_interval(jax.random.key(0), logs, target, 0.0, strength=2.0, level=95)
