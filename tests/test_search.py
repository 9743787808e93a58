import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, sweep
from jaxroute.engine import checkpoint, halving, logged, networks, population
from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes, Spec

S, N, K, D = 2, 96, 3, 4
RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(S, N, D)), jnp.float32)
QUALITY = jax.nn.sigmoid(2 * FEATURES @ jnp.asarray(RNG.normal(size=(D, K)), jnp.float32))
COST = jnp.broadcast_to(jnp.array([0.1, 0.3, 1.0]), (S, N, K))
EXAMPLES = Examples(FEATURES, Outcomes(QUALITY, COST), jnp.ones((S, N, K), bool))
NETWORK = networks.router(K, (8,))
SPEC = Spec(hidden=(8,), batch_size=32, steps=24, chunk=6)
RATES = (1e-4, 1e-3, 1e-2, 1e-1)
POINTS = population.grouped_grid(S, cost_weight=(0.0, 0.5), learning_rate=RATES)


class KilledError(Exception):
    pass


def regret(scores, utility, where, h):
    probability = jax.nn.softmax(scores / h.temperature)
    return jnp.sum(probability * (utility.max(-1, keepdims=True) - utility), -1)


def train(points=POINTS, learn=EXAMPLES, devices=2, **settings):
    mesh = sweep.mesh(jax.devices()[:devices])
    settings = {"block": 2, **settings}
    return halving.train(points, learn, EXAMPLES, network=NETWORK, objective=regret, spec=SPEC, mesh=mesh, **settings)


def assert_same_bits(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


@pytest.fixture(scope="module")
def plain():
    return train()


@pytest.fixture(scope="module")
def halved():
    return train(rungs=(6, 12))


@pytest.mark.slow
def test_without_rungs_it_is_the_population(plain):
    whole = population.train(
        POINTS, EXAMPLES, EXAMPLES, network=NETWORK, objective=regret, spec=SPEC, mesh=sweep.mesh(jax.devices()[:2])
    )
    np.testing.assert_allclose(plain.value, whole.best_value, rtol=1e-5, atol=1e-6)
    assert (plain.dropped_at == -1).all()


def test_survivors_are_those_of_a_loop_written_out():
    value, group = RNG.normal(size=(3, 20)), np.repeat([0.0, 1.0], [8, 12])
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
    loose = train(rungs=(6, 12), block=None)
    np.testing.assert_allclose(loose.value[:, loose.alive], plain.value[:, loose.alive], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at", [6, 18])
def test_a_killed_search_goes_on_to_the_same_bits(halved, tmp_path, at):
    def kill(step, *_):
        if step == at:
            raise KilledError

    with pytest.raises(KilledError):
        train(rungs=(6, 12), folder=tmp_path / "run", on_chunk=kill)
    seen = []
    resumed = train(rungs=(6, 12), folder=tmp_path / "run", kept=3, on_chunk=lambda step, *_: seen.append(step))
    assert seen[0] == at + 6
    assert_same_bits(halved, resumed)
    assert sorted(int(p.name) for p in (tmp_path / "run").iterdir() if p.name.isdigit()) == [12, 18, 24]


@pytest.mark.slow
def test_eight_devices_find_the_same_bits_and_two_read_what_they_wrote(halved, tmp_path):
    assert_same_bits(halved, train(rungs=(6, 12), devices=8, folder=tmp_path / "run"))
    assert_same_bits(halved, train(rungs=(6, 12), devices=2, folder=tmp_path / "run"))


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    """Orbax's own failure, as a folder that cannot be written raises it."""
    from orbax.checkpoint import v1 as ocp

    def full(*_, **__):
        raise OSError(27, "File too large")

    monkeypatch.setattr(ocp.training.Checkpointer, "save_async", full)
    with pytest.raises(checkpoint.SaveError, match=r"File too large.*those before it are intact"):
        train(folder=tmp_path / "run")


def test_what_cannot_be_meant_is_refused():
    for settings in ({"rungs": (5,)}, {"rungs": (12, 6)}, {"rungs": (24,)}, {"rungs": (6,), "keep": 0.0}):
        with pytest.raises(InputError):
            train(**settings)
    uneven = POINTS._replace(cost_weight=POINTS.cost_weight + np.float32([[0], [1]]))
    with pytest.raises(InputError, match="cost_weight"):
        train(uneven)


@pytest.fixture(scope="module")
def log():
    action = RNG.integers(0, K, (S, N))
    pick = lambda x: jnp.take_along_axis(x, jnp.asarray(action)[..., None], -1)[..., 0]
    share = jnp.full((S, N, K), 0.05).at[..., 0].set(0.9)
    available = jnp.ones((S, N, K), bool)
    logs = Logs(FEATURES, jnp.asarray(action), pick(QUALITY), pick(COST), pick(share), available)
    guess = Outcomes(jnp.full((S, N, K), 0.5), COST)
    return logged.LoggedExamples(FEATURES, logs, Nuisances(share, guess), available)


def test_outcomes_at_a_clip_are_the_formula(log):
    one = jax.tree.map(lambda x: x[0], log)
    got = jax.jit(logged.examples)(one, 0.2).outcomes.quality
    expected = np.full((N, K), 0.5)
    for i, t in enumerate(np.asarray(one.logs.action)):
        p = 0.9 if t == 0 else 0.05
        expected[i, t] += (float(one.logs.quality[i]) - 0.5) / max(p, 0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.slow
def test_every_point_learns_at_its_own_clip(log):
    clips = (0.05, 0.5)
    points = population.grouped_grid(S, clip=clips, learning_rate=0.02)
    found = train(points, log, train_chunk=logged.train_chunk, block=1)
    for i, clip in enumerate(clips):
        outcomes = counterfactual.doubly_robust(
            jax.tree.map(lambda x: x[1], log.logs), jax.tree.map(lambda x: x[1], log.nuisances), clip=clip
        )
        fixed = jax.tree.map(lambda x: jnp.stack([x, x]), Examples(FEATURES[1], outcomes, log.available[1]))
        single = population.grouped_grid(S, clip=clip, learning_rate=0.02)
        alone = train(single, fixed, block=1)
        np.testing.assert_allclose(found.value[1, i], alone.value[1, 0], rtol=1e-4, atol=1e-5)
    kernel = np.asarray(found.state.params["params"]["trunk"]["hidden_0"]["kernel"])
    assert np.abs(kernel[:, 0] - kernel[:, 1]).max() > 1e-3
