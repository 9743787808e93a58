import engine_problem as small
import jax
import numpy as np
import pytest
from engine_problem import EXAMPLES, K, KilledError, N, S, assert_same_bits, kill_at, program

from jaxroute import counterfactual, engine, sweep
from jaxroute.engine import halving
from jaxroute.learn.examples import LOGGED, at_clip
from jaxroute.types import Examples, InputError

RATES = (1e-4, 1e-3, 1e-2, 1e-1)
POINTS = sweep.grouped_grid(S, cost_weight=(0.0, 0.5), learning_rate=RATES)


def search(points=POINTS, learn=EXAMPLES, devices=2, block=2, task=engine.ROUTER, **settings):
    return engine.search(program(devices, block=block, task=task), points, learn, EXAMPLES, **settings)


@pytest.fixture(scope="module")
def plain():
    return search()


@pytest.fixture(scope="module")
def halved():
    return search(rungs=(6, 12))


def test_without_rungs_it_is_plain_training(plain):
    whole = engine.train(program(2, block=2), POINTS, EXAMPLES, EXAMPLES)
    assert_same_bits(plain.state, whole)
    np.testing.assert_array_equal(plain.value, whole.best_value)
    assert (plain.dropped_at == -1).all()


def test_survivors_are_those_of_a_loop_written_out():
    value, group = np.random.default_rng(0).normal(size=(3, 20)), np.repeat([0.0, 1.0], [8, 12])
    expected = []
    for lot in (range(8), range(8, 20)):
        ranked = sorted(lot, key=lambda i: -np.mean([value[s, i] for s in range(3)]))
        expected += ranked[: len(lot) // 2]
    np.testing.assert_array_equal(halving.survivors(value, group, 0.5), sorted(expected))


def test_rungs_halve_every_cost_weight_and_record_it(halved):
    for lot in (slice(0, 4), slice(4, 8)):
        assert sorted(halved.dropped_at[lot]) == [-1, 6, 6, 12]
    np.testing.assert_array_equal(halved.alive, np.flatnonzero(halved.dropped_at == -1))
    np.testing.assert_array_equal(halved.points.learning_rate, POINTS.learning_rate[:, halved.alive])
    # who left at the second rung was then worse than who stayed
    mean = halved.value.mean(0)
    for lot in (slice(0, 4), slice(4, 8)):
        left = mean[lot][halved.dropped_at[lot] == 12]
        assert left.max() <= mean[lot][halved.dropped_at[lot] == -1].min()


def test_survivors_have_the_bits_of_the_undisturbed_run_at_equal_block(plain, halved):
    assert_same_bits(halved.state, jax.tree.map(lambda x: x[:, halved.alive], plain.state))


@pytest.mark.slow
def test_without_a_block_survivors_are_close(plain):
    loose = search(rungs=(6, 12), block=None)
    np.testing.assert_allclose(loose.value[:, loose.alive], plain.value[:, loose.alive], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at", [6, 18])
def test_a_killed_search_goes_on_to_the_same_bits(halved, tmp_path, at):
    with pytest.raises(KilledError):
        search(rungs=(6, 12), folder=tmp_path / "run", on_chunk=kill_at(at))
    seen = []
    resumed = search(rungs=(6, 12), folder=tmp_path / "run", kept=3, on_chunk=lambda step, *_: seen.append(step))
    assert seen[0] == at + 6
    assert_same_bits(halved, resumed)
    assert sorted(int(p.name) for p in (tmp_path / "run").iterdir() if p.name.isdigit()) == [12, 18, 24]


@pytest.mark.slow
def test_eight_devices_find_the_same_bits_and_two_read_what_they_wrote(halved, tmp_path):
    assert_same_bits(halved, search(rungs=(6, 12), devices=8, folder=tmp_path / "run"))
    assert_same_bits(halved, search(rungs=(6, 12), devices=2, folder=tmp_path / "run"))


def test_bad_settings_are_refused():
    for settings in ({"rungs": (5,)}, {"rungs": (12, 6)}, {"rungs": (24,)}, {"rungs": (6,), "keep": 0.0}):
        with pytest.raises(InputError):
            search(**settings)
    uneven = POINTS._replace(cost_weight=POINTS.cost_weight + np.float32([[0], [1]]))
    with pytest.raises(InputError, match="cost_weight"):
        search(uneven)


def test_outcomes_at_a_clip_are_the_formula():
    one = jax.tree.map(lambda x: x[0], small.LOG)
    got = jax.jit(at_clip)(one, 0.2).outcomes.quality
    expected = np.full((N, K), 0.5)
    for i, t in enumerate(one.logs.action):
        p = 0.9 if t == 0 else 0.05
        expected[i, t] += (small.QUALITY[0, i, t] - 0.5) / max(p, 0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.slow
def test_every_point_learns_at_its_own_clip():
    clips = (0.05, 0.5)
    found = search(sweep.grouped_grid(S, clip=clips, learning_rate=0.02), small.LOG, task=LOGGED, block=1)
    for i, clip in enumerate(clips):
        outcomes = jax.vmap(lambda log, nuisances, c=clip: counterfactual.doubly_robust(log, nuisances, clip=c))(
            small.LOG.logs, small.LOG.nuisances
        )
        single = sweep.grouped_grid(S, clip=clip, learning_rate=0.02)
        alone = search(single, Examples(small.FEATURES, outcomes, small.LOG.available), block=1)
        np.testing.assert_allclose(found.value[:, i], alone.value[:, 0], rtol=1e-4, atol=1e-5)
    kernel = np.asarray(found.state.params["params"]["trunk"]["hidden_0"]["kernel"])
    assert np.abs(kernel[:, 0] - kernel[:, 1]).max() > 1e-3
