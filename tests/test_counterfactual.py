"""Counterfactual outcomes against golden values, a loop in NumPy, and the identities they must satisfy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual
from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes

TOLERANCE = {np.float64: {"rtol": 1e-9, "atol": 1e-11}, np.float32: {"rtol": 1e-5, "atol": 2e-6}}


def number(value):
    return np.inf if value == "inf" else value


def records(inputs, dtype=np.float64):
    """A golden case as records; a vector of propensities fills the row, of which only one entry is read."""

    def cast(name):
        return np.array(inputs[name], dtype)

    action = np.array(inputs["action"])
    rows, models = len(action), inputs["n_models"]
    if "propensities" in inputs:
        table = np.array(inputs["propensities"], dtype)
    else:
        table = np.repeat(np.array(inputs["propensity"], dtype)[:, None], models, axis=1)
    available = np.ones((rows, models), bool) if inputs["available"] is None else np.array(inputs["available"])
    logs = Logs(
        features=np.zeros((rows, 1), dtype),
        action=action,
        quality=cast("quality"),
        cost=cast("cost"),
        propensity=table[np.arange(rows), action],
        available=available.astype(bool),
    )
    return logs, Nuisances(table, Outcomes(cast("q_hat"), cast("c_hat")))


def simulated(seed=0, rows=6, models=3):
    rng = np.random.default_rng(seed)
    propensity = rng.dirichlet(np.ones(models), rows).astype(np.float32)
    action = rng.integers(models, size=rows)

    def uniform(*shape):
        return rng.uniform(size=shape).astype(np.float32)

    logs = Logs(
        features=uniform(rows, 2),
        action=action,
        quality=uniform(rows),
        cost=uniform(rows),
        propensity=propensity[np.arange(rows), action],
        available=np.ones((rows, models), bool),
    )
    outcomes = Outcomes(uniform(rows, models), uniform(rows, models))
    return logs, Nuisances(propensity, outcomes)


def holed(x, *at):
    """A copy of the array with NaN at some entries."""
    x = x.copy()
    x[at] = np.nan
    return x


def estimators(clip=0.0, threshold=3.0, shrinkage=4.0):
    return {
        "dm": counterfactual.direct,
        "ipw": partial(counterfactual.inverse_propensity, clip=clip),
        "dr": partial(counterfactual.doubly_robust, clip=clip),
        "switch_dr": partial(counterfactual.switch_doubly_robust, clip=clip, threshold=threshold),
        "dros": partial(counterfactual.shrinkage_doubly_robust, clip=clip, shrinkage=shrinkage),
    }


@jax.jit
def golden_outcomes(logs, nuisances, case, cost_weights):
    """Propensities of one golden case; every method's pseudo-outcomes and their utilities [L, N, K]; one program."""
    found = {}
    for name, method in estimators(case["eps"], case["tau"], case["lam"]).items():
        outcomes = method(logs, nuisances)
        found[name] = outcomes, jax.vmap(partial(counterfactual.utility, outcomes))(cost_weights)
    return counterfactual.propensity_of_action(logs, nuisances), found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden(golden, dtype):
    close = partial(np.testing.assert_allclose, **TOLERANCE[dtype])
    for case in golden["counterfactual"]:
        inputs, expected = case["inputs"], case["expected"]
        with jax.enable_x64(dtype == np.float64):
            logs, nuisances = records(inputs, dtype)
            numbers = {name: dtype(number(inputs[name])) for name in ("eps", "tau", "lam")}
            chosen, found = golden_outcomes(logs, nuisances, numbers, np.array(inputs["cost_weights"], dtype))
            close(chosen, expected["propensity_of_action"], err_msg=case["id"])
            for name, (outcomes, utility) in found.items():
                message, want = f"{case['id']} {name}", expected[name]
                assert outcomes.quality.dtype == outcomes.cost.dtype == utility.dtype == dtype
                close(outcomes.quality, want["quality"], err_msg=message)
                close(outcomes.cost, want["cost"], err_msg=message)
                close(utility, want["utility"], err_msg=message)
                best = np.argmax(np.where(logs.available, utility, -np.inf), axis=-1)
                np.testing.assert_array_equal(best, want["best_model"], err_msg=message)


@pytest.mark.modes
@pytest.mark.parametrize("name", ["dm", "ipw", "dr", "switch_dr", "dros"])
def test_matches_a_loop(name):
    logs, nuisances = simulated()
    clip, threshold, shrinkage = 0.2, 4.0, 5.0
    transform = {
        "dm": lambda v: 0.0,
        "ipw": lambda v: v,
        "dr": lambda v: v,
        "switch_dr": lambda v: v if v <= threshold else 0.0,
        "dros": lambda v: shrinkage * v / (v**2 + shrinkage),
    }[name]
    expected = np.zeros((6, 3)) if name == "ipw" else np.array(nuisances.outcomes.quality)
    for i in range(6):
        t = int(logs.action[i])
        weight = transform(1 / max(float(nuisances.propensity[i, t]), clip))
        expected[i, t] += weight * (float(logs.quality[i]) - expected[i, t])
    method = estimators(clip, threshold, shrinkage)[name]
    np.testing.assert_allclose(method(logs, nuisances).quality, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["dm", "ipw", "dr", "switch_dr", "dros"])
