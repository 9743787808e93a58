"""The support report: which logs can value which policies, and what it says of those that cannot."""

import jax
import numpy as np
import pytest

from jaxroute import estimators
from jaxroute.estimators import verdict
from jaxroute.types import InputError, Logs, Nuisances, Outcomes


def uniform_log(N=4000, K=4, seed=0, propensity=None):
    rng = np.random.default_rng(seed)
    table = np.full((N, K), 1 / K, np.float32) if propensity is None else np.tile(propensity, (N, 1))
    action = np.array([rng.choice(K, p=row / row.sum()) for row in np.float64(table)])
    quality = rng.uniform(size=N).astype(np.float32)
    logs = Logs(
        np.zeros((N, 1), np.float32),
        action,
        quality,
        quality,
        table[np.arange(N), action],
        np.ones((N, K), bool),
    )
    half = np.full((N, K), 0.5, np.float32)
    return logs, Nuisances(table.astype(np.float32), Outcomes(half, half))


def always(k, N=4000, K=4):
    return np.tile(np.eye(K, dtype=np.float32)[k], (N, 1))


def test_support_ok_for_a_greedy_target_under_uniform_logging():
    logs, nuisances = uniform_log()
    report = estimators.support(logs, always(2), nuisances)
    assert report.verdict == "ok"
    count = (logs.action == 2).sum()
    np.testing.assert_allclose(report.numbers["effective_sample_size"], count)
    np.testing.assert_allclose(report.numbers["effective_sample_size_share"], count / 4000)
    np.testing.assert_allclose(report.numbers["largest_weight_share"], 1 / count, rtol=1e-5)
    assert report.numbers["unsupported_mass"] == 0
    assert report.numbers["uniform_greedy_share"] == 0.25
    for q in (0.01, 0.05, 0.25, 0.5):
        assert report.numbers[f"propensity_quantile_{q:.2f}"] == 0.25
    assert report.numbers["groups"] == 4000
    pairs = estimators.support(logs._replace(group=np.arange(4000) // 2), always(2), nuisances)
    assert pairs.numbers["groups"] == 2000
    assert len(report.models) == 4
    np.testing.assert_allclose(report.models[2]["share"], count / 4000)
    np.testing.assert_allclose(report.models[2]["mean_propensity"], 0.25)
    # nobody is predicted better or worse than 0.5; one choice in four is each model's
    np.testing.assert_allclose(report.numbers["cost_ratio"], 0.5 / logs.cost.mean(), rtol=1e-5)
    assert report.numbers["propensity_calibration_error"] < 0.03


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("effective_sample_size", {200.0: "ok", 199.9: "caution", 50.0: "caution", 49.9: "refuse", np.nan: "refuse"}),
        ("unsupported_mass", {0.01: "ok", 0.0101: "caution", 0.05: "caution", 0.0501: "refuse", np.nan: "refuse"}),
        ("effective_ratings", {50.0: "ok", 49.9: "caution", 20.0: "caution", 19.9: "refuse", np.nan: "refuse"}),
        ("largest_weight_share", {0.05: "ok", 0.0501: "caution", 1.0: "caution"}),
    ],
)
def test_every_limit_of_the_verdict(name, limits):
    good = {
        "effective_sample_size": 1000.0,
        "unsupported_mass": 0.0,
        "largest_weight_share": 0.01,
        "rows": 2000.0,
        "rows_with_feedback": 2000.0,
        "groups": 2000.0,
        "effective_sample_size_share": 0.5,
        "uniform_greedy_share": 0.5,
        "clip": 0.05,
        "deterministic_share": 0.0,
    }
    models = [{"model": "a", "rows_with_feedback": 9.0, "unsupported_mass": 0.1, "fix": ""}]
    assert {value: verdict.judge(good | {name: value}, models)[0] for value in limits} == limits
    few = verdict.judge(good | {"effective_sample_size": 50.0}, models)[1]
    assert "(50.0% of the 2000 rows with feedback; models drawn uniformly would give 50.0%)" in few[0]
    assert "log about 4 times as many rows with feedback" in few[0]
    grouped = verdict.judge(good | {"effective_sample_size": 50.0, "groups": 120.0}, models)[1]
    assert (
        "(rows of one group count together, and the log has 120 groups); log about 4 times as many groups" in grouped[0]
    )


def test_weights_of_any_size_have_their_effective_rows():
    logs, nuisances = uniform_log(N=50, K=2, propensity=np.array([1.0, 0.0]))
    rarely = np.tile(np.float32([1e-3, 0.999]), (50, 1))
    np.testing.assert_allclose(estimators.support(logs, rarely, nuisances).numbers["effective_sample_size"], 50)


