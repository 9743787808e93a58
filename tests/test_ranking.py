"""The best of several routers: bounds that hold together, and what is said of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import router_kinds

import jaxroute as jr
from jaxroute.cli import judged
from jaxroute.cli.sheets import records
from jaxroute.data import simulate, synthetic
from jaxroute.estimators import estimate, interval, paired, ranking
from jaxroute.estimators.influence import Rows
from jaxroute.serving.ranking import Ranking
from jaxroute.types import InputError, Table

DRAWS, N, M, L = 400, 300, 4, 2
TRUTH = np.array([[0.0, 0.0], [0.0, 0.02], [-0.1, 0.02], [-0.3, 0.02]])  # ties for the best


def rows_of(seed):
    """Influence rows of four routers at two cost weights, of which those of one prompt hang together."""
    draws = np.random.default_rng(seed)
    common = draws.normal(size=N)
    own = draws.normal(size=(M, L, N))
    return Rows(jnp.asarray(TRUTH[..., None] + common + 0.5 * own), jnp.ones((M, L, N), bool), jnp.ones((M, L, N)))


@pytest.mark.slow
def test_bounds_hold_together_and_the_best_stays_among_the_leaders():
    """400 draws: all 12 differences are inside at once as often as said, and pairs cost less than Bonferroni's."""
    truth = TRUTH[:, None] - TRUTH[None]
    inside, kept = [], []
    for seed in range(DRAWS):
        low, high = map(np.asarray, ranking.bounds(jax.random.key(seed), rows_of(seed), jnp.ones((M, L), bool)))
        within = (low <= truth) & (truth <= high)
        inside.append(within[~np.eye(M, dtype=bool)].all())
        leads = ~(np.nan_to_num(high, nan=np.inf) < 0).any(1)
        kept.append(leads[TRUTH.max(0) == TRUTH].all())
        np.testing.assert_allclose(low, -np.swapaxes(high, 0, 1), rtol=1e-5)
    assert abs(np.mean(inside) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / DRAWS)
    assert np.mean(kept) > 0.94


@pytest.mark.modes
@pytest.mark.slow
def test_a_router_that_the_log_does_not_support_has_no_bounds_and_widens_none():
    key, of = jax.random.key(0), rows_of(0)
    supported = np.ones((M, L), bool)
    supported[3] = False
    low, high = ranking.bounds(jax.random.clone(key), of, jnp.asarray(supported))  # the same draws below
    assert np.isnan(low[3]).all()
    assert np.isnan(high[:, 3]).all()
    alone, _ = ranking.bounds(key, jax.tree.map(lambda x: x[:3], of), jnp.ones((3, L), bool))
    np.testing.assert_allclose(low[:3, :3], alone, atol=0.01)


def test_bounds_of_a_single_difference_are_its_paired_interval():
    of = jax.tree.map(lambda x: x[:2, :1], rows_of(0))
    low, high = ranking.bounds(jax.random.key(0), of, jnp.ones((2, 1), bool))
    alone = estimate(paired(*(jax.tree.map(lambda x, k=k: x[k, 0], of) for k in (0, 1))))
    np.testing.assert_allclose((low[0, 1, 0] + high[0, 1, 0]) / 2, alone.value, atol=1e-5)
    np.testing.assert_allclose(np.subtract(high[0, 1, 0], low[0, 1, 0]), np.ptp(interval(alone)), rtol=0.05)


def test_what_is_said():
    bound = np.full((3, 3, 2), np.nan)
    bound[0, 1], bound[1, 0], bound[0, 2], bound[2, 0] = [0.1, -0.1], [-0.2, -0.1], [0.1, np.nan], [-0.2, np.nan]
    value, leads = np.array([[3.0, 3], [2, 4], [1, 5]]), np.array([[1, 1], [0, 1], [0, 0]])
    found = ranking.Ranking(value, bound, bound + 0.1, leads)
    record = Ranking(("a", "b", "c"), np.array([0.0, 1.0]), np.array([0.0, 50.0]), found)
    frame = record.to_frame()
    assert frame.best_other.tolist() == ["b", "a", "a", "b", "a", "b"]
    assert frame.verdict.tolist() == [
        "may be the best", "is not the best", "is not the best", "may be the best", "may be the best", "not supported"
    ]  # fmt: skip
    assert record.conclusion() == [
        "a is the best of the 3 routers at normalised cost weight 0.",
        "The log cannot say which of a, b is the best at normalised cost weight 1.",
        "This holds with 95% confidence for all routers and cost weights together.",
    ]


def test_a_router_without_a_rival_that_the_log_supports_is_not_called_the_best():
    """The rows say "not supported" of both; and of three the best of two is no more than that."""
    bound, leads = np.full((3, 3, 2), np.nan), np.array([[1, 1], [0, 0], [0, 0]])
    bound[0, 1, 1], bound[1, 0, 1] = 0.1, -0.2
    found = ranking.Ranking(np.array([[3.0, 3], [np.nan, 2], [1, 1]]), bound, bound + 0.1, leads)
    record = Ranking(("a", "b", "c"), np.array([0.0, 1.0]), np.array([0.0, 50.0]), found)
    assert set(record.to_frame().verdict[:3]) == {"not supported"}
    assert record.conclusion() == [
        "The log supports no two of the routers at normalised cost weight 0.",
        "a is the best of the 2 routers that the log supports at normalised cost weight 1.",
        "This holds with 95% confidence for all routers and cost weights together.",
    ]
    sheet = judged.ranking(records(record.to_frame()), "title")
    assert [line[2] for line in sheet.lines[:2]] == [3.0, None]


@pytest.fixture(scope="module")
def log():
    """600 rows of the routers' four models, with features; model "a" is by far the best."""
    made = synthetic.make(jax.random.key(0), num_prompts=600, num_models=4, num_features=router_kinds.D)
    made.outcomes.quality[:] = np.clip(made.outcomes.quality / 4 + [0.7, 0, 0, 0], 0, 1)
    table = Table(**{**vars(made), "models": router_kinds.MODELS})
    logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
    names = np.array(table.models)[np.asarray(logs.action)]
    columns = {name: np.asarray(getattr(logs, name)) for name in ("quality", "cost", "propensity")}
    return jr.read_log({"features": list(np.asarray(logs.features)), "model": names, **columns})


@pytest.mark.modes
@pytest.mark.slow
def test_the_best_router_of_a_log_is_named_and_like_ones_are_not_told_apart(log):
    own = router_kinds.router("plug_in")
    best, worst = own.without("b", "c", "d"), own.without("a", "b", "c")
    found = jr.rank([worst, best, own], log, names=["worst", "best", "own"], normalised_cost_weights=(0.0,))
    frame = found.to_frame().set_index("router")
    assert frame.verdict["best"] == "may be the best"
    assert frame.verdict["worst"] == "is not the best"
    assert frame.best_other["worst"] == frame.best_other["own"] == "best"
    assert (frame.low < frame.high).all()
    assert found.conclusion() == [
        *found.left_out,
        "best is the best of the 3 routers at normalised cost weight 0.",
        "This holds with 95% confidence for all routers and cost weights together.",
    ]
    alike = jr.rank([best, best], log, normalised_cost_weights=(0.0,))
    assert (
        alike.conclusion()[-1]
        == "The log cannot say which of router 0, router 1 is the best at normalised cost weight 0."
    )


def test_one_router_is_no_choice():
    with pytest.raises(InputError, match="1 router"):
        jr.serving.ranking.rank([router_kinds.router("plug_in")], None)
