"""The slope of answers on predicted contrasts: loops in NumPy, simulated truth, and the share that comes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import nuisance
from jaxroute.recipe import contrasts
from jaxroute.types import Examples, Logs, NuisanceSpec, Outcomes

SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


def model_of(predicted, fold):
    """Nuisances whose cross-fitted predictions are given."""
    cells = predicted.astype(np.float32)[None]
    one = Outcomes(np.ones(1, np.float32), np.ones(1, np.float32))
    fitted = nuisance.OutcomeModel(None, {}, one, Outcomes(cells, cells), fold, SPEC)
    return nuisance.NuisanceModel(fitted, None, {}, 0, None)


def log_of(action, quality, num_models):
    rows = len(action)
    ones = np.ones(rows, np.float32)
    available = np.ones((rows, num_models), bool)
    return Logs(np.zeros((rows, 1), np.float32), action, quality.astype(np.float32), ones, ones, available)


def shadow_of(quality, asked):
    answers = np.where(asked, quality, np.nan).astype(np.float32)
    return Examples(np.zeros((len(quality), 1), np.float32), Outcomes(answers, answers), asked)


@jax.jit
def of_log(logs, predicted, fold):
    return contrasts.of_log(logs, model_of(predicted, fold))


@jax.jit
def of_shadow(shadow, predicted, fold):
    return contrasts.of_shadow(shadow, model_of(predicted, fold))


def by_fold(predicted, fold):
    """Less each model's mean over the fold, in loops."""
    return np.array([predicted[i] - predicted[fold == fold[i]].mean(0) for i in range(len(fold))])


