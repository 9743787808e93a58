"""Data-driven clips, thresholds and shrinkages: the rules by hand, and their error in a simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.counterfactual import shrink, switch
from jaxroute.estimators import Rows, selection
from jaxroute.types import Logs, Nuisances, Outcomes


def family(value, error, N=100):
    """Influence rows with the given means and standard errors."""
    base = np.tile([1.0, -1.0], N // 2) * np.sqrt((N - 1) / N)
    z = np.asarray(value)[:, None] + np.asarray(error)[:, None] * np.sqrt(N) * base
    return Rows(jnp.asarray(z, jnp.float32), jnp.ones(z.shape, bool), jnp.ones(z.shape))


def test_slope_by_hand():
    def chosen(value, error):
        low, high = np.array(value) - 2 * np.array(error), np.array(value) + 2 * np.array(error)
        index = 0
        for c in range(len(value)):
            if low[: c + 1].max() > high[: c + 1].min():
                break
            index = c
        got = estimators.slope(family(value, error))
        assert got.position == index
        np.testing.assert_allclose(got.estimate.value, value[index], atol=1e-5)
        np.testing.assert_allclose(got.estimate.standard_error, error[index], rtol=1e-3)
        return index

    assert chosen([0.5, 0.5, 0.5], [0.3, 0.2, 0.1]) == 2
    assert chosen([0.5, 0.8, 0.9], [0.1, 0.04, 0.01]) == 0
    assert chosen([0.0, 0.3, 0.45, 0.1], [0.2, 0.1, 0.01, 0.01]) == 1  # after the first gap nothing counts


@pytest.mark.modes
def test_smallest_error_by_hand():
    value, error = [0.5, 0.52, 0.8, 1.0], [0.2, 0.1, 0.05, 0.0]
    # the rows of `family` move together: the error of a distance is the difference of the errors
    bias = np.maximum(np.abs(np.array(value) - 0.5) - np.abs(np.array(error) - 0.2), 0)
    expected = np.argmin(bias**2 + np.array(error) ** 2)
    assert estimators.smallest_error(family(value, error)).position == expected == 1


def test_candidates_run_from_least_to_most_biased():
    assert list(selection.CLIPS) == sorted(selection.CLIPS)
    for candidates in (selection.THRESHOLDS, selection.SHRINKAGES):
        assert list(candidates) == sorted(candidates, reverse=True)


def test_chosen_error_is_near_that_of_the_best_fixed_candidate():
    """200 logs under little overlap and a decent outcome model: doubly robust with switch and shrinkage.

    Nobody knows the best candidate beforehand. Mean squared errors here: unbiased 0.058, best fixed
    candidate 0.0009, SLOPE 0.0011, the estimated-error rule 0.009 (distances of heavy tails mislead it).
    """
    N, K, draws = 300, 3, 200
    thresholds, shrinkages = jnp.array(selection.THRESHOLDS), jnp.array(selection.SHRINKAGES)

    def one(key):
        keys = jax.random.split(key, 3)
        x = jax.random.uniform(keys[0], (N,))
        mean = jnp.array([[0.3, 0.6, 0.5]]) + x[:, None] * jnp.array([[0.4, -0.3, 0.1]])
        propensity = 0.01 + 0.97 * jax.nn.softmax(jnp.array([[6.0, -6.0, 0.0]]) * (2 * x[:, None] - 1), -1)
        action = jax.random.categorical(keys[1], jnp.log(propensity))
        at = jnp.take_along_axis(mean, action[:, None], 1)[:, 0]
        quality = (jax.random.uniform(keys[2], (N,)) < at).astype(float)
        own = jnp.take_along_axis(propensity, action[:, None], 1)[:, 0]
        logs = Logs(jnp.zeros((N, 0)), action, quality, 0 * quality, own, jnp.ones((N, K), bool))
        nuisances = Nuisances(propensity, Outcomes(mean - 0.03, 0 * mean))
        target = jax.nn.one_hot(jnp.where(x > 0.5, 1, 0), K)
        truth = (target * mean).sum(-1).mean()

        def rows(transform):
            return estimators.rows(logs, target, 0.0, nuisances, transform=transform)

        errors = []
        for of in (
            jax.vmap(lambda t: rows(lambda w: switch(w, t)))(thresholds),
            jax.vmap(lambda s: rows(lambda w: shrink(w, s)))(shrinkages),
        ):
            fixed = jax.vmap(estimators.estimate)(of).value
            picked = [rule(of).estimate.value for rule in (estimators.slope, estimators.smallest_error)]
            errors.append((jnp.concatenate([fixed, jnp.stack(picked)]) - truth) ** 2)
        return errors

    keys = jax.random.split(jax.random.key(0), draws)
    for errors in jax.jit(lambda k: jax.lax.map(one, k, batch_size=20))(keys):
        *fixed, slope, smallest = np.asarray(errors).mean(0)
        assert slope < 2 * min(fixed)
        assert smallest < fixed[0] / 3


def test_an_undefined_candidate_is_never_preferred():
    of = family([0.5, 0.52, 0.8], [0.2, 0.1, 0.05])
    spoilt = of._replace(influence=of.influence.at[2].set(jnp.nan))
    assert estimators.smallest_error(spoilt).position == 1
    assert estimators.slope(spoilt).position == 1
    undefined = estimators.slope(of._replace(influence=of.influence.at[0].set(jnp.nan)))
    assert undefined.position == 0  # the least biased one is undefined, and so is the answer
    assert np.isnan(undefined.estimate.value)
