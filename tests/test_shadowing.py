"""Which models a shadow sample asks: chances against a loop, the fewest models, and no bias from having chosen them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute import levels, pessimism, recipe, shadowing
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

DRAWS, SCALE = 20, 2.0


def _log(rows=30, models=4):
    rng = np.random.default_rng(0)
    quality, cost = rng.random((2, rows, models)).astype(np.float32)
    action = rng.integers(0, models, rows)
    available = np.ones((rows, models), bool)
    available[0, (action[0] + 1) % models] = False
    seen = rng.random(rows) < quality[np.arange(rows), action]
    quarter = jnp.full((rows, models), 1 / models)
    logs = Logs(jnp.zeros((rows, 1)), action, seen.astype(np.float32), cost[:, 0], quarter[:, 0], available)
    nuisances = Nuisances(quarter, Outcomes(jnp.asarray(quality), jnp.asarray(cost)))
    level, centre = jnp.asarray([0.5, 0.45, 0.4, 0.1], jnp.float32), jnp.mean(nuisances.outcomes.quality, 0)
    return logs, nuisances, recipe.Recommended(None, level, centre, jnp.float32(0.5))


def test_chances_match_a_loop():
    logs, nuisances, model = _log()
    key = jax.random.key(3)
    found = shadowing.chances(key, logs, nuisances, model, cost_scale=SCALE, draws=DRAWS)
    deviation = np.asarray(levels.fit(jax.tree.map(jnp.asarray, logs), nuisances).deviation)
    quality, cost = (np.asarray(y) for y in nuisances.outcomes)
    level, centre = np.asarray(model.level), np.asarray(model.centre)
    count = np.zeros(4)
    for noise in np.asarray(jax.random.normal(key, (DRAWS, 4))):
        for weight in np.array(recipe.GRID) / SCALE:
            for i in range(30):
                utility = [
                    level[k] + deviation[k] * noise[k] + 0.5 * (quality[i, k] - centre[k]) - weight * cost[i, k]
                    if logs.available[i, k]
                    else -np.inf
                    for k in range(4)
                ]
                count[np.argmax(utility)] += 1
    np.testing.assert_allclose(found, count / count.sum(), atol=2e-3)


def test_the_fewest_models_that_hold_the_chance():
    chance = np.array([0.3, 0.05, 0.25, 0.4])
    for keep, expected in ((0.5, [0, 3]), (0.65, [0, 3]), (0.7, [0, 3]), (0.71, [0, 2, 3]), (0.96, [0, 1, 2, 3])):
        assert np.flatnonzero(shadowing.contenders(chance, keep)).tolist() == expected, keep
    assert shadowing.contenders(np.array([0.0, 1.0, 0.0])).sum() == 2  # a contrast needs two


def test_models_chosen_by_the_log_have_unbiased_means_in_the_shadow():
    """600 noisy logs each pick two of four models; the shadow's answers are new, so their means are right."""
    rng = np.random.default_rng(1)
    truth, predicted = np.array([0.5, 0.52, 0.48, 0.55]), np.array([0.6, 0.4, 0.5, 0.5])
    seen = truth + 0.05 * rng.standard_normal((600, 4))
    asked = jnp.asarray(np.argsort(np.argsort(-seen)) < 2)
    answers = jnp.asarray(rng.random((600, 40, 4)) < truth, jnp.float32)
    flat = jnp.broadcast_to(jnp.asarray(predicted, jnp.float32), (40, 4))

    def one(answers, asked):
        shadow = Examples(jnp.zeros((40, 1)), Outcomes(answers, answers), jnp.broadcast_to(asked, (40, 4)))
        return levels.of_shadow(shadow, Outcomes(flat, flat), flat[0])

    samples = jax.vmap(one)(answers, asked)
    for k in range(4):
        mine = np.asarray(samples.mean)[np.asarray(asked)[:, k], k]
        assert abs(mine.mean() - truth[k]) < 4 * mine.std() / np.sqrt(len(mine))
        assert np.allclose(np.asarray(samples.covariance)[~np.asarray(asked)[:, k], k, k], levels.VAGUE**2)
        assert mine.mean() < seen[np.asarray(asked)[:, k], k].mean()  # whom a log picks looks better than it is


def test_errors_fall_from_the_logs_to_the_samples():
    logs, nuisances, _ = _log()
    logs = jax.tree.map(jnp.asarray, logs)
    now = shadowing.errors(logs, nuisances, 0)
    np.testing.assert_allclose(now, levels.fit(logs, nuisances).deviation)
    some, many = (shadowing.errors(logs, nuisances, prompts) for prompts in (50, 10_000))
    assert (some < now).all()
    noise = np.asarray(pessimism.noise(logs, nuisances))
    assert (some < noise / np.sqrt(50)).all()  # the log knows something, too
    np.testing.assert_allclose(many, noise / 100, rtol=0.15)  # the prior's part: levels of these models are close