@pytest.mark.modes
def test_slope_of_a_log_matches_least_squares_with_dummies():
    rng = np.random.default_rng(0)
    rows, models = 60, 3
    predicted, fold, action = rng.random((rows, models)), rng.integers(0, 3, rows), rng.integers(0, models, rows)
    quality = rng.random(rows)
    quality[[3, 7]] = np.nan
    got = of_log(log_of(action, quality, models), predicted, fold)
    r = by_fold(predicted, fold)
    z = r[np.arange(rows), action] - r.mean(1)
    seen = np.isfinite(quality)
    x = np.c_[z, r.mean(1), np.eye(models)[action]][seen]
    y = quality[seen]
    b = np.linalg.lstsq(x, y, rcond=None)[0]
    bread = np.linalg.inv(x.T @ x)
    meat = x.T @ (x * ((y - x @ b) ** 2)[:, None])
    white = bread @ meat @ bread * len(y) / (len(y) - models - 2)
    np.testing.assert_allclose(got.value, b[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(got.error, np.sqrt(white[0, 0]), rtol=1e-3)


def test_slope_of_a_biased_log_is_that_of_the_truth_and_its_error_honest():
    """300 logs of 400 rows: 0.6 of each predicted contrast is true; the logger prefers what is predicted to be good,
    models and prompts have levels and difficulty of their own, and folds err in their levels."""
    rng = np.random.default_rng(1)
    shape = (300, 400, 3)
    fold = rng.integers(0, 3, 400)
    contrast = 0.12 * rng.standard_normal(shape)
    contrast -= contrast.mean(-1, keepdims=True)
    difficulty = 0.1 * rng.standard_normal((*shape[:2], 1))
    chance = np.array([0.4, 0.5, 0.6]) + 0.6 * contrast + difficulty
    predicted = 0.5 + contrast + 0.8 * difficulty + 0.3 * rng.standard_normal((300, 3, 3))[:, fold]
    action = (8 * contrast + rng.gumbel(size=shape)).argmax(-1)
    quality = rng.random(shape[:2]) < np.take_along_axis(chance, action[..., None], -1)[..., 0]

    @jax.jit
    @jax.vmap
    def one(predicted, action, quality):
        return contrasts.of_log(log_of(action, quality, 3), model_of(predicted, fold))

    value, error = map(np.asarray, one(predicted.astype(np.float32), action, quality))
    assert abs(value.mean() - 0.6) < 4 * value.std() / np.sqrt(300)
    assert 0.85 < error.mean() / value.std() < 1.15


def test_levels_that_differ_between_folds_do_not_pull_the_slope_down():
    """Cross-fitting itself makes them: a fold with good answers is predicted by a fit that saw the others."""
    rng = np.random.default_rng(2)
    rows, models = 900, 6
    fold, action = rng.integers(0, 3, rows), rng.integers(0, models, rows)
    contrast = 0.15 * rng.standard_normal((rows, models))
    quality = 0.5 + contrast[np.arange(rows), action] + 0.3 * rng.standard_normal(rows)
    level = np.array([[quality[(fold != f) & (action == k)].mean() for k in range(models)] for f in range(3)])
    slope = of_log(log_of(action, quality, models), level[fold] + contrast, fold)
    assert abs(slope.value - 1) < 2 * slope.error
    naive = of_log(log_of(action, quality, models), level[fold] + contrast, np.zeros(rows, int))
    assert naive.value < slope.value


@pytest.mark.modes
def test_slope_of_a_shadow_matches_a_loop():
    """Nine prompts, three models, two answers missing; five log rows come first."""
    rng = np.random.default_rng(4)
    quality, predicted, fold = rng.random((9, 3)), rng.random((14, 3)), rng.integers(0, 3, 14)
    asked = np.ones((9, 3), bool)
    asked[0, 1] = asked[4, 2] = False
    slope, error = of_shadow(shadow_of(quality, asked), predicted, fold)
    q, r = quality.copy(), by_fold(predicted, fold)[5:]
    for y in (q, r):
        for k in range(3):
            y[:, k] -= y[asked[:, k], k].mean()
        for i in range(9):
            y[i] -= y[i, asked[i]].mean()
    h, g = (
        np.array([sum(a[i, k] * b[i, k] for k in range(3) if asked[i, k]) for i in range(9)])
        for a, b in ((q, r), (r, r))
    )
    b = h.sum() / g.sum()
    np.testing.assert_allclose(slope, b, rtol=1e-4)
    np.testing.assert_allclose(error, np.sqrt(9 / 8 * np.sum((h - b * g) ** 2)) / g.sum(), rtol=1e-4)


def test_slope_of_a_shadow_is_that_of_the_truth_and_its_error_honest():
    """400 samples of 150 prompts: a third of each predicted contrast is true, answers of one prompt go together."""
    rng = np.random.default_rng(0)
    predicted = np.array([0.3, 0.5, 0.4, 0.6]) + 0.15 * rng.standard_normal((400, 150, 4))
    chance = 0.5 + predicted / 3 + np.array([0.1, -0.1, 0.0, -0.2]) + 0.1 * rng.standard_normal((400, 150, 1))
    quality = rng.random((400, 150, 1)) < chance

    @jax.jit
    @jax.vmap
    def one(quality, predicted):
        shadow = Examples(jnp.zeros((150, 1)), Outcomes(quality, quality), jnp.ones((150, 4), bool))
        return contrasts.of_shadow(shadow, model_of(predicted, np.zeros(150, int)))

    slope, error = map(np.asarray, one(np.broadcast_to(quality, predicted.shape).astype(np.float32), predicted))
    assert abs(slope.mean() - 1 / 3) < 4 * slope.std() / 20
    assert 0.9 < error.mean() / slope.std() < 1.1


def test_without_predicted_contrasts_the_share_is_what_it_was():
    level = np.tile([0.2, 0.6], (30, 1))
    rng = np.random.default_rng(0)
    model = level, np.arange(30) % 3
    log = of_log(log_of(rng.integers(0, 2, 30), rng.random(30), 2), *model)
    shadow = of_shadow(shadow_of(rng.random((30, 2)), np.ones((30, 2), bool)), *model)
    assert log.error == shadow.error == np.inf
    assert contrasts.share(log, shadow) == contrasts.SHARE


@pytest.mark.parametrize("seen", [[(0.9, 0.1)], [(-2.0, 0.2)], [(0.9, 0.3), (0.2, 0.1)], []])
def test_share_is_a_normal_posterior(seen):
    mean, precision = contrasts.SHARE, 1 / contrasts.SHARE_DEVIATION**2
    for value, error in seen:  # one observation after another
        mean = (precision * mean + value / error**2) / (precision + 1 / error**2)
        precision += 1 / error**2
    got = contrasts.share(*(contrasts.Slope(jnp.float32(v), jnp.float32(e)) for v, e in seen))
    np.testing.assert_allclose(got, np.clip(mean, 0, 1), rtol=1e-5)


def test_answers_that_are_all_equally_good_say_nothing_of_the_share():
    """Their residuals are 0, which is no knowledge of their spread: the error is inf, and the share stays finite."""
    rng = np.random.default_rng(0)
    slope = of_shadow(shadow_of(np.ones((30, 2)), np.ones((30, 2), bool)), rng.random((30, 2)), np.zeros(30, int))
    assert np.isinf(slope.error)
    assert contrasts.share(slope) == contrasts.SHARE