def test_linear_in_the_outcome_so_utility_commutes(name):
    """Estimating u = a - 2 c directly equals estimating a and c, then combining: one fit, every weight."""
    logs, nuisances = simulated(1)
    method = estimators()[name]
    separate = counterfactual.utility(method(logs, nuisances), 2.0)
    joint_logs = logs._replace(quality=logs.quality - 2 * logs.cost)
    model = nuisances.outcomes
    joint = nuisances._replace(outcomes=model._replace(quality=model.quality - 2 * model.cost))
    np.testing.assert_allclose(separate, method(joint_logs, joint).quality, rtol=1e-5, atol=1e-5)


def test_doubly_robust_is_unbiased_if_either_nuisance_is_right():
    """Exact expectation over the action: sum_t p(t) a^DR(t), for one prompt with known outcomes."""
    truth, logging = np.array([0.9, 0.4, 0.6]), np.array([0.2, 0.5, 0.3])

    def expectation(propensity, prediction):
        logs = Logs(
            features=np.zeros((3, 1), np.float32),
            action=np.arange(3),
            quality=truth.astype(np.float32),
            cost=np.zeros(3, np.float32),
            propensity=np.full(3, np.nan, np.float32),
            available=np.ones((3, 3), bool),
        )

        def table(row):
            return np.tile(np.asarray(row, np.float32), (3, 1))

        nuisances = Nuisances(table(propensity), Outcomes(table(prediction), table(np.zeros(3))))
        return logging @ np.asarray(counterfactual.doubly_robust(logs, nuisances).quality)

    wrong_model, wrong_propensity = np.array([0.1, 0.8, 0.5]), np.array([0.4, 0.4, 0.2])
    np.testing.assert_allclose(expectation(logging, wrong_model), truth, rtol=1e-5)
    np.testing.assert_allclose(expectation(wrong_propensity, truth), truth, rtol=1e-5)
    # Both wrong: the bias is (1 - p/p^)(r - mu), not zero.
    bias = (1 - logging / wrong_propensity) * (wrong_model - truth)
    np.testing.assert_allclose(expectation(wrong_propensity, wrong_model) - truth, bias, rtol=1e-4, atol=1e-6)
    assert np.abs(bias).max() > 0.05


def test_inverse_propensity_takes_the_logs_own_propensity_without_nuisances():
    logs, nuisances = simulated(2)
    halved = logs._replace(propensity=logs.propensity / 2)
    own = counterfactual.inverse_propensity(halved, None).quality
    given = counterfactual.inverse_propensity(halved, nuisances).quality
    np.testing.assert_allclose(own, 2 * given, rtol=1e-6)


def test_missing_feedback_falls_back_to_the_prediction_of_that_outcome_only():
    logs, nuisances = simulated(3)
    holes = logs._replace(quality=holed(logs.quality, 0), cost=holed(logs.cost, 1))
    for name, method in estimators().items():
        full, missing = (jax.tree.map(np.asarray, method(x, nuisances)) for x in (logs, holes))
        prediction = Outcomes(np.zeros((6, 3)), np.zeros((6, 3))) if name == "ipw" else nuisances.outcomes
        np.testing.assert_array_equal(missing.quality[0], prediction.quality[0])
        np.testing.assert_array_equal(missing.cost[1], prediction.cost[1])
        np.testing.assert_array_equal(missing.quality[1:], full.quality[1:])
        np.testing.assert_array_equal(missing.cost[0], full.cost[0])


def test_unknown_propensity_raises_outside_jit_and_stays_visible_inside():
    logs, nuisances = simulated(4)
    unknown = logs._replace(propensity=holed(logs.propensity, 2))
    with pytest.raises(InputError, match=r"logs\.propensity is NaN in 1 of 6 rows \(first: row 2\)"):
        counterfactual.inverse_propensity(unknown, None)
    chosen = int(logs.action[2])
    broken = nuisances._replace(propensity=holed(nuisances.propensity, 2, chosen))
    for name, method in estimators().items():
        if name == "dm":  # reads no propensity
            method(logs, broken)
            continue
        with pytest.raises(InputError, match=r"nuisances\.propensity .* \(first: row 2\)"):
            method(logs, broken)
        traced = np.asarray(jax.jit(method)(logs, broken).quality)
        assert np.isnan(traced[2, chosen])
        assert np.isnan(traced).sum() == 1
    # Entries of models that were not chosen are never read.
    other = nuisances._replace(propensity=holed(nuisances.propensity, 2, (chosen + 1) % 3))
    assert np.isfinite(counterfactual.doubly_robust(logs, other).quality).all()


