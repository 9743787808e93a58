"""Simulated logs: exact propensities, no answer that the table lacks, the bias that was asked for."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxroute.data import simulate, synthetic
from jaxroute.types import InputError, Outcomes

KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def table():
    return synthetic.make(jax.random.key(0), num_prompts=1000)


@pytest.fixture(scope="module")
def holes(table):
    """A third of the answers missing, at least one left a prompt."""
    rng = np.random.default_rng(0)
    available = rng.random(table.available.shape) > 1 / 3
    available[np.arange(1000), rng.integers(10, size=1000)] = True
    return replace(
        table,
        available=available,
        outcomes=Outcomes(*(np.where(available, x, np.nan) for x in table.outcomes)),
    )


def _policies(table):
    return {
        "uniform": simulate.uniform(),
        "cost_biased": simulate.cost_biased(1.0, 0.1),
        "weak_router": simulate.weak_router(KEY, table, fraction=0.2, beta=2.0, floor=0.1),
        "no_floor": simulate.weak_router(KEY, table, fraction=0.2, beta=5.0, floor=0.0),
        "task_dependent": simulate.task_dependent(KEY, 1.5, 0.05),
        "deterministic": simulate.deterministic(simulate.task_dependent(KEY, 1.5, 0.05)),
    }


NAMES = ("uniform", "cost_biased", "weak_router", "no_floor", "task_dependent", "deterministic")


@pytest.mark.parametrize("name", NAMES)
def test_policies_are_probabilities_over_available_models(table, holes, name):
    for full in (table, holes):
        probabilities = _policies(full)[name](full)
        assert probabilities.shape == (1000, 10)
        np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-12)
        assert (probabilities >= 0).all()
        assert (probabilities[~full.available] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_empirical_shares_match_the_propensities(holes, name):
    """Every model's share of 40 logs of the same prompts lies within 4 standard errors."""
    policy = _policies(holes)[name]
    probabilities = policy(holes)
    draws = 40
    counts = np.zeros((1000, 10))
    for r in range(draws):
        logs = simulate.simulate(jax.random.key(100 + r), holes, policy)
        np.testing.assert_allclose(logs.propensity, probabilities[np.arange(1000), logs.action], rtol=1e-12)
        counts[np.arange(1000), logs.action] += 1
    error = np.sqrt(draws * (probabilities * (1 - probabilities)).sum(0))
    off = np.abs(counts.sum(0) - draws * probabilities.sum(0))
    assert (off <= 4 * error + 1e-9).all()
    # And prompt by prompt, over cells of like probability, so that a shuffled policy would fail.
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.6), (0.6, 1.0)):
        cell = (probabilities > low) & (probabilities <= high)
        spread = np.sqrt(draws * (probabilities * (1 - probabilities))[cell].sum())
        assert abs(counts[cell].sum() - draws * probabilities[cell].sum()) <= 4 * spread + 1e-9


def test_inverse_propensity_means_are_the_table_means(table):
    """mean(1{t=k} y / p) over 200 logs is the mean of model k, within 4 standard errors."""
    policy = _policies(table)["weak_router"]
    estimates = np.zeros((200, 10))
    for r in range(200):
        logs = simulate.simulate(jax.random.key(r), table, policy)
        np.add.at(estimates[r], logs.action, logs.quality / logs.propensity / 1000)
    error = estimates.std(0, ddof=1) / np.sqrt(200)
    assert (np.abs(estimates.mean(0) - table.outcomes.quality.mean(0)) < 4 * error).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_hole_is_never_logged(holes, name):
    logs = simulate.simulate(KEY, holes, _policies(holes)[name])
    assert holes.available[np.arange(1000), logs.action].all()
    assert np.isfinite(logs.quality).all()
    assert np.isfinite(logs.cost).all()
    assert (logs.propensity > 0).all()


def test_a_log_row_is_the_tables_answer(holes):
    rows = np.array([5, 3, 900])
    logs = simulate.simulate(KEY, holes, simulate.uniform(), rows=rows)
    for i, n in enumerate(rows):
        assert logs.quality[i] == holes.outcomes.quality[n, logs.action[i]]
        assert logs.cost[i] == holes.outcomes.cost[n, logs.action[i]]
        assert logs.propensity[i] == pytest.approx(1 / holes.available[n].sum())
    np.testing.assert_array_equal(logs.features, holes.features[rows])
    np.testing.assert_array_equal(logs.available, holes.available[rows])
    np.testing.assert_array_equal(logs.group, holes.group[rows])
    assert logs.action.dtype == np.int32


def test_propensities_are_shares_of_the_policys_own_sum(table):
    """Probabilities in 32 bits add up to 1 but for rounding."""
    logs = simulate.simulate(KEY, table, lambda table: np.full(table.available.shape, 0.1 * (1 + 5e-7)))
    np.testing.assert_allclose(logs.propensity, 0.1, rtol=1e-12)


def test_unknown_propensities_are_nan_and_actions_the_same(table):
    known = simulate.simulate(KEY, table, simulate.cost_biased())
    unknown = simulate.simulate(KEY, table, simulate.cost_biased(), known=False)
    assert np.isnan(unknown.propensity).all()
    np.testing.assert_array_equal(known.action, unknown.action)


def test_one_key_for_table_and_log_does_not_confound():
    """make and simulate under the same key: actions are unrelated to the latent difficulty."""
    key = jax.random.key(3)
    table = synthetic.make(key, num_prompts=4000)
    action = simulate.simulate(key, table, simulate.uniform()).action
    difficulty = table.expected.quality.mean(1)
    assert abs(np.corrcoef(action, difficulty)[0, 1]) < 4 / np.sqrt(4000)
    assert abs(np.corrcoef(action, table.features[:, 0])[0, 1]) < 4 / np.sqrt(4000)


