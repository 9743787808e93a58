"""Every off-policy estimator against golden values, in both precisions."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.types import Logs, Nuisances, Outcomes

TOLERANCE = {np.float64: {"rtol": 1e-9, "atol": 1e-11}, np.float32: {"rtol": 1e-5, "atol": 2e-6}}


@partial(jax.jit, static_argnames="known")
def golden_estimates(logs, target, nuisances, known, cost_weight, case):
    """Every estimate of one golden case; ``known``: propensities from the log, not from the nuisances."""
    source = None if known else nuisances
    call = {"clip": case["eps"]}
    clipped = {**call, "weight_clip": case["weight_clip"]}
    return {
        "dm": estimators.direct_method(logs, target, cost_weight, nuisances, **call),
        "ipw": estimators.ipw(logs, target, cost_weight, source, **call),
        "clipped_ipw": estimators.ipw(logs, target, cost_weight, source, **clipped),
        "snipw": estimators.snipw(logs, target, cost_weight, source, **call),
        "dr": estimators.doubly_robust(logs, target, cost_weight, nuisances, **call),
        "clipped_dr": estimators.doubly_robust(logs, target, cost_weight, nuisances, **clipped),
        "sndr": estimators.self_normalised_doubly_robust(logs, target, cost_weight, nuisances, **call),
        "switch_dr": estimators.switch_doubly_robust(
            logs, target, cost_weight, nuisances, threshold=case["tau"], **call
        ),
        "dros": estimators.shrinkage_doubly_robust(logs, target, cost_weight, nuisances, shrinkage=case["lam"], **call),
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden(golden, dtype):
    def close(got, expected):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, np.nan if expected is None else expected, **TOLERANCE[dtype])

    # Formulas in float64, every case; in float32 known, unknown and masked rows, and a single one.
    cases = [c for c in golden["ope"] if dtype == np.float64 or len(c["inputs"]["action"]) in (1, 12, 15, 20)]
    assert len(cases) == {np.float64: 9, np.float32: 4}[dtype]
    with jax.enable_x64(dtype == np.float64):
        for case in cases:
            inputs, expected = case["inputs"], case["expected"]
            known = "propensity" in inputs
            action = np.array(inputs["action"])
            N, K = len(action), inputs["n_models"]
            if known:
                propensity = np.repeat(np.array(inputs["propensity"], dtype)[:, None], K, 1)
            else:
                propensity = np.array(inputs["propensities"], dtype)
            quality, cost = np.array(inputs["quality"], dtype), np.array(inputs["cost"], dtype)
            available = np.ones((N, K), bool) if inputs["available"] is None else np.array(inputs["available"])
            own = propensity[np.arange(N), action] if known else np.full(N, np.nan, dtype)
            logs = Logs(np.zeros((N, 1), dtype), action, quality, cost, own, available)
            # What a model would have done where it is not available is nobody's business.
            predicted = (np.where(available, np.array(inputs[x], dtype), np.nan) for x in ("q_hat", "c_hat"))
            nuisances = Nuisances(propensity, Outcomes(*predicted))
            numbers = {x: inputs[x] for x in ("eps", "weight_clip", "tau", "lam")}
            numbers = {name: dtype(x) for name, x in numbers.items()}
            # cost alone is minus utility at weight 1 with quality 0
            reward = {
                "quality": (logs, nuisances, 0.0, 1),
                "utility": (logs, nuisances, inputs["cost_weight"], 1),
                "cost": (
                    logs._replace(quality=0 * quality),
                    nuisances._replace(outcomes=nuisances.outcomes._replace(quality=0 * nuisances.outcomes[0])),
                    1.0,
                    -1,
                ),
            }
            for name, (log, nuisance, weight, sign) in reward.items():
                target = np.array(inputs["pi"], dtype)
                got = golden_estimates(log, target, nuisance, known, dtype(weight), numbers)
                for method, estimate in got.items():
                    want = expected[name][method]
                    close(sign * estimate.value, want["value"])
                    close(estimate.standard_error, want["se"])
                    ess = None if method == "dm" else expected["ess"]
                    close(estimate.effective_sample_size, ess)
