"""How uncertain a router says it is: the arithmetic, the folder, and the truth of simulated logs."""

import jax
import numpy as np
import pytest
import router_kinds

from jaxroute import projection
from jaxroute.data import simulate, synthetic
from jaxroute.serving import kinds, portable, posterior
from jaxroute.serving.router import Router
from jaxroute.types import InputError


@pytest.mark.parametrize("name", kinds.KINDS)
def test_the_posterior_travels_and_is_its_formula(name, tmp_path):
    router = router_kinds.router(name)
    router.save(tmp_path / "router")
    x, weight = router_kinds.FEATURES, 30.0
    mean, deviation = portable.load(tmp_path / "router").posterior(x, weight)
    for one in (router, Router.load(tmp_path / "router")):
        np.testing.assert_array_equal(one.posterior(x, weight), (mean, deviation))

    layer, scores = router.last_layer, router.scores(x, weight)
    phi = np.concatenate([np.ones((len(x), 1)), router.components(x)], 1)
    for k in range(router_kinds.K):
        spread = [np.sum((phi @ layer.factor[y, k]) ** 2, 1) + layer.misfit[y, k] ** 2 for y in (0, 1)]
        np.testing.assert_allclose(deviation[:, k], np.sqrt(spread[0] + weight**2 * spread[1]), rtol=1e-5)
        linear = phi @ layer.weights[0, k] - weight * phi @ layer.weights[1, k]
        wanted = {"plug_in": scores[:, k], "affine": 0.125 * scores[:, k]}.get(name, linear)
        np.testing.assert_allclose(mean[:, k], wanted, rtol=1e-5, atol=1e-6)
    assert np.isneginf(router.without("b").posterior(x, weight)[0][:, 1]).all()


def test_a_router_without_a_posterior_says_so(tmp_path):
    router_kinds.router("plug_in", last_layer=None).save(tmp_path / "router")
    with pytest.raises(InputError, match="no posterior"):
        portable.load(tmp_path / "router").posterior(router_kinds.FEATURES, 0.0)
    wrong = router_kinds.last_layer()._replace(misfit=np.float32(-np.ones((2, router_kinds.K))))
    with pytest.raises(InputError, match="posterior/misfit"):
        router_kinds.router("plug_in", last_layer=wrong)


def test_intervals_hold_the_true_mean_utilities_about_as_often_as_they_say():
    """Mean over six models and 1,000 new prompts; ``experiments.checks.posterior`` has whole routers."""
    covered = []
    for seed in (0, 1):
        table = synthetic.make(jax.random.key(seed), num_prompts=1400, num_models=6)
        train, new = table.rows(np.arange(400)), table.rows(np.arange(400, 1400))
        log = simulate.simulate(jax.random.key(seed + 1), train, simulate.cost_biased(strength=0.5, floor=0.2))
        axes = jax.tree.map(np.asarray, projection.fit(log.features, np.ones(400, np.float32), 32))
        here, there = (portable.project(axes._asdict(), np.asarray(x)) for x in (log.features, new.features))
        seen = np.eye(6, dtype=bool)[log.action]
        answers = (np.where(seen, np.asarray(y)[:, None], np.nan) for y in (log.quality, log.cost))
        found = posterior.fit(here, axes.deviation, *answers, seen)
        for weight in (0.0, 30.0):
            mean, deviation = posterior.predict(found, there, np.full(1000, weight, np.float32))
            truth = new.expected.quality - weight * new.expected.cost
            covered.append((np.abs(mean - truth) < 1.645 * deviation).mean())
    assert 0.84 < np.mean(covered) < 0.96, covered


def test_a_model_with_few_answers_is_less_certain_and_none_is_as_uncertain_as_the_prior():
    rng = np.random.default_rng(0)
    x, seen = rng.standard_normal((600, 3)), np.zeros((600, 3), bool)
    seen[np.arange(600), rng.choice(3, 600, p=[0.9, 0.1, 0.0])] = True
    y = 0.5 + 0.1 * x + 0.2 * rng.standard_normal((600, 3))
    found = posterior.fit(x, np.ones(3), y, np.ones((600, 3)), seen)
    _, deviation = posterior.predict(found, x, np.zeros(600))
    assert np.isfinite(deviation).all()
    assert (np.diff(deviation.mean(0)) > 0).all()


def test_what_no_layer_can_say_is_misfit_and_not_noise():
    """A parabola around a straight line, whose deviation is 0.1 sqrt(2), in answers that vary by 0.05."""
    rng = np.random.default_rng(0)
    x, every = rng.standard_normal((2000, 1)), np.ones((2000, 2), bool)
    quality = 0.5 + 0.1 * (x**2 - 1) + 0.05 * rng.standard_normal((2000, 2))
    found = posterior.fit(x, np.ones(1), quality, np.ones((2000, 2)), every)
    np.testing.assert_allclose(found.misfit[0], 0.1 * np.sqrt(2), rtol=0.1)
    np.testing.assert_allclose(found.noise[0], 0.05, rtol=0.1)
