"""Budgets against brute force over every piece, the ends of what can be asked, coverage of the spend's interval."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute.policies import budgets
from jaxroute.types import InputError, Outcomes


def _problem(seed=0, rows=60, models=4):
    rng = np.random.default_rng(seed)
    quality = rng.random((rows, models)).astype(np.float32)
    cost = rng.lognormal(0, 1, (rows, models)).astype(np.float32)
    spent = cost * rng.lognormal(0, 0.3, cost.shape)
    gained = np.clip(quality + 0.2 * rng.standard_normal(quality.shape), 0, 1)
    return Outcomes(jnp.asarray(quality), jnp.asarray(cost)), Outcomes(gained, spent)


def _brute(predicted, outcomes, weight, available=None):
    utility = np.asarray(predicted.quality, float) - weight * np.asarray(predicted.cost, float)
    choice = np.argmax(utility if available is None else np.where(available, utility, -np.inf), 1)
    rows = np.arange(len(choice))
    return outcomes.cost[rows, choice], outcomes.quality[rows, choice]


@pytest.mark.parametrize("seed", range(3))
def test_every_piece_is_what_brute_force_finds_inside_it(seed):
    predicted, outcomes = _problem(seed)
    available = np.random.default_rng(seed).random(outcomes.cost.shape) < 0.8
    available[:, 0] = True
    curve = budgets.curve(predicted, outcomes, available=available)
    assert curve.cost_weight[0] == 0
    assert (np.diff(curve.cost_weight) > 0).all()
    ends = np.append(curve.cost_weight[1:], curve.cost_weight[-1] + 1)
    wide = ends - curve.cost_weight > 1e-5 * ends  # between float32 breakpoints that nearly touch, rounding decides
    for j in np.flatnonzero(wide):
        cost, quality = _brute(predicted, outcomes, (curve.cost_weight[j] + ends[j]) / 2, available)
        np.testing.assert_allclose([curve.cost[j], curve.quality[j]], [cost.mean(), quality.mean()], rtol=1e-9)
        errors = [y.std(ddof=1) / np.sqrt(len(y)) for y in (cost, quality)]
        np.testing.assert_allclose([curve.cost_error[j], curve.quality_error[j]], errors, rtol=1e-6)
    assert wide.sum() > 40


def test_a_budget_is_met_by_the_smallest_weight_that_meets_it():
    predicted, outcomes = _problem()
    curve = budgets.curve(predicted, outcomes)
    budget = float(np.median(curve.cost))
    choice = budgets.for_budget(curve, budget)
    assert choice.cost <= budget
    earlier = curve.cost_weight < choice.cost_weight
    assert earlier.any()
    assert (curve.cost[earlier] > budget).all()
    low, high = choice.cost_interval
    assert low < choice.cost < high


def test_a_mixture_spends_the_budget_itself():
    predicted, outcomes = _problem(1)
    curve = budgets.curve(predicted, outcomes)
    budget = float(np.median(curve.cost)) + 1e-3
    mixed = budgets.mixture(curve, budget)
    assert 0 <= mixed.share <= 1
    spent = (1 - mixed.share) * mixed.dear.cost + mixed.share * mixed.cheap.cost
    assert spent == pytest.approx(budget, rel=1e-9)
    assert mixed.dear.cost_weight < mixed.cheap.cost_weight
    rich = budgets.mixture(curve, 1e9)
    assert rich.share == 0
    assert rich.cost == curve.cost[0]


def test_a_quality_target_is_reached_as_cheaply_as_can_be():
    predicted, outcomes = _problem(2)
    curve = budgets.curve(predicted, outcomes)
    target = float(np.quantile(curve.quality, 0.7))
    choice = budgets.for_quality(curve, target)
    assert choice.quality >= target
    assert choice.cost == curve.cost[curve.quality >= target].min()


def test_what_cannot_be_had_is_refused_with_what_can():
    predicted, outcomes = _problem()
    curve = budgets.curve(predicted, outcomes)
    with pytest.raises(InputError, match=f"at least {curve.cost.min():.4g}"):
        budgets.for_budget(curve, 0.5 * curve.cost.min())
    with pytest.raises(InputError, match=f"at most {curve.quality.max():.4g}"):
        budgets.for_quality(curve, 1.1)
    with pytest.raises(InputError, match="at least 0"):
        budgets.at(curve, -1.0)
    with pytest.raises(InputError, match="level"):
        budgets.at(curve, 1.0, level=95)
    with pytest.raises(InputError, match="row 3, model 1"):
        budgets.curve(predicted, outcomes._replace(cost=np.where(np.arange(240).reshape(60, 4) == 13, np.nan, 1.0)))
    with pytest.raises(InputError, match="at least two"):
        budgets.curve(Outcomes(jnp.ones((1, 2)), jnp.ones((1, 2))), Outcomes(np.ones((1, 2)), np.ones((1, 2))))


def test_at_agrees_with_brute_force():
    predicted, outcomes = _problem(4)
    curve = budgets.curve(predicted, outcomes)
    for weight in (0.0, 0.013, 0.11, 0.7, 50.0):
        cost, quality = _brute(predicted, outcomes, weight)
        found = budgets.at(curve, weight)
        np.testing.assert_allclose([found.cost, found.quality], [cost.mean(), quality.mean()], rtol=1e-9)


def test_the_interval_covers_the_spend_on_new_prompts():
    """500 validation sets of 200 prompts from a large pool; the truth is the pool's mean at the chosen weight."""
    predicted, outcomes = _problem(5, rows=20_000, models=3)
    everything = budgets.curve(predicted, outcomes)
    budget = float(np.quantile(everything.cost, 0.4))
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        rows = rng.integers(0, 20_000, 200)
        sample = [Outcomes(np.asarray(y.quality)[rows], np.asarray(y.cost)[rows]) for y in (predicted, outcomes)]
        choice = budgets.for_budget(budgets.curve(*sample), budget)
        low, high = choice.cost_interval
        covered += low <= budgets.at(everything, choice.cost_weight).cost <= high
    assert 0.90 <= covered / 500 <= 0.99, covered  # heavy-tailed costs: a little under 95%
