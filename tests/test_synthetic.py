"""The synthetic problem keeps what its docstring promises, for several keys."""

import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxroute.data import synthetic
from jaxroute.data.units import cost_scale
from jaxroute.types import InputError

WEIGHTS = np.array([0.0, 0.1, 0.25, 0.5, 1.0, 2.0])
KEYS = range(6)


@pytest.fixture(scope="module", params=KEYS)
def table(request):
    return synthetic.make(jax.random.key(request.param))


def _expected_utility(table):
    """Conditional mean utility [L, N, K] on the fixed grid of normalised cost weights."""
    scale, _ = cost_scale(table.expected)
    return table.expected.quality - WEIGHTS[:, None, None] * table.expected.cost / scale


def test_shapes_and_units(table):
    assert len(table) == 4000
    assert table.features.shape == (4000, 32)
    assert table.features.dtype == np.float32
    assert table.outcomes.quality.shape == table.outcomes.cost.shape == (4000, 10)
    assert table.available.all()
    assert table.outcomes.quality.min() >= 0
    assert table.outcomes.quality.max() <= 1
    assert table.outcomes.cost.min() > 0
    assert len(set(table.query_id)) == len(set(table.prompt)) == 4000
    assert set(table.task) == {f"topic_{t}" for t in range(8)}


def test_conversations_have_one_to_four_prompts_of_one_topic(table):
    groups, sizes = np.unique(table.group, return_counts=True)
    assert set(sizes) == {1, 2, 3, 4}
    assert all(len(set(table.task[table.group == g])) == 1 for g in groups[:200])
    # A conversation is more alike than two prompts of a topic: variance within below variance overall.
    difficulty = np.log(table.expected.cost).mean(1)
    within = np.mean([difficulty[table.group == g].var(ddof=1) for g in groups[sizes[groups] == 4]])
    assert within < 0.8 * difficulty.var()


def test_mean_of_many_redraws_is_the_expected_outcome():
    table = synthetic.make(jax.random.key(1), num_prompts=60)
    draws = [synthetic.redraw(jax.random.key(100 + r), table).outcomes for r in range(1500)]
    for name in ("quality", "cost"):
        sample = np.stack([getattr(draw, name) for draw in draws])
        error = sample.mean(0) - getattr(table.expected, name)
        z = error / (sample.std(0, ddof=1) / np.sqrt(len(draws)))
        # 600 cells: a cell's z beyond 5 has probability 6e-7; the mean square of correct z is 1.
        assert np.abs(z).max() < 5
        assert 0.75 < np.mean(z**2) < 1.25


def test_expected_outcomes_are_calibrated_in_one_table(table):
    for name in ("quality", "cost"):
        error = (getattr(table.outcomes, name) - getattr(table.expected, name)) / getattr(table.expected, name)
        z = error.mean(0) / (error.std(0, ddof=1) / np.sqrt(len(table)))
        assert np.abs(z).max() < 4.5


def test_most_quality_is_zero_or_one_and_two_topics_are_graded(table):
    graded = np.isin(table.task, ["topic_3", "topic_7"])
    assert np.isin(table.outcomes.quality[~graded], (0.0, 1.0)).all()
    inside = (table.outcomes.quality[graded] > 0.01) & (table.outcomes.quality[graded] < 0.99)
    assert inside.mean() > 0.6


def test_costs_are_heavy_tailed_and_span_two_orders_of_magnitude(table):
    mean = table.expected.cost.mean(0)
    assert mean.max() / mean.min() > 100
    log_cost = np.log(table.outcomes.cost)
    assert (log_cost.std(0) > 0.8).all()  # a lognormal of that spread has its mean at the 66th percentile
    noise = log_cost - np.log(table.expected.cost)
    np.testing.assert_allclose(noise.mean(), -(synthetic.COST_NOISE**2) / 2, atol=0.015)


def test_costs_rise_with_difficulty(table):
    difficulty = -np.log(table.expected.quality / (1 - table.expected.quality)).mean(1)
    correlation = np.corrcoef(difficulty, np.log(table.expected.cost).mean(1))[0, 1]
    assert correlation > 0.2


