"""Levels: means against NumPy and in simulation, the posterior against NumPy, what share and price teach, a shadow."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import nuisance
from jaxroute.data import simulate, synthetic
from jaxroute.recipe import attributes, levels, means
from jaxroute.types import Examples, Logs, Nuisances, NuisanceSpec, Outcomes


@pytest.fixture(scope="module")
def problem():
    table = synthetic.make(jax.random.key(0), num_prompts=900, num_models=5)
    logs = simulate.simulate(jax.random.key(1), table, simulate.cost_biased(strength=0.5, floor=0.2))
    return logs, nuisance.fit(jax.random.key(2), logs, NuisanceSpec(("mean", "ridge"), folds=3, penalties=(300.0,)))[0]


def _cells(seed, rows=40, models=3):
    rng = np.random.default_rng(seed)
    quality, predicted = rng.random((2, rows, models))
    observed = rng.random((rows, models)) < 0.4
    observed[:, 2] = False  # a model that the log never tried
    return np.where(observed, quality, np.nan), observed, 1 / rng.uniform(0.1, 1, (rows, models)), predicted


def test_what_a_model_costs_is_relative_to_the_others():
    cost = np.array([0.0, 1e-4, 3e-3, 2e-2], np.float32)
    expected = np.log(np.maximum(cost, 1e-9))
    expected = (expected - expected.mean()) / expected.std()
    found = attributes.columns(jnp.ones(4), jnp.asarray(cost))
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-5)
    dear = jnp.array([1.0, 2.0, 8.0])
    for unit in (1e-3, 1e-9, 1e-12, 1e-20):
        np.testing.assert_allclose(
            attributes.columns(jnp.ones(3), unit * dear), attributes.columns(jnp.ones(3), dear), atol=1e-5
        )
    np.testing.assert_array_equal(attributes.columns(jnp.ones(3), jnp.zeros(3)), 0)


def test_dearer_models_are_expected_to_be_better_in_any_unit_and_a_free_one_not_endlessly_worse():
    cost = np.array([0.0, 1e-4, 3e-3, 2e-2])
    decades = np.log10(np.maximum(cost / cost.max(), attributes.CHEAPEST))
    expected = 0.5 + attributes.BY_PRICE * (decades - decades.mean()) / decades.std()
    for unit in (1.0, 1e6, 1e-9):
        np.testing.assert_allclose(attributes.from_prices(jnp.asarray(unit * cost, jnp.float32)), expected, atol=1e-6)
    np.testing.assert_allclose(attributes.from_prices(jnp.array([2.0, 20.0])), [0.45, 0.55], atol=1e-6)
    nearly = np.asarray(attributes.from_prices(jnp.array([2.0, 2.2])))
    np.testing.assert_allclose(np.diff(nearly), attributes.BY_PRICE * np.log10(1.1) / attributes.NARROWEST, atol=1e-6)
    every = np.asarray(attributes.from_prices(jnp.array([0.0, *np.geomspace(1, 9, 9)])))
    assert every[0] > 0.5 - 3 * attributes.BY_PRICE
    np.testing.assert_array_equal(attributes.from_prices(jnp.array([3.0, 3.0, 3.0])), 0.5)


def test_what_prices_say_moves_models_without_rows_alone():
    """With two thousand answers a model's level is its mean, whatever it costs; without any, its price says all."""
    cost, mean = jnp.array([1.0, 10.0, 100.0]), jnp.array([0.6, 0.5, 0.5])
    seen = means.Sample(mean, jnp.diag(jnp.array([1e-4, 1e-4, 1.0])))
    about, tilt = jnp.zeros((3, 0)), attributes.from_prices(cost)
    plain, found = (np.asarray(levels.posterior([seen], about, t).mean) for t in (0.5, tilt))
    np.testing.assert_allclose(found[:2], plain[:2], atol=0.004)
    assert 0.04 < found[2] - plain[2] < 0.1


@pytest.mark.modes
def test_levels_match_a_loop():
    quality, observed, weight, predicted = _cells(0)
    found = np.asarray(jax.jit(means.doubly_robust)(quality, observed, weight, predicted))
    for k in range(3):
        level = predicted[:, k].mean()
        seen = np.flatnonzero(observed[:, k])
        if len(seen):
            error = [quality[i, k] - predicted[i, k] for i in seen]
            level += np.average(error, weights=weight[seen, k])
        np.testing.assert_allclose(found[k], level, rtol=1e-5)