def test_cost_biased_odds_are_inverse_to_mean_cost(table):
    probabilities = simulate.cost_biased(floor=0.0)(table)  # the strength is 1 by default
    mean = table.outcomes.cost.mean(0)
    np.testing.assert_allclose(probabilities[0], (1 / mean) / (1 / mean).sum(), rtol=1e-9)
    floored = simulate.cost_biased(strength=1.0, floor=0.2)(table)
    np.testing.assert_allclose(floored, 0.8 * probabilities + 0.2 / 10, rtol=1e-9)
    np.testing.assert_allclose(simulate.cost_biased()(table), 0.9 * probabilities + 0.1 / 10, rtol=1e-9)
    assert simulate.cost_biased(-1.0, 0.0)(table)[0].argmax() == mean.argmax()


def test_cost_biased_takes_free_models(table):
    outcomes = Outcomes(table.outcomes.quality, table.outcomes.cost.copy())
    outcomes.cost[:, 3] = 0.0
    probabilities = simulate.cost_biased(1.0, 0.1)(replace(table, outcomes=outcomes))
    assert probabilities[0].argmax() == 3
    nothing = Outcomes(table.outcomes.quality, np.zeros((1000, 10)))
    np.testing.assert_allclose(simulate.cost_biased()(replace(table, outcomes=nothing)), 0.1)


def test_weak_router_is_better_than_chance_and_short_of_the_oracle(table):
    quality = table.expected.quality
    policy = simulate.weak_router(KEY, table, fraction=0.3, beta=3.0, floor=0.1)
    value = (policy(table) * quality).sum(1).mean()
    assert quality.mean() + 0.02 < value < quality.max(1).mean() - 0.05


def test_weak_router_is_the_ridge_it_says_it_is(table):
    """Against scikit-learn, on the whole table so that the random part plays no role."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(table.features.astype(float))
    score = Ridge(simulate.RIDGE_PENALTY).fit(x, table.outcomes.quality).predict(x)
    score -= score.mean(1, keepdims=True)
    odds = np.exp(2.0 * score / score.std())
    expected = 0.9 * odds / odds.sum(1, keepdims=True) + 0.01
    policy = simulate.weak_router(KEY, table, fraction=1.0, beta=2.0, floor=0.1)
    np.testing.assert_allclose(policy(table), expected, rtol=1e-6)


def test_weak_router_does_not_depend_on_the_company(table):
    policy = simulate.weak_router(KEY, table, fraction=0.2, beta=2.0, floor=0.1)
    np.testing.assert_allclose(policy(table)[10:20], policy(table.rows(np.arange(10, 20))), rtol=1e-9)


def test_tasks_have_their_own_favourites_in_any_part_of_the_table(table):
    policy = simulate.task_dependent(KEY, strength=2.0, floor=0.1)
    probabilities = policy(table)
    for task in set(table.task):
        assert np.ptp(probabilities[table.task == task], axis=0).max() == 0
    favourites = {probabilities[table.task == task][0].argmax() for task in set(table.task)}
    assert len(favourites) > 2
    part = np.flatnonzero(table.task == "topic_5")
    np.testing.assert_array_equal(policy(table.rows(part)), probabilities[part])
    other = simulate.task_dependent(jax.random.key(8), strength=2.0, floor=0.1)(table)
    assert (other != probabilities).any()


def test_deterministic_takes_the_likeliest_available_model(holes):
    soft = simulate.task_dependent(KEY, 2.0, 0.1)
    probabilities = simulate.deterministic(soft)(holes)
    assert set(np.unique(probabilities)) == {0.0, 1.0}
    np.testing.assert_array_equal(probabilities.argmax(1), soft(holes).argmax(1))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda t: np.full((len(t), 10), 0.2), "row 0 .* sum to 1"),
        (lambda t: np.full((len(t), 10), np.nan), "row 0"),
        (lambda t: np.tile([1.5, -0.5, *[0.0] * 8], (len(t), 1)), "row 0"),
        (lambda t: np.full((len(t), 3), 1 / 3), r"shape \(1000, 3\)"),
        (lambda t: np.full((len(t), 10), 0.1), "whose answer is missing"),
    ],
)
def test_policies_that_are_none_are_refused(holes, broken, message):
    with pytest.raises(InputError, match=message):
        simulate.simulate(KEY, holes, broken)


@pytest.mark.parametrize("floor", [-0.1, 1.1, np.nan])
def test_floors_outside_the_unit_interval_are_refused(table, floor):
    for build in (
        lambda: simulate.cost_biased(1.0, floor),
        lambda: simulate.task_dependent(KEY, 1.0, floor),
        lambda: simulate.weak_router(KEY, table, floor=floor),
    ):
        with pytest.raises(InputError, match="floor"):
            build()


@pytest.mark.parametrize("fraction", [0.0, 1.5, 0.001, -1.0])
def test_weak_router_needs_two_rows(table, fraction):
    with pytest.raises(InputError, match="fraction"):
        simulate.weak_router(KEY, table, fraction=fraction)


def test_a_table_that_is_none_is_refused():
    """An answer that is said to be there without a quality would be logged as feedback that is missing."""
    table = synthetic.make(jax.random.key(0), num_prompts=20)
    quality = np.array(table.outcomes.quality)
    quality[3, 2] = np.nan
    with pytest.raises(InputError, match=r"row 3 of the table: .* is available and its quality is nan"):
        simulate.simulate(
            jax.random.key(1), replace(table, outcomes=Outcomes(quality, table.outcomes.cost)), simulate.uniform()
        )
    with pytest.raises(InputError, match="features of the table has shape"):
        simulate.simulate(jax.random.key(1), replace(table, features=table.features[:10]), simulate.uniform())
