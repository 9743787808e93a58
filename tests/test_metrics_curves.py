"""Curves of cost and quality: hulls, the areas under them, and the cost at which a quality is reached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import metrics
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Outcomes


def slow_hull(points, x):
    """Height of the upper hull of the points, the corner under the first and a far right end."""
    if x < points[:, 0].min():
        return 0.0
    far = np.array([[points[:, 0].max() + 1e6, points[:, 1].max()]])
    chain = []
    for p in sorted(np.concatenate([points, far]).tolist()):
        if chain and chain[-1][0] == p[0]:
            chain.pop()
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (y1 - y0) * (p[0] - x0) > (p[1] - y0) * (x1 - x0):
                break
            chain.pop()
        chain.append(p)
    return float(np.interp(x, *zip(*chain, strict=True)))


def random_points(seed, L):
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(L, 2))
    points[rng.integers(L)] = points[0]
    points[rng.integers(L), 0] = points[0, 0]
    return points


@pytest.mark.parametrize("L", [1, 2, 3, 12])
def test_hull_against_a_monotone_chain(L):
    with jax.enable_x64(True):
        for seed in range(20):
            points = random_points(seed, L)
            grid = np.concatenate([points[:, 0], np.linspace(-0.1, 1.2, 30)])
            expected = [slow_hull(points, x) for x in grid]
            got = metrics.hull(jnp.asarray(points), jnp.asarray(grid))
            np.testing.assert_allclose(got, expected, atol=2e-6)  # the far end tilts the flat part


@pytest.mark.modes
@pytest.mark.parametrize("bounds", [(0.0, 2.0), (0.3, 0.6), (-1.0, 0.01), (1.5, 2.5)])
def test_aiq_is_the_area_under_the_hull(bounds):
    low, high = bounds
    points = random_points(3, 8)
    grid = np.linspace(low, high, 40_001)
    heights = np.array(metrics.hull(jnp.asarray(points, jnp.float32), jnp.asarray(grid, jnp.float32)))
    expected = heights.mean()  # a fine Riemann sum, blind to how the exact one finds its nodes
    got = metrics.aiq_range(jnp.asarray(points, jnp.float32), min_cost=low, max_cost=high)
    np.testing.assert_allclose(got, expected, atol=2e-4)
    inside = np.maximum(grid, 0) >= points[:, 0].min()
    area = (heights * inside).mean() * (high - low)
    if low <= 0 < high:
        got = metrics.aiq(jnp.asarray(points, jnp.float32), max_cost=high)
        np.testing.assert_allclose(got, area / high, atol=5e-4)


def test_hull_is_linear_where_a_decline_lies_inside_the_range():
    # A truncated hull would stop at the peak; a chord to the last point would fall.
    points = jnp.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.5]])
    np.testing.assert_allclose(metrics.aiq(points), (0.5 + 1.0) / 2)
    np.testing.assert_allclose(metrics.aiq(points, max_cost=4.0), (0.5 + 3.0) / 4)


@pytest.mark.modes
def test_own_range_flatters_a_frugal_router_and_shared_bounds_do_not():
    frugal = jnp.array([[0.1, 0.5], [0.2, 0.55]])
    complete = jnp.array([[0.1, 0.5], [0.2, 0.55], [1.0, 0.6]])
    assert metrics.aiq(frugal) < metrics.aiq(complete)
    for shared in (1.0, 1.5):
        gain = metrics.aiq(complete, max_cost=shared) - metrics.aiq(frugal, max_cost=shared)
        assert gain > 0
    frugal_range = metrics.aiq_range(frugal, min_cost=0.1, max_cost=1.0)
    # (0.1 (0.5 + 0.55)/2 + 0.8 0.55) / 0.9
    np.testing.assert_allclose(frugal_range, (0.0525 + 0.44) / 0.9, rtol=1e-6)


def test_aiq_edges():
    one = jnp.array([[0.5, 0.75]])
    assert metrics.aiq_range(one) == 0.75
    assert metrics.aiq_range(one, min_cost=0.25, max_cost=0.25) == 0.0  # below its own smallest cost
    assert np.isnan(metrics.aiq_range(one, min_cost=1.0, max_cost=0.5))
    assert np.isnan(metrics.aiq(jnp.array([[0.0, 0.75]])))
    np.testing.assert_allclose(metrics.aiq(one, max_cost=2.0), 1.5 * 0.75 / 2)
    np.testing.assert_allclose(metrics.aiq_range(one, min_cost=0.0, max_cost=2.0), 1.5 * 0.75 / 2)


CURVE_METRICS = {
    "aiq": metrics.aiq,
    "aiq_range": metrics.aiq_range,
    "nauc_between": lambda points: metrics.nauc_between(points, 0.2, 0.9),
    "peak_quality": metrics.peak_quality,
    "apgr": lambda points: metrics.apgr(points, 0.2, 0.8),
}


@pytest.mark.parametrize("name", CURVE_METRICS)
def test_curve_metrics_ignore_order_batch_and_shout_on_nan(name):
    metric = CURVE_METRICS[name]
    curves = jnp.stack([jnp.asarray(random_points(seed, 9), jnp.float32) for seed in range(4)])
    batch = jax.jit(jax.vmap(metric))
    np.testing.assert_allclose(batch(curves), [metric(curve) for curve in curves], rtol=1e-5)
    np.testing.assert_allclose(batch(curves), batch(curves[:, ::-1]), rtol=1e-5)
    assert np.isnan(batch(curves.at[:, 4, 1].set(jnp.nan))).all()
    if name != "peak_quality":
        assert np.isnan(batch(curves.at[:, 4, 0].set(jnp.nan))).all()


@pytest.mark.parametrize("unit", [2.0**-16, 2.0**16])
def test_the_unit_of_cost_changes_no_area(unit):
    points = jnp.asarray(random_points(5, 9), jnp.float32)
    scaled = points * jnp.array([[unit, 1.0]])
    for metric in (lambda p, u: metrics.nauc_between(p, 0.2 * u, 0.9 * u), lambda p, u: metrics.aiq(p, max_cost=2 * u)):
        np.testing.assert_allclose(metric(scaled, unit), metric(points, 1.0), rtol=1e-6)


def test_nauc_carries_the_last_policy_and_drops_what_is_beyond():
    outcomes = Outcomes(jnp.array([[0.25, 1.0], [0.25, 1.0]]), jnp.array([[0.0, 1.0], [0.0, 1.0]]))
    # anchor (0, 0.25); to (0.5, 0.75): 0.5 * 0.5; carried to 1: 0.5 * 0.75. A dominated point is skipped.
    points = jnp.array([[0.5, 0.75], [0.75, 0.5], [1.25, 0.875]])
    np.testing.assert_allclose(metrics.nauc(points, outcomes), 0.25 + 0.375)


def test_nauc_keeps_a_point_that_rounding_puts_above_the_bound():
    rng = np.random.default_rng(0)
    outcomes = Outcomes(
        jnp.asarray(rng.uniform(size=(999, 2)), jnp.float32),
        jnp.asarray(rng.uniform(size=(999, 2)) * [[0.1, 1.0]] + [[0.0, 0.5]], jnp.float32),
    )
    upper = outcomes.cost.max(-1).mean()
    above = jnp.stack([jnp.nextafter(upper, jnp.float32(2)), jnp.float32(1.0)])
    assert above[0] > upper
    exact = metrics.nauc(jnp.stack([upper, jnp.float32(1.0)])[None], outcomes)
    np.testing.assert_allclose(metrics.nauc(above[None], outcomes), exact, rtol=1e-6)


@pytest.mark.modes
def test_nauc_uses_available_models_only():
    hole = np.nan
    outcomes = Outcomes(np.array([[0.5, hole], [hole, 1.0]]), np.array([[0.25, hole], [hole, 0.75]]))
    available = jnp.array([[True, False], [False, True]])
    # one policy is possible: both bounds are its cost, the area is its quality
    point = jnp.array([[0.5, 0.75]])
    assert metrics.nauc(point, outcomes, available=available) == 0.75
    with nan_is_unknown():
        assert np.isnan(metrics.nauc(point, outcomes))


def test_quality_neutral_cost_edges():
    points = jnp.array([[0.5, 0.7], [0.3, 0.6], [0.8, 0.9]])
    np.testing.assert_allclose(metrics.quality_neutral_cost(points, 0.6, 1.0), 0.3, rtol=1e-6)
    np.testing.assert_allclose(metrics.quality_neutral_cost(points, 0.65, 1.0), 0.5, rtol=1e-6)
    # 0.7 in float32 is below 0.7 in float64: rounding alone must not make it unreachable, more must
    assert np.float32(0.7) < np.float64(0.7)
    assert metrics.quality_neutral_cost(points, np.float64(0.7), 0.5) == 1.0
    assert metrics.quality_neutral_cost(points, 0.70001, 0.5) == pytest.approx(1.6)
    assert metrics.quality_neutral_cost(points, 0.95, 1.0) is None
    assert metrics.quality_neutral_cost(points, 0.95, 0.0) is None
    assert metrics.quality_neutral_cost(points, 0.9, 0.0) == np.inf
    assert np.isnan(metrics.quality_neutral_cost(points.at[0, 1].set(jnp.nan), 0.6, 1.0))


def test_cpt_edges():
    points = jnp.array([[0.25, 0.5], [0.5, 0.75]])
    assert metrics.cpt(points, 0.25, 1.0, 0.25) == 0.25  # there already
    assert metrics.cpt(points, 0.25, 1.0, 1.0) is None
    assert metrics.cpt(points, 0.25, 1.0, 1.0, anchored=True) == 1.0
    assert metrics.cpt(points, 0.5, 0.5, 0.5) is None
    assert metrics.cpt(points, 0.75, 0.5, 0.0) is None
    # 0.25 + 0.5 * 0.75 = 0.625, half way between the two points
    assert metrics.cpt(points, 0.25, 1.0, 0.5) == 0.375


@pytest.mark.parametrize(("quality", "recovered"), [(0.4, 0.0), (0.6, 0.5), (0.8, 1.0)])
def test_a_level_curve_recovers_its_height_between_the_models_whatever_its_range(quality, recovered):
    points = jnp.array([[0.25, quality], [0.5, quality], [0.75, quality]])
    np.testing.assert_allclose(metrics.apgr(points, 0.4, 0.8), recovered, atol=1e-6)


def test_anchors_change_the_area_of_a_router_that_stops_short():
    points = jnp.array([[0.5, 0.5], [1.0, 1.0]])
    # own range [0.5, 1]: mean quality 0.75; anchored: (0, 0), (0.5, 0.5), (1, 1)
    np.testing.assert_allclose(metrics.apgr(points, 0.0, 1.0), 0.75)
    np.testing.assert_allclose(metrics.apgr(points, 0.0, 1.0, anchored=True), 0.5)
