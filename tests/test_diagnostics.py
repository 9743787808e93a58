"""Diagnostics of nuisances against scikit-learn, loops in NumPy, and loggers that are right or wrong on purpose."""

import jax
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from jaxroute import nuisance
from jaxroute.nuisance import checks
from jaxroute.types import InputError, Logs, Nuisances, NuisanceSpec, Outcomes

N, K = 3000, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
LOGIT = np.c_[X[:, 0], np.zeros(N), -X[:, 1]]
P = np.exp(LOGIT) / np.exp(LOGIT).sum(1, keepdims=True)
ACTION = (RNG.random((N, 1)) > np.cumsum(P, 1)).sum(1)
ROWS = np.arange(N)
MEAN = 1 / (1 + np.exp(-X @ RNG.normal(size=(2, K))))
QUALITY = (RNG.random(N) < MEAN[ROWS, ACTION]).astype(float)
COST = 1.0 + ACTION
LOGS = Logs(X, ACTION, QUALITY, COST, P[ROWS, ACTION], np.ones((N, K), bool))
NUISANCES = Nuisances(P, Outcomes(MEAN, np.ones((N, K))))


@pytest.fixture(scope="module")
def found():
    return nuisance.diagnose(LOGS, NUISANCES, models=["a", "b", "c"])


def test_losses_match_scikit_learn(found):
    estimated = nuisance.diagnose(LOGS._replace(propensity=np.full(N, np.nan)), NUISANCES)
    for k in range(K):
        own = k == ACTION
        np.testing.assert_allclose(found.quality_log_loss[k], log_loss(QUALITY[own], MEAN[own, k]), rtol=1e-6)
        np.testing.assert_allclose(found.quality_brier[k], brier_score_loss(QUALITY[own], MEAN[own, k]), rtol=1e-9)
        np.testing.assert_allclose(estimated.auc[k], roc_auc_score(own, P[:, k]), rtol=1e-9)
        np.testing.assert_allclose(found.propensity_log_loss[k], -np.mean(np.log(P[own, k])), rtol=1e-9)
        np.testing.assert_allclose(found.cost_error[k], k / (1 + k), rtol=1e-9)
    # Weighted by rows, the models' losses are the log loss of the multinomial.
    np.testing.assert_allclose((found.share * found.propensity_log_loss).sum(), log_loss(ACTION, P), rtol=1e-9)


def test_calibration_error_is_the_binned_gap(found):
    gap = 0.0
    for low in np.arange(10) / 10:
        inside = (P[:, 1] >= low) & (P[:, 1] < low + 0.1)
        if inside.any():
            gap += inside.mean() * abs((ACTION[inside] == 1).mean() - P[inside, 1].mean())
    np.testing.assert_allclose(found.propensity_error[1], gap, rtol=1e-6)


def test_separation_is_the_standardised_mean_difference(found):
    a, b = X[ACTION == 0], X[ACTION != 0]
    want = np.abs(a.mean(0) - b.mean(0)) / np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 2)
    np.testing.assert_allclose(found.separation[0], want.max(), rtol=1e-9)


def test_a_right_logger_is_silent(found):
    assert (found.source, found.warnings) == ("known", ())


def test_both_z_are_standard_normal_under_a_right_logger():
    """Spread of z over 400 logs of 500 rows; a test that always said 0 or used a wrong error would fail."""
    rng, mild = np.random.default_rng(1), 0.7 * P + 0.1
    mass, share = [], []
    every = np.ones((500, K), bool)
    for _ in range(400):
        p = mild[rng.integers(0, N, 500)]
        action = (rng.random((500, 1)) > np.cumsum(p, 1)).sum(1)
        mass.append(checks.mass_test(action, p[np.arange(500), action], every, p)[1])
        share.append(checks.share_test(action, p, every)[1])
    for z in (mass, share):
        np.testing.assert_allclose(np.std(z, 0), 1.0, atol=0.12)
        np.testing.assert_allclose(np.mean(z, 0), 0.0, atol=0.2)


def test_what_a_near_deterministic_logger_did_not_draw_is_no_alarm():
    p = np.tile([[0.99, 0.01], [0.01, 0.99]], (50, 1))
    action = np.tile([0, 1], 50)  # never the rare one: probability 0.37
    own, every = p[np.arange(100), action], np.ones((100, 2), bool)
    assert (np.abs(checks.mass_test(action, own, every)[1]) > 4).all()
    assert (np.abs(checks.mass_test(action, own, every, p)[1]) < 1).all()


