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
    with pytest.raises(InputError, match=f"lowest mean cost per prompt is {curve.cost.min():.4g}"):
        budgets.for_budget(curve, 0.5 * curve.cost.min())
    with pytest.raises(InputError, match=f"highest mean quality is {curve.quality.max():.4g}"):
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
        for y, interval in ((cost, found.cost_interval), (quality, found.quality_interval)):
            half = 1.959964 * y.std(ddof=1) / np.sqrt(len(y))
            np.testing.assert_allclose(interval, (y.mean() - half, y.mean() + half), rtol=1e-6)


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


def _separate(seed, policies=7, rows=400, models=3):
    """Decisions of unrelated policies, and outcomes: cost is not monotone in the cost weight."""
    rng = np.random.default_rng(seed)
    outcomes = Outcomes(rng.random((rows, models)), rng.lognormal(0, 1, (rows, models)))
    decisions = np.eye(models)[rng.integers(0, models, (policies, rows))] * 0.5 + 0.5 / models
    weights = np.sort(rng.random(policies)).round(3)
    return weights, decisions, outcomes


def test_weighted_means_and_their_errors_are_those_of_the_formula():
    """The error of a weighted mean m: sqrt(n / (n - 1) sum s^2 (y - m)^2) / sum s."""
    weights, decisions, outcomes = _separate(0)
    times = np.random.default_rng(1).integers(1, 6, len(outcomes.cost))
    greedy = budgets.curve(outcomes, outcomes, weight=times)
    inside = np.append((greedy.cost_weight[1:] + greedy.cost_weight[:-1]) / 2, greedy.cost_weight[-1] + 1)
    picked = np.argmax(outcomes.quality - inside[::40, None, None] * outcomes.cost, -1)
    for curve, mass in (
        (budgets.curve_of_policies(weights, decisions, outcomes, weight=times), decisions),
        (greedy[np.arange(len(inside))[::40]], np.eye(outcomes.cost.shape[1])[picked]),
    ):
        for y, means, errors in (
            (outcomes.cost, curve.cost, curve.cost_error),
            (outcomes.quality, curve.quality, curve.quality_error),
        ):
            gained = (mass * y).sum(-1)
            mean = np.average(gained, weights=times, axis=1)
            spread = (times * (gained - mean[:, None])) ** 2
            n = len(times)
            np.testing.assert_allclose(means, mean, rtol=1e-5)
            np.testing.assert_allclose(errors, np.sqrt(spread.sum(1) * n / (n - 1)) / times.sum(), rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_curve_of_policies_is_each_policys_mean(seed):
    weights, decisions, outcomes = _separate(seed)
    curve = budgets.curve_of_policies(weights, decisions, outcomes)
    for l, decided in enumerate(decisions):
        for y, mean, error in (
            (outcomes.cost, curve.cost, curve.cost_error),
            (outcomes.quality, curve.quality, curve.quality_error),
        ):
            gained = [sum(p * z for p, z in zip(*row, strict=True)) for row in zip(decided, y, strict=True)]
            assert mean[l] == pytest.approx(np.mean(gained))
            assert error[l] == pytest.approx(np.std(gained, ddof=1) / 20)
    for weight in (
        0.0,
        *weights,
        *(weights[:-1] + 0.4 * np.diff(weights)),
        *(weights[:-1] + 0.6 * np.diff(weights)),
        9.0,
    ):
        nearest = int(np.argmin(np.abs(weights - weight)))
        assert budgets.at(curve, weight).cost == curve.cost[nearest]


@pytest.mark.parametrize("seed", range(6))
def test_no_mixture_of_separate_policies_beats_the_hull(seed):
    """Brute force: every pair of policies, mixed to spend the budget, and every policy that is within it."""
    curve = budgets.curve_of_policies(*_separate(seed))
    assert (np.diff(curve.cost) > 0).any()
    for share in (0.0, 0.2, 0.5, 0.9, 1.5):
        budget = curve.cost.min() + share * np.ptp(curve.cost)
        best = max(curve.quality[curve.cost <= budget])
        for a, b in np.ndindex(len(curve.cost), len(curve.cost)):
            if curve.cost[a] < budget < curve.cost[b]:
                part = (curve.cost[b] - budget) / (curve.cost[b] - curve.cost[a])
                best = max(best, part * curve.quality[a] + (1 - part) * curve.quality[b])
        mixed = budgets.mixture(curve, budget)
        assert mixed.quality == pytest.approx(best, abs=1e-9)
        assert mixed.cost <= budget + 1e-9
        spent = (1 - mixed.share) * mixed.dear.cost + mixed.share * mixed.cheap.cost
        assert spent == pytest.approx(mixed.cost)
        assert {mixed.dear.cost_weight, mixed.cheap.cost_weight} <= set(curve.decided_at)
        alone = budgets.for_budget(curve, budget)
        assert alone.quality == max(curve.quality[curve.cost <= budget])
        reached = budgets.for_quality(curve, best if best in curve.quality else min(curve.quality))
        assert reached.cost == min(curve.cost[curve.quality >= reached.quality])
    with pytest.raises(InputError, match="lowest mean cost"):
        budgets.mixture(curve, 0.99 * curve.cost.min())


def test_a_budget_on_a_curve_of_policies_is_met_on_new_prompts():
    """A hundred logs of 400 rows: the mixture's mean cost on a large pool is the budget, on average over logs."""
    rng = np.random.default_rng(0)
    pool = Outcomes(
        rng.random((20_000, 3)) + np.array([0.0, 0.5, 0.8]), rng.lognormal(0, 1, (20_000, 3)) * [0.3, 1.0, 3.0]
    )
    decisions = np.eye(3)[(rng.random((3, 20_000)) + np.array([[1.9], [1.0], [0.1]])).astype(int)]  # dear to cheap
    weights, spent = [0.0, 1.0, 2.0], []
    truth = budgets.curve_of_policies(weights, decisions, pool)
    budget = float(np.quantile(truth.cost, 0.3))
    for _ in range(100):
        rows = rng.integers(0, 20_000, 400)
        sample = Outcomes(pool.quality[rows], pool.cost[rows])
        mixed = budgets.mixture(budgets.curve_of_policies(weights, decisions[:, rows], sample), budget)
        dear, cheap = (budgets.at(truth, choice.cost_weight).cost for choice in (mixed.dear, mixed.cheap))
        spent.append((1 - mixed.share) * dear + mixed.share * cheap)
    assert abs(np.mean(spent) - budget) < 4 * np.std(spent) / 10


def test_bad_policies_and_curves_are_refused():
    weights, decisions, outcomes = _separate(0)
    good = {"cost_weights": weights, "decisions": decisions, "outcomes": outcomes}
    masked = np.ones(outcomes.quality.shape, bool)
    masked[3, 1] = False
    for change, says in (
        ({"cost_weights": weights[:3]}, "for 3 cost weights"),
        ({"cost_weights": weights[::-1]}, "must ascend"),
        ({"decisions": 2 * decisions}, "sum to 1"),
        ({"outcomes": outcomes._replace(cost=np.where(masked, outcomes.cost, np.nan))}, "row 3, model 1"),
        ({"available": masked}, "row 3, model 1"),
        ({"decisions": decisions[:, :1], "outcomes": Outcomes(*(y[:1] for y in outcomes))}, "at least two"),
    ):
        with pytest.raises(InputError, match=says):
            budgets.curve_of_policies(**{**good, **change})
    one = np.ones(2)
    for parts, says in (
        ((np.array([0.0, 1.0]), one, one[:1], one, one), "quality has shape"),
        ((np.array([0.0, 0.0]), one, one, one, one), "must ascend"),
        ((np.array([-1.0, 0.0]), one, one, one, one), "must ascend"),
        ((np.array([0.0, 1.0]), one, one * np.nan, one, one), "not finite"),
        ((np.array([0.0, 1.0]), one, one, -one, one), "below 0"),
    ):
        with pytest.raises(InputError, match=says):
            budgets.Curve(*parts)


def test_a_thinned_curve_keeps_its_ends():
    curve = budgets.curve(*_problem())
    few = budgets.thinned(curve, 16)
    assert len(few.cost) == 16
    assert (few.cost[0], few.cost[-1]) == (curve.cost[0], curve.cost[-1])
    assert set(few.cost_weight) <= set(curve.cost_weight)
    assert budgets.thinned(few, 99).cost.tolist() == few.cost.tolist()
