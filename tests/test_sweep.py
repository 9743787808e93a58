import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import sweep
from jaxroute.types import Hyperparams, InputError

RNG = np.random.default_rng(0)
DATA = jnp.asarray(RNG.normal(size=(50, 7)), jnp.float32)
WEIGHTS = jnp.asarray(RNG.normal(size=(7, 5)), jnp.float32)


def one_point(point, data):
    """A small non-trivial computation: a matrix product, a reduction and a random draw."""
    noise = jax.random.normal(jax.random.key(point.seed), (7, 5))
    return jnp.sum(jnp.tanh(data @ (WEIGHTS * point.cost_weight + noise)), 0)


def points_of(count):
    weights, seeds = np.linspace(0, 1, count, dtype=np.float32), np.arange(count) % 3
    return jax.tree.map(
        lambda x: np.broadcast_to(x, count), Hyperparams()
    )._replace(cost_weight=weights, seed=seeds)  # fmt: skip


def test_grid_is_the_cartesian_product():
    points = sweep.grid(seed=[0, 1], cost_weight=[0.0, 0.5], learning_rate=0.1)
    np.testing.assert_array_equal(points.seed, [0, 0, 1, 1])
    np.testing.assert_array_equal(points.cost_weight, np.float32([0, 0.5, 0, 0.5]))
    np.testing.assert_array_equal(points.learning_rate, np.float32([0.1] * 4))
    assert points.seed.dtype == np.int32
    assert all(leaf.shape == (4,) for leaf in points)


def test_grid_refuses_an_unknown_axis():
    with pytest.raises(TypeError, match="cost_wieght"):
        sweep.grid(cost_wieght=[0.0])


def test_over_points_equals_a_loop():
    points = points_of(8)
    run = sweep.over_points(one_point, sweep.mesh())
    together = sweep.gather(run(sweep.place(points, sweep.mesh()), DATA), 8)
    alone = [one_point(jax.tree.map(lambda x: x[i], points), DATA) for i in range(8)]  # noqa: B023
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing():
    mesh = sweep.mesh()
    points, count = sweep.pad(points_of(11), mesh.size)
    assert (count, len(points.seed)) == (11, 16)
    run = sweep.over_points(one_point, mesh, block=2)
    results = sweep.gather(run(sweep.place(points, mesh), DATA), count)
    exact = sweep.over_points(one_point, sweep.mesh(jax.devices()[:1]), block=2)(points_of(11), DATA)
    np.testing.assert_allclose(results, exact, rtol=1e-5, atol=1e-5)


def test_eight_devices_and_one_give_the_same_bits_at_equal_block():
    assert len(jax.devices()) == 8
    points = points_of(32)
    results = []
    for devices in (jax.devices(), jax.devices()[:1]):
        mesh = sweep.mesh(devices)
        results.append(np.asarray(sweep.over_points(one_point, mesh, block=4)(sweep.place(points, mesh), DATA)))
    np.testing.assert_array_equal(*results)


def test_a_pure_sweep_has_no_collective():
    mesh = sweep.mesh()
    run = sweep.over_points(one_point, mesh)
    text = run.lower(sweep.place(points_of(16), mesh), DATA).compile().as_text()
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in text


@pytest.mark.modes
def test_groups_share_their_own_data():
    mesh = sweep.mesh()
    groups = jnp.stack([DATA, 2 * DATA])
    points = jax.tree.map(lambda x: np.stack([x, x]), points_of(8))
    run = sweep.over_points(one_point, mesh, grouped=True)
    together = np.asarray(run(sweep.place(points, mesh, axis=1), groups))
    for g in range(2):
        alone = sweep.over_points(one_point, mesh)(points_of(8), groups[g])
        np.testing.assert_allclose(together[g], alone, rtol=1e-5, atol=1e-5)


def test_common_arguments_are_never_batched():
    shapes = []

    def look(point, group, common):
        shapes.append((group.shape, common.shape))
        return point.cost_weight + common.sum() + group.sum()

    points = jax.tree.map(lambda x: np.stack([x, x]), points_of(8))
    sweep.over_points(look, sweep.mesh(), grouped=True)(points, jnp.ones((2, 3)), jnp.ones(4))
    assert shapes == [((3,), (4,))]


RANGES = {"learning_rate": (1e-4, 1e-2), "entropy": (0.0, 0.2), "width": (8, 64), "clip": (0.01, 0.3)}


@pytest.mark.parametrize("kind", ["sobol", "random"])
def test_a_draw_fills_its_ranges(kind):
    points = sweep.draw(256, kind=kind, **RANGES)
    for name, (low, high) in RANGES.items():
        values = getattr(points, name)
        assert values.min() >= low * (1 - 1e-6)
        assert values.max() <= high * (1 + 1e-6)
    # log-uniform: the median is the geometric mean; uniform: the middle
    np.testing.assert_allclose(np.median(np.log10(points.learning_rate)), -3, atol=0.2)
    np.testing.assert_allclose(np.median(points.entropy), 0.1, atol=0.02)
    assert points.width.dtype == np.int32
    assert (points.temperature == 1.0).all()
    np.testing.assert_array_equal(points.clip, sweep.draw(256, kind=kind, **RANGES).clip)
    assert (points.clip != sweep.draw(256, kind=kind, seed=1, **RANGES).clip).any()


def test_a_sobol_draw_is_balanced_where_a_random_one_is_not():
    def in_cells(kind):
        points = sweep.draw(64, kind=kind, entropy=(0.0, 1.0), temperature=(0.0, 1.0))
        return np.histogram2d(points.entropy, points.temperature, 8, [[0, 1], [0, 1]])[0]

    np.testing.assert_array_equal(in_cells("sobol"), np.ones((8, 8)))  # a (0, 2)-net in base 2
    assert in_cells("random").max() > 1


def test_a_draw_refuses_bad_ranges():
    for kind, ranges in (
        ("sobol", {"entrpy": (0, 1)}),
        ("sobol", {"entropy": (1, 0)}),
        ("halton", {"entropy": (0, 1)}),
    ):
        with pytest.raises(InputError, match="draw"):
            sweep.draw(4, kind=kind, **ranges)


def test_cross_is_every_point_at_every_combination():
    points = sweep.draw(3, learning_rate=(1e-3, 1e-2))
    crossed = sweep.cross(points, cost_weight=[0.0, 1.0], seed=[0, 1])
    np.testing.assert_array_equal(crossed.cost_weight, np.repeat(np.float32([0, 1]), 6))
    np.testing.assert_array_equal(crossed.seed, np.tile(np.repeat([0, 1], 3), 2))
    np.testing.assert_array_equal(crossed.learning_rate, np.tile(points.learning_rate, 4))
