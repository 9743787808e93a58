"""The recommended recipe: levels against NumPy and in simulation, its two ends, gradients, better choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import nuisance, policies, recipe
from jaxroute.data import logging, synthetic
from jaxroute.types import Logs, Nuisances, NuisanceSpec, Outcomes

SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


@pytest.fixture(scope="module")
def problem():
    table = synthetic.make(jax.random.key(0), num_prompts=900, num_models=5)
    logs = logging.simulate(jax.random.key(1), table, logging.cost_biased(strength=0.5, floor=0.2))
    return table, logs, *recipe.fit(jax.random.key(2), logs, SPEC)


def _cells(seed, rows=40, models=3):
    rng = np.random.default_rng(seed)
    quality, predicted = rng.random((2, rows, models))
    observed = rng.random((rows, models)) < 0.4
    observed[:, 2] = False  # a model that the log never tried
    return np.where(observed, quality, np.nan), observed, 1 / rng.uniform(0.1, 1, (rows, models)), predicted


def test_levels_match_a_loop():
    quality, observed, weight, predicted = _cells(0)
    found = recipe.levels(*(jnp.asarray(x) for x in (quality, observed, weight, predicted)))
    for k in range(3):
        level = predicted[:, k].mean()
        seen = np.flatnonzero(observed[:, k])
        if len(seen):
            error = [quality[i, k] - predicted[i, k] for i in seen]
            level += np.average(error, weights=weight[seen, k])
        np.testing.assert_allclose(found[k], level, rtol=1e-5)


def test_levels_of_a_log_honour_clip_and_response(problem):
    _, logs, nuisances, _ = problem
    logs = logs._replace(quality=jnp.asarray(logs.quality).at[::7].set(jnp.nan))
    response = jnp.linspace(0.5, 1.0, len(logs.action))
    found = recipe.log_levels(logs, nuisances._replace(response=response), clip=0.15)
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
    levels = jax.jit(recipe.log_levels)
    half = jnp.full((2000, 2), 0.5)
    for _ in range(400):
        action = (rng.random(2000) < propensity[:, 1]).astype(np.int32)
        quality = (rng.random(2000) < chance[np.arange(2000), action]).astype(np.float32)
        chosen = propensity[np.arange(2000), action].astype(np.float32)
        logs = Logs(jnp.zeros((2000, 1)), action, quality, quality, chosen, jnp.ones((2000, 2), bool))
        draws.append(levels(logs, Nuisances(jnp.asarray(propensity, jnp.float32), Outcomes(half, half))))
        naive.append([quality[action == k].mean() for k in range(2)])
    error = np.mean(draws, 0) - truth
    assert (np.abs(error) < 4 * np.std(draws, 0) / 20 + 1e-3).all()
    assert (np.mean(naive, 0) - truth > 0.05).all()  # what the logger's own shares would have said


def test_the_two_ends_are_best_single_and_plug_in(problem):
    table, _, nuisances, model = problem
    predicted = nuisance.predict_outcomes(model.nuisances.outcomes, table.features)
    centre = jnp.mean(nuisances.outcomes.quality, 0)
    np.testing.assert_allclose(model.centre, centre)
    none = recipe.predict(model._replace(share=jnp.float32(0)), table.features)
    np.testing.assert_allclose(none.quality, np.broadcast_to(model.level, none.quality.shape), rtol=1e-6)
    every = recipe.predict(model._replace(share=jnp.float32(1), level=centre), table.features)
    np.testing.assert_allclose(every.quality, predicted.quality, atol=1e-6)
    np.testing.assert_array_equal(every.cost, predicted.cost)


def test_gradients():
    rng = np.random.default_rng(1)
    r, level, centre = (jnp.asarray(rng.random(s), jnp.float32) for s in ((4, 3), (3,), (3,)))
    check_grads(
        lambda r, m, c, s: recipe.temper(Outcomes(r, r), m, c, share=s).quality, (r, level, centre, jnp.float32(0.4)), 1
    )


def test_a_contrast_that_is_noise_costs_less():
    """Two models of equal worth on every prompt but one level apart: noisy predictions choose the worse one less."""
    rng = np.random.default_rng(0)
    truth = jnp.array([0.6, 0.5])
    noisy = jnp.asarray(np.asarray(truth) + 0.1 * rng.standard_normal((4000, 2)), jnp.float32)

    def value(share):
        tempered = recipe.temper(Outcomes(noisy, noisy), truth, jnp.mean(noisy, 0), share=share)
        return float(jnp.mean(policies.greedy(tempered.quality) @ truth))

    assert value(0.0) == pytest.approx(0.6)
    assert value(1.0) < value(0.5) - 0.005 < value(0.0)


def _share(chance, predicted, rows=3000):
    """The share chosen on a uniform log of two models of equal cost."""
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, rows)
    quality = (rng.random(rows) < chance[np.arange(rows), action]).astype(np.float32)
    half = jnp.full((rows, 2), 0.5)
    logs = Logs(jnp.zeros((rows, 1)), action, quality, np.ones(rows, np.float32), half[:, 0], jnp.ones((rows, 2), bool))
    nuisances = Nuisances(half, Outcomes(jnp.asarray(predicted, jnp.float32), jnp.ones((rows, 2))))
    return float(recipe.choose_share(logs, nuisances, recipe.log_levels(logs, nuisances)))


def test_the_share_is_all_where_contrasts_are_true_and_none_where_they_mislead():
    rng = np.random.default_rng(1)
    swing = np.where(rng.random(3000) < 0.5, 0.3, -0.3)
    chance = np.stack([0.5 + swing, np.full(3000, 0.62)], 1)  # the first model is worth it on half of the prompts
    assert _share(chance, 0.5 + 0.0 * chance) == recipe.SHARE  # nothing predicted, nothing to choose between
    timid = np.stack([0.5 + 0.5 * swing, np.full(3000, 0.62)], 1)  # a half of it would not overcome the level
    assert _share(chance, timid) in (0.75, 1.0)
    level = np.stack([np.full(3000, 0.5), np.full(3000, 0.62)], 1)
    wrong = np.stack([0.5 - swing, np.full(3000, 0.62)], 1)
    assert _share(level + np.stack([swing, 0 * swing], 1), wrong) == 0.0
