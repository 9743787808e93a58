"""Policies by hand, against golden cases and under jit and vmap; the best single model and votes of seeds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute.policies import best_single, curves, ensemble, epsilon_greedy, greedy, softmax
from jaxroute.types import InputError, Outcomes

POLICIES = {
    "greedy": greedy,
    "softmax": partial(softmax, temperature=0.5),
    "epsilon_greedy": partial(epsilon_greedy, epsilon=0.3),
}
every_policy = pytest.mark.parametrize("name", POLICIES)


@pytest.mark.modes
@every_policy
def test_probabilities_by_hand(name):
    scores = jnp.array([[0.0, 1.0, 1.0], [2.0, 5.0, 1.0], [3.0, 1.0, 2.0]])
    available = jnp.array([[True, True, True], [True, False, True], [False, False, False]])
    odds = np.exp([[0.0, 2.0, 2.0], [4.0, -np.inf, 2.0]])  # scores / 0.5
    expected = {
        "greedy": [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
        "softmax": [*(odds / odds.sum(1, keepdims=True)), [0, 0, 0]],
        "epsilon_greedy": [[0.1, 0.8, 0.1], [0.85, 0, 0.15], [0, 0, 0]],
    }[name]
    np.testing.assert_allclose(POLICIES[name](scores, available=available), expected, rtol=1e-6)


def test_golden_policy_and_prediction(golden):
    for case in golden["losses"]:
        inputs, expected = case["inputs"], case["expected"]
        with jax.enable_x64(True):
            scores = jnp.asarray(inputs["scores"], float)
            mask = inputs["available"] and jnp.asarray(np.array(inputs["available"], bool))
            policy = softmax(scores, temperature=inputs["temperature"], available=mask)
            decision = np.asarray(greedy(scores, available=mask))
        np.testing.assert_allclose(policy, expected["policy"], rtol=1e-9, atol=1e-11)
        np.testing.assert_array_equal(decision, np.eye(decision.shape[1])[expected["prediction"]])


@every_policy
def test_masked_scores_never_matter(name):
    rng = np.random.default_rng(5)
    scores = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    available = jnp.asarray(rng.uniform(size=(6, 4)) < 0.6).at[0].set(False)
    reward = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)

    def value(poison):
        poisoned = jnp.where(available, scores, poison)
        return jax.value_and_grad(lambda z: jnp.sum(reward * POLICIES[name](z, available=available)))(poisoned)

    clean = value(0.0)
    assert np.all(np.asarray(clean[1])[~np.asarray(available)] == 0)
    for poison in (np.nan, np.inf, -np.inf):
        for actual, expected in zip(value(poison), clean, strict=True):
            np.testing.assert_array_equal(actual, expected)


@every_policy
def test_jit_vmap_and_one_prompt_agree(name):
    rng = np.random.default_rng(6)
    scores = jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)
    available = jnp.asarray(rng.uniform(size=(5, 4)) < 0.7)
    policy = POLICIES[name]
    expected = policy(scores, available=available)
    np.testing.assert_allclose(jax.jit(policy)(scores, available=available), expected, rtol=1e-6)
    one = jax.vmap(lambda z, m: policy(z, available=m))(scores, available)
    np.testing.assert_allclose(one, expected, rtol=1e-6)
    np.testing.assert_allclose(policy(scores), policy(scores, available=jnp.ones_like(available)), rtol=1e-6, atol=1e-7)


def test_softmax_gradients_and_limits():
    scores = jnp.array([0.5, -0.25, 0.75])
    with jax.enable_x64(True):
        check_grads(lambda z, t: softmax(z, temperature=t), (jnp.array([0.5, -0.25, 0.75]), 0.7), 1, modes=["rev"])
    np.testing.assert_allclose(softmax(scores, temperature=1e-3), greedy(scores), atol=1e-6)
    np.testing.assert_allclose(softmax(scores, temperature=1e6), 1 / 3, atol=1e-6)
    np.testing.assert_array_equal(epsilon_greedy(scores, epsilon=0.0), greedy(scores))
    np.testing.assert_allclose(epsilon_greedy(scores, epsilon=1.0), 1 / 3, rtol=1e-6)


@every_policy
def test_wrong_shapes_are_refused(name):
    with pytest.raises(InputError, match=r"neither fit nor broadcast: scores \(2, 3\), available \(3,\)"):
        POLICIES[name](jnp.zeros((2, 3)), available=jnp.ones(3, bool))


@pytest.mark.modes
def test_ensemble_is_the_mean_over_seeds():
    scores = np.random.default_rng(2).normal(size=(3, 5, 4)).astype(np.float32)
    available = np.random.default_rng(3).random((5, 4)) > 0.3
    available[:, 0] = True
    np.testing.assert_allclose(ensemble(scores, average="scores"), scores.mean(0), rtol=1e-6)
    weights = np.where(available, np.exp(scores / 0.5), 0)
    expected = (weights / weights.sum(-1, keepdims=True)).mean(0)
    got = ensemble(scores, temperature=0.5, available=available)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(ensemble(scores), np.mean([softmax(one) for one in scores], 0), rtol=1e-5)
    # A seed's own shift changes nothing in probabilities.
    shifted = scores + np.arange(3, dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(ensemble(shifted, temperature=0.5, available=available), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="average"):
        ensemble(scores, average="votes")


@pytest.mark.modes
def test_the_best_single_model_has_the_highest_mean_utility_where_it_is_available():
    rng = np.random.default_rng(3)
    quality, cost = rng.random((2, 50, 4)).astype(np.float32)
    available = rng.random((50, 4)) < 0.7
    quality[~available] = np.nan
    weights, prompts = np.array([0.0, 0.5, 3.0], np.float32), rng.random((7, 4)) < 0.7
    prompts[:, 0] = True
    found = best_single(Outcomes(quality, cost), weights, available=available, prompts=prompts)
    for weight, policy in zip(weights, found, strict=True):
        mean = np.array([(quality - weight * cost)[available[:, k], k].mean() for k in range(4)])
        expected = np.eye(4)[np.where(prompts, mean, -np.inf).argmax(1)]
        np.testing.assert_array_equal(policy, expected)
        at_one = best_single(Outcomes(quality, cost), weight, available=available, prompts=prompts)
        np.testing.assert_array_equal(policy, at_one)


def test_a_model_without_any_outcome_is_the_last_choice_of_best_single():
    available = np.tile([True, True, False], (4, 1))
    outcomes = Outcomes(np.where(available, 0.5, np.nan), np.where(available, [1.0, 2.0, 0.0], np.nan))
    prompts = np.array([[True, True, True], [False, True, True], [False, False, True]])
    for weight, times in ((0.0, None), (3.0, None), (3.0, np.ones(4))):  # at 3 every known utility is negative
        found = best_single(outcomes, weight, available=available, prompts=prompts, weight=times)
        np.testing.assert_array_equal(found, np.eye(3))


@pytest.mark.parametrize("times", [None, np.full(3, 1e-6)])
def test_one_answer_is_enough_to_be_the_best_single_model(times):
    outcomes = Outcomes(np.array([[0.5, 0.75], [0.5, np.nan], [0.5, np.nan]]), np.zeros((3, 2)))
    there = ~np.isnan(outcomes.quality)
    found = best_single(outcomes, 0.0, available=there, prompts=np.ones((1, 2), bool), weight=times)
    np.testing.assert_array_equal(found, [[0, 1]])


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_best_single_sums_more_rows_than_a_narrow_type_can(kind):
    quality = np.tile(np.array([0.5, 0.75], kind), (200_000, 1))
    found = best_single(Outcomes(quality, np.zeros_like(quality)), 0.0, prompts=np.ones((1, 2), bool))
    np.testing.assert_array_equal(found, [[0, 1]])
    assert found.dtype == kind


@pytest.mark.parametrize("weight", [[1.0, -1.0], [1.0, np.nan], [np.inf, 1.0], [0.0, 0.0]])
def test_rows_cannot_count_less_than_never(weight):
    outcomes, weight = Outcomes(np.eye(2), np.ones((2, 2))), np.array(weight)
    with pytest.raises(InputError, match=r"^weight"):
        best_single(outcomes, 0.0, weight=weight)
    with pytest.raises(InputError, match=r"^weight"):
        curves.curve(outcomes, outcomes, weight=weight)
    with pytest.raises(InputError, match=r"^weight"):
        curves.curve_of_policies([0.0], np.eye(2)[None], outcomes, weight=weight)
    np.testing.assert_array_equal(best_single(outcomes, 0.0, weight=np.array([0.0, 2.0])), [[0, 1], [0, 1]])
