"""Bootstrap and paired intervals against normal and Student's intervals, by rows and by groups."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_metrics import simulated

from jaxroute import metrics


def test_bootstrap_of_a_mean_is_its_normal_interval():
    values = jnp.asarray(np.random.default_rng(0).normal(size=400), jnp.float32)
    interval = metrics.bootstrap_interval(jax.random.key(0), values, resamples=4000)
    half = 1.96 * np.std(values) / np.sqrt(400)
    np.testing.assert_allclose(interval.estimate, values.mean(), rtol=1e-6)
    np.testing.assert_allclose(interval.low, values.mean() - half, atol=0.12 * half)
    np.testing.assert_allclose(interval.high, values.mean() + half, atol=0.12 * half)


def test_bootstrap_of_grouped_rows_is_that_of_the_groups():
    rng = np.random.default_rng(1)
    effect, sizes = rng.normal(size=80), rng.integers(1, 6, size=80)
    group = np.repeat(rng.permutation(80) * 7 - 100, sizes)  # arbitrary labels
    values = jnp.asarray(np.repeat(effect, sizes), jnp.float32)
    shuffle = rng.permutation(len(group))
    interval = metrics.bootstrap_interval(
        jax.random.key(0), values[shuffle], resamples=4000, group=jnp.asarray(group[shuffle])
    )
    # reference: whole groups, however many rows that makes
    draws = rng.integers(80, size=(4000, 80))
    means = (effect * sizes)[draws].sum(1) / sizes[draws].sum(1)
    width = np.subtract(*np.quantile(means, [0.975, 0.025]))
    np.testing.assert_allclose(interval.high - interval.low, width, rtol=0.08)
    np.testing.assert_allclose(interval.low, np.quantile(means, 0.025), atol=0.08 * width)
    naive = metrics.bootstrap_interval(jax.random.key(0), values)
    assert naive.high - naive.low < 0.75 * width


@pytest.mark.modes
def test_bootstrap_takes_whole_groups():
    group = jnp.repeat(jnp.arange(5), 3)
    inside = jnp.tile(jnp.array([-1.0, 0.0, 1.0]), 5)  # every group sums to 0
    interval = metrics.bootstrap_interval(jax.random.key(1), inside, group=group, resamples=50)
    np.testing.assert_allclose(jnp.stack(interval), 0.0, atol=1e-6)


def test_bootstrap_of_a_curve_metric_and_other_trees():
    probabilities, outcomes = simulated(N=60)
    cost = jnp.sum(probabilities * outcomes.cost[None], -1).T
    quality = jnp.sum(probabilities * outcomes.quality[None], -1).T

    def statistic(rows):
        return metrics.aiq(jnp.stack([rows[0].mean(0), rows[1].mean(0)], -1), max_cost=1.0)

    interval = metrics.bootstrap_interval(jax.random.key(0), (cost, quality), statistic=statistic, resamples=200)
    points = metrics.quality_cost_points(probabilities, outcomes)
    np.testing.assert_allclose(interval.estimate, metrics.aiq(points, max_cost=1.0), rtol=1e-5)
    assert interval.low < interval.estimate < interval.high


def test_bootstrap_does_not_depend_on_the_batch(monkeypatch):
    values = jnp.arange(50.0)
    all_at_once = metrics.bootstrap_interval(jax.random.key(3), values, resamples=101)
    monkeypatch.setattr(metrics.intervals, "ELEMENTS_PER_BATCH", 333)
    another = partial(jnp.mean, axis=0)  # a new function object: traced anew, in batches of 6
    in_parts = metrics.bootstrap_interval(jax.random.key(3), values, resamples=101, statistic=another)
    np.testing.assert_allclose(jnp.stack(all_at_once), jnp.stack(in_parts), rtol=1e-6)


def test_bootstrap_needs_two_units():
    key = jax.random.key(0)
    for interval in (
        metrics.bootstrap_interval(key, jnp.ones(1), resamples=10),
        metrics.bootstrap_interval(key, jnp.ones(4), resamples=10, group=jnp.zeros(4, int)),
    ):
        assert interval.estimate == 1
        assert np.isnan(interval.low)
        assert np.isnan(interval.high)


@pytest.mark.modes
def test_paired_interval_by_hand():
    a, b = jnp.array([[0.6, 0.1], [0.7, 0.2], [0.8, 0.6]]), jnp.array([[0.5, 0.1], [0.5, 0.1], [0.5, 0.1]])
    # differences of the first column 0.1, 0.2, 0.3: mean 0.2, std 0.1; t_{0.975, 2} = 4.302653
    difference, low, high = metrics.paired_interval(a, b)
    half = 4.302653 * 0.1 / np.sqrt(3)
    np.testing.assert_allclose([difference[0], low[0], high[0]], [0.2, 0.2 - half, 0.2 + half], rtol=1e-5)
    by_column = metrics.paired_interval(a.T, b.T, axis=1)
    np.testing.assert_allclose(jnp.stack(by_column), jnp.stack([difference, low, high]), rtol=1e-6)
    narrow = metrics.paired_interval(a, b, level=0.5)
    for wider, narrower in pairwise((high, narrow.high)):
        assert (wider > narrower).all()
    single = metrics.paired_interval(a[:1], b[:1])
    np.testing.assert_allclose(single.estimate, [0.1, 0.0], atol=1e-7)
    assert np.isnan(single.low).all()
    assert np.isnan(single.high).all()


def test_differences_of_unsigned_integers_do_not_wrap():
    a, b = np.array([1, 0, 1], np.uint8), np.array([0, 1, 0], np.uint8)
    assert metrics.paired_interval(a, b).estimate == pytest.approx(1 / 3)
