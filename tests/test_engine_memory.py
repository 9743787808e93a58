from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_problem import regret

from jaxroute import engine, sweep
from jaxroute.engine import checkpoint, memory, networks
from jaxroute.engine.program import compiled_chunk, template
from jaxroute.types import Examples, InputError, Outcomes, Spec

S, N, K, D, H, B = 1, 256, 3, 16, 64, 128
RNG = np.random.default_rng(0)
EXAMPLES = Examples(
    RNG.normal(size=(S, N, D)).astype(np.float32),
    Outcomes(RNG.uniform(size=(S, N, K)).astype(np.float32), RNG.uniform(size=(S, N, K)).astype(np.float32)),
    np.ones((S, N, K), bool),
)
SPEC = Spec(hidden=(H,), batch_size=B, steps=4, chunk=2)
POINTS = sweep.grouped_grid(S, cost_weight=np.linspace(0, 1, 32).tolist(), learning_rate=0.02)
MESH = sweep.mesh(jax.devices()[:1])
PROGRAM = engine.Program(networks.router(K, (H,)), regret, SPEC, MESH)


def program_of(count, block=None):
    """The training program of ``count`` points."""
    points = sweep.place(jax.tree.map(lambda x: x[:, :count], POINTS), MESH, axis=1)
    arguments = (points, template(PROGRAM, points, D), (EXAMPLES, EXAMPLES), jnp.int32(0))
    return compiled_chunk(replace(PROGRAM, block=block)).lower(*arguments).compile()


@pytest.fixture(scope="module")
def programs():
    return {key: program_of(*key) for key in ((16, None), (32, None), (32, 4))}


# Parameters: D x H + H + H x K + K; those, two moments and the best so far.
PARAMETERS = D * H + H + H * K + K
STATE = 4 * (4 * PARAMETERS + 3 + 1)  # bytes a point: the floats, three step counters and the best value


def test_the_states_are_counted_to_the_byte_and_reused(programs):
    said = programs[32, None].memory_analysis()
    assert said.output_size_in_bytes - 8 * 20 == pytest.approx(32 * STATE, abs=200)  # a table of 20 or so pointers
    assert said.alias_size_in_bytes == 32 * STATE  # donated: results take the place of arguments


def test_bytes_a_point_are_those_of_an_independent_count(programs):
    slope = (memory.needed(programs[32, None]) - memory.needed(programs[16, None])) / 16
    # Its state, its gradient, and for a minibatch: hidden units before and after the activation, scores.
    least = STATE + 4 * PARAMETERS + 4 * B * (H + K)
    most = STATE + 4 * (3 * PARAMETERS) + 4 * (B * (4 * H + 8 * K) + N * (4 * H + 8 * K))  # validation takes all N rows
    assert least < slope < most


def test_a_block_saves_what_its_points_would_have_needed(programs):
    saved = memory.needed(programs[32, None]) - memory.needed(programs[32, 4])
    assert saved > 28 * 4 * B * (H + K)  # the work space of 28 points; their states stay


def test_what_is_on_the_device_already_is_not_needed_again():
    x = jax.device_put(np.ones((512, 512), np.float32))
    program = jax.jit(lambda x: 2 * x).lower(x).compile()
    assert memory.needed(program) - memory.needed(program, x) == x.nbytes


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("budget", [0.2, 0.5, 0.9, 1.0])
def test_the_largest_block_is_the_one_found_by_trying_all(count, budget):
    need = lambda block: 100 + 7 * count + 13 * block
    budget = 100 + 7 * count + 13 + int(budget * 13 * (count - 1))
    fits = max(block for block in range(1, count + 1) if need(block) <= budget)
    block = memory.largest_block(need, count, budget)
    assert need(block) <= budget
    assert -(-count // block) == -(-count // fits)  # as few batches as can be
    assert block <= fits


def test_a_need_that_is_no_line_is_checked():
    need = lambda block: 1000 if 2 <= block <= 12 else 10 * block  # padding, another kernel: more than expected
    assert memory.largest_block(need, 100, 120) == 1


def test_nothing_fits():
    with pytest.raises(InputError, match=r"10 points on a device need 2\.0 MiB even one at a time.*about 5\)"):
        memory.largest_block(lambda block: 2**21 + block * 2**10 - 2**10, 10, 2**20)


def test_free_memory_is_the_containers_where_that_is_less(tmp_path):
    there = memory.host_free(tmp_path)  # no limit known
    assert there > 2**20
    for name, text in (("max", 2**21), ("current", 2**20), ("stat", f"anon 5\ninactive_file {2**19}")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    assert memory.host_free(tmp_path) == 2**20 + 2**19
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.host_free(tmp_path) > 2**21


def test_free_memory_is_that_of_the_fullest_device():
    """What a GPU's allocator reports, one device of another process aside."""

    def device(limit, in_use, process=0):
        stats = {"bytes_limit": limit, "bytes_in_use": in_use, "peak_bytes_in_use": limit}
        return SimpleNamespace(process_index=process, memory_stats=lambda: stats)

    free = lambda *devices: memory.free(SimpleNamespace(devices=np.array([devices])))
    roomy, full, elsewhere = device(100, 10), device(80, 50), device(10, 10, process=1)
    assert free(roomy, full, elsewhere) == 80 - 50
    assert free(roomy) == 100 - 10
    silent = SimpleNamespace(process_index=0, memory_stats=lambda: None)  # as a CPU device
    assert free(full, silent) == pytest.approx(memory.host_free() / 2, rel=0.2)


def test_emulated_devices_share_the_host():
    eight, one = memory.free(sweep.mesh()), memory.free(MESH)
    assert eight == pytest.approx(one / 8, rel=0.2)


@pytest.mark.slow
def test_a_small_budget_makes_batches_and_changes_no_result(programs, tmp_path):
    budget = int(1.05 * memory.needed(programs[32, 4], sweep.put((EXAMPLES, EXAMPLES), MESH)))
    at_once = engine.train(PROGRAM, POINTS, EXAMPLES, EXAMPLES, folder=tmp_path / "all")
    split = engine.train(PROGRAM, POINTS, EXAMPLES, EXAMPLES, folder=tmp_path / "split", budget=budget)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-5)  # Adam enlarges tiny gradients' errors
    jax.tree.map(close, split, at_once)
    blocks = []
    for name in ("all", "split"):
        saved = checkpoint.open_folder(tmp_path / name)
        blocks.append(checkpoint.about(saved, SPEC.steps)["block"])
        checkpoint.close(saved)
    assert blocks[0] is None
    assert 2 <= blocks[1] <= 8


@pytest.mark.slow
def test_a_block_that_does_not_fit_is_refused(programs):
    budget = memory.needed(programs[32, 4], sweep.put((EXAMPLES, EXAMPLES), MESH))
    with pytest.raises(InputError, match=r"block=32 does not fit.* block=\d+ fits"):
        engine.train(replace(PROGRAM, block=32), POINTS, EXAMPLES, EXAMPLES, budget=budget)
    with pytest.raises(InputError, match="even one at a time"):
        engine.train(PROGRAM, POINTS, EXAMPLES, EXAMPLES, budget=1000)