def test_dominated_model_is_worse_and_dearer_on_every_prompt_and_never_chosen(table):
    dominated = table.models.index("dominated")
    quality, cost = table.expected
    worse = (quality > quality[:, [dominated]]) & (cost < cost[:, [dominated]])
    assert worse.all(0).any()
    assert not (_expected_utility(table).argmax(-1) == dominated).any()


def test_near_ties_in_topic_0_only(table):
    spread = np.ptp(table.expected.quality, axis=1)
    tied = table.task == "topic_0"
    assert spread[tied].max() < 0.02
    assert np.median(spread[~tied]) > 0.2
    assert 0.05 < tied.mean() < 0.25


def test_best_single_is_clearly_beaten(table):
    utility = _expected_utility(table)
    gain = utility.max(-1).mean(-1) - utility.mean(1).max(-1)
    assert (gain >= 0.05).all()


def test_best_policies_differ_from_weight_to_weight(table):
    utility = _expected_utility(table)
    choice = utility.argmax(-1)
    for low in range(len(WEIGHTS) - 1):
        assert np.mean(choice[low] != choice[low + 1]) > 0.05
    # The best policy at weight 0 is a poor one at weight 2, and the other way round.
    value = np.take_along_axis(utility[[-1, 0]], choice[[0, -1]][..., None], -1)[..., 0].mean(-1)
    assert (utility[[-1, 0]].max(-1).mean(-1) - value > 0.03).all()
    assert len({int(k) for k in utility.mean(1).argmax(-1)}) >= 2


def test_every_other_model_has_prompts_of_its_own(table):
    used = np.unique(_expected_utility(table).argmax(-1))
    assert len(used) == len(table.models) - 1


def test_features_make_the_oracle_reachable():
    """A plain MLP on the conditional means gets within a point of the conditional oracle; ridge does not."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

    table = synthetic.make(jax.random.key(0))
    train, test = slice(0, 3000), slice(3000, None)
    target = np.c_[table.expected.quality, np.log(table.expected.cost)]
    centre, spread = target[train].mean(0), target[train].std(0)
    scale, _ = cost_scale(table.expected)
    regret = {}
    mlp = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=60, learning_rate_init=3e-3, alpha=1e-3, random_state=0)
    for name, model in {"ridge": Ridge(1.0), "mlp": mlp}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 60 epochs are enough for the point made
            model.fit(table.features[train], (target[train] - centre) / spread)
        predicted = model.predict(table.features[test]) * spread + centre
        quality, cost = predicted[:, :10], np.exp(predicted[:, 10:])
        choice = (quality - WEIGHTS[:, None, None] * cost / scale).argmax(-1)
        utility = _expected_utility(table)[:, test]
        chosen = np.take_along_axis(utility, choice[..., None], -1)[..., 0]
        regret[name] = (utility.max(-1) - chosen).mean(-1)
    assert (regret["mlp"] < 0.01).all()
    assert (regret["ridge"] > 0.02).all()


def test_one_key_one_table():
    first = synthetic.make(jax.random.key(3), num_prompts=50)
    again = synthetic.make(jax.random.key(3), num_prompts=50)
    other = synthetic.make(jax.random.key(4), num_prompts=50)
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.outcomes.cost, again.outcomes.cost)
    assert (first.features != other.features).any()
    with jax.enable_x64(True):
        wide = synthetic.make(jax.random.key(3), num_prompts=50)
    np.testing.assert_array_equal(first.outcomes.cost, wide.outcomes.cost)


@pytest.mark.parametrize(
    ("name", "size"), [("num_prompts", 0), ("num_models", 2), ("num_features", 0), ("num_topics", 1)]
)
def test_too_small_sizes_are_refused(name, size):
    with pytest.raises(InputError, match=name):
        synthetic.make(jax.random.key(0), **{name: size})


def test_small_worlds_work():
    table = synthetic.make(jax.random.key(0), num_prompts=20, num_models=3, num_features=2, num_topics=2)
    assert table.outcomes.quality.shape == (20, 3)
    assert np.isfinite(table.features).all()


def test_only_synthetic_tables_can_be_redrawn(table):
    with pytest.raises(InputError, match="conditional means"):
        synthetic.redraw(jax.random.key(0), replace(table, expected=None))
