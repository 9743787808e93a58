import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, sweep
from jaxroute.engine import checkpoint, memory, networks, population, training
from jaxroute.types import Examples, Hyperparams, Outcomes, Spec

S, N, K, D = 2, 96, 3, 4
RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(S, N, D)), jnp.float32)
QUALITY = jax.nn.sigmoid(2 * FEATURES @ jnp.asarray(RNG.normal(size=(D, K)), jnp.float32))
COST = jnp.broadcast_to(jnp.array([0.1, 0.3, 1.0]), (S, N, K))
EXAMPLES = Examples(FEATURES, Outcomes(QUALITY, COST), jnp.ones((S, N, K), bool))
NETWORK = networks.router(K, (8,))
SPEC = Spec(hidden=(8,), batch_size=32, steps=24, chunk=6)
WEIGHTS = (0.0, 0.1, 0.3, 1.0)


class KilledError(Exception):
    pass


def regret(scores, utility, where, h):
    probability = jax.nn.softmax(scores / h.temperature)
    return jnp.sum(probability * (utility.max(-1, keepdims=True) - utility), -1)


def train(points=None, devices=None, **settings):
    mesh = sweep.mesh(jax.devices()[: devices or 4])
    points = population.grouped_grid(S, cost_weight=WEIGHTS, learning_rate=0.02) if points is None else points
    state = population.train(
        points, EXAMPLES, EXAMPLES, network=NETWORK, objective=regret, spec=SPEC, mesh=mesh, **settings
    )
    return points, mesh, state


def assert_same_bits(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def test_routers_learn_their_own_cost_weight():
    points, mesh, state = train()
    chosen = population.choose(points, state, FEATURES, EXAMPLES.available, network=NETWORK, mesh=mesh)
    assert chosen.shape == (S, len(WEIGHTS), N)
    u = jax.vmap(lambda w: counterfactual.utility(EXAMPLES.outcomes, w), out_axes=1)(jnp.array(WEIGHTS))
    got = jnp.take_along_axis(u, chosen[..., None], -1)[..., 0].mean(-1)
    single = u.mean(2).max(-1)
    np.testing.assert_allclose(got, state.best_value, rtol=1e-5)  # validated on the same examples here
    assert (got > single).all()
    cost = jnp.take_along_axis(COST[:, None], chosen[..., None], -1).mean((2, 3))
    assert (np.diff(cost, axis=1) < 0.02).all()  # dearer weights buy cheaper models


def test_a_killed_training_resumes_to_the_same_bits(tmp_path):
    _, _, undisturbed = train()

    def kill(steps, _):
        if steps == 12:
            raise KilledError

    with pytest.raises(KilledError):
        train(folder=tmp_path / "run", on_chunk=kill)
    seen = []
    _, _, resumed = train(folder=tmp_path / "run", on_chunk=lambda steps, _: seen.append(steps))
    assert seen == [18, 24]  # not from the start
    assert_same_bits(undisturbed, resumed)


def written(folder):
    """Every checkpoint's step, words and value; and the step of the best that loads."""
    saved = checkpoint.open_folder(folder)
    points = population.grouped_grid(S, cost_weight=WEIGHTS)
    static = {"network": NETWORK, "objective": regret, "spec": SPEC, "mesh": sweep.mesh(jax.devices()[:1])}
    best, _ = checkpoint.restore(saved, population.template(points, EXAMPLES, **static), best=True)
    words = {m.step: (checkpoint.about(saved, m.step), m.metrics["value"]) for m in saved.checkpoints}
    checkpoint.close(saved)
    return words, best


def test_a_resumed_training_keeps_its_block_whatever_memory_is_free(tmp_path, monkeypatch):
    needs = []
    needed = memory.needed
    monkeypatch.setattr(memory, "needed", lambda *a: needs.append(needed(*a)) or needs[-1])
    train(devices=1)
    monkeypatch.setattr(memory, "free", lambda mesh: int((needs[0] - 1) / memory.SHARE))  # not for all four at once
    _, _, undisturbed = train(devices=1)

    def kill(steps, _):
        if steps == 12:
            raise KilledError

    with pytest.raises(KilledError):
        train(devices=1, folder=tmp_path, on_chunk=kill)
    monkeypatch.undo()
    _, _, resumed = train(devices=1, folder=tmp_path)
    assert_same_bits(undisturbed, resumed)
    words, _ = written(tmp_path)
    blocks = {about["block"] for about, _ in words.values()}
    assert len(blocks) == 1
    assert blocks < {1, 2, 3}


def test_a_checkpoint_holds_the_callers_words_and_the_value(tmp_path):
    values = {}

    def on_chunk(steps, state):
        values[steps] = float(np.asarray(state.best_value).mean())

    train(devices=1, folder=tmp_path, kept=3, about={"config": {"weights": WEIGHTS}}, on_chunk=on_chunk)
    words, best = written(tmp_path)
    assert sorted(words) == [12, 18, 24]
    for step, (about, value) in words.items():
        assert about["config"] == {"weights": list(WEIGHTS)}
        assert about["packages"]["jax"] == jax.__version__
        assert value == pytest.approx(values[step], rel=1e-6)
    assert best == 24  # a state holds its best parameters, so the value never falls: of equals, the newest


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(tmp_path, capsys):
    def kill(steps, _):
        if steps == 18:
            raise KilledError

    with pytest.raises(KilledError):
        train(folder=tmp_path / "run", on_chunk=kill)
    for path in (tmp_path / "run" / "18").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    seen = []
    _, _, resumed = train(folder=tmp_path / "run", on_chunk=lambda steps, _: seen.append(steps))
    assert seen == [18, 24]
    assert "18" in capsys.readouterr().out
    assert_same_bits(train()[2], resumed)


@pytest.mark.slow
def test_training_on_one_device_and_on_eight():
    """The same bits at equal block; without one, another kernel may run: close."""
    points = population.grouped_grid(S, cost_weight=WEIGHTS, learning_rate=(0.01, 0.02))

    def trained(devices, block):
        mesh = sweep.mesh(jax.devices()[:devices])
        initialise, chunk = population.trainers(NETWORK, regret, SPEC, mesh, training.train_chunk, block)
        placed = sweep.place(points, mesh, axis=1)
        state = initialise(placed, FEATURES)
        for first in range(0, SPEC.steps, SPEC.chunk):
            state = chunk(placed, state, (EXAMPLES, EXAMPLES), jnp.int32(first))
        return jax.tree.map(np.asarray, state)

    alone = trained(1, block=1)
    assert_same_bits(trained(8, block=1), alone)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, trained(8, block=None), alone)


