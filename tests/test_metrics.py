"""Value and regret, collapse and shares, conventions of cost weights, by hand and at their ends."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import metrics
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import InputError, Outcomes

# -- value and regret --------------------------------------------------------------------------------


def simulated(seed=0, N=7, K=4, L=3):
    rng = np.random.default_rng(seed)
    outcomes = Outcomes(*(jnp.asarray(rng.uniform(size=(N, K)), jnp.float32) for _ in range(2)))
    probabilities = jnp.asarray(rng.dirichlet(np.ones(K), (L, N)), jnp.float32)
    return probabilities, outcomes


@pytest.mark.modes
def test_value_and_regret_by_hand():
    outcomes = Outcomes(jnp.array([[0.5, 1.0, 0.25]]), jnp.array([[0.0, 1.0, 0.5]]))
    policy = jnp.array([[0.5, 0.25, 0.25]])
    # u at weight 0.5: 0.5 - 0, 1 - 0.5, 0.25 - 0.25
    np.testing.assert_allclose(metrics.value(policy, outcomes, 0.5), [0.5 * 0.5 + 0.25 * 0.5 + 0.25 * 0.0])
    np.testing.assert_allclose(metrics.regret(policy, outcomes, 0.5), [0.5 - 0.375])
    # at weight 0 model 1 is best, unless it is not available
    np.testing.assert_allclose(metrics.regret(policy, outcomes, 0.0), [1.0 - 0.5625])
    mask = jnp.array([[True, False, True]])
    chosen = jnp.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(metrics.regret(chosen, outcomes, 0.0, available=mask), [0.5 - 0.25])


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_hole_is_ignored_where_masked_and_loud_where_chosen(hole):
    outcomes = Outcomes(jnp.array([[0.5, hole]]), jnp.array([[0.25, hole]]))
    mask = jnp.array([[True, False]])
    first, second = jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]])
    np.testing.assert_allclose(metrics.value(first, outcomes, 1.0), [0.25])
    np.testing.assert_allclose(metrics.regret(first, outcomes, 1.0, available=mask), [0.0])
    np.testing.assert_allclose(metrics.quality_cost_points(first[None], outcomes), [[0.25, 0.5]])
    assert not np.isfinite(metrics.value(second, outcomes, 1.0)).any()
    assert not np.isfinite(metrics.regret(second, outcomes, 1.0, available=mask)).any()
    assert not np.isfinite(metrics.quality_cost_points(second[None], outcomes)).any()

    def mean_value(quality):
        return metrics.value(first, Outcomes(quality, outcomes.cost), 1.0).mean()

    np.testing.assert_array_equal(jax.grad(mean_value)(outcomes.quality), [[1.0, 0.0]])
    gradient = jax.grad(lambda p: metrics.regret(p, outcomes, 1.0, available=mask).sum())(first)
    np.testing.assert_array_equal(gradient, [[-0.25, 0.0]])


def test_gradient_reaches_models_of_probability_zero():
    outcomes = Outcomes(jnp.array([[0.5, 0.75]]), jnp.array([[0.0, 0.25]]))
    gradient = jax.grad(lambda p: metrics.value(p, outcomes, 1.0).sum())(jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(gradient, [[0.5, 0.5]])


def test_row_without_models_is_worth_nothing():
    outcomes = Outcomes(jnp.full((1, 2), jnp.nan), jnp.full((1, 2), jnp.nan))
    nothing = jnp.zeros((1, 2))
    assert metrics.value(nothing, outcomes, 1.0) == 0
    assert metrics.regret(nothing, outcomes, 1.0, available=nothing > 0) == 0


def test_value_gradients_jit_and_vmap():
    probabilities, outcomes = simulated()
    with jax.enable_x64(True):
        policy = jnp.asarray(np.asarray(probabilities[0], np.float64))
        full = Outcomes(*(jnp.asarray(np.asarray(x, np.float64)) for x in outcomes))
        for metric in (metrics.value, metrics.regret):
            total = jax.jit(lambda p, w, f=metric: f(p, full, w).sum())
            check_grads(total, (policy, 0.3), order=1, modes=["rev"])
    weights = jnp.array([0.0, 0.5, 2.0])
    grid = jax.jit(jax.vmap(metrics.regret, (0, None, 0)))(probabilities, outcomes, weights)
    for got, policy, weight in zip(grid, probabilities, weights, strict=True):
        np.testing.assert_allclose(got, metrics.regret(policy, outcomes, weight), atol=1e-6)


@pytest.mark.modes
def test_points_are_means_of_the_mixture():
    probabilities, outcomes = simulated()
    quality = np.einsum("lnk,nk->l", probabilities, outcomes.quality) / 7
    cost = np.einsum("lnk,nk->l", probabilities, outcomes.cost) / 7
    points = metrics.quality_cost_points(probabilities, outcomes)
    np.testing.assert_allclose(points, np.stack([cost, quality], -1), rtol=1e-5)


# -- collapse, shares, conventions -------------------------------------------------------------------


@pytest.mark.modes
def test_collapse_by_hand():
    # model 1 is the priciest; rows: tie, 1 alone best, 0 best
    outcomes = Outcomes(
        jnp.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), jnp.array([[0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])
    )
    for choice, bad in (([0, 1, 0], 0), ([1, 1, 0], 1), ([0, 0, 0], 1), ([1, 1, 1], 2), ([1, 0, 1], 3)):
        got = metrics.routing_collapse(jnp.array(choice), outcomes)
        np.testing.assert_allclose(got, bad / 3, rtol=1e-6)
    drawn = metrics.routing_collapse(jnp.array([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]), outcomes)
    np.testing.assert_allclose(drawn, (0.5 + 0.25 + 0.1) / 3, rtol=1e-6)  # and not that of the likeliest model


def test_collapse_leaves_holes_out_but_not_available_ones():
    outcomes = Outcomes(jnp.array([[0.5, jnp.nan], [0.5, 0.75]]), jnp.array([[2.0, jnp.nan], [0.5, 1.0]]))
    available = jnp.array([[True, False], [True, True]])
    # mean costs 1.25 and 1.0 (the hole is not a 0): model 0 is priciest, yet alone in row 0
    choose = partial(metrics.routing_collapse, outcomes=outcomes, available=available)
    assert choose(jnp.array([0, 1])) == 0.0
    assert choose(jnp.array([1, 1])) == 0.5  # not available: not among the best
    assert choose(jnp.array([[1.0, 0.0], [0.5, 0.5]])) == 0.25
    assert np.isnan(metrics.routing_collapse(jnp.array([0, 1]), outcomes))


@pytest.mark.modes
def test_entropy_is_safe_at_zero_and_loud_on_nan():
    gradient = jax.grad(metrics.share_entropy)(jnp.array([0.5, 0.5, 0.0]))
    # -(log s + 1)
    np.testing.assert_allclose(gradient, [np.log(2) - 1, np.log(2) - 1, 0.0], rtol=1e-5)
    with nan_is_unknown():
        assert np.isnan(metrics.share_entropy(np.array([0.5, np.nan])))
    assert metrics.share_entropy(jnp.array([1.0]), normalised=True) == 0


@pytest.mark.parametrize("weight", [0.125, 1.0, 4.0])
def test_conventions_order_models_alike(weight):
    quality, cost = np.random.default_rng(1).uniform(size=(2, 50))
    ours = np.argsort(quality - weight * cost)
    w, mu = float(metrics.to_routerbench(weight)), float(metrics.to_carrot(weight))
    np.testing.assert_array_equal(np.argsort(w * quality - cost), ours)
    np.testing.assert_array_equal(np.argsort((1 - mu) * quality - mu * cost), ours)
    np.testing.assert_allclose(metrics.from_routerbench(w), weight, rtol=1e-6)
    np.testing.assert_allclose(metrics.from_carrot(mu), weight, rtol=1e-6)


def test_conventions_at_their_ends():
    assert metrics.to_routerbench(0.0) == np.inf
    assert metrics.from_routerbench(np.inf) == 0
    assert metrics.to_carrot(0.0) == 0
    assert metrics.to_carrot(np.inf) == 1
    assert metrics.from_carrot(1.0) == np.inf


def test_a_cost_weight_for_each_model_is_refused():
    outcomes = Outcomes(jnp.eye(3), jnp.ones((3, 3)))
    for function in (metrics.value, metrics.regret):
        with pytest.raises(InputError, match="cost_weight"):
            function(jnp.eye(3), outcomes, jnp.arange(3.0))