def test_a_miscalibrated_logger_is_reported():
    """The logger writes the probabilities of another temperature."""
    flat = P**0.3 / (P**0.3).sum(1, keepdims=True)
    found = nuisance.diagnose(LOGS._replace(propensity=np.where(ACTION == 1, 0.6, flat[ROWS, ACTION])), NUISANCES)
    assert any("model 1: propensities do not match" in line for line in found.warnings)
    assert found.mass[1] < 0.8
    assert found.mass_z[1] < -4
    found = nuisance.diagnose(LOGS, NUISANCES, logging_propensity=0.8 * P + [[0.2, 0.0, 0.0]])
    assert "does not match the logged propensities of all models" in found.warnings[0]
    assert nuisance.diagnose(LOGS, NUISANCES, logging_propensity=P).warnings == ()


def test_masked_models_do_not_count_against_the_logger():
    available = np.ones((N, K), bool)
    available[::2, 0] = False
    masked = P * available / (P * available).sum(1, keepdims=True)
    action = (RNG.random((N, 1)) > np.cumsum(masked, 1)).sum(1)
    right = checks.mass_test(action, masked[ROWS, action], available)[1]
    before = checks.mass_test(action, P[ROWS, action], available)[1]
    assert np.abs(right).max() < 4 < np.abs(before).max()


@pytest.mark.parametrize(
    ("propensity", "source", "line"),
    [
        (np.ones(N), "deterministic", "deterministic"),
        (np.full(N, np.nan), "estimated", "100% of the rows are estimated"),
        (np.where(ROWS % 4 == 0, np.nan, P[ROWS, ACTION]), "partly estimated", "25% of the rows are estimated"),
    ],
)
def test_source_of_propensities(propensity, source, line):
    found = nuisance.diagnose(LOGS._replace(propensity=propensity), NUISANCES)
    assert found.source == source
    assert line in found.warnings[0]
    assert len(found.warnings) == 1


def test_miscalibrated_estimates_overlap_feedback_and_absent_models_are_reported():
    unknown = LOGS._replace(propensity=np.full(N, np.nan))
    sharp = P**4 / (P**4).sum(1, keepdims=True)
    lines = nuisance.diagnose(unknown, NUISANCES._replace(propensity=sharp)).warnings
    assert any("calibration error" in line for line in lines)

    apart = np.where(X[:, 0] > 0, 0, 1)
    oracle = np.eye(K)[apart] * 0.98 + 0.01
    heard = np.where(RNG.random(N) < 0.5, 1.0, np.nan)
    found = nuisance.diagnose(
        LOGS._replace(action=apart, quality=heard, propensity=np.full(N, np.nan)),
        NUISANCES._replace(propensity=oracle),
    )
    text = "\n".join(found.warnings)
    for line in ("model 2 was never chosen", "hardly overlap", "feedback on"):
        assert line in text
    assert np.isnan([found.quality_log_loss[2], found.mass_z[2]]).all()
    np.testing.assert_allclose(found.feedback[0], np.isfinite(heard[apart == 0]).mean())


def test_fitted_nuisances_of_an_unknown_logger():
    """End to end, out of fold, in float32: near the truth's losses, calibrated, labelled as estimated."""
    logs = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == float else x, LOGS)
    logs = logs._replace(propensity=np.full(N, np.nan, np.float32))
    spec = NuisanceSpec(outcome_models=("ridge",), folds=2, penalties=(10.0,), calibration="none")
    fitted, _ = nuisance.fit(jax.random.key(0), logs, spec)
    found, truth = nuisance.diagnose(logs, fitted), nuisance.diagnose(LOGS, NUISANCES)
    assert found.source == "estimated"
    assert len(found.warnings) == 1, found.warnings
    np.testing.assert_allclose(found.propensity_log_loss, truth.propensity_log_loss, atol=0.05)
    np.testing.assert_allclose(found.quality_brier, truth.quality_brier, atol=0.02)
    assert (found.quality_error < 0.1).all()
    assert (found.cost_error < 0.01).all()  # a model's cost is constant here

    off = nuisance.diagnose(logs, fitted._replace(propensity=0.5 * fitted.propensity))
    assert any("estimated propensities do not match" in line for line in off.warnings)


def test_bad_input():
    with pytest.raises(InputError, match=r"logs.propensity, row 0: 0 is not in"):
        nuisance.diagnose(LOGS._replace(propensity=np.where(ROWS == 0, 0.0, 0.5)), NUISANCES)
    with pytest.raises(InputError, match="2 model names for 3"):
        nuisance.diagnose(LOGS, NUISANCES, models=["a", "b"])
