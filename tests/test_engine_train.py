"""The training loop: what it learns, what a kill, a damaged file, other devices and other memory do to it."""

import re
from dataclasses import replace

import engine_problem as small
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_problem import EXAMPLES, POINTS, D, KilledError, N, S, assert_close, assert_same_bits, kill_at, program

from jaxroute import counterfactual, engine, sweep
from jaxroute.engine import checkpoint, disk, loop, memory
from jaxroute.engine.evaluation import cut
from jaxroute.engine.program import compiled_chunk, compiled_start, template
from jaxroute.types import InputError


def train(points=POINTS, devices=4, block=None, **settings):
    return engine.train(program(devices, block=block), points, EXAMPLES, EXAMPLES, **settings)


@pytest.mark.modes
def test_routers_learn_their_own_cost_weight():
    state = train()
    mesh = program().mesh
    chosen = engine.choose(POINTS, state, small.FEATURES, small.AVAILABLE, network=small.NETWORK, mesh=mesh)
    assert chosen.shape == (S, len(small.WEIGHTS), N)
    u = jax.vmap(lambda w: counterfactual.utility(EXAMPLES.outcomes, w), out_axes=1)(jnp.array(small.WEIGHTS))
    got = jnp.take_along_axis(u, chosen[..., None], -1)[..., 0].mean(-1)
    single = u.mean(2).max(-1)
    np.testing.assert_allclose(got, state.best_value, rtol=1e-5)  # validated on the same examples here
    assert (got > single).all()
    cost = jnp.take_along_axis(small.COST[:, None], chosen[..., None], -1).mean((2, 3))
    assert (np.diff(cost, axis=1) < 0.02).all()  # dearer weights buy cheaper models


def test_a_killed_training_resumes_to_the_same_bits(tmp_path):
    with pytest.raises(KilledError):
        train(folder=tmp_path / "run", on_chunk=kill_at(12))
    seen = []
    resumed = train(folder=tmp_path / "run", on_chunk=lambda steps, _: seen.append(steps))
    assert seen == [18, 24]  # not from the start
    assert_same_bits(train(), resumed)


def written(folder):
    """Every checkpoint's step, words and value; and the step of the best that loads."""
    saved = checkpoint.open_folder(folder)
    best, _ = checkpoint.restore(saved, template(program(1), POINTS, D), best=True)
    words = {m.step: (checkpoint.about(saved, m.step), m.metrics["value"]) for m in saved.checkpoints}
    checkpoint.close(saved)
    return words, best


@pytest.mark.slow
def test_a_resumed_training_keeps_its_block_whatever_memory_is_free(tmp_path, monkeypatch):
    needs = []
    needed = memory.needed
    monkeypatch.setattr(memory, "needed", lambda *a: needs.append(needed(*a)) or needs[-1])
    train(devices=1)
    budget = needs[0] - 1  # not for all four at once
    undisturbed = train(devices=1, budget=budget)
    with pytest.raises(KilledError):
        train(devices=1, folder=tmp_path, on_chunk=kill_at(12), budget=budget)
    assert_same_bits(undisturbed, train(devices=1, folder=tmp_path))
    words, _ = written(tmp_path)
    (block,) = {about["block"] for about, _ in words.values()}
    assert block in (1, 2, 3)


def test_a_checkpoint_holds_the_callers_words_and_the_value(tmp_path):
    values = {}

    def on_chunk(steps, state):
        values[steps] = float(np.asarray(state.best_value).mean())

    train(devices=1, folder=tmp_path, kept=3, about={"config": {"weights": small.WEIGHTS}}, on_chunk=on_chunk)
    words, best = written(tmp_path)
    assert sorted(words) == [12, 18, 24]
    for step, (about, value) in words.items():
        assert about["config"] == {"weights": list(small.WEIGHTS)}
        assert about["packages"]["jax"] == jax.__version__
        assert value == pytest.approx(values[step], rel=1e-6)
    assert best == 24  # a state holds its best parameters, so the value never falls: of equals, the newest