def test_propensities_that_do_not_match_the_choices_forbid_an_ok_and_noise_does_not():
    logs, nuisances = uniform_log()
    times = 1.0 + np.arange(4000) % 3
    logs = logs._replace(weight=times)
    assert estimators.support(logs, always(2), nuisances).verdict == "ok"
    report = estimators.support(logs._replace(propensity=np.full(4000, 0.2)), always(2), nuisances)
    inverse = (logs.action == 1) / 0.2
    ratio = np.average(inverse, weights=times)
    error = np.sqrt((times**2 * (inverse - ratio) ** 2).sum() * 4000 / 3999) / times.sum()
    assert report.verdict == "caution"
    line = f"model 1 was chosen {ratio:.2f} times as often as its propensities say (standard error {error:.2f}); check"
    assert any(reason.startswith(line) for reason in report.reasons)
    few, fitted = uniform_log(N=600, K=10)
    assert np.abs(np.bincount(few.action) / 60 - 1).max() > 0.2  # by chance
    found = estimators.support(few, always(2, 600, 10), fitted)
    assert not any("as often as its propensities say" in reason for reason in found.reasons)


def test_support_takes_the_hardest_target_and_names_models():
    logs, nuisances = uniform_log(propensity=np.array([0.9, 0.09, 0.009, 0.001]))
    targets = np.stack([always(0), always(3)])
    report = estimators.support(logs, targets, nuisances, models=["a", "b", "c", "d"])
    assert report.verdict == "refuse"
    assert [row["unsupported_mass"] for row in report.targets] == [0.0, 1.0]
    assert report.targets[0]["effective_sample_size"] > 3000
    assert report.numbers["effective_sample_size"] == report.targets[1]["effective_sample_size"] < 50
    assert any("model d" in reason for reason in report.reasons)
    assert estimators.support(logs, targets[0], nuisances).verdict == "ok"


@pytest.mark.parametrize(("mass", "verdict"), [(0.005, "ok"), (0.03, "caution"), (0.06, "refuse")])
def test_support_judges_unsupported_mass(mass, verdict):
    logs, nuisances = uniform_log(propensity=np.array([0.5, 0.47, 0.02, 0.01]))
    target = np.tile(np.array([1 - mass, 0, 0, mass], np.float32), (4000, 1))
    report = estimators.support(logs, target, nuisances)
    np.testing.assert_allclose(report.numbers["unsupported_mass"], mass, rtol=1e-5)
    assert report.verdict == verdict
    assert all(isinstance(reason, str) and reason for reason in report.reasons)


@pytest.mark.parametrize(("rows", "verdict"), [(1200, "ok"), (400, "caution"), (120, "refuse")])
def test_support_judges_effective_rows_not_their_share(rows, verdict):
    logs, nuisances = uniform_log(N=rows)
    assert estimators.support(logs, always(1, N=rows), nuisances).verdict == verdict


@pytest.mark.modes
def test_support_counts_feedback_and_availability():
    logs, nuisances = uniform_log()
    silent = logs._replace(quality=np.where(logs.action == 1, np.nan, logs.quality))
    report = estimators.support(silent, always(1), nuisances)
    assert report.numbers["unsupported_mass"] == 1.0
    assert report.numbers["effective_sample_size"] == 0.0
    assert report.verdict == "refuse"
    assert report.models[1]["rows"] > 900
    assert report.models[1]["rows_with_feedback"] == 0
    closed = logs._replace(available=np.tile([True, True, False, True], (4000, 1)))
    others = np.asarray(logs.action) != 2
    closed, fitted = jax.tree.map(lambda x: x[others], (closed, nuisances))
    assert estimators.support(closed, always(2)[others], fitted).numbers["unsupported_mass"] == 1.0


def test_support_sees_one_dominating_row():
    logs, nuisances = uniform_log()
    row = int(np.flatnonzero(logs.action == 0)[0])
    table = nuisances.propensity.copy()
    table[row, 0] = 0.0002
    logs = logs._replace(propensity=table[np.arange(4000), logs.action])
    report = estimators.support(logs, always(0), nuisances._replace(propensity=table), clip=0.0002)
    assert report.numbers["largest_weight_share"] > 0.5
    assert any("one row carries" in reason for reason in report.reasons)


@pytest.mark.parametrize("fitted", [True, False])
def test_support_sees_a_deterministic_log_through_a_fitted_model(fitted):
    logs, nuisances = uniform_log()
    logs = logs._replace(propensity=np.ones(4000, np.float32))
    report = estimators.support(logs, always(0), nuisances if fitted else None)
    assert report.verdict == "refuse"
    assert report.numbers["unsupported_mass"] > 0.7  # only where model 0 was chosen anyway
    if not fitted:
        assert any("outcome model's guess" in reason for reason in report.reasons)
    own = np.eye(4, dtype=np.float32)[logs.action]
    assert estimators.support(logs, own).verdict == "ok"  # the log's own policy is what it does identify


def test_support_needs_a_propensity():
    logs, _ = uniform_log(N=50)
    with pytest.raises(InputError, match="propensity"):
        estimators.support(logs._replace(propensity=np.full(50, np.nan, np.float32)), always(0, N=50))
