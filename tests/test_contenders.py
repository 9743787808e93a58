"""Which models a shadow sample asks: values beside a NumPy loop, money spent by hand, means that stay unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from levels_problem import small_log

from jaxroute import recipe
from jaxroute.estimators import pessimism
from jaxroute.recipe import contenders, levels, means
from jaxroute.types import Examples, Outcomes

LEVEL = jnp.array([0.5, 0.45, 0.4, 0.1])


def test_errors_fall_from_the_logs_to_the_samples():
    logs, nuisances = small_log()
    now = np.asarray(contenders.errors(logs, nuisances, 0))
    np.testing.assert_allclose(now, levels.fit(logs, nuisances).deviation, rtol=1e-3)
    some, many = (np.asarray(contenders.errors(logs, nuisances, prompts)) for prompts in (50, 10_000))
    assert (some < now).all()
    noise = np.asarray(pessimism.noise(logs, nuisances))
    assert (some < noise / np.sqrt(50)).all()  # the log knows something, too
    np.testing.assert_allclose(many, noise / 100, rtol=0.15)  # the prior's part: levels of these models are close


def test_errors_are_those_of_a_second_sample():
    """Of which a model that is not asked has no part."""
    logs, nuisances = small_log()
    samples, about, prices = levels.samples_of(logs, nuisances)
    variance = np.asarray(pessimism.noise(logs, nuisances)) ** 2 / [10, 40, 5, 1]
    variance[3] = 1e6
    second = means.Sample(jnp.full(4, 0.5), jnp.diag(jnp.asarray(variance, jnp.float32)))
    mean = levels.posterior(samples, about, prices).mean
    expected = levels.posterior([*samples, second._replace(mean=mean)], about, prices).deviation
    np.testing.assert_allclose(contenders.errors(logs, nuisances, np.array([10, 40, 5, 0])), expected, rtol=1e-3)


def test_what_answers_are_worth_matches_numpy():
    logs, nuisances = small_log()
    key, plans = jax.random.key(3), np.array([[0, 0, 0, 0], [50, 50, 0, 0], [10, 200, 5, 0], [50, 50, 50, 50]])
    found = contenders.worth(key, logs, nuisances, LEVEL, recipe.GRID)(plans)
    quality, cost = (np.asarray(y) for y in nuisances.outcomes)
    utility = np.asarray(LEVEL) + 0.5 * (quality - quality.mean(0)) - np.array(recipe.GRID)[:, None, None] * cost
    utility = np.where(np.asarray(logs.available), utility, -np.inf)
    half = np.asarray(jax.random.normal(key, (contenders.DRAWS // 2, 4)))
    now = np.asarray(contenders.errors(logs, nuisances, plans[0]))
    for plan, value in zip(plans, found, strict=True):
        after = np.asarray(contenders.errors(logs, nuisances, plan))
        assert (after[plan > 0] < now[plan > 0]).all()
        moved = np.sqrt(np.maximum(now**2 - after**2, 0)) * np.concatenate([half, -half])
        expected = np.mean([(utility + shift).max(-1).mean() for shift in moved]) - utility.max(-1).mean()
        assert value == pytest.approx(expected, abs=1e-4)
    assert abs(found[0]) < contenders.ROUNDING < found[1] < found[3]


@pytest.mark.parametrize(
    ("scale", "price", "money", "most", "expected"),
    [
        ((3, 1, 0), (1, 1, 1), 1000, 10_000, (900, 100, 0)),  # of a sqrt(n), the best shares are as a^2 / price^2
        ((1, 1, 1), (1, 2, 4), 700, 10_000, (400, 100, 25)),
        ((3, 1, 0), (1, 1, 1), 1000, 600, (600, 400, 0)),
        ((0, 0, 0), (1, 1, 1), 1000, 600, (0, 0, 0)),
        ((1, 1, 0), (0, 1, 1), 100, 600, (600, 100, 0)),  # a model that costs nothing
        ((0, 0, 1), (1, 1, 30), 100, 600, (0, 0, 0)),  # less than a block
        ((0, 0, 1), (1, 1, 30), 190, 600, (0, 0, 6)),  # more than a block
    ],
)
def test_money_goes_where_it_gains_most(scale, price, money, most, expected):
    def worth(plans):
        return np.sqrt(plans) @ np.array(scale, float)

    found = contenders.spend(worth, np.array(price, float), money, block=4, most=most)
    assert found @ np.array(price) <= money
    np.testing.assert_allclose(found, expected, rtol=0.2, atol=0)
    best, ours = worth(np.array([expected, found]))
    assert ours >= 0.995 * best


def test_the_models_of_a_log_are_asked_for_their_money():
    logs, nuisances = small_log()
    worth = contenders.worth(jax.random.key(3), logs, nuisances, LEVEL, recipe.GRID)
    price = np.array([0.1, 0.5, 0.4, 0.3])
    plan = contenders.spend(worth, price, 65.0, block=12, most=200)
    assert 64.0 < plan @ price <= 65.0
    assert plan.max() <= 200
    assert plan[0] > plan[1] > 0  # as likely to be chosen, at a fifth of the price
    assert worth(plan[None])[0] > worth(np.full((1, 4), 50))[0]


def test_models_chosen_by_the_log_have_unbiased_means_in_the_shadow():
    """600 noisy logs pick two of four models, one for half of the prompts; the answers are new, so means are right."""
    rng = np.random.default_rng(1)
    truth, predicted = np.array([0.5, 0.52, 0.48, 0.55]), np.array([0.6, 0.4, 0.5, 0.5])
    seen = truth + 0.05 * rng.standard_normal((600, 4))
    plans = np.array([40, 20, 0, 0])[np.argsort(np.argsort(-seen))]
    asked = jnp.asarray([contenders.nested(plan) for plan in plans])
    answers = jnp.asarray(rng.random((600, 40, 4)) < truth, jnp.float32)
    flat = jnp.broadcast_to(jnp.asarray(predicted, jnp.float32), (40, 4))

    def one(answers, asked):
        sample = Examples(jnp.zeros((40, 1)), Outcomes(answers, answers), asked)
        return means.of_shadow(sample, Outcomes(flat, flat), flat[0])

    samples = jax.vmap(one)(answers, asked)
    for k in range(4):
        mine = np.asarray(samples.mean)[plans[:, k] > 0, k]
        assert abs(mine.mean() - truth[k]) < 4 * mine.std() / np.sqrt(len(mine))
        assert np.allclose(np.asarray(samples.covariance)[plans[:, k] == 0, k, k], levels.PRIOR_DEVIATION**2)
        assert mine.mean() < seen[plans[:, k] > 0, k].mean()  # whom a log picks looks better than it is