def test_masked_predictions_stay_in_their_own_entry():
    logs, nuisances = simulated(5)
    masked = (int(logs.action[0]) + 1) % 3
    model = nuisances.outcomes
    hole = nuisances._replace(outcomes=model._replace(quality=holed(model.quality, 0, masked)))
    for name, method in estimators().items():
        actual, clean = (np.array(method(logs, given).quality) for given in (hole, nuisances))
        if name != "ipw":
            assert np.isnan(actual[0, masked])
        actual[0, masked] = clean[0, masked]
        np.testing.assert_array_equal(actual, clean)


@pytest.mark.modes
def test_switch_and_shrink_at_their_limits():
    weight = jnp.array([0.0, 1.0, 4.0, 1e20, jnp.inf], jnp.float32)
    np.testing.assert_array_equal(counterfactual.switch(weight, 4.0), [0, 1, 4, 0, 0])
    np.testing.assert_array_equal(counterfactual.switch(weight, jnp.inf), weight)
    np.testing.assert_array_equal(counterfactual.shrink(weight, 0.0), np.zeros(5))
    np.testing.assert_array_equal(counterfactual.shrink(weight[:4], jnp.inf), weight[:4])
    # 2*1/(1+2), 2*4/(16+2); 1e20 squared overflows float32, its limit is 0
    np.testing.assert_allclose(counterfactual.shrink(weight, 2.0), [0, 2 / 3, 4 / 9, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("name", ["ipw", "dr", "switch_dr", "dros"])
def test_jit_and_traced_knobs_equal_eager_and_compile_once(name):
    logs, nuisances = simulated(6)
    traces = []

    @jax.jit
    def traced(clip, threshold, shrinkage):
        traces.append(1)
        return estimators(clip, threshold, shrinkage)[name](logs, nuisances)

    for knobs in [(0.0, 3.0, 4.0), (0.3, 2.0, jnp.inf), (0.1, jnp.inf, 0.0)]:
        with jax.disable_jit():
            eager = estimators(*knobs)[name](logs, nuisances)
        for a, b in zip(traced(*knobs), eager, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert len(traces) == 1


def test_vmap_over_logs_equals_a_loop():
    pairs = [simulated(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *pairs)
    together = jax.jit(jax.vmap(partial(counterfactual.doubly_robust, clip=0.2)))(*stacked)
    for i, (logs, nuisances) in enumerate(pairs):
        alone = counterfactual.doubly_robust(logs, nuisances, clip=0.2)
        np.testing.assert_allclose(np.asarray(together.quality)[i], alone.quality, rtol=1e-6)


@pytest.mark.modes
def test_utility_takes_one_weight_or_one_per_row():
    outcomes = Outcomes(jnp.array([[1.0, 0.5], [0.75, 0.25]]), jnp.array([[2.0, 1.0], [1.0, 0.5]]))
    np.testing.assert_array_equal(counterfactual.utility(outcomes, 0.5), [[0, 0], [0.25, 0]])
    # 1 - 0.5*2, 0.5 - 0.5*1;  0.75 - 2*1, 0.25 - 2*0.5
    per_row = counterfactual.utility(outcomes, jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(per_row, [[0, 0], [-1.25, -0.75]])


def test_wrong_shapes_are_refused():
    logs, nuisances = simulated(7)
    with pytest.raises(InputError, match=r"direct: .* nuisances\.propensity \(\d+, 2\), nuisances\.outcomes\.quality"):
        counterfactual.direct(logs, nuisances._replace(propensity=nuisances.propensity[:, :2]))
    with pytest.raises(InputError, match=r"logs\.quality has shape \(\d+, 1\), and logs\.action"):
        counterfactual.inverse_propensity(logs._replace(quality=logs.quality[:, None]), None)


@pytest.mark.modes
def test_examples_are_the_log_corrected_and_then_the_shadow_as_observed():
    logs, nuisances = simulated(8)
    shadow, answered = simulated(9)[1].outcomes, np.ones((6, 3), bool)
    answered[0, 2] = False
    shadow = shadow._replace(quality=holed(shadow.quality, 1, 0), cost=holed(shadow.cost, 2, 1))
    learn = counterfactual.examples(logs, nuisances, Examples(2 * logs.features, shadow, answered), clip=0.2)
    robust = counterfactual.doubly_robust(logs, nuisances, clip=0.2)
    np.testing.assert_array_equal(learn.features, np.concatenate([logs.features, 2 * logs.features]))
    for found, corrected, observed in zip(learn.outcomes, robust, shadow, strict=True):
        np.testing.assert_array_equal(found, np.concatenate([corrected, observed]))
    assert np.argwhere(~np.asarray(learn.available)).tolist() == [[6, 2], [7, 0], [8, 1]]  # unasked, unrated, unpriced
    alone = counterfactual.examples(logs, nuisances, clip=0.2)
    np.testing.assert_array_equal(alone.outcomes.quality, robust.quality)