def test_levels_of_a_log_honour_clip_and_response(problem):
    logs, nuisances = problem
    rows = np.arange(len(logs.action))
    logs = logs._replace(quality=np.where(rows % 7, logs.quality, np.float32(np.nan)))
    response = np.linspace(0.5, 1.0, len(rows), dtype=np.float32)
    found = np.asarray(means.of_log(logs, nuisances._replace(response=response), clip=0.15).mean)
    action, quality, propensity = (np.asarray(x) for x in (logs.action, logs.quality, logs.propensity))
    predicted = np.asarray(nuisances.outcomes.quality)
    for k in range(5):
        seen = (action == k) & ~np.isnan(quality)
        weight = 1 / np.maximum(propensity[seen], 0.15) / np.asarray(response)[seen]
        level = predicted[:, k].mean() + np.average(quality[seen] - predicted[seen, k], weights=weight)
        np.testing.assert_allclose(found[k], level, rtol=1e-5)


def test_levels_are_right_on_average_with_a_wrong_outcome_model():
    """400 logs of a logger that shows each model where it is good; the outcome model is a constant."""
    rng = np.random.default_rng(3)
    chance = rng.random((2000, 2))
    propensity = 0.1 + 0.8 * (chance == chance.max(1, keepdims=True))
    truth = chance.mean(0)
    draws, naive = [], []
    found = jax.jit(lambda *a: means.of_log(*a).mean)
    half, every = np.full((2000, 2), 0.5, np.float32), np.ones((2000, 2), bool)
    features = np.zeros((2000, 1), np.float32)
    for _ in range(400):
        action = (rng.random(2000) < propensity[:, 1]).astype(np.int32)
        quality = (rng.random(2000) < chance[np.arange(2000), action]).astype(np.float32)
        chosen = propensity[np.arange(2000), action].astype(np.float32)
        logs = Logs(features, action, quality, quality, chosen, every)
        draws.append(found(logs, Nuisances(propensity.astype(np.float32), Outcomes(half, half))))
        naive.append([quality[action == k].mean() for k in range(2)])
    error = np.mean(draws, 0) - truth
    assert (np.abs(error) < 4 * np.std(draws, 0) / 20 + 1e-3).all()
    assert (np.mean(naive, 0) - truth > 0.05).all()  # what the logger's own shares would have said


def test_variances_of_a_log(problem):
    logs, nuisances = problem
    logs = logs._replace(group=None)
    sample = means.of_log(logs, nuisances)
    action, quality, predicted = (np.asarray(x) for x in (logs.action, logs.quality, nuisances.outcomes.quality))
    rows = np.arange(len(action))
    pooled = np.mean((quality - predicted[rows, action]) ** 2)
    weight = 1 / np.maximum(np.asarray(nuisances.propensity)[rows, action], means.CLIP)
    expected = [pooled * np.sum(w**2) / np.sum(w) ** 2 for w in (weight[action == k] for k in range(5))]
    np.testing.assert_allclose(np.diag(sample.covariance), expected, rtol=1e-4)
    assert np.count_nonzero(sample.covariance) == 5
    never = logs._replace(action=np.where(action == 4, 0, action))
    assert np.asarray(means.of_log(never, nuisances).covariance)[4, 4] == levels.PRIOR_DEVIATION**2


