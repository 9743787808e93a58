"""Breakpoints and the envelope against golden pieces, brute force in fractions and point-wise argmax."""

from fractions import Fraction
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute.policies import breakpoints, envelope, interval_endpoints, select
from jaxroute.policies.curves import curve
from jaxroute.types import InputError, Outcomes

# (quality, cost, available, pieces over [0, inf)): each a degenerate case with its answer by hand.
CASES = {
    "two lines": ([1.0, 0.5], [1.0, 0.0], None, ([0.5], [0, 1])),
    "identical lines": ([0.5, 0.5, 0.25], [1.0, 1.0, 0.5], None, ([0.5], [0, 2])),
    "equal costs": ([0.25, 0.75, 0.5], [0.5, 0.5, 0.5], None, ([], [1])),
    "all free": ([0.25, 0.75, 0.75], [0.0, 0.0, 0.0], None, ([], [1])),
    "dominated": ([1.0, 0.25, 0.5], [0.5, 1.0, 0.75], None, ([], [0])),
    "best and cheapest, equal quality": ([0.5, 0.5], [1.0, 0.25], None, ([], [1])),
    # All three cross at 1: model 1 is best at that point only and has no piece.
    "triple crossing": ([1.0, 0.5, 0.0], [1.0, 0.5, 0.0], None, ([1.0], [0, 2])),
    # Model 1 lies under the chord of 0 and 2: never best, though cheaper than 0 and better than 2.
    "under the chord": ([1.0, 0.25, 0.0], [1.0, 0.5, 0.0], None, ([1.0], [0, 2])),
    "over the chord": ([1.0, 0.75, 0.0], [1.0, 0.5, 0.0], None, ([0.5, 1.5], [0, 1, 2])),
    "masked best": ([1.0, 0.75, 0.0], [1.0, 0.5, 0.0], [False, True, True], ([1.5], [1, 2])),
    "masked NaN": ([1.0, np.nan, 0.0], [1.0, np.inf, 0.0], [True, False, True], ([1.0], [0, 2])),
    "masked beside models without any quality": ([0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [True, False, True], ([], [2])),
    "one available": ([1.0, 0.5, 0.0], [1.0, 0.5, 0.0], [False, True, False], ([], [1])),
    "one model": ([0.5], [1.0], None, ([], [0])),
}


def brute_force(quality, cost, available, low, high):
    """Pieces from all pairwise crossings: the best model at the middle of each interval between them."""
    models = [k for k in range(len(quality)) if available[k]]
    lines = {k: (Fraction(float(quality[k])), Fraction(float(cost[k]))) for k in models}
    crossings = {
        (lines[i][0] - lines[j][0]) / (lines[i][1] - lines[j][1])
        for i in models
        for j in models
        if lines[i][1] != lines[j][1]
    }
    ends = [Fraction(low), *sorted(x for x in crossings if low < x < high), Fraction(high)]
    pieces = []
    for left, right in pairwise(ends):
        middle = (left + right) / 2
        utility = {k: lines[k][0] - middle * lines[k][1] for k in models}
        best = min(k for k in models if utility[k] == max(utility.values()))
        if not pieces or pieces[-1][1] != best:
            pieces.append((left, best))
    return [float(left) for left, _ in pieces[1:]], [best for _, best in pieces]


def eighths(seed, rows, models):
    """Qualities and costs on a coarse grid, so that ties, equal lines and multiple crossings abound."""
    rng = np.random.default_rng(seed)
    quality, cost = rng.integers(0, 9, size=(2, rows, models)) / 8
    available = rng.uniform(size=(rows, models)) < 0.7
    available[:, 0] |= ~available.any(1)
    return quality, cost, available


def pieces_of(batch, row):
    """A padded row as (breakpoints, models) of its own pieces, after checking the padding."""
    weights, models = np.asarray(batch.breakpoints[row]), np.asarray(batch.models[row])
    count = int(np.isfinite(weights).sum())
    assert np.all(np.isfinite(weights[:count]))
    assert np.all(np.isinf(weights[count:]))
    assert np.all(models[count:] == models[count])
    return weights[:count], models[: count + 1]


def test_golden_pieces(golden):
    for case in golden["piecewise"]:
        inputs = case["inputs"]
        quality, cost = np.array(inputs["a"], float), np.array(inputs["c"], float)
        masks = [None] * len(quality) if inputs["available"] is None else np.array(inputs["available"], bool)
        for i, expected in enumerate(case["expected"]["rows"]):
            mask, message = masks[i], f"{case['id']} row {i}"
            weights, models = breakpoints(quality[i], cost[i], inputs["lo"], inputs["hi"], mask)
            np.testing.assert_array_equal(weights, expected["breakpoints"], err_msg=message)
            exact = [float(Fraction(x)) for x in expected["exact"]]
            np.testing.assert_allclose(weights, exact, rtol=1e-9, err_msg=message)
            np.testing.assert_array_equal(models, expected["models"], err_msg=message)
            ends = np.array([inputs["lo"], *weights, inputs["hi"]])
            # On a piece the best utility is linear: its integral is length times the utility at the middle.
            middle = (ends[1:] + ends[:-1]) / 2
            area = np.sum(np.diff(ends) * (quality[i][models] - middle * cost[i][models]))
            np.testing.assert_allclose(area, expected["integral"], rtol=1e-9, atol=1e-11, err_msg=message)
            for probe, best in zip(inputs["probe_lambdas"], expected["model_at_probe"], strict=True):
                found = breakpoints(quality[i], cost[i], probe, probe, mask)
                np.testing.assert_array_equal(found[0], [])
                np.testing.assert_array_equal(found[1], [best], err_msg=f"{message} at {probe}")


@pytest.mark.parametrize("name", CASES)
def test_degenerate_lines_by_hand(name):
    quality, cost, available, (weights, models) = CASES[name]
    mask = None if available is None else np.array(available)
    found = breakpoints(np.array(quality), np.array(cost), 0.0, np.inf, mask)
    np.testing.assert_array_equal(found[0], weights)
    np.testing.assert_array_equal(found[1], models)
    jax_mask = None if mask is None else jnp.asarray(mask)[None]
    batch = envelope(jnp.array([quality]), jnp.array([cost]), jax_mask)
    assert batch.breakpoints.shape == (1, len(quality) - 1)
    assert batch.models.shape == (1, len(quality))
    np.testing.assert_array_equal(pieces_of(batch, 0)[0], weights)
    np.testing.assert_array_equal(pieces_of(batch, 0)[1], models)


@pytest.mark.parametrize(("low", "high"), [(0.0, 64.0), (0.5, 2.0), (1.0, 1.25)])
def test_breakpoints_match_brute_force(low, high):
    quality, cost, available = eighths(0, 200, 5)
    several = 0
    for q, c, m in zip(quality, cost, available, strict=True):
        weights, models = breakpoints(q, c, low, high, m)
        expected = brute_force(q, c, m, low, high)
        np.testing.assert_array_equal(weights, expected[0])
        np.testing.assert_array_equal(models, expected[1])
        several += len(models) > 1
    assert several > 0


def test_breakpoints_are_exact_where_floating_point_is_not():
    """Lines that all cross at 0.7 up to rounding: pieces are those of the floats as they are."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        cost = np.round(rng.uniform(size=5), 1)
        quality = 0.3 + 0.7 * cost
        weights, models = breakpoints(quality, cost, 0.0, 2.0)
        expected = brute_force(quality, cost, np.ones(5, bool), 0, 2)
        np.testing.assert_array_equal(weights, expected[0])
        np.testing.assert_array_equal(models, expected[1])
        assert np.all(np.diff(cost[models]) < 0)


def test_breakpoints_leave_out_the_ends():
    quality, cost = np.array([1.0, 0.75, 0.0]), np.array([1.0, 0.5, 0.0])  # breakpoints 0.5 and 1.5
    for low, high, weights, models in [
        (0.5, 1.5, [], [1]),
        (0.0, 0.5, [], [0]),
        (1.5, np.inf, [], [2]),
        (0.25, 1.75, [0.5, 1.5], [0, 1, 2]),
        (0.5, 0.5, [], [0]),  # a point, tied: lowest index
    ]:
        found = breakpoints(quality, cost, low, high)
        np.testing.assert_array_equal(found[0], weights)
        np.testing.assert_array_equal(found[1], models)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 0.5], [1.0, 0.0], 0.0, 1.0, [False, False]), "no model is available"),
        (([1.0, np.nan], [1.0, 0.0], 0.0, 1.0), "must be finite"),
        (([1.0, 0.5], [np.inf, 0.0], 0.0, 1.0), "must be finite"),
        (([1.0, 0.5], [1.0, 0.0], 2.0, 1.0), r"\[2.0, 1.0\]: low must be finite and not above high"),
        (([1.0, 0.5], [1.0, 0.0], np.nan, 1.0), "low must be finite"),
    ],
)
def test_bad_lines_are_refused(arguments, message):
    quality, cost, *rest = arguments
    with pytest.raises(InputError, match=message):
        breakpoints(np.array(quality), np.array(cost), *rest)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_envelope_matches_breakpoints_where_numbers_are_exact(dtype):
    quality, cost, available = eighths(2, 200, 6)
    with jax.enable_x64(dtype == np.float64):
        batch = jax.jit(envelope)(
            jnp.asarray(quality.astype(dtype)), jnp.asarray(cost.astype(dtype)), jnp.asarray(available)
        )
    assert batch.breakpoints.dtype == dtype
    for i in range(len(quality)):
        weights, models = breakpoints(quality[i], cost[i], 0.0, np.inf, available[i])
        found = pieces_of(batch, i)
        np.testing.assert_allclose(found[0], weights, rtol=1e-6)
        np.testing.assert_array_equal(found[1], models)


@pytest.mark.modes
def test_envelope_selects_the_point_wise_best_utility():
    """Continuous lines, any rounding: the chosen utility is the largest, and its cost never rises."""
    rng = np.random.default_rng(3)
    quality, cost = rng.uniform(size=(2, 300, 8)).astype(np.float32)
    available = rng.uniform(size=(300, 8)) < 0.8
    available[:, 0] = True
    batch = envelope(jnp.asarray(quality), jnp.asarray(cost), jnp.asarray(available))
    assert np.all(batch.breakpoints[:, 1:] >= batch.breakpoints[:, :-1])
    weights = jnp.asarray(rng.exponential(size=40), jnp.float32).sort()
    chosen = np.asarray(jax.vmap(partial(select, batch))(weights))
    row = np.arange(300)
    for weight, choice in zip(np.asarray(weights), chosen, strict=True):
        utility = np.where(available, quality - weight * cost, -np.inf)
        np.testing.assert_allclose(utility[row, choice], utility.max(1), atol=2e-6)
    spent = cost[row, chosen]
    assert np.all(np.diff(spent, axis=0) <= 0)
    assert len(np.unique(chosen[:, 0])) > 1


def test_envelope_keeps_its_order_when_rounding_decides():
    """Every line through one point, up to rounding: computed crossings scatter, breakpoints may not."""
    cost = np.random.default_rng(7).uniform(size=(500, 8)).astype(np.float32)
    quality = np.float32(0.3) + np.float32(0.7) * cost
    batch = envelope(jnp.asarray(quality), jnp.asarray(cost))
    assert np.all(batch.breakpoints[:, 1:] >= batch.breakpoints[:, :-1])
    for weight, extreme in [(0.6, cost.argmax(1)), (0.8, cost.argmin(1))]:
        np.testing.assert_array_equal(select(batch, weight), extreme)


def test_select_at_zero_at_a_breakpoint_and_at_infinity():
    pieces = envelope(jnp.array([1.0, 0.75, 0.0, 0.0]), jnp.array([1.0, 0.5, 0.0, 0.5]))
    for weight, model in [(0.0, 0), (0.25, 0), (0.5, 1), (1.0, 1), (1.5, 2), (1e9, 2), (np.inf, 2)]:
        assert select(pieces, weight) == model
    both = jax.tree.map(lambda x: jnp.stack([x, x]), pieces)
    np.testing.assert_array_equal(select(both, jnp.array([0.25, 2.0])), [0, 2])


def test_envelope_of_rows_without_a_model_and_with_nan_behind_the_mask():
    quality = jnp.array([[1.0, jnp.nan, 0.5], [0.1, 0.2, 0.3]])
    cost = jnp.array([[1.0, jnp.inf, 0.5], [0.1, 0.2, 0.3]])
    available = jnp.array([[True, False, True], [False, False, False]])
    batch = envelope(quality, cost, available)
    np.testing.assert_array_equal(batch.breakpoints, [[1, np.inf], [np.inf, np.inf]])
    np.testing.assert_array_equal(batch.models, [[0, 2, 2], [0, 0, 0]])


def test_envelope_of_unknown_outcomes_is_refused_and_inside_jit_unknown():
    lines = np.array([[0.2, 0.9], [0.5, np.nan]]), np.array([[0.1, 0.9], [0.1, 0.9]])
    for quality, cost, name in ((*lines, "quality"), (*lines[::-1], "cost")):
        with pytest.raises(InputError, match=rf"{name}, entry \(1, 1\), is nan; mask missing models"):
            envelope(quality, cost)
        inside = jax.jit(envelope)(quality, cost)
        np.testing.assert_array_equal(np.isnan(inside.breakpoints), [[False], [True]])
        with pytest.raises(InputError, match="breakpoints hold NaN"):
            select(inside, 0.5)
        masked = envelope(quality, cost, np.array([[True, True], [True, False]]))
        np.testing.assert_array_equal(masked.models[1], [0, 0])
    outcomes = Outcomes(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(InputError, match="quality, entry"):
        curve(Outcomes(*lines), outcomes)


def test_envelope_jit_vmap_and_leading_axes_agree():
    quality, cost, available = (jnp.asarray(x) for x in eighths(4, 6, 4))
    expected = envelope(quality, cost, available)
    for together in (
        jax.jit(envelope)(quality, cost, available),
        jax.vmap(envelope)(quality, cost, available),
        jax.tree.map(
            lambda x: x.reshape(6, -1),
            envelope(*(x.reshape(2, 3, 4) for x in (quality, cost, available))),
        ),
    ):
        np.testing.assert_array_equal(together.breakpoints, expected.breakpoints)
        np.testing.assert_array_equal(together.models, expected.models)


def test_envelope_refuses_wrong_shapes():
    with pytest.raises(InputError, match=r"envelope: .*: quality \(2, 3\), cost \(2, 2\)"):
        envelope(jnp.zeros((2, 3)), jnp.zeros((2, 2)))


def test_interval_endpoints_are_quantiles_of_pairwise_breakpoints():
    rng = np.random.default_rng(5)
    quality, cost = rng.random((40, 4)), rng.random((40, 4))
    available = rng.random((40, 4)) > 0.2
    found = []
    for q, c, a in zip(quality, cost, available, strict=True):
        for i in range(4):
            for j in range(i):
                weight = (q[i] - q[j]) / (c[i] - c[j])
                if a[i] and a[j] and 0 < weight < 1.5:
                    found.append(weight)
    masked = Outcomes(np.where(available, quality, np.nan), np.where(available, cost, np.nan))
    ends = interval_endpoints(masked, 5, high=1.5, available=available)
    np.testing.assert_allclose(ends, np.quantile([0, *found, 1.5], np.linspace(0, 1, 6)))
    # So each interval holds the same share of the changes.
    np.testing.assert_allclose(np.histogram(found, ends)[0], len(found) / 5, atol=1.5)


def test_interval_endpoints_ascend_whatever_ties():
    tied = Outcomes(np.tile([0.2, 0.8], (50, 1)), np.tile([0.0, 1.0], (50, 1)))
    np.testing.assert_allclose(interval_endpoints(tied, 4, high=2.0), [0, 0.3, 0.6, 1.3, 2.0])
    equal_costs = Outcomes(tied.quality, np.ones((50, 2)))
    np.testing.assert_allclose(interval_endpoints(equal_costs, 2, high=1.0), [0, 0.5, 1])


@pytest.mark.parametrize(("num", "high", "quality"), [(0, 1.0, 0.5), (2, 0.0, 0.5), (2, np.inf, 0.5), (2, 1.0, np.nan)])
def test_interval_endpoints_refuse_what_cannot_be_meant(num, high, quality):
    with pytest.raises(InputError):
        interval_endpoints(Outcomes(np.array([[quality, 1.0]]), np.array([[0.0, 1.0]])), num, high=high)
