import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxroute import sweep
from jaxroute.engine import halving, networks, population, rows, training
from jaxroute.types import Examples, InputError, Outcomes, Spec

S, N, K, D = 2, 96, 3, 4
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(S, N, D)).astype(np.float32)
QUALITY = 1 / (1 + np.exp(-FEATURES @ RNG.normal(size=(D, K)).astype(np.float32)))
COST = np.broadcast_to(np.float32([0.1, 0.3, 1.0]), (S, N, K))
EXAMPLES = Examples(FEATURES, Outcomes(QUALITY, COST), np.ones((S, N, K), bool))
NETWORK = networks.router(K, (8,))
POINTS = population.grouped_grid(S, cost_weight=(0.0, 0.1, 0.3, 1.0), learning_rate=0.02)


def regret(scores, utility, where, h):
    probability = jax.nn.softmax(scores / h.temperature)
    return jnp.sum(probability * (utility.max(-1, keepdims=True) - utility), -1)


def spec_of(**changes):
    return Spec(**{"hidden": (8,), "batch_size": 32, "steps": 12, "chunk": 6, **changes})


def train(spec, mesh, chunk, learn=EXAMPLES):
    settings = {"network": NETWORK, "objective": regret, "spec": spec, "mesh": mesh, "train_chunk": chunk}
    return population.train(POINTS, learn, EXAMPLES, **settings)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-5, atol=1e-6), a, b)


@pytest.mark.slow
def test_full_batches_train_as_on_one_device():
    spec = spec_of(batch_size=N, dropout=0.0)
    alone = train(spec, sweep.mesh(jax.devices()[:1]), training.train_chunk)
    for data in (2, 8):
        assert_close(train(spec, sweep.mesh(data=data), rows.train_chunk), alone)


@pytest.mark.slow
def test_minibatches_and_dropout_are_those_of_devices_emulated_on_one():
    spec, data = spec_of(), 4
    together = train(spec, sweep.mesh(data=data), rows.train_chunk)
    points, examples = jax.tree.map(lambda x: x[0], (POINTS, EXAMPLES))  # the first seed
    state = jax.jit(jax.vmap(lambda point: training.init(NETWORK, point, spec, D)))(points)

    def chunk(point, learn, validate, first):
        def part(mine):
            return rows.train_chunk(point, (mine, validate), first, network=NETWORK, objective=regret, spec=spec)

        return jax.tree.map(lambda x: x[0], jax.vmap(part, axis_name=sweep.DATA)(learn))

    each = jax.jit(jax.vmap(chunk, (0, None, None, None)))
    parts = jax.tree.map(lambda x: x.reshape(data, N // data, *x.shape[1:]), examples)
    for first in range(0, spec.steps, spec.chunk):
        state = each((points, state), parts, examples, first)
    assert_close(jax.tree.map(lambda x: x[0], together), state)


def test_the_gradient_is_the_mean_over_devices():
    mesh = sweep.mesh(data=8)
    taught = rows.averaged(optax.sgd(1.0))
    gradient = np.arange(8, dtype=np.float32)
    run = jax.shard_map(
        lambda g: taught.update(g, taught.init(g))[0], mesh=mesh, in_specs=rows.split(0), out_specs=rows.split(0)
    )
    np.testing.assert_array_equal(run(gradient), np.full(8, -3.5))


def test_a_search_takes_the_mesh_too():
    spec, mesh = spec_of(), sweep.mesh(data=4)
    settings = {"network": NETWORK, "objective": regret, "spec": spec, "mesh": mesh, "train_chunk": rows.train_chunk}
    found = halving.train(POINTS, EXAMPLES, EXAMPLES, **settings)
    assert_close(found.state, train(spec, mesh, rows.train_chunk))


def test_rows_are_split_and_only_the_data_axis_communicates():
    mesh = sweep.mesh(data=4)
    learn = rows.place(EXAMPLES, mesh)
    assert {shard.data.shape for shard in learn.features.addressable_shards} == {(S, N // 4, D)}
    texts = []
    for spread, chunk in ((mesh, rows.train_chunk), (sweep.mesh(), training.train_chunk)):
        points = sweep.place(sweep.pad(POINTS, spread.shape[sweep.SWEEP], axis=1)[0], spread, axis=1)
        initialise, run = population.trainers(NETWORK, regret, spec_of(), spread, chunk)
        state = initialise(points, EXAMPLES.features)
        texts.append(run.lower(points, state, (EXAMPLES, EXAMPLES), jnp.int32(0)).compile().as_text())
    assert "all-reduce" in texts[0]
    assert "all-gather" not in texts[0]
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in texts[1]


def test_what_cannot_be_split_is_refused():
    mesh = sweep.mesh(data=8)
    with pytest.raises(InputError, match="drop the last 4"):
        rows.place(jax.tree.map(lambda x: x[:, :92], EXAMPLES), mesh)
    with pytest.raises(InputError, match="batch_size=30"):
        train(spec_of(batch_size=30), mesh, rows.train_chunk)
    with pytest.raises(InputError, match="go together"):
        train(spec_of(), mesh, training.train_chunk)
    with pytest.raises(InputError, match="go together"):
        train(spec_of(), sweep.mesh(jax.devices()[:4]), rows.train_chunk)
    with pytest.raises(InputError, match="data=3"):
        sweep.mesh(data=3)


HOST = """
import sys
import jax
import numpy as np
port, hosts, host, file, data = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4], int(sys.argv[5])
jax.config.update("jax_num_cpu_devices", 4 // hosts)
if hosts > 1:
    jax.distributed.initialize(f"localhost:{port}", num_processes=hosts, process_id=host)
from jaxroute import rows, sweep, training
from tests.test_rows import POINTS, spec_of, train
assert len(jax.devices()) == 4 and len(jax.local_devices()) == 4 // hosts
mesh = sweep.mesh(data=data) if data else sweep.mesh()
state = train(spec_of(), mesh, rows.train_chunk if data else training.train_chunk)
table = sweep.gather((state.best_value, state.params), POINTS.seed.shape[1], axis=1)
if jax.process_index() == 0:
    np.savez(file, *jax.tree.leaves(table))
"""


@pytest.mark.slow
@pytest.mark.parametrize("data", [0, 2])
def test_two_processes_give_the_table_of_one(tmp_path, data):
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    tables = []
    for hosts in (1, 2):
        file = tmp_path / f"{hosts}.npz"
        command = [sys.executable, "-c", HOST, str(port), str(hosts)]
        running = [
            subprocess.Popen([*command, str(h), str(file), str(data)], cwd=Path(__file__).parents[1], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for h in range(hosts)
        ]  # fmt: skip
        try:
            for each in running:
                said, _ = each.communicate(timeout=180)
                assert each.returncode == 0, said
        finally:
            for each in running:
                each.kill()
        with np.load(file) as found:
            tables.append([found[name] for name in found])
    for one, two in zip(*tables, strict=True):
        if data:  # another order of summing between processes
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(one, two)
