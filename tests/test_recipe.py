"""The recommended recipe: its two ends, gradients, the share of contrasts, a shadow sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import nuisance, policies, recipe
from jaxroute.data import simulate, synthetic
from jaxroute.recipe import caution, contrasts, levels
from jaxroute.types import Examples, NuisanceSpec, Outcomes

SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


@pytest.fixture(scope="module")
def problem():
    table = synthetic.make(jax.random.key(0), num_prompts=900, num_models=5)
    logs = simulate.simulate(jax.random.key(1), table, simulate.cost_biased(strength=0.5, floor=0.2))
    return table, logs, *recipe.fit(jax.random.key(2), logs, SPEC)


@pytest.mark.modes
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
        lambda r, m, c, s: recipe.shrink_contrasts(Outcomes(r, r), m, c, share=s).quality,
        (r, level, centre, jnp.float32(0.4)),
        1,
    )


def test_a_contrast_that_is_noise_costs_less():
    """Two models of equal worth on every prompt but one level apart: noisy predictions choose the worse one less."""
    rng = np.random.default_rng(0)
    truth = jnp.array([0.6, 0.5])
    noisy = jnp.asarray(np.asarray(truth) + 0.1 * rng.standard_normal((4000, 2)), jnp.float32)

    def value(share):
        predicted = recipe.shrink_contrasts(Outcomes(noisy, noisy), truth, jnp.mean(noisy, 0), share=share)
        return float(jnp.mean(policies.greedy(predicted.quality) @ truth))

    assert value(0.0) == pytest.approx(0.6)
    assert value(1.0) < value(0.5) - 0.005 < value(0.0)


@pytest.mark.modes
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
    slopes = contrasts.of_log(logs, model.nuisances), contrasts.of_shadow(shadow, model.nuisances)
    np.testing.assert_allclose(model.share, contrasts.share(*slopes), rtol=1e-6)
    np.testing.assert_allclose(without.share, contrasts.share(contrasts.of_log(logs, without.nuisances)), rtol=1e-6)
    assert (expected.deviation < levels.fit(logs, nuisances).deviation).all()
    on_shadow = recipe.apply(model, recipe.shadow_predictions(model.nuisances, 900))
    out_of_fold = np.asarray(every.quality[900:]) - np.asarray(model.centre)
    decided = np.asarray(model.level) + float(model.share) * out_of_fold
    np.testing.assert_allclose(on_shadow.quality, decided, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(on_shadow.cost, every.cost[900:], rtol=1e-6)


def test_levels_are_lower_where_little_is_known_and_the_log_chose_well(problem):
    """By hand; a log whose rows say nothing of the levels, or that avoided good models, takes nothing off."""
    _, logs, nuisances, model = problem
    level, rows = levels.fit(logs, nuisances), np.bincount(logs.action, minlength=5)
    mean, predicted = np.asarray(level.mean), np.asarray(nuisances.outcomes.quality).mean(0)

    def by_hand(rows):
        rho = max(np.corrcoef(np.log1p(rows), mean)[0, 1], 0)
        part = 0.25 * (1 - rho)
        return (1 - part) * mean + part * predicted - caution.CAUTION * rho * np.asarray(level.deviation)

    np.testing.assert_allclose(model.level, by_hand(rows), rtol=1e-4)
    mixed = 0.75 * mean + 0.25 * predicted
    order = np.argsort(level.mean)
    good, bad = np.empty(5), np.empty(5)
    good[order], bad[order] = [1, 3, 9, 27, 81], [81, 27, 9, 3, 1]
    known = nuisances.outcomes.quality.mean(0)
    np.testing.assert_allclose(caution.settled(level, known, bad), mixed, rtol=1e-5)
    half = 0.875 * np.asarray(level.mean) + 0.125 * np.asarray(known)
    np.testing.assert_allclose(caution.settled(level, known, bad, 0.5), half, rtol=1e-5)
    np.testing.assert_allclose(caution.settled(level, known, bad, 1.0), level.mean, rtol=1e-5)
    np.testing.assert_allclose(caution.settled(level, known, good), by_hand(good), rtol=1e-4)
    assert (np.asarray(caution.settled(level, known, good)) < mean - 0.5 * np.asarray(level.deviation)).all()
    turned = level._replace(mean=-level.mean)  # as a wrong prior would have it: rho is the log's all the same
    taken_off = turned.mean - caution.CAUTION * np.asarray(level.deviation) * max(
        np.corrcoef(np.log1p(good), mean)[0, 1], 0
    )
    found = caution.settled(turned, known, good, 1.0, log_alone=level)
    np.testing.assert_allclose(found, taken_off, rtol=1e-4)
