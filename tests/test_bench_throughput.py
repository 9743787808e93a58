"""The bench's counts, its PyTorch rival, and the whole at a tiny size."""

import json
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import machine, pytorch, throughput, workload
from jaxroute.engine import networks, training
from jaxroute.types import Hyperparams

WORK = workload.SMOKE


def test_operations_are_those_that_the_compiler_counts():
    widths, batch = [32, 64, 48, 8], 256
    params = [jnp.ones((m, n)) for m, n in pairwise(widths)]

    def loss(params, x):
        for kernel in params:
            x = x @ kernel
        return x.sum()

    # one gradient: all products of a training step but the last forward one, which the gradient does not need
    counted = jax.jit(jax.grad(loss)).lower(params, jnp.ones((batch, 32))).compile().cost_analysis()["flops"]
    expected = machine.network_flops(batch, widths) - 2 * batch * 48 * 8
    assert counted == pytest.approx(expected, rel=0.02)


def test_bytes_written_out():
    # one layer 2 -> 3: 9 parameters ten times, 4 rows of 3 units five times, 4 bytes each
    assert machine.network_bytes(4, [2, 3]) == 4 * (10 * 9 + 5 * 4 * 3)


def test_a_step_count_is_bounded_and_the_largest_runs_in_blocks_only():
    work = workload.Workload()
    assert work.programs == [
        (1, None), (4, None), (16, None), (64, None), (64, 16), (256, None), (256, 16), (1024, 16)
    ]  # fmt: skip
    assert work.epoch == 9


def test_pytorch_trains_the_same_router():
    """Same start, rows and settings: the rival does the same work, to float32 rounding."""
    pytest.importorskip("torch")
    examples = jax.tree.map(lambda x: x[0], workload.data(WORK))
    point = Hyperparams(cost_weight=jnp.float32(0.5), weight_decay=jnp.float32(0.1))
    network = networks.router(WORK.models, WORK.hidden)
    state = training.init(network, point, WORK.spec, WORK.features)
    rows = np.random.default_rng(0).permutation(WORK.rows).reshape(-1, WORK.batch)
    loss = training.router_loss(network, workload.objectives.OBJECTIVES["rm_softmax"], WORK.spec, point, examples)
    optimise = training.optimiser(point, WORK.spec.steps)
    ours = state
    for batch in rows:
        ours = training.step(ours, jnp.asarray(batch), jax.random.key(0), loss, optimise)
    theirs, taken = pytorch.train(state.params, examples, point, WORK.spec, rows)
    assert taken > 0
    expected = [x for kernel, bias in pytorch._layers(ours.params) for x in (kernel.T, bias)]
    for got, want in zip(theirs, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)
    moved = np.abs(pytorch._layers(ours.params)[0][0] - pytorch._layers(state.params)[0][0]).max()
    assert moved > 100 * 2e-5


@pytest.mark.study
def test_everything_is_measured(tmp_path, capsys):
    import importlib.util

    enabled = jax.config.jax_enable_compilation_cache
    try:
        assert throughput.main(["--smoke", "--out", str(tmp_path)]) == 0
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
    found = json.loads((tmp_path / "throughput.json").read_text())
    assert [(row["routers"], row["at a time"]) for row in found["one program"]] == [(1, 1), (4, 4), (8, 8), (8, 4)]
    for row in found["one program"]:
        share = row["GFLOP/s"] / found["matmul peak GFLOP/s"]
        assert row["share of peak"] == pytest.approx(share, rel=0.1, abs=2e-3)
        assert row["router-epochs/s"] > 0
    assert found["compile s"]["persistent cache"] < found["compile s"]["cold"]
    assert len(found["rivals"]) == 3
    printed = capsys.readouterr().out
    assert ("torch is not installed" in printed) == (importlib.util.find_spec("torch") is None)
