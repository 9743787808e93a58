"""Selective feedback: the response propensity against the truth, and what weighing by it repairs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, nuisance
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import InputError, Logs, Nuisances, NuisanceSpec, Outcomes

K, D = 3, 4
SPEC = NuisanceSpec(folds=3, penalties=(1.0, 10.0, 100.0))
SLOPE = np.random.default_rng(7).normal(size=(D, K))
TARGET = np.array([0.1, 0.2, 0.7])
COST_WEIGHT = 0.1


def draw(key, N):
    """Uniform log; feedback is likelier where the quality is high, through the prompt and the model only."""
    keys = jax.random.split(key, 4)
    x = jax.random.normal(keys[0], (N, D))
    mean = jax.nn.sigmoid(x @ jnp.asarray(SLOPE, x.dtype))
    action = jax.random.randint(keys[1], (N,), 0, K)
    at = partial(jnp.take_along_axis, indices=action[:, None], axis=1)
    quality = (jax.random.uniform(keys[2], (N,)) < at(mean)[:, 0]).astype(x.dtype)
    logit = 1.5 * (x @ jnp.asarray(SLOPE[:, 2], x.dtype)) - jnp.array([0.0, 1.0, 1.0])[action]
    response = 0.1 + 0.9 * jax.nn.sigmoid(logit)
    heard = jax.random.uniform(keys[3], (N,)) < response
    cost = 1.0 + action
    with nan_is_unknown():
        seen = jnp.where(heard, quality, jnp.nan)
    logs = Logs(x, action, seen, cost, jnp.full(N, 1 / K), jnp.ones((N, K), bool))
    costs = jnp.broadcast_to(1.0 + jnp.arange(K), (N, K))
    return logs, Outcomes(mean, costs), response


def nuisances_of(logs, response, outcomes=None):
    N = logs.action.shape[0]
    wrong = Outcomes(jnp.full((N, K), 0.3), jnp.full((N, K), 2.0))
    return Nuisances(jnp.full((N, K), 1 / K), wrong if outcomes is None else outcomes, response)


@pytest.fixture(scope="module")
def log():
    return draw(jax.random.key(0), 4000)


def test_feedback_rate_by_model(log):
    logs, _, response = log
    rate = nuisance.feedback_rate(logs)
    for k in range(K):
        own = np.asarray(logs.action) == k
        np.testing.assert_allclose(rate[k], np.isfinite(np.asarray(logs.quality)[own]).mean())
        np.testing.assert_allclose(rate[k], np.asarray(response)[own].mean(), atol=0.06)


@pytest.mark.modes
def test_fitted_response_is_near_the_truth_and_better_than_the_models_rates(log):
    logs, _, response = log
    fitted = np.asarray(nuisance.fit_response(jax.random.key(1), logs, SPEC))
    rates = nuisance.feedback_rate(logs)[np.asarray(logs.action)]
    error = ((fitted - np.asarray(response)) ** 2).mean()
    assert error < 0.1 * ((rates - np.asarray(response)) ** 2).mean()
    assert fitted.min() >= 0.02


def test_the_same_prompt_may_bring_one_model_feedback_and_cost_another_its(log):
    logs = log[0]
    slope = np.array([2.0, -2.0, 0.0])[np.asarray(logs.action)]
    truth = 1 / (1 + np.exp(-slope * np.asarray(logs.features)[:, 0]))
    heard = np.random.default_rng(1).random(len(truth)) < truth
    fitted = nuisance.fit_response(jax.random.key(1), logs._replace(quality=np.where(heard, 0.5, np.nan)), SPEC)
    assert ((fitted - truth) ** 2).mean() < 0.1 * np.var(truth)


def test_response_is_out_of_fold(log):
    """Feedback that is a coin's toss: an out-of-fold fit cannot beat the coin, an in-sample one would."""
    logs = jax.tree.map(lambda x: x[:60], log[0])
    rng = np.random.default_rng(0)
    wide = logs._replace(
        features=rng.normal(size=(60, 30)).astype(np.float32), quality=np.where(rng.random(60) < 0.5, 1.0, np.nan)
    )
    fitted = np.asarray(nuisance.fit_response(jax.random.key(1), wide, NuisanceSpec(folds=3, penalties=(1.0,))))
    heard = np.isfinite(np.asarray(wide.quality))
    assert -np.log(np.where(heard, fitted, 1 - fitted)).mean() > 0.65


