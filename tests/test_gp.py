"""The Gaussian process against the dense algebra of its definition, in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import nuisance
from jaxroute.nuisance import gp
from jaxroute.nuisance.targets import HUBER_DELTA, Levels
from jaxroute.types import NuisanceSpec, Outcomes

N, K, D = 40, 3, 4
RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(N, D)).astype(np.float32), RNG.normal(size=(7, D)).astype(np.float32)
Y = Outcomes(RNG.random((N, K)).astype(np.float32), RNG.exponential(size=(N, K)).astype(np.float32))
WEIGHT = (RNG.random((N, K)) < 0.4).astype(np.float32)  # rows with no, one and several cells
WEIGHT[:, 2] *= np.arange(N) < 1  # a model with one row at most
LEVEL = Levels(jnp.array([0.3, 0.5, 0.6]), jnp.ones(K))
LENGTH, SHARED, OWN = SETTING = (0.7, 2.0, 0.5)
FITTED = partial(gp.fit, jax.random.key(0), jnp.asarray(X), level=LEVEL, processes=(SETTING,))


@pytest.fixture(autouse=True)
def _tight(monkeypatch):
    monkeypatch.setattr(gp, "TOLERANCE", 1e-6)


def rbf(x, z, length):
    return np.exp(-((x[:, None].astype(np.float64) - z[None]) ** 2).sum(-1) / (2 * length**2))


def median_distance():
    seen = X[WEIGHT.any(1)]
    return np.median([np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]])


def cells():
    """(row, model) of every observed cell."""
    return np.nonzero(WEIGHT)


def between(row, model, row_kernel):
    """Prior covariance of cells: (shared + own 1{same model}) kernel."""
    return row_kernel * (SHARED + OWN * (model[0][:, None] == model[1][None]))


def dense(new, target, smooth):
    """Posterior mean [n, K] from ``smooth(x, z)``: k* (K + I)^-1 y over the observed cells."""
    row, model = cells()
    prior = between(row, (model, model), smooth(X[row], X[row]))
    dual = np.linalg.solve(prior + np.eye(len(row)), target[row, model])
    return np.stack([between(row, (np.full(len(new), k), model), smooth(new, X[row])) @ dual for k in range(K)], 1)


def predicted(model):
    return jax.vmap(lambda x: gp.predict(model, x, LEVEL))(jnp.asarray(NEW))


def test_posterior_mean_is_the_dense_algebra_for_any_pattern_of_cells():
    model = FITTED(targets=Y, weight=jnp.asarray(WEIGHT))
    length = LENGTH * median_distance()
    np.testing.assert_allclose(model.length, [length], rtol=1e-5)
    level = np.asarray(LEVEL.quality)
    want = level + dense(NEW, Y.quality - level, lambda x, z: rbf(x, z, length))
    np.testing.assert_allclose(predicted(model).quality[:, 0], want, atol=2e-5)


def test_unseen_cells_may_hold_anything_finite():
    other = jax.tree.map(lambda y: np.where(WEIGHT > 0, y, -5.0).astype(np.float32), Y)
    models = [FITTED(targets=y, weight=jnp.asarray(WEIGHT)) for y in (Y, other)]
    np.testing.assert_allclose(*(predicted(m).quality for m in models), atol=1e-6)
    np.testing.assert_allclose(*(predicted(m).cost for m in models), atol=1e-6)


def test_many_rows_go_through_their_centres(monkeypatch):
    """Subset of regressors: the dense algebra with K_nm (K_mm + jitter)^-1 K_mn for the kernel."""
    monkeypatch.setattr(gp, "ROWS", N - 1)
    monkeypatch.setattr(gp, "CENTRES", 12)
    model = FITTED(targets=Y, weight=jnp.asarray(WEIGHT))
    centres, length = np.asarray(model.centres), float(model.length[0])
    assert centres.shape == (12, D)
    seen = X[WEIGHT.any(1)]
    assert all((c == seen).all(1).any() for c in centres)
    inverse = np.linalg.inv(rbf(centres, centres, length) + gp.JITTER * np.eye(12))
    level = np.asarray(LEVEL.quality)
    want = level + dense(
        NEW, Y.quality - level, lambda x, z: rbf(x, centres, length) @ inverse @ rbf(centres, z, length)
    )
    np.testing.assert_allclose(predicted(model).quality[:, 0], want, atol=1e-4)


def test_a_part_of_very_many_rows_is_used(monkeypatch):
    """Rows without an answer go first, which changes nothing; then rows with one."""
    monkeypatch.setattr(gp, "ROWS", N // 2)
    monkeypatch.setattr(gp, "CENTRES", 12)
    rows = WEIGHT.any(1)
    kept = FITTED(targets=Y, weight=jnp.asarray(WEIGHT))
    monkeypatch.setattr(gp, "MOST", int(rows.sum()))
    part = FITTED(targets=Y, weight=jnp.asarray(WEIGHT))
    np.testing.assert_allclose(part.length, kept.length)
    np.testing.assert_allclose(predicted(part).quality, predicted(kept).quality, atol=1e-4)
    monkeypatch.setattr(gp, "MOST", 20)
    fewer = FITTED(targets=Y, weight=jnp.asarray(WEIGHT))
    assert np.abs(predicted(fewer).quality - predicted(kept).quality).max() > 1e-3


def test_cost_is_the_minimum_of_the_huber_objective(monkeypatch):
    """At it, the dual of every cell is its residual, cut at HUBER_DELTA."""
    monkeypatch.setattr(gp, "HUBER_ITERATIONS", 100)
    cost = Y.cost.copy()
    cost[::5] *= 20.0
    model = FITTED(targets=Outcomes(Y.quality, cost), weight=jnp.asarray(WEIGHT))
    at_rows = jax.vmap(lambda x: gp.predict(model, x, LEVEL).cost[0])(jnp.asarray(X))
    dual = WEIGHT * np.clip(cost - at_rows, -HUBER_DELTA, HUBER_DELTA)
    assert (np.abs(dual) == HUBER_DELTA).sum() > 3
    np.testing.assert_allclose(model.weights.cost[0], SHARED * dual.sum(1, keepdims=True) + OWN * dual, atol=1e-4)


def test_it_learns_a_smooth_contrast_that_no_line_has():
    """Model 0 answers where the first two coordinates have one sign, model 1 elsewhere; one answer a prompt."""
    x = RNG.normal(size=(400, 3)).astype(np.float32)
    first = 0.5 + 0.4 * np.tanh(2 * x[:, 0] * x[:, 1])
    truth = np.stack([first, 1 - first], 1)
    seen = np.eye(2, dtype=bool)[RNG.integers(0, 2, 400)]
    quality = (RNG.random((400, 2)) < truth).astype(np.float32)
    spec = NuisanceSpec(("ridge", "gp"), folds=3, penalties=(30.0,), processes=((0.5, 0.3, 0.3),))
    outcomes = Outcomes(jnp.asarray(quality), jnp.ones((400, 2)))
    _, model = nuisance.fit_outcomes(jax.random.key(0), jnp.asarray(x), outcomes, jnp.asarray(seen), spec)
    process, line = model.out_of_fold.quality - truth[None]
    assert np.mean(process**2) < 0.5 * np.mean(line**2)
    assert model.weights.quality[0] > 0.9
