"""The verdict per cost weight and per model, and the value that may be shown."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxroute import counterfactual, estimators
from jaxroute.estimators import influence, verdict
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

N, K = 4000, 4


def make_log(propensity, *, seed=0, rows=N, truth=(0.3, 0.4, 0.5, 0.6), guess=0.5):
    """Models of known mean quality at cost 0.1 k, chosen with the same propensity on every prompt."""
    rng = np.random.default_rng(seed)
    propensity = np.asarray(propensity, np.float64)
    action = rng.choice(K, size=rows, p=propensity / propensity.sum())
    quality = (rng.random(rows) < np.array(truth)[action]).astype(np.float32)
    logs = Logs(
        np.zeros((rows, 1), np.float32),
        action,
        quality,
        (0.1 * action).astype(np.float32),
        propensity[action].astype(np.float32),
        np.ones((rows, K), bool),
    )
    cost = np.tile(0.1 * np.arange(K), (rows, 1)).astype(np.float32)
    outcomes = Outcomes(np.full((rows, K), guess, np.float32), cost)
    return logs, Nuisances(np.tile(propensity, (rows, 1)).astype(np.float32), outcomes)


def always(k, rows=N):
    return np.tile(np.eye(K, dtype=np.float32)[k], (rows, 1))


def test_rows_needed_for_every_model_are_enough_for_the_whole():
    rng = np.random.default_rng(0)
    for _ in range(50):
        mass = rng.dirichlet(np.ones(5))
        # rows with the spread of weights that each model has now, as many as asked for
        share = rng.uniform(0.2, 1.0, 5)
        need = np.array([verdict.rows_needed(100.0, 100.0 * s, m) for s, m in zip(share, mass, strict=True)])
        counted = need > 0
        effective = 1 / (mass[counted] ** 2 / (need * share)[counted]).sum()
        assert effective >= verdict.ENOUGH_EFFECTIVE_ROWS * (1 - 1e-5)


def test_what_would_fix_it_names_model_rows_and_share():
    logs, nuisances = make_log([0.6, 0.3, 0.097, 0.003])
    have = int((logs.action == 3).sum())
    assert 0 < have < 30
    target = np.tile(np.array([0.69, 0.0, 0.0, 0.31], np.float32), (N, 1))
    report = estimators.support(logs, target, nuisances, models=["a", "b", "c", "X"])
    # equal weights: every row counts in full, so 200 * 0.31 = 62 rows are needed in all
    line = f"model X has {have} rows with feedback and would get 31% of the prompts; "
    line += f"log at least {62 - have} more, or leave it out"
    assert report.verdict == "refuse"
    assert line in report.reasons
    assert line == report.models[3]["fix"]
    assert [m["verdict"] for m in report.models] == ["ok", "ok", "ok", "refuse"]
    assert [m["rows_needed"] for m in report.models] == [138.0, 0.0, 0.0, 62.0]


def test_verdict_of_every_cost_weight():
    logs, nuisances = make_log([0.6, 0.3, 0.097, 0.003])
    report = estimators.support(logs, np.stack([always(3), always(0)]), nuisances)
    assert [t["verdict"] for t in report.targets] == ["refuse", "ok"]
    assert any("model 3 has" in line for line in report.targets[0]["reasons"])
    assert not any("model 3 has" in line for line in report.targets[1]["reasons"])
    assert report.verdict == "refuse"


def test_propensities_that_do_not_match_the_shares_are_reported():
    logs, nuisances = make_log([0.4, 0.3, 0.2, 0.1])
    assert estimators.support(logs, always(0), nuisances).verdict == "ok"
    # the logger wrote the propensities of the first two models the wrong way round
    wrong = np.array([0.3, 0.4, 0.2, 0.1], np.float32)[logs.action]
    report = estimators.support(logs._replace(propensity=wrong), always(0), nuisances, models=list("abcd"))
    assert report.verdict == "caution"
    lines = [line for line in report.reasons if "as its propensities say" in line]
    assert [line.split()[1] for line in lines] == ["a", "b"]
    assert "chosen 1.3" in lines[0]
    assert "chosen 0.7" in lines[1]
    # a missing propensity is not a wrong one
    unknown = logs._replace(propensity=np.full(N, np.nan, np.float32))
    report = estimators.support(unknown, always(0), nuisances)
    assert report.verdict == "ok"
    assert report.numbers["propensity_known_share"] == 0.0


def test_deterministic_log_gets_a_labelled_guess_without_interval():
    logs, nuisances = make_log([0.25] * 4, guess=0.8)
    certain = logs._replace(propensity=np.ones(N, np.float32))
    for fitted in (nuisances, nuisances._replace(propensity=np.ones((N, K), np.float32))):
        (found,) = estimators.evaluate(certain, always(3), 0.5, fitted)
        np.testing.assert_allclose(found.value, 0.8 - 0.5 * 0.3, atol=1e-6)
        assert (found.label, found.interval, found.verdict) == ("extrapolation", None, "refuse")
        assert any("deterministic" in line for line in found.reasons)
        assert np.isnan(found.effective_sample_size)
    # one choice in a thousand elsewhere is still an extrapolation
    near = np.eye(K, dtype=np.float32)[logs.action]
    near[:4] = np.roll(near[:4], 1, axis=1)
    assert estimators.evaluate(certain, near, 0.0, nuisances)[0].interval is None


def test_deterministic_log_values_its_own_choices():
    logs, nuisances = make_log([0.25] * 4)
    certain = logs._replace(propensity=np.ones(N, np.float32))
    own = np.eye(K, dtype=np.float32)[logs.action]
    (found,) = estimators.evaluate(certain, own, 0.0, nuisances._replace(propensity=own))
    np.testing.assert_allclose(found.value, logs.quality.mean(), atol=1e-5)
    assert found.interval[0] < found.value < found.interval[1]


@pytest.mark.modes
def test_interval_where_the_log_supports_one_and_only_there():
    logs, nuisances = make_log([0.5, 0.3, 0.197, 0.003])
    targets = np.stack([always(1), always(3)])
    good, bad = estimators.evaluate(logs, targets, [0.0, 1.0], nuisances)
    of = estimators.self_normalised_doubly_robust(logs, jnp.asarray(targets[0]), 0.0, nuisances, clip=0.05)
    np.testing.assert_allclose(good.value, of.value, rtol=1e-6)
    size = float(of.effective_sample_size)
    half = stats.t.ppf(0.975, size - 1) * float(of.standard_error)
    np.testing.assert_allclose(good.interval, [of.value - half, of.value + half], rtol=1e-5)
    assert good.interval[0] < 0.4 < good.interval[1]
    assert (good.verdict, good.label) == ("ok", "self-normalised doubly robust")
    assert (bad.verdict, bad.interval, bad.label) == ("refuse", None, "extrapolation")


def test_estimated_propensities_are_labelled():
    logs, nuisances = make_log([0.4, 0.3, 0.2, 0.1])
    logs = logs._replace(propensity=np.full(N, np.nan, np.float32))
    (found,) = estimators.evaluate(logs, always(0), 0.0, nuisances)
    assert found.label.endswith("propensities estimated")
    assert found.interval is not None


def test_policies_and_cost_weights_must_pair_up():
    logs, nuisances = make_log([0.25] * 4, rows=50)
    with pytest.raises(InputError, match="2 target policies for 3 cost weights"):
        estimators.evaluate(logs, np.stack([always(0, 50)] * 2), [0.0, 1.0, 2.0], nuisances)


def test_hidden_confounder_beside_the_value():
    logs, nuisances = make_log([0.5, 0.3, 0.197, 0.003])
    targets = np.stack([always(2), always(3)])  # 0.5 against the log's mean of about 0.37
    good, bad = estimators.evaluate(logs, targets, [0.0, 0.0], nuisances, strength=1.2)
    assert good.bounds[0] < good.value < good.bounds[1]
    assert 1.2 < good.tipping_point < 3
    # At the tipping point the lower bound is the mean reward, by an independent call.
    edge = estimators.bounds(
        logs, targets[0], 0.0, nuisances, strength=good.tipping_point, clip=0.05, outcome_model=True
    )
    np.testing.assert_allclose(edge.lower, logs.quality.mean(), atol=1e-4)
    assert bad.bounds is None
    assert bad.tipping_point is None
    plain = estimators.evaluate(logs, targets[0], 0.0, nuisances)[0]
    assert plain.bounds is None
    assert plain.value == pytest.approx(good.value, abs=1e-6)  # another shape rounds otherwise
    with pytest.raises(InputError, match="strength is 0"):
        estimators.evaluate(logs, targets[0], 0.0, nuisances, strength=0.0)


def test_half_width_is_student_t_with_one_small_sample_factor():
    """Against simulation, too: means of m normal rows."""
    np.testing.assert_allclose(estimators.half_width(np.nan), stats.norm.ppf(0.975))
    np.testing.assert_allclose(estimators.half_width(1e9, 0.9), stats.norm.ppf(0.95), rtol=1e-6)
    np.testing.assert_allclose(estimators.half_width(10.0), stats.t.ppf(0.975, 9))
    assert estimators.half_width(1.0) == estimators.half_width(2.0)  # never fewer than two rows
    rng = np.random.default_rng(0)
    for m in (5, 30):
        draws = rng.standard_normal((20_000, m))
        error = draws.std(1, ddof=1) / np.sqrt(m)
        covered = np.abs(draws.mean(1)) <= estimators.half_width(m) * error
        assert abs(covered.mean() - 0.95) < 0.006
        assert (np.abs(draws.mean(1)) <= 1.96 * error).mean() < 0.943
    of = estimators.estimate(estimators.Rows(jnp.arange(10.0), jnp.ones(10, bool), jnp.ones(10)))
    error = stats.t.ppf(0.975, 9) * np.arange(10.0).std(ddof=1) / np.sqrt(10)
    np.testing.assert_allclose(estimators.interval(of), (4.5 - error, 4.5 + error), rtol=1e-5)


def test_a_propensity_of_zero_is_an_error():
    logs, target = influence.example()
    half = jnp.full((4, 2), 0.5)
    nuisances = Nuisances(half, Outcomes(half, half))
    for value in (0.0, -0.1):
        bad = logs._replace(propensity=jnp.array([0.5, 0.5, value, 0.5]))
        for estimator in (estimators.ipw, estimators.snipw):
            with pytest.raises(InputError, match=r"logs\.propensity is 0 or less in 1 of 4 rows \(first: row 2\)"):
                estimator(bad, target, 0.5)
            assert np.isfinite(estimator(bad, target, 0.5, clip=0.1).value)
        table = nuisances._replace(propensity=half.at[0, 0].set(value))
        for estimator in (estimators.doubly_robust, estimators.self_normalised_doubly_robust):
            with pytest.raises(InputError, match=r"nuisances\.propensity of the chosen model is 0 or less in 1 of 4"):
                estimator(logs, target, 0.5, table)
        with pytest.raises(InputError, match="0 or less"):
            counterfactual.doubly_robust(logs, table)
