"""Every metric against golden values, in both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