def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, capsys):
    with pytest.raises(KilledError):
        train(folder=tmp_path / "run", on_chunk=kill_at(18))
    for path in (tmp_path / "run" / "18").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    seen = []
    resumed = train(folder=tmp_path / "run", on_chunk=lambda steps, _: seen.append(steps))
    assert seen == [18, 24]
    assert "18" in capsys.readouterr().out
    assert_same_bits(train(), resumed)


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    """Orbax's own failure, as a folder that cannot be written raises it."""
    from orbax.checkpoint import v1 as ocp

    def full(*_, **__):
        raise OSError(27, "File too large")

    monkeypatch.setattr(ocp.training.Checkpointer, "save_async", full)
    with pytest.raises(checkpoint.SaveError, match=r"File too large.*earlier ones are intact"):
        train(folder=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", small.TASKS)
def test_any_number_of_points_on_one_device_and_on_eight(name, tmp_path):
    """The same bits at equal block, also from one's checkpoint to the other; without one, another kernel: close."""
    network, task, learn, validate = small.TASKS[name]
    points = sweep.grouped_grid(S, cost_weight=small.WEIGHTS[:3], learning_rate=0.02, clip=0.2)

    def trained(devices, block, **settings):
        made = program(devices, block=block, network=network, task=task, steps=12)
        return engine.train(made, points, learn, validate, **settings)

    alone = trained(1, block=1)
    assert alone.step.shape == (S, 3)
    with pytest.raises(KilledError):
        trained(8, block=1, folder=tmp_path, on_chunk=kill_at(6))
    assert_same_bits(trained(8, block=1), alone)
    assert_same_bits(trained(1, block=1, folder=tmp_path), alone)
    assert_close(trained(8, block=None), alone)


def test_first_parameters_have_the_same_bits_in_one_block_and_in_many():
    """XLA makes another program of a loop over one block, with other bits where a CPU fuses products and sums."""
    found = []
    for devices, count in ((1, 2), (1, 1), (8, 8)):
        made = program(devices, block=1)
        points = sweep.place(sweep.grouped_grid(S, cost_weight=(0.5,) * count), made.mesh, axis=1)
        found.append(jax.tree.map(lambda x: np.asarray(x)[:, :1], compiled_start(made, D)(points)))
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


def test_what_is_cut_from_many_devices_is_there_when_the_cut_returns():
    """Several programs with collective operations at a time can wait for one another until XLA ends the process."""
    mesh = sweep.mesh()
    leaves = [np.full((S, mesh.size, 256, 256), i, np.float32) for i in range(10)]
    found = cut(sweep.place(leaves, mesh, axis=1), 3)
    assert all(x.is_ready() for x in found)
    assert [(x.shape[1], float(x[0, 0, 0, 0])) for x in found] == [(3, i) for i in range(10)]


def test_the_points_of_a_group_share_rows_and_the_first_product():
    """Rows are gathered once a group, and the first layer of all its points is one product, forward and backward."""
    made = program(1)
    arguments = (POINTS, template(made, POINTS, D), (EXAMPLES, EXAMPLES), jnp.int32(0))
    text = compiled_chunk(made).lower(*arguments).as_text()
    P, B, H = len(small.WEIGHTS), small.SPEC.batch_size, small.SPEC.hidden[0]
    products = re.findall(r"stablehlo.dot_general .*: \((tensor<\S+>), (tensor<\S+>)\) -> (tensor<\S+>)", text)
    shapes = {tuple(re.sub(r"tensor<|xf32>", "", x) for x in product) for product in products}
    # forward: features have no axis of points
    assert (f"{S}x{B}x{D}", f"{S}x{P}x{D}x{H}", f"{S}x{B}x{P}x{H}") in shapes
    assert (f"{S}x{P}x{B}x{H}", f"{S}x{B}x{D}", f"{S}x{P}x{H}x{D}") in shapes  # backward
    assert not any(f"{S}x{P}x{B}x{D}" in product for product in shapes)
    assert f"tensor<{S}x{P}x{B}x{D}x" not in text  # nor anywhere else a copy of the rows for each point


@pytest.mark.slow
@pytest.mark.parametrize("name", small.TASKS)
def test_one_compile_serves_every_grid(name):
    network, task, learn, validate = small.TASKS[name]

    def trained(**axes):
        made = program(2, network=network, task=task, steps=6)  # equal to the one before, and another object
        engine.train(made, sweep.grouped_grid(S, **axes), learn, validate)

    trained(cost_weight=(0.0, 1.0))
    compiles = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiles.append(name) if name.endswith("backend_compile_duration") else None
    )
    trained(cost_weight=(0.2, 0.4), learning_rate=0.003, temperature=0.5, clip=0.3)
    assert compiles == []
    # The listener does hear compiles: another shape is another program.
    trained(cost_weight=(0.0, 1.0), entropy=(0.0, 0.1))
    assert len(compiles) > 0