def test_the_points_of_a_seed_share_rows_and_the_first_product():
    """Rows are gathered once a seed, and the first layer of all its points is one product, forward and backward."""
    points = population.grouped_grid(S, cost_weight=WEIGHTS)
    initialise, chunk = population.trainers(NETWORK, regret, SPEC, sweep.mesh(jax.devices()[:1]), training.train_chunk)
    state = jax.eval_shape(initialise, points, FEATURES)
    text = chunk.lower(points, state, (EXAMPLES, EXAMPLES), jnp.int32(0)).as_text()
    P, B, H = len(WEIGHTS), SPEC.batch_size, SPEC.hidden[0]
    products = re.findall(r"stablehlo.dot_general .*: \((tensor<\S+>), (tensor<\S+>)\) -> (tensor<\S+>)", text)
    shapes = {tuple(re.sub(r"tensor<|xf32>", "", x) for x in product) for product in products}
    assert (
        f"{S}x{B}x{D}",
        f"{S}x{P}x{D}x{H}",
        f"{S}x{B}x{P}x{H}",
    ) in shapes  # forward: features have no axis of points
    assert (f"{S}x{P}x{B}x{H}", f"{S}x{B}x{D}", f"{S}x{P}x{H}x{D}") in shapes  # backward
    assert not any(f"{S}x{P}x{B}x{D}" in product for product in shapes)
    assert f"tensor<{S}x{P}x{B}x{D}x" not in text  # nor anywhere else a copy of the rows for each point


def test_one_compile_serves_every_grid():
    train()
    compiles = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiles.append(name) if name.endswith("backend_compile_duration") else None
    )
    train(population.grouped_grid(S, cost_weight=(0.2, 0.4, 0.6, 0.8), learning_rate=0.003, temperature=0.5))
    assert compiles == []
    # The listener does hear compiles: another shape is another program.
    train(population.grouped_grid(S, cost_weight=(0.0, 1.0, 2.0, 3.0), entropy=(0.0, 0.1)))
    assert len(compiles) > 0


@pytest.mark.slow
def test_points_do_not_depend_on_the_rest_of_the_grid():
    _, _, four = train(devices=1)
    alone = population.grouped_grid(S, cost_weight=(WEIGHTS[2],), learning_rate=0.02)
    _, _, one = train(alone, devices=1)
    kernel = lambda state: np.asarray(state.params["params"]["trunk"]["hidden_0"]["kernel"])
    np.testing.assert_allclose(kernel(one)[:, 0], kernel(four)[:, 2], rtol=1e-3, atol=1e-4)


def test_grouped_grid_has_seeds_first():
    points = population.grouped_grid(2, cost_weight=(0.0, 1.0, 2.0))
    assert isinstance(points, Hyperparams)
    np.testing.assert_array_equal(points.seed, [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(points.cost_weight, [[0, 1, 2], [0, 1, 2]])
