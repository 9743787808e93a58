"""Metrics against golden values, slow NumPy references and the traps other code fell into."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import metrics
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Outcomes

TOLERANCE = {np.float64: {"rtol": 1e-9, "atol": 1e-11}, np.float32: {"rtol": 1e-5, "atol": 2e-6}}
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@pytest.fixture
def precision(dtype):
    with jax.enable_x64(dtype == np.float64):
        yield dtype


def same(actual, expected, dtype):
    """Golden comparison: None is NaN for arrays and None for host numbers, "inf" is infinity."""
    if actual is None or isinstance(actual, float):
        if expected is None:
            assert actual is None
            return
        expected = float(expected)
    else:
        assert jnp.asarray(actual).dtype == dtype
        expected = np.nan if expected is None else expected
    np.testing.assert_allclose(actual, expected, **TOLERANCE[dtype])


def array(x, dtype):
    return jnp.asarray(np.array(x, dtype))


def table(inputs, dtype):
    available = None if inputs["available"] is None else jnp.asarray(inputs["available"])
    return Outcomes(array(inputs["quality"], dtype), array(inputs["cost"], dtype)), available


# -- golden cases ------------------------------------------------------------------------------------


@jax.jit
def everything(policies, choices, weights, outcomes, available, pi):
    """What depends on the table of a golden case, in one program."""
    value = jax.vmap(lambda p, w: metrics.value(p, outcomes, w).mean())
    regret = jax.vmap(lambda p, w: metrics.regret(p, outcomes, w, available=available).mean())
    collapse = jax.vmap(lambda c: metrics.routing_collapse(c, outcomes, available=available))
    shares = jax.vmap(lambda c: metrics.routing_shares(c, pi.shape[1]))(choices)
    points = metrics.quality_cost_points(policies, outcomes)
    return {
        "utility": value(policies, weights),
        "regret": regret(policies, weights),
        "rci": collapse(choices),
        "share": shares,
        "entropy": metrics.share_entropy(shares),
        "entropy_normalised": metrics.share_entropy(shares, normalised=True),
        "points": points,
        "nauc": metrics.nauc(points, outcomes, available=available),
        "soft": metrics.share_entropy(pi.mean(0)),
        "conditional": metrics.share_entropy(pi).mean(),
    }


@jax.jit
def areas(points, shared, bounds):
    """What depends on the points alone. Repeated points change nothing, so one shape serves all cases."""
    return {
        "aiq_cmax": metrics.aiq(points),
        "aiq_range": metrics.aiq_range(points),
        "shared_aiq_cmax": metrics.aiq(points, max_cost=shared),
        "shared_aiq_range": metrics.aiq_range(points, max_cost=shared),
        "nauc_between": metrics.nauc_between(points, *bounds),
        "peak_quality": metrics.peak_quality(points),
    }


def same_areas(points, inputs, expected, bounds, nauc, dtype):
    points = array(points + points[-1:] * (8 - len(points)), dtype)
    shared = array(1.0 if inputs["shared_c_max"] is None else inputs["shared_c_max"], dtype)
    got = areas(points, shared, array(bounds, dtype))
    for name in ("aiq_cmax", "aiq_range"):
        same(got[name], expected["aiq"][name], dtype)
        if expected["aiq_shared"] is not None:
            same(got["shared_" + name], expected["aiq_shared"][name], dtype)
    same(got["nauc_between"], expected[nauc], dtype)
    same(got["peak_quality"], expected["peak_quality"], dtype)


@DTYPES
def test_golden_metrics(golden, precision):
    dtype = precision
    # Formulas in float64, every case; in float32 every second one.
    for case in golden["metrics"][:: 1 if dtype == np.float64 else 2]:
        inputs, expected = case["inputs"], case["expected"]
        outcomes, available = table(inputs, dtype)
        rows = expected["per_lambda"]
        choices = np.array([row["choice"] for row in rows])
        got = everything(
            array(np.eye(outcomes.quality.shape[1])[choices], dtype),
            choices,
            array([row["lambda"] for row in rows], dtype),
            outcomes,
            available,
            array(inputs["pi"], dtype),
        )
        for name in ("utility", "regret", "rci", "share", "entropy", "entropy_normalised"):
            same(got[name], [row[name] for row in rows], dtype)
        same(got["points"], expected["points"], dtype)
        same(got["nauc"], expected["nauc"], dtype)
        same_areas(expected["points"], inputs, expected, expected["cost_bounds"], "nauc_no_anchor", dtype)
        same(got["soft"], expected["soft_shares"]["entropy"], dtype)
        same(got["conditional"], expected["soft_shares"]["mean_conditional_entropy"], dtype)
        best = expected["best_single"]
        qnc = metrics.quality_neutral_cost(got["points"], best["quality"], best["cost"])
        same(qnc, expected["qnc"], dtype)


@DTYPES
def test_golden_curves(golden, precision):
    dtype = precision
    for case in golden["curve"]:
        inputs, expected = case["inputs"], case["expected"]
        same_areas(inputs["points"], inputs, expected, inputs["bounds"], "nauc", dtype)


@pytest.mark.modes
@DTYPES
@nan_is_unknown()  # what models of equal quality leave to recover
def test_golden_two_models(golden, precision):
    dtype = precision
    for case in golden["routellm"]:
        inputs, expected = case["inputs"], case["expected"]
        # A share of strong calls is a mean cost in a table where weak costs 0 and strong 1.
        quality = np.stack([inputs["weak_quality"], inputs["strong_quality"]], -1)
        outcomes = Outcomes(array(quality, dtype), array(0 * quality + np.array([0.0, 1.0]), dtype))
        call = np.array(inputs["win_rate"])[None, :] >= np.array(inputs["thresholds"])[:, None]
        points = jax.jit(metrics.quality_cost_points)(array(np.stack([~call, call], -1), dtype), outcomes)
        np.testing.assert_allclose(
            np.unique(np.asarray(points), axis=0),
            np.unique(np.array(expected["points"], dtype), axis=0),
            **TOLERANCE[dtype],
        )
        low, high = expected["weak"], expected["strong"]
        for anchored, suffix in ((False, ""), (True, "_anchored")):
            same(metrics.apgr(points, low, high, anchored=anchored), expected["apgr" + suffix], dtype)
            for fraction, share in zip(inputs["fractions"], expected["cpt" + suffix], strict=True):
                same(metrics.cpt(points, low, high, fraction, anchored=anchored), share, dtype)


# -- value and regret --------------------------------------------------------------------------------


def simulated(seed=0, N=7, K=4, L=3):
    rng = np.random.default_rng(seed)
    outcomes = Outcomes(*(jnp.asarray(rng.uniform(size=(N, K)), jnp.float32) for _ in range(2)))
    probabilities = jnp.asarray(rng.dirichlet(np.ones(K), (L, N)), jnp.float32)
    return probabilities, outcomes


@pytest.mark.modes
def test_value_and_regret_by_hand():
    outcomes = Outcomes(jnp.array([[0.5, 1.0, 0.25]]), jnp.array([[0.0, 1.0, 0.5]]))
    policy = jnp.array([[0.5, 0.25, 0.25]])
    # u at weight 0.5: 0.5 - 0, 1 - 0.5, 0.25 - 0.25
    np.testing.assert_allclose(metrics.value(policy, outcomes, 0.5), [0.5 * 0.5 + 0.25 * 0.5 + 0.25 * 0.0])
    np.testing.assert_allclose(metrics.regret(policy, outcomes, 0.5), [0.5 - 0.375])
    # at weight 0 model 1 is best, unless it is not available
    np.testing.assert_allclose(metrics.regret(policy, outcomes, 0.0), [1.0 - 0.5625])
    mask = jnp.array([[True, False, True]])
    chosen = jnp.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(metrics.regret(chosen, outcomes, 0.0, available=mask), [0.5 - 0.25])


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_hole_is_ignored_where_masked_and_loud_where_chosen(hole):
    outcomes = Outcomes(jnp.array([[0.5, hole]]), jnp.array([[0.25, hole]]))
    mask = jnp.array([[True, False]])
    first, second = jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]])
    np.testing.assert_allclose(metrics.value(first, outcomes, 1.0), [0.25])
    np.testing.assert_allclose(metrics.regret(first, outcomes, 1.0, available=mask), [0.0])
    np.testing.assert_allclose(metrics.quality_cost_points(first[None], outcomes), [[0.25, 0.5]])
    assert not np.isfinite(metrics.value(second, outcomes, 1.0)).any()
    assert not np.isfinite(metrics.regret(second, outcomes, 1.0, available=mask)).any()
    assert not np.isfinite(metrics.quality_cost_points(second[None], outcomes)).any()

    def mean_value(quality):
        return metrics.value(first, Outcomes(quality, outcomes.cost), 1.0).mean()

    np.testing.assert_array_equal(jax.grad(mean_value)(outcomes.quality), [[1.0, 0.0]])
    gradient = jax.grad(lambda p: metrics.regret(p, outcomes, 1.0, available=mask).sum())(first)
    np.testing.assert_array_equal(gradient, [[-0.25, 0.0]])


def test_gradient_reaches_models_of_probability_zero():
    outcomes = Outcomes(jnp.array([[0.5, 0.75]]), jnp.array([[0.0, 0.25]]))
    gradient = jax.grad(lambda p: metrics.value(p, outcomes, 1.0).sum())(jnp.array([[1.0, 0.0]]))
    np.testing.assert_allclose(gradient, [[0.5, 0.5]])


def test_row_without_models_is_worth_nothing():
    outcomes = Outcomes(jnp.full((1, 2), jnp.nan), jnp.full((1, 2), jnp.nan))
    nothing = jnp.zeros((1, 2))
    assert metrics.value(nothing, outcomes, 1.0) == 0
    assert metrics.regret(nothing, outcomes, 1.0, available=nothing > 0) == 0


def test_value_gradients_jit_and_vmap():
    probabilities, outcomes = simulated()
    with jax.enable_x64(True):
        policy = jnp.asarray(np.asarray(probabilities[0], np.float64))
        full = Outcomes(*(jnp.asarray(np.asarray(x, np.float64)) for x in outcomes))
        for metric in (metrics.value, metrics.regret):
            total = jax.jit(lambda p, w, f=metric: f(p, full, w).sum())
            check_grads(total, (policy, 0.3), order=1, modes=["rev"])
    weights = jnp.array([0.0, 0.5, 2.0])
    grid = jax.jit(jax.vmap(metrics.regret, (0, None, 0)))(probabilities, outcomes, weights)
    for got, policy, weight in zip(grid, probabilities, weights, strict=True):
        np.testing.assert_allclose(got, metrics.regret(policy, outcomes, weight), atol=1e-6)


@pytest.mark.modes
def test_points_are_means_of_the_mixture():
    probabilities, outcomes = simulated()
    quality = np.einsum("lnk,nk->l", probabilities, outcomes.quality) / 7
    cost = np.einsum("lnk,nk->l", probabilities, outcomes.cost) / 7
    points = metrics.quality_cost_points(probabilities, outcomes)
    np.testing.assert_allclose(points, np.stack([cost, quality], -1), rtol=1e-5)


# -- curves ------------------------------------------------------------------------------------------


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


def test_anchors_change_the_area_of_a_router_that_stops_short():
    points = jnp.array([[0.5, 0.5], [1.0, 1.0]])
    # own range [0.5, 1]: mean quality 0.75; anchored: (0, 0), (0.5, 0.5), (1, 1)
    np.testing.assert_allclose(metrics.apgr(points, 0.0, 1.0), 0.75)
    np.testing.assert_allclose(metrics.apgr(points, 0.0, 1.0, anchored=True), 0.5)


# -- collapse, shares, conventions -------------------------------------------------------------------


@pytest.mark.modes
def test_collapse_by_hand():
    # model 1 is the priciest; rows: tie, 1 alone best, 0 best
    outcomes = Outcomes(
        jnp.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), jnp.array([[0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])
    )
    for choice, bad in (([0, 1, 0], 0), ([1, 1, 0], 1), ([0, 0, 0], 1), ([1, 1, 1], 2), ([1, 0, 1], 3)):
        got = metrics.routing_collapse(jnp.array(choice), outcomes)
        np.testing.assert_allclose(got, bad / 3, rtol=1e-6)


def test_collapse_leaves_holes_out_but_not_available_ones():
    outcomes = Outcomes(jnp.array([[0.5, jnp.nan], [0.5, 0.75]]), jnp.array([[2.0, jnp.nan], [0.5, 1.0]]))
    available = jnp.array([[True, False], [True, True]])
    # mean costs 1.25 and 1.0 (the hole is not a 0): model 0 is priciest, yet alone in row 0
    choose = partial(metrics.routing_collapse, outcomes=outcomes, available=available)
    assert choose(jnp.array([0, 1])) == 0.0
    assert choose(jnp.array([1, 1])) == 0.5  # not available: not among the best
    assert np.isnan(metrics.routing_collapse(jnp.array([0, 1]), outcomes))


@pytest.mark.modes
def test_entropy_is_safe_at_zero_and_loud_on_nan():
    gradient = jax.grad(metrics.share_entropy)(jnp.array([0.5, 0.5, 0.0]))
    # -(log s + 1)
    np.testing.assert_allclose(gradient, [np.log(2) - 1, np.log(2) - 1, 0.0], rtol=1e-5)
    with nan_is_unknown():
        assert np.isnan(metrics.share_entropy(np.array([0.5, np.nan])))
    assert metrics.share_entropy(jnp.array([1.0]), normalised=True) == 0


@pytest.mark.parametrize("weight", [0.125, 1.0, 4.0])
def test_conventions_order_models_alike(weight):
    quality, cost = np.random.default_rng(1).uniform(size=(2, 50))
    ours = np.argsort(quality - weight * cost)
    w, mu = float(metrics.to_routerbench(weight)), float(metrics.to_carrot(weight))
    np.testing.assert_array_equal(np.argsort(w * quality - cost), ours)
    np.testing.assert_array_equal(np.argsort((1 - mu) * quality - mu * cost), ours)
    np.testing.assert_allclose(metrics.from_routerbench(w), weight, rtol=1e-6)
    np.testing.assert_allclose(metrics.from_carrot(mu), weight, rtol=1e-6)


def test_conventions_at_their_ends():
    assert metrics.to_routerbench(0.0) == np.inf
    assert metrics.from_routerbench(np.inf) == 0
    assert metrics.to_carrot(0.0) == 0
    assert metrics.to_carrot(np.inf) == 1
    assert metrics.from_carrot(1.0) == np.inf


# -- intervals ---------------------------------------------------------------------------------------


def test_bootstrap_of_a_mean_is_its_normal_interval():
    values = jnp.asarray(np.random.default_rng(0).normal(size=400), jnp.float32)
    interval = metrics.bootstrap_interval(jax.random.key(0), values, resamples=4000)
    half = 1.96 * np.std(values) / np.sqrt(400)
    np.testing.assert_allclose(interval.estimate, values.mean(), rtol=1e-6)
    np.testing.assert_allclose(interval.low, values.mean() - half, atol=0.12 * half)
    np.testing.assert_allclose(interval.high, values.mean() + half, atol=0.12 * half)


def test_bootstrap_of_grouped_rows_is_that_of_the_groups():
    rng = np.random.default_rng(1)
    effect, sizes = rng.normal(size=80), rng.integers(1, 6, size=80)
    group = np.repeat(rng.permutation(80) * 7 - 100, sizes)  # arbitrary labels
    values = jnp.asarray(np.repeat(effect, sizes), jnp.float32)
    shuffle = rng.permutation(len(group))
    interval = metrics.bootstrap_interval(
        jax.random.key(0), values[shuffle], resamples=4000, group=jnp.asarray(group[shuffle])
    )
    # reference: whole groups, however many rows that makes
    draws = rng.integers(80, size=(4000, 80))
    means = (effect * sizes)[draws].sum(1) / sizes[draws].sum(1)
    width = np.subtract(*np.quantile(means, [0.975, 0.025]))
    np.testing.assert_allclose(interval.high - interval.low, width, rtol=0.08)
    np.testing.assert_allclose(interval.low, np.quantile(means, 0.025), atol=0.08 * width)
    naive = metrics.bootstrap_interval(jax.random.key(0), values)
    assert naive.high - naive.low < 0.75 * width


@pytest.mark.modes
def test_bootstrap_takes_whole_groups():
    group = jnp.repeat(jnp.arange(5), 3)
    inside = jnp.tile(jnp.array([-1.0, 0.0, 1.0]), 5)  # every group sums to 0
    interval = metrics.bootstrap_interval(jax.random.key(1), inside, group=group, resamples=50)
    np.testing.assert_allclose(jnp.stack(interval), 0.0, atol=1e-6)


def test_bootstrap_of_a_curve_metric_and_other_trees():
    probabilities, outcomes = simulated(N=60)
    cost = jnp.sum(probabilities * outcomes.cost[None], -1).T
    quality = jnp.sum(probabilities * outcomes.quality[None], -1).T

    def statistic(rows):
        return metrics.aiq(jnp.stack([rows[0].mean(0), rows[1].mean(0)], -1), max_cost=1.0)

    interval = metrics.bootstrap_interval(jax.random.key(0), (cost, quality), statistic=statistic, resamples=200)
    points = metrics.quality_cost_points(probabilities, outcomes)
    np.testing.assert_allclose(interval.estimate, metrics.aiq(points, max_cost=1.0), rtol=1e-5)
    assert interval.low < interval.estimate < interval.high


def test_bootstrap_does_not_depend_on_the_batch(monkeypatch):
    values = jnp.arange(50.0)
    all_at_once = metrics.bootstrap_interval(jax.random.key(3), values, resamples=101)
    monkeypatch.setattr(metrics.intervals, "ELEMENTS_PER_BATCH", 333)
    another = partial(jnp.mean, axis=0)  # a new function object: traced anew, in batches of 6
    in_parts = metrics.bootstrap_interval(jax.random.key(3), values, resamples=101, statistic=another)
    np.testing.assert_allclose(jnp.stack(all_at_once), jnp.stack(in_parts), rtol=1e-6)


def test_bootstrap_needs_two_units():
    key = jax.random.key(0)
    for interval in (
        metrics.bootstrap_interval(key, jnp.ones(1), resamples=10),
        metrics.bootstrap_interval(key, jnp.ones(4), resamples=10, group=jnp.zeros(4, int)),
    ):
        assert interval.estimate == 1
        assert np.isnan(interval.low)
        assert np.isnan(interval.high)


@pytest.mark.modes
def test_paired_interval_by_hand():
    a, b = jnp.array([[0.6, 0.1], [0.7, 0.2], [0.8, 0.6]]), jnp.array([[0.5, 0.1], [0.5, 0.1], [0.5, 0.1]])
    # differences of the first column 0.1, 0.2, 0.3: mean 0.2, std 0.1; t_{0.975, 2} = 4.302653
    difference, low, high = metrics.paired_interval(a, b)
    half = 4.302653 * 0.1 / np.sqrt(3)
    np.testing.assert_allclose([difference[0], low[0], high[0]], [0.2, 0.2 - half, 0.2 + half], rtol=1e-5)
    by_column = metrics.paired_interval(a.T, b.T, axis=1)
    np.testing.assert_allclose(jnp.stack(by_column), jnp.stack([difference, low, high]), rtol=1e-6)
    narrow = metrics.paired_interval(a, b, level=0.5)
    for wider, narrower in pairwise((high, narrow.high)):
        assert (wider > narrower).all()
    single = metrics.paired_interval(a[:1], b[:1])
    np.testing.assert_allclose(single.estimate, [0.1, 0.0], atol=1e-7)
    assert np.isnan(single.low).all()
    assert np.isnan(single.high).all()