@pytest.mark.parametrize("outcome_model", [False, True])
@pytest.mark.parametrize("self_normalised", [False, True])
def test_rows_match_numpy(log, outcome_model, self_normalised):
    logs, outcomes, response = jax.tree.map(lambda x: np.asarray(x[:200], np.float64), log)
    logs = logs._replace(action=logs.action.astype(int))
    with jax.enable_x64(True):
        got = estimators.estimate(
            estimators.rows(
                logs,
                np.tile(TARGET, (200, 1)),
                COST_WEIGHT,
                nuisances_of(logs, response, outcomes),
                outcome_model=outcome_model,
                self_normalised=self_normalised,
            )
        )
    direct, correction, weights = 0.0, 0.0, 0.0
    for i in range(200):
        a = logs.action[i]
        predicted = outcomes.quality[i] - COST_WEIGHT * outcomes.cost[i]
        direct += outcome_model * (TARGET @ predicted) / 200
        if np.isfinite(logs.quality[i]):
            w = TARGET[a] * K / response[i]
            correction += w * (logs.quality[i] - COST_WEIGHT * logs.cost[i] - outcome_model * predicted[a])
            weights += w
    want = direct + correction / (weights if self_normalised else 200)
    np.testing.assert_allclose(got.value, want, rtol=1e-6)


def test_a_response_of_one_changes_nothing(log):
    full = log[0]._replace(quality=jnp.nan_to_num(log[0].quality))
    target = jnp.broadcast_to(jnp.asarray(TARGET, jnp.float32), (4000, K))
    ones = nuisance.fit_response(jax.random.key(1), full, SPEC)
    for method in (estimators.ipw, estimators.snipw, estimators.doubly_robust):
        with_it, without = (method(full, target, COST_WEIGHT, nuisances_of(full, r)) for r in (ones, None))
        np.testing.assert_allclose(with_it, without, rtol=1e-6)


def test_weighing_removes_the_bias_of_selective_feedback():
    """400 logs of 1000 rows, outcome model wrong: unweighted estimates are off by many errors, weighted ones not."""
    N, draws = 1000, 400
    target = jnp.broadcast_to(jnp.asarray(TARGET, jnp.float32), (N, K))

    def one(key):
        logs, outcomes, response = draw(key, N)
        found = []
        for method in (estimators.ipw, estimators.snipw, estimators.doubly_robust):
            for h in (response, None):
                e = method(logs, target, COST_WEIGHT, nuisances_of(logs, h))
                found.append(jnp.stack([e.value, e.standard_error]))
        return jnp.stack(found), jnp.mean(jnp.sum(target * (outcomes.quality - COST_WEIGHT * outcomes.cost), 1))

    found, truths = jax.jit(partial(jax.lax.map, one))(jax.random.split(jax.random.key(2), draws))
    value, error = np.asarray(found[:, :, 0]), np.asarray(found[:, :, 1])
    truth = float(truths.mean())  # 400,000 prompts
    bias, noise = value.mean(0) - truth, value.std(0) / np.sqrt(draws)
    weighted, plain = bias[0::2], bias[1::2]
    assert (np.abs(weighted) < 4 * noise[0::2] + 0.002).all()
    assert (plain > 0.03).all()
    covered = (np.abs(value - truth) < 1.96 * error).mean(0)
    assert (covered[0::2] > 0.92).all()
    assert (covered[1::2] < 0.85).all()


def test_fitted_weights_remove_the_bias(log):
    big, outcomes, _ = draw(jax.random.key(5), 20000)
    target = jnp.broadcast_to(jnp.asarray(TARGET, jnp.float32), (20000, K))
    truth = jnp.mean(jnp.sum(target * (outcomes.quality - COST_WEIGHT * outcomes.cost), 1))
    fitted = nuisance.fit_response(jax.random.key(1), big, SPEC)
    with_it, without = (estimators.snipw(big, target, COST_WEIGHT, nuisances_of(big, h)) for h in (fitted, None))
    assert abs(with_it.value - truth) < 3 * with_it.standard_error
    assert abs(without.value - truth) > 6 * without.standard_error


def test_counterfactual_tables_weigh_quality_and_leave_cost(log):
    logs, _, response = log
    nuisances = nuisances_of(logs, response)
    table = counterfactual.doubly_robust(logs, nuisances)
    plain = counterfactual.doubly_robust(logs, nuisances._replace(response=None))
    i = np.arange(4000)
    a, heard = np.asarray(logs.action), np.isfinite(np.asarray(logs.quality))
    want = 0.3 + K / np.asarray(response) * (np.asarray(logs.quality) - 0.3)
    np.testing.assert_allclose(np.asarray(table.quality)[i, a][heard], want[heard], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(table.quality)[i, a][~heard], 0.3)
    np.testing.assert_array_equal(table.cost, plain.cost)


def test_no_feedback_at_all_is_an_error(log):
    with pytest.raises(InputError, match="NaN in all 4000 rows"):
        nuisance.fit_response(jax.random.key(0), log[0]._replace(quality=log[0].quality * jnp.nan))