def test_rows_of_one_group_share_their_errors(problem):
    """The covariance by a loop over pairs of rows; groups of one row each are none."""
    logs, nuisances = problem
    N = len(logs.action)
    group = np.arange(N) // 3 * 1000
    quality = np.asarray(logs.quality) + 0.3 * np.random.default_rng(1).standard_normal(N)[group // 1000]
    quality = np.where(np.arange(N) % 7, quality, np.nan).astype(np.float32)
    logs = logs._replace(quality=quality)
    plain = means.of_log(logs._replace(group=None), nuisances)
    for one, many in zip(plain, means.of_log(logs._replace(group=np.arange(N)), nuisances), strict=True):
        np.testing.assert_array_equal(one, many)
    found = means.of_log(logs._replace(group=group), nuisances)
    np.testing.assert_array_equal(found.mean, plain.mean)
    action, seen = np.asarray(logs.action), ~np.isnan(quality)
    error = np.where(seen, quality - np.asarray(nuisances.outcomes.quality)[np.arange(N), action], 0)
    weight = np.where(seen, 1 / np.maximum(np.asarray(nuisances.propensity)[np.arange(N), action], means.CLIP), 0)
    pairs = [(i, j) for i in range(N) for j in range(i // 3 * 3, min(i // 3 * 3 + 3, N)) if i != j]
    shared = np.mean([error[i] * error[j] for i, j in pairs if seen[i] and seen[j]])
    more = np.zeros((5, 5))
    for i, j in pairs:
        more[action[i], action[j]] += shared * weight[i] * weight[j]
    total = np.bincount(action, weight, 5)
    assert shared > 0.05
    np.testing.assert_allclose(found.covariance - plain.covariance, more / np.outer(total, total), atol=2e-6)


def test_errors_of_the_means_of_grouped_logs_are_as_large_as_stated():
    """300 logs of users who rate strictly or mildly: stated against seen, of means and of their difference."""
    rng = np.random.default_rng(5)
    users, each = 60, 8
    group = np.repeat(np.arange(users), each)
    half, every = np.full((users * each, 2), 0.5, np.float32), np.ones((users * each, 2), bool)
    nuisances = Nuisances(half, Outcomes(half, half))
    drawn, stated, rows_alone = [], [], []
    for _ in range(300):
        action = rng.integers(2, size=len(group)).astype(np.int32)
        quality = 0.5 + 0.2 * rng.standard_normal(users)[group] + 0.2 * rng.standard_normal(len(group))
        logs = Logs(half[:, :1], action, quality.astype(np.float32), half[:, 0], half[:, 0], every, group=group)
        found = means.of_log(logs, nuisances)
        drawn.append(found.mean)
        stated.append(found.covariance)
        rows_alone.append(np.diag(means.of_log(logs._replace(group=None), nuisances).covariance))
    true = np.cov(np.array(drawn).T)
    np.testing.assert_allclose(np.mean(stated, 0), true, rtol=0.25)
    assert (np.mean(rows_alone, 0) < 0.5 * np.diag(true)).all()
    apart = np.array([1, -1])  # what users share does not tell the models apart
    np.testing.assert_allclose(apart @ np.mean(stated, 0) @ apart, apart @ true @ apart, rtol=0.35)


@pytest.mark.modes
def test_posterior_matches_numpy():
    """Two samples, two columns: the joint Gaussian written out, every tau and s by a loop over the grid."""
    rng = np.random.default_rng(0)
    about, seen = rng.standard_normal((6, 2)), rng.uniform(0.3, 0.7, (2, 6))
    half = 0.02 * rng.standard_normal((6, 9))
    noise = [np.diag(rng.uniform(1e-4, 1e-2, 6)), half @ half.T / 9 + 1e-4 * np.eye(6)]
    each = []
    prices = 0.5 + 0.1 * rng.standard_normal(6)
    for tau, s in itertools.product(levels.SPREADS, levels.SLOPES):
        prior = tau**2 * np.eye(6) + s**2 * about @ about.T + np.ones((6, 6))
        total = np.block([[prior + noise[0], prior], [prior, prior + noise[1]]])
        y = (seen - prices).ravel()
        likelihood = -0.5 * y @ np.linalg.solve(total, y) - 0.5 * np.linalg.slogdet(total)[1]
        gain = np.hstack([prior, prior]) @ np.linalg.inv(total)
        each.append((likelihood, prices + gain @ y, np.diag(prior - gain @ np.vstack([prior, prior]))))
    likelihood, each_mean, each_variance = map(np.stack, zip(*each, strict=True))
    chance = np.exp(likelihood - likelihood.max())
    chance /= chance.sum()
    mean = chance @ each_mean
    variance = chance @ (each_variance + (each_mean - mean) ** 2)
    single = [(jnp.asarray(m, jnp.float32), jnp.asarray(v, jnp.float32)) for m, v in zip(seen, noise, strict=True)]
    samples = [means.Sample(*pair) for pair in single]
    found = levels.posterior(samples, jnp.asarray(about, jnp.float32), jnp.asarray(prices, jnp.float32))
    np.testing.assert_allclose(found.mean, mean, atol=2e-3)
    np.testing.assert_allclose(found.deviation, np.sqrt(variance), atol=2e-3)


def _error(seed, slope_of_share, repeats=200):
    """RMS error of raw and posterior levels of 12 models whose share of the log tells ``slope`` about their level."""
    rng = np.random.default_rng(seed)
    count = np.geomspace(4, 600, 12)
    about = np.asarray(attributes.columns(count, np.ones(12)))
    raw, shrunk = [], []
    for _ in range(repeats):
        truth = 0.5 + slope_of_share * about[:, 0] + 0.03 * rng.standard_normal(12)
        variance = 0.2 / count
        seen = truth + np.sqrt(variance) * rng.standard_normal(12)
        sample = means.Sample(seen.astype(np.float32), np.diag(variance).astype(np.float32))
        raw.append(np.mean((seen - truth) ** 2))
        shrunk.append(np.mean((np.asarray(levels.posterior([sample], about).mean) - truth) ** 2))
    return np.sqrt([np.mean(raw), np.mean(shrunk)])


def test_the_log_itself_teaches_what_a_share_means():
    for slope in (0.1, -0.1, 0.0):  # a good logger, a thrifty one, one that knows nothing
        raw, shrunk = _error(1, slope)
        assert shrunk < 0.6 * raw


def test_posterior_intervals_cover():
    """Truth drawn from the prior: 95% intervals cover 95% less what choosing tau and s costs."""
    rng = np.random.default_rng(2)
    about = np.asarray(attributes.columns(np.geomspace(4, 600, 12), np.ones(12)))
    inside = []
    for _ in range(200):
        truth = 0.5 + 0.1 * rng.standard_normal() * about[:, 0] + 0.07 * rng.standard_normal(12)
        variance = 0.2 / np.geomspace(4, 600, 12)
        seen = truth + np.sqrt(variance) * rng.standard_normal(12)
        sample = means.Sample(seen.astype(np.float32), np.diag(variance).astype(np.float32))
        found = levels.posterior([sample], about)
        inside.append(np.abs(np.asarray(found.mean) - truth) < 1.96 * np.asarray(found.deviation))
    assert 0.85 < np.mean(inside) < 0.98


def test_a_shadow_sample_is_paired():
    """100 prompts that all models answered: contrasts are known far better than their levels' errors tell."""
    rng = np.random.default_rng(0)
    truth = np.array([0.5, 0.55, 0.6])
    raw, with_shadow = [], []
    for _ in range(50):
        difficulty = 0.3 * rng.standard_normal((100, 1))
        quality = (truth + difficulty + 0.05 * rng.standard_normal((100, 3))).astype(np.float32)
        half = np.full((100, 3), 0.5, np.float32)
        shadow = Examples(half[:, :1], Outcomes(quality, quality), np.ones((100, 3), bool))
        paired = means.of_shadow(shadow, Outcomes(half, half), half[0])
        np.testing.assert_allclose(paired.mean, quality.mean(0), rtol=1e-5)
        alone = means.Sample(
            (truth + 0.05 * rng.standard_normal(3)).astype(np.float32), np.diag(np.full(3, 0.0025, np.float32))
        )
        for found, samples in ((raw, [alone]), (with_shadow, [alone, paired])):
            mean = np.asarray(levels.posterior(samples, np.zeros((3, 0), np.float32)).mean)
            found.append(mean - mean.mean() - (truth - truth.mean()))
    assert np.std(with_shadow) < 0.7 * np.std(raw)


@pytest.mark.modes
def test_a_shadow_with_holes_matches_a_loop():
    """Six prompts, three models, one asked for four of them, one never."""
    rng = np.random.default_rng(5)
    quality, predicted = rng.random((2, 6, 3)).astype(np.float32)
    asked = np.array([[True, i < 4, False] for i in range(6)])
    answers = np.where(asked, quality, np.float32(np.nan))
    shadow = Examples(np.zeros((6, 1), np.float32), Outcomes(answers, quality), asked)
    found = means.of_shadow(shadow, Outcomes(predicted, predicted), np.full(3, 0.5, np.float32))
    error = quality - predicted
    first, second = error[:, 0], error[:4, 1]
    np.testing.assert_allclose(found.mean, [0.5 + first.mean(), 0.5 + second.mean(), 0.5], rtol=1e-5)
    both = np.sum((first[:4] - first.mean()) * (second - second.mean())) / (6 * 4)
    squares = [6 * first.var(), 4 * second.var()]
    pooled = (sum(squares) + means.NOISE) / (5 + 3 + 1)
    variance = [(own + 5 * pooled) / (free + 5) for own, free in zip(squares, (5, 3), strict=True)]
    expected = np.diag([variance[0] / 6, variance[1] / 4, levels.PRIOR_DEVIATION**2])
    expected[0, 1] = expected[1, 0] = both / 2
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-4)


@pytest.mark.parametrize("few", [1, 2, 3, 8])
def test_a_few_answers_of_a_model_do_not_show_how_noisy_they_are(few):
    """60 prompts that one model answered, and another the first few of them: 95% of the intervals hold the truth."""
    rng = np.random.default_rng(few)
    answers = (rng.random((2000, 60, 2)) < [0.5, 0.7]).astype(np.float32)
    asked = np.arange(60)[:, None] < np.array([60, few])
    half = jnp.full((60, 2), 0.5)

    def one(quality):
        return means.of_shadow(Examples(half[:, :1], Outcomes(quality, quality), asked), Outcomes(half, half), half[0])

    found = jax.vmap(one)(jnp.asarray(answers))
    error = np.asarray(found.mean) - [0.5, 0.7]
    deviation = np.sqrt(np.asarray(jax.vmap(jnp.diag)(found.covariance)))
    inside = (np.abs(error) < 1.96 * deviation).mean(0)
    assert (inside > 0.9).all()
    assert (np.linalg.eigvalsh(np.asarray(found.covariance)) > 0).all()
    assert np.sqrt((error**2).mean(0) / (deviation**2).mean(0)).min() > 0.8  # and they are no wider than they must be
