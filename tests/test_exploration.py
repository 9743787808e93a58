"""Exploration: probabilities against quadrature, a convex solver by hand and brute force; limits kept to the digit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from jaxroute.policies import contenders, for_evaluation, greedy, limited, thompson
from jaxroute.types import InputError

ROWS, MODELS = 40, 5


@pytest.fixture(scope="module")
def posterior():
    """Mean, sd [N, K] and a mask with a hole in most rows; entries under the mask are NaN."""
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(0.6, 0.1, (ROWS, MODELS)), rng.uniform(0.01, 0.2, (ROWS, MODELS))
    available = rng.uniform(size=mean.shape) < 0.7
    available[:, 0] = True
    return np.where(available, mean, np.nan), np.where(available, sd, np.nan), available


def probability_best(mean, sd):
    """P(k is the best) by the midpoint rule over quantiles; the integrand is monotone, so off by at most 1/1000."""
    quantile = ndtri((np.arange(500) + 0.5) / 500)
    found = np.empty(len(mean))
    for k in range(len(mean)):
        at = mean[k] + sd[k] * quantile
        others = [j for j in range(len(mean)) if j != k]
        found[k] = np.prod([ndtr((at - mean[j]) / sd[j]) for j in others], 0).mean() if others else 1.0
    return found


@pytest.mark.modes
def test_thompson_is_the_probability_of_being_best_up_to_the_error_it_states(posterior):
    mean, sd, available = posterior
    sampled = thompson(jax.random.key(0), mean, sd, simulations=1000, floor=0.1, available=available)
    exact = np.zeros(mean.shape)
    for row, there in enumerate(available):
        exact[row, there] = 0.9 * probability_best(mean[row, there], sd[row, there]) + 0.1 / there.sum()
    off = np.abs(sampled.probabilities - exact)[available] / np.asarray(sampled.standard_error)[available]
    assert off.max() < 4.5
    assert 0.5 < np.sqrt(np.mean(off**2)) < 1.2  # errors are neither understated nor far too wide
    assert np.all(np.asarray(sampled.standard_error)[available] > 0)


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
def test_thompson_counts_more_draws_than_a_narrow_type_can(kind):
    mean, sd = jnp.array([1.0, 0.0, 0.5], kind), jnp.full(3, 0.01, kind)
    found, error = thompson(jax.random.key(0), mean, sd, simulations=3000)
    np.testing.assert_array_equal(np.asarray(found, float), [1.0, 0.0, 0.0])
    assert found.dtype == error.dtype == kind
    assert (np.asarray(error, float) < 0.002).all()


@pytest.mark.modes
def test_contenders_by_hand(posterior):
    mean, sd, available = posterior
    found = contenders(mean, sd, epsilon=0.3, floor=0.1, level=0.2, available=available)
    for row, there in enumerate(available):
        best = max(np.flatnonzero(there), key=lambda k: mean[row, k])
        chance = ndtr((mean[row] - mean[row, best]) / np.hypot(sd[row], sd[row, best]))
        among = [k for k in np.flatnonzero(there) if chance[k] >= 0.2]
        expected = np.zeros(MODELS)
        expected[best] = 0.9 * 0.7
        expected[among] += 0.9 * 0.3 / len(among)
        expected[there] += 0.1 / there.sum()
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    certain = contenders(jnp.array([0.5, 0.5]), jnp.zeros(2), epsilon=0.3)
    np.testing.assert_array_equal(certain, [1.0, 0.0])


@pytest.mark.parametrize("floor", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("against", [False, True])
def test_for_evaluation_has_the_smallest_variance(posterior, floor, against):
    """Against every exchange of a little mass between two models that the bounds allow: a convex problem's optimum."""
    _, deviation, available = posterior
    rng = np.random.default_rng(1)
    target, baseline = (rng.dirichlet(np.ones(MODELS), ROWS) * available for _ in range(2))
    target, baseline = (x / x.sum(1, keepdims=True) for x in (target, baseline))
    found = np.asarray(
        for_evaluation(target, deviation, floor=floor, baseline=baseline if against else None, available=available)
    )
    least = floor / available.sum(1, keepdims=True) * available
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert np.all(found >= least - 1e-6)
    assert np.all(found[~available] == 0)

    def variance(p):
        wanted = np.where(available, np.abs(target - against * baseline) * deviation, 0)
        return np.sum(np.divide(wanted**2, p, out=np.zeros_like(p), where=wanted > 0), 1)

    best, step, tried = variance(found), 1e-3, 0
    for i in range(MODELS):
        for j in range(MODELS):
            moved = found.copy()
            moved[:, i] -= step
            moved[:, j] += step
            allowed = (moved[:, i] >= least[:, i] + 1e-6) & available[:, j] & (i != j)
            assert np.all(variance(moved)[allowed] >= best[allowed] * (1 - 1e-5))
            tried += allowed.sum()
    assert tried > 0 or floor == 1.0


@pytest.mark.modes
def test_where_nothing_can_be_learnt_the_target_answers():
    target = jnp.array([0.0, 1.0, 0.0])
    same = for_evaluation(target, jnp.array([0.1, 0.3, 0.5]), floor=0.3, baseline=target)
    np.testing.assert_allclose(same, [0.1, 0.8, 0.1], rtol=1e-6)


