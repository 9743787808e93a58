"""Rows split over the mesh axis "data", for every task, on one host and on two."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import ports
import pytest
from engine_problem import EXAMPLES, POINTS, TASKS, D, N, S, assert_close, program
from jax.sharding import PartitionSpec

from jaxroute import engine, sweep
from jaxroute.engine import training
from jaxroute.engine.program import advance, compiled_chunk, place, split, template
from jaxroute.types import InputError

HERE = Path(__file__).parent


def train(devices=None, data=None, **settings):
    return engine.train(program(devices, data=data, steps=12, **settings), POINTS, EXAMPLES, EXAMPLES)


@pytest.mark.slow
def test_full_batches_train_as_on_one_device():
    settings = {"batch_size": N, "dropout": 0.0}
    alone = train(1, **settings)
    for data in (2, 8):
        assert_close(train(data=data, **settings), alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_minibatches_and_draws_are_those_of_devices_emulated_on_one(name):
    network, task, learn, validate = TASKS[name]
    data = 4
    spread = program(None, data=data, network=network, task=task, steps=12)
    together = engine.train(spread, POINTS, learn, validate)
    points, learn, validate = jax.tree.map(lambda x: x[0], (POINTS, learn, validate))  # the first group
    state = jax.jit(jax.vmap(lambda point: training.init(network, point, spread.spec, D)))(points)
    whole = {field: field in task.whole for field in learn._fields}
    parts = type(learn)(
        *(
            part if whole[field] else jax.tree.map(lambda x: x.reshape(data, N // data, *x.shape[1:]), part)
            for field, part in learn._asdict().items()
        )
    )

    def chunk(point, learn, validate, first):
        axes = type(learn)(*(None if whole[field] else 0 for field in learn._fields))
        emulated = jax.vmap(
            lambda mine: advance(spread, point, (mine, validate), first), in_axes=(axes,), axis_name=sweep.DATA
        )
        return jax.tree.map(lambda x: x[0], emulated(learn))

    each = jax.jit(jax.vmap(chunk, (0, None, None, None)))
    for first in range(0, spread.spec.steps, spread.spec.chunk):
        state = each((points, state), parts, validate, first)
    assert_close(jax.tree.map(lambda x: x[0], together), state, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_the_mean_over_devices():
    taught = training.averaged(optax.sgd(1.0), sweep.DATA)
    rows = PartitionSpec(sweep.DATA)
    run = jax.shard_map(
        lambda g: taught.update(g, taught.init(g))[0], mesh=sweep.mesh(data=8), in_specs=rows, out_specs=rows
    )
    np.testing.assert_array_equal(run(np.arange(8, dtype=np.float32)), np.full(8, -3.5))


def test_a_search_takes_the_mesh_too():
    found = engine.search(program(None, data=4, steps=12), POINTS, EXAMPLES, EXAMPLES, rungs=())
    assert_close(found.state, train(data=4))


def test_rows_are_split_and_only_the_data_axis_communicates():
    texts = []
    for made in (program(None, data=4), program(None)):
        learn = place(made, EXAMPLES)
        rows = N // made.devices_of_rows
        assert {shard.data.shape for shard in learn.features.addressable_shards} == {(S, rows, D)}
        points = sweep.place(sweep.pad(POINTS, made.mesh.shape[sweep.SWEEP], axis=1)[0], made.mesh, axis=1)
        arguments = (points, template(made, points, D), (learn, EXAMPLES), jnp.int32(0))
        texts.append(compiled_chunk(made).lower(*arguments).compile().as_text())
    assert "all-reduce" in texts[0]
    assert "all-gather" not in texts[0]
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in texts[1]


def test_what_has_no_rows_is_whole_everywhere():
    network, task, learn, _ = TASKS["every weight"]
    specs = split(program(None, data=4, network=network, task=task), learn)
    assert specs.ends == PartitionSpec()
    assert specs.initial == specs.features == PartitionSpec(None, sweep.DATA)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="drop the last 4"):
        place(program(None, data=8), jax.tree.map(lambda x: x[:, :92], EXAMPLES))
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
from jaxroute import sweep
from test_engine_rows import POINTS, train
assert len(jax.devices()) == 4 and len(jax.local_devices()) == 4 // hosts
state = train(data=data or None)
table = sweep.gather((state.best_value, state.params), POINTS.seed.shape[1], axis=1)
if jax.process_index() == 0:
    np.savez(file, *jax.tree.leaves(table))
"""


@pytest.mark.slow
@pytest.mark.parametrize("data", [0, 2])
def test_two_processes_give_the_table_of_one(tmp_path, data):
    port = ports.free()
    tables = []
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    for hosts in (1, 2):
        file = tmp_path / f"{hosts}.npz"
        command = [sys.executable, "-c", HOST, str(port), str(hosts)]
        running = [
            subprocess.Popen([*command, str(h), str(file), str(data)], cwd=HERE, env=env, text=True,
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