@pytest.mark.slow
def test_points_do_not_depend_on_the_rest_of_the_grid():
    four = train(devices=1)
    one = train(sweep.grouped_grid(S, cost_weight=(small.WEIGHTS[2],), learning_rate=0.02), devices=1)
    kernel = lambda state: np.asarray(state.params["params"]["trunk"]["hidden_0"]["kernel"])
    np.testing.assert_allclose(kernel(one)[:, 0], kernel(four)[:, 2], rtol=1e-3, atol=1e-4)


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="batch_size=30 does not divide over 8"):
        program(8, data=8, batch_size=30)
    with pytest.raises(InputError, match="block=0"):
        replace(program(), block=0)


@pytest.mark.parametrize("on_disk", [False, True])
def test_steps_that_the_chunk_does_not_divide_are_trained_and_no_more(on_disk, tmp_path):
    """The last chunk, or visit of a block, is shorter; what goes on from there ends at multiples of the chunk again."""
    points, learn, validate = jax.tree.map(lambda x: x[:1], (POINTS, EXAMPLES, EXAMPLES))
    if on_disk:  # of three steps a visit
        disk.write(tmp_path / "rows", [jax.tree.map(lambda x: x[0], learn)], N)
        learn = disk.open_rows(tmp_path / "rows")

    def trained(steps, chunk=3, **settings):
        seen = []
        kill = settings.pop("on_chunk", lambda *_: None)
        state = engine.train(
            program(1, steps=steps, chunk=chunk), points, learn, validate,
            on_chunk=lambda done, state: seen.append(done) or kill(done), **settings,
        )  # fmt: skip
        return state, seen

    state, seen = trained(10)
    assert seen == [3, 6, 9, 10]
    assert (np.asarray(state.step) == 10).all()
    with pytest.raises(KilledError):
        trained(10, folder=tmp_path / "run", on_chunk=kill_at(9))
    resumed, seen = trained(10, folder=tmp_path / "run")
    assert seen == [10]
    assert_same_bits(resumed, state)
    assert trained(10, folder=tmp_path / "run")[1] == []
    further, seen = trained(15, folder=tmp_path / "run")
    assert seen == [12, 15]
    assert (np.asarray(further.step) == 15).all()
    if not on_disk:
        assert_same_bits(trained(10, chunk=5)[0].params, state.params)


def test_a_chunk_that_divides_the_steps_is_one_program(monkeypatch):
    lengths = []
    real = loop.compiled_chunk
    monkeypatch.setattr(loop, "compiled_chunk", lambda made: lengths.append(made.spec.chunk) or real(made))
    train(devices=1)
    assert lengths == [small.SPEC.chunk]
    engine.train(program(1, steps=10, chunk=6), POINTS, EXAMPLES, EXAMPLES)
    assert lengths[1:] == [6, 4]
