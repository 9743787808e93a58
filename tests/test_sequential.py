"""Confidence sequences: coverage at every look at once; rows to plan for: the share of logs in which the gain shows."""

import numpy as np
import pytest
from scipy.special import ndtri

from jaxroute.estimators import confidence_sequence, detectable, row_deviation, rows_needed
from jaxroute.estimators.sequential import half_width
from jaxroute.types import InputError

MEAN = 0.02


def weighted_rows(rng, runs, rows, epsilon=0.2):
    """Rows of a doubly robust difference: routers differ on a fifth of prompts, and the new choice is explored."""
    differs = rng.uniform(size=(runs, rows)) < 0.2
    explored = rng.uniform(size=(runs, rows)) < epsilon / 2
    noise = (rng.uniform(size=(runs, rows)) < 0.6) - 0.6
    return differs * (MEAN / 0.2 + explored / (epsilon / 2) * noise)


def ever_wrong(values, mean, **kwargs):
    sequences = [confidence_sequence(x, **kwargs) for x in values]
    return np.mean([((s.lower > mean) | (s.upper < mean)).any() for s in sequences])


def test_a_sequence_covers_at_every_look_where_an_interval_does_not():
    values = weighted_rows(np.random.default_rng(0), 400, 3000)
    assert abs(values.mean() - MEAN) < 0.005
    assert ever_wrong(values, MEAN) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    t = np.arange(1, 3001)
    mean, square = np.cumsum(values, 1) / t, np.cumsum(values**2, 1) / t
    apart = np.abs(mean - MEAN) > 1.96 * np.sqrt((square - mean**2) / t)
    assert apart[:, 100:].any(1).mean() > 0.2  # what looking every day does to a 95% interval


@pytest.mark.study
@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("plan", [300, 3000])
def test_coverage_in_long_simulations(epsilon, plan):
    """10,000 rows, 2,000 runs. With epsilon 0.02 one row in a hundred is explored and the first rows say too little."""
    values = weighted_rows(np.random.default_rng(5), 2000, 10_000, epsilon)
    start = 100 if epsilon > 0.05 else 1000
    assert ever_wrong(values, MEAN, plan=plan, start=start) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def test_bounded_values_are_covered_from_the_first_row_on_and_under_drift():
    rng = np.random.default_rng(1)
    rare = (rng.uniform(size=(400, 2000)) < 0.01).astype(float)  # no normal approximation in the first hundreds
    assert ever_wrong(rare, 0.01, bounds=(0, 1)) <= 0.05
    chance = np.linspace(0.2, 0.8, 2000)
    drifting = (rng.uniform(size=(200, 2000)) < chance).astype(float)
    assert ever_wrong(drifting, np.cumsum(chance) / np.arange(1, 2001), bounds=(0, 1)) <= 0.05
    lower, upper = confidence_sequence(rare[0], bounds=(0, 1))
    assert upper[-1] - lower[-1] < 0.05


def test_weights_repeat_rows():
    """A row of weight w counts like w rows in the mean; equal weights change nothing."""
    values = np.random.default_rng(2).normal(size=500)
    weight = np.tile([1.0, 3.0], 250)
    lower, upper = confidence_sequence(values, weight=weight)
    np.testing.assert_allclose((lower[-1] + upper[-1]) / 2, np.average(values, weights=weight))
    influence = weight * (values - np.average(values, weights=weight)) / weight.mean()
    expected = np.sqrt((influence**2).sum() / 499) * half_width(500)
    np.testing.assert_allclose((upper[-1] - lower[-1]) / 2, expected)
    plain, equal = confidence_sequence(values), confidence_sequence(values, weight=np.full(500, 7.0))
    np.testing.assert_allclose(equal.upper, plain.upper)
    np.testing.assert_allclose(plain.upper[-1], values.mean() + values.std(ddof=1) * half_width(500))


def test_planned_rows_show_the_gain_as_often_as_promised():
    rng = np.random.default_rng(3)
    deviation = weighted_rows(rng, 1, 10**6).std()
    once = int(rows_needed(MEAN, deviation, power=0.8))
    logs = weighted_rows(rng, 400, once)
    shown = logs.mean(1) > -ndtri(0.025) * logs.std(1, ddof=1) / np.sqrt(once)
    assert abs(shown.mean() - 0.8) < 0.07
    always = int(rows_needed(MEAN, deviation, power=0.8, looks="always"))
    assert 1.3 * once < always < 3 * once
    logs = weighted_rows(rng, 100, always)
    shown = [(confidence_sequence(x, plan=always).lower > 0).any() for x in logs]
    assert np.mean(shown) > 0.7  # at least as promised: it may show earlier
    assert detectable(once, deviation) <= MEAN < detectable(once - 1, deviation)
    assert rows_needed(0.0, 1.0) == rows_needed(0.0, 0.0) == rows_needed(0.01, np.inf) == np.inf
    assert rows_needed(-0.02, 0.3) == rows_needed(0.02, 0.3) < np.inf


def test_no_gain_is_planned_before_the_sequence_begins():
    assert not np.isfinite(confidence_sequence(np.ones(99)).lower).any()
    assert (rows_needed(0.5, 0.1), rows_needed(0.5, 0.1, looks="always")) == (30, 100)
    assert (rows_needed(0.5, 0.0), rows_needed(0.5, 0.0, looks="always")) == (30, 100)
    assert detectable(99, 0.1, looks="always") == np.inf
    assert detectable(100, 0.1, looks="always") < 0.1


def test_the_deviation_of_a_row_is_that_of_simulated_rows():
    rng = np.random.default_rng(4)
    prompts, models = 2000, 3
    target, baseline, propensity = (rng.dirichlet(np.ones(models), prompts) for _ in range(3))
    propensity = 0.5 * propensity + 0.5 / models
    utility, noise = rng.uniform(size=(2, prompts, models))
    row = np.tile(np.arange(prompts), 100)
    action = (rng.uniform(size=(len(row), 1)) > np.cumsum(propensity, 1)[row]).sum(1).clip(max=models - 1)
    d = target - baseline
    error = rng.normal(size=len(row)) * noise[row, action]
    z = (d * utility).sum(1)[row] + d[row, action] / propensity[row, action] * error
    np.testing.assert_allclose(row_deviation(target, baseline, propensity, noise, utility), z.std(), rtol=0.02)
    assert row_deviation(target, baseline, np.eye(models)[np.zeros(prompts, int)], noise, utility) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confidence_sequence([0.1, np.nan]), "leave rows without feedback out"),
        (lambda: confidence_sequence([0.1], alpha=1.0), "alpha is 1.0"),
        (lambda: confidence_sequence([0.1, 2.0], bounds=(0, 1)), r"2.0 is outside the bounds \(0, 1\)"),
        (lambda: confidence_sequence([0.1], weight=[1.0], bounds=(0, 1)), "leave bounds out"),
        (lambda: rows_needed(np.nan, 1.0), "gain is nan"),
        (lambda: detectable(0, 1.0), "rows is 0"),
        (lambda: rows_needed(0.1, -1.0), "deviation is -1.0"),
        (lambda: rows_needed(0.1, 1.0, power=0.0), "power is 0.0"),
        (lambda: rows_needed(0.1, 1.0, looks="daily"), "'once' or 'always'"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
