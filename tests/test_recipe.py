"""The recommended recipe: its two ends, gradients, the share of contrasts, a shadow sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import levels, nuisance, policies, recipe
from jaxroute.data import logging, synthetic
from jaxroute.types import Examples, Logs, Nuisances, NuisanceSpec, Outcomes

SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


@pytest.fixture(scope="module")
def problem():
    table = synthetic.make(jax.random.key(0), num_prompts=900, num_models=5)
    logs = logging.simulate(jax.random.key(1), table, logging.cost_biased(strength=0.5, floor=0.2))
    return table, logs, *recipe.fit(jax.random.key(2), logs, SPEC)


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
    return float(recipe.choose_share(logs, nuisances, levels.fit(logs, nuisances).mean))


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


def test_a_shadow_sample_enters_the_outcome_model_and_the_levels(problem):
    _, logs, _, without = problem
    shadow_table = synthetic.make(jax.random.key(7), num_prompts=200, num_models=5)
    outcomes = jax.tree.map(jnp.asarray, shadow_table.outcomes)
    shadow = Examples(jnp.asarray(shadow_table.features), outcomes, jnp.asarray(shadow_table.available))
    nuisances, model = recipe.fit(jax.random.key(2), logs, SPEC, shadow=shadow)
    assert nuisances.outcomes.quality.shape == (900, 5)
    every = nuisance.out_of_fold(model.nuisances.outcomes)
    assert every.quality.shape == (1100, 5)
    expected = levels.fit(logs, nuisances, shadow, jax.tree.map(lambda y: y[900:], every))
    np.testing.assert_allclose(model.level, expected.mean, rtol=1e-6)
    assert (jnp.abs(model.level - without.level) > 1e-3).any()
    kept = recipe.choose_share(logs, nuisances, model.level)
    slope, error = recipe.shadow_slope(shadow, model.nuisances)
    np.testing.assert_allclose(model.share, recipe.recalibrate(kept, slope, error), rtol=1e-6)
    assert (expected.deviation < levels.fit(logs, nuisances).deviation).all()


def test_levels_of_a_log_are_halfway_between_posterior_and_outcome_model(problem):
    _, logs, nuisances, model = problem
    half = (np.asarray(levels.fit(logs, nuisances).mean) + np.asarray(nuisances.outcomes.quality).mean(0)) / 2
    np.testing.assert_allclose(model.level, half, rtol=1e-5)


def _with_shadow(quality, predicted, asked):
    """A shadow sample and a model whose cross-fitted predictions are given; five log rows come first."""
    before = np.full((5, predicted.shape[1]), 9.0, np.float32)
    cells = jnp.asarray(np.r_[before, predicted], jnp.float32)[None]
    fitted = nuisance.OutcomeModel(None, {}, Outcomes(jnp.ones(1), jnp.ones(1)), Outcomes(cells, cells), SPEC)
    answers = jnp.asarray(np.where(asked, quality, np.nan), jnp.float32)
    shadow = Examples(jnp.zeros((len(quality), 1)), Outcomes(answers, answers), jnp.asarray(asked))
    return shadow, nuisance.NuisanceModel(fitted, None, {}, 0, None)


def test_slope_of_a_shadow_matches_a_loop():
    """Nine prompts, three models, two answers missing."""
    quality, predicted = np.random.default_rng(4).random((2, 9, 3))
    asked = np.ones((9, 3), bool)
    asked[0, 1] = asked[4, 2] = False
    slope, error = recipe.shadow_slope(*_with_shadow(quality, predicted, asked))
    q, r = quality.copy(), predicted.copy()
    for y in (q, r):
        for k in range(3):
            y[:, k] -= y[asked[:, k], k].mean()
        for i in range(9):
            y[i] -= y[i, asked[i]].mean()
    h, g = (
        np.array([sum(a[i, k] * b[i, k] for k in range(3) if asked[i, k]) for i in range(9)])
        for a, b in ((q, r), (r, r))
    )
    b = h.sum() / g.sum()
    np.testing.assert_allclose(slope, b, rtol=1e-4)
    np.testing.assert_allclose(error, np.sqrt(9 / 8 * np.sum((h - b * g) ** 2)) / g.sum(), rtol=1e-4)


def test_slope_of_a_shadow_is_that_of_the_truth_and_its_error_honest():
    """400 samples of 150 prompts: a third of each predicted contrast is true, answers of one prompt go together."""
    rng = np.random.default_rng(0)
    predicted = np.array([0.3, 0.5, 0.4, 0.6]) + 0.15 * rng.standard_normal((400, 150, 4))
    chance = 0.5 + predicted / 3 + np.array([0.1, -0.1, 0.0, -0.2]) + 0.1 * rng.standard_normal((400, 150, 1))
    quality = jnp.asarray(rng.random((400, 150, 1)) < chance, jnp.float32)
    some, model = _with_shadow(np.ones((150, 4)), predicted[0], np.ones((150, 4), bool))

    def one(quality, predicted):
        outcomes = model.outcomes._replace(out_of_fold=Outcomes(predicted[None], predicted[None]))
        shadow = some._replace(outcomes=Outcomes(quality, quality))
        return recipe.shadow_slope(shadow, model._replace(outcomes=outcomes))

    slope, error = jax.vmap(one)(quality, jnp.asarray(predicted, jnp.float32))
    assert abs(jnp.mean(slope) - 1 / 3) < 4 * jnp.std(slope) / 20
    assert 0.9 < jnp.mean(error) / jnp.std(slope) < 1.1


def test_a_shadow_without_predicted_contrasts_says_nothing():
    level = np.tile([0.2, 0.6], (30, 1))
    slope, error = recipe.shadow_slope(
        *_with_shadow(np.random.default_rng(0).random((30, 2)), level, np.ones((30, 2), bool))
    )
    assert recipe.recalibrate(0.25, slope, error) == 0.25


def test_recalibrating_is_a_normal_posterior():
    for share, slope, error in ((0.5, 0.9, 0.1), (0.25, -2.0, 0.2), (0.5, 3.0, 0.05)):
        prior, seen = 1 / recipe.DOUBT**2, 1 / error**2
        expected = np.clip((prior * share + seen * slope) / (prior + seen), 0, 1)
        np.testing.assert_allclose(recipe.recalibrate(share, slope, error), expected, rtol=1e-5)