@pytest.mark.modes
def test_limited_keeps_to_both_limits_and_goes_as_far_as_they_allow(posterior):
    mean, sd, available = posterior
    router = greedy(mean, available=available)
    explore = thompson(jax.random.key(1), mean, sd, available=available).probabilities
    cost = np.random.default_rng(2).uniform(size=mean.shape)
    spend, loss = 0.02, 0.01
    found = np.asarray(limited(explore, router, cost=cost, utility=mean, spend=spend, loss=loss, available=available))
    moved, whole = found - router, np.asarray(explore) - router
    utility = np.nan_to_num(mean)
    extra, lost = (moved * cost).sum(1), -(moved * utility).sum(1)
    assert np.all(extra <= spend + 1e-6)
    assert np.all(lost <= loss + 1e-6)
    free = np.abs(moved - whole).max(1) < 1e-6
    assert np.all(free | (extra > spend - 1e-6) | (lost > loss - 1e-6))
    assert 0 < free.mean() < 1
    unlimited = limited(explore, router, cost=cost, utility=mean, available=available)
    np.testing.assert_allclose(unlimited, explore, atol=1e-7)
    none = limited(explore, router, cost=cost, utility=mean, loss=0.0, available=available)
    np.testing.assert_allclose(none, router, atol=1e-6)


def test_limited_has_the_gradients_of_its_formula_with_and_without_limits():
    router, explore, cost = np.array([1.0, 0.0]), np.array([0.6, 0.4]), np.array([1.0, 3.0])

    def second(cost, explore, spend):
        return limited(explore, router, cost=cost, utility=np.array([0.5, 0.25]), spend=spend)[1]

    by_cost, by_policy = jax.grad(second, (0, 1))(cost, explore, 0.2)  # q = spend / (cost_2 - cost_1), whatever explore
    np.testing.assert_allclose(by_cost, [0.05, -0.05], rtol=1e-5)
    np.testing.assert_allclose(by_policy @ np.array([-1.0, 1.0]), 0.0, atol=1e-6)
    by_cost, by_policy = jax.grad(second, (0, 1))(cost, explore, np.inf)  # the whole step
    np.testing.assert_array_equal(by_cost, [0.0, 0.0])
    np.testing.assert_array_equal(by_policy, [0.0, 1.0])


POLICIES = {
    "thompson": lambda mean, sd, mask: thompson(jax.random.key(3), mean, sd, floor=0.1, available=mask).probabilities,
    "contenders": lambda mean, sd, mask: contenders(mean, sd, epsilon=0.2, floor=0.1, available=mask),
    "for_evaluation": lambda mean, sd, mask: for_evaluation(
        greedy(mean, available=mask), sd, floor=0.1, available=mask
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_probabilities_under_jit_vmap_and_any_mask(posterior, name):
    mean, sd, available = (jnp.asarray(x) for x in posterior)
    policy = POLICIES[name]
    found = policy(mean, sd, available)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    assert np.all(np.asarray(found)[~np.asarray(available)] == 0)
    assert np.all(np.asarray(found)[np.asarray(available)] >= 0.1 / MODELS - 1e-6)
    compiled = jax.jit(policy)
    np.testing.assert_allclose(compiled(mean, sd, available), found, atol=1e-6)
    np.testing.assert_allclose(compiled(mean, sd, available.at[0].set(False))[0], 0)
    if name != "thompson":  # whose rows share one draw a key: vmap's rows would all have the same
        np.testing.assert_allclose(jax.vmap(policy)(mean, sd, available), found, atol=1e-6)
    else:
        keys = jax.random.split(jax.random.key(4), 3)
        several = jax.vmap(lambda key: thompson(key, mean, sd, available=available).probabilities)(keys)
        np.testing.assert_allclose(several[1], thompson(keys[1], mean, sd, available=available).probabilities)


def test_a_limit_on_what_is_unknown_leaves_no_room():
    router, explore = np.eye(3)[[0, 0]], np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])
    unknown, known = np.array([1.0, np.nan, 3.0]) * np.ones((2, 1)), np.ones((2, 3))
    for name, limit in (("cost", "spend"), ("utility", "loss")):
        given = {"cost": known, "utility": known, name: unknown}
        with pytest.raises(InputError, match=rf"{name}, entry \(0, 1\), is nan; a limit needs"):
            limited(explore, router, **given, **{limit: 0.1})
        inside = np.asarray(jax.jit(partial(limited, **{limit: 0.1}))(explore, router, **given))
        np.testing.assert_array_equal(inside[0], router[0])  # it would have to know the second model
        assert (inside[1] != router[1]).any() or name == "cost"
        np.testing.assert_array_equal(limited(explore, router, **given), np.float32(explore))  # no limit asks
        allowed = np.array([[True, False, True]] * 2)
        masked = limited(np.eye(3)[[0, 2]], router, **given, **{limit: 9.0}, available=allowed)
        np.testing.assert_array_equal(masked, np.eye(3)[[0, 2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(thompson, jax.random.key(0), np.ones(2), np.array([0.1, -0.1])), r"sd, entry \(1,\), is -0.1"),
        (partial(thompson, jax.random.key(0), np.ones(2), np.ones(2), simulations=0), "simulations is 0"),
        (partial(contenders, np.ones(2), np.ones(2), epsilon=1.5), "epsilon is 1.5"),
        (partial(contenders, np.ones(2), np.ones(2), epsilon=0.1, level=1.0), "level is 1.0"),
        (partial(for_evaluation, np.eye(2)[0], np.array([np.nan, 1]), floor=0.1), r"deviation, entry \(0,\), is nan"),
        (partial(for_evaluation, np.eye(2)[0], np.ones(2), floor=-0.1), "floor is -0.1"),
        (
            partial(limited, np.eye(2)[0], np.eye(2)[1], cost=np.ones(2), utility=np.ones(2), spend=-1.0),
            "spend is -1.0; it must be at least 0",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
