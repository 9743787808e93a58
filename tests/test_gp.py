"""The Gaussian process against the dense algebra of its definition, in NumPy."""

import jax
import numpy as np
import pytest

from jaxroute import nuisance
from jaxroute.nuisance import gp
from jaxroute.nuisance.targets import HUBER_DELTA, Levels
from jaxroute.types import NuisanceSpec, Outcomes

N, K, D, F = 40, 3, 4, 2
RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(N, D)).astype(np.float32), RNG.normal(size=(7, D)).astype(np.float32)
Y = Outcomes(RNG.random((N, K)).astype(np.float32), RNG.exponential(size=(N, K)).astype(np.float32))
SEVERAL = RNG.random((N, K)) < 0.4  # rows with no, one and several cells
SEVERAL[:, 2] &= np.arange(N) < 1  # a model with one row at most
ONE = np.eye(K, dtype=bool)[RNG.integers(0, K, N)] & (np.arange(N) % 7 > 0)[:, None]  # a log; rows without feedback
PATTERNS = pytest.mark.parametrize("seen", [SEVERAL, ONE], ids=["several cells a row", "one cell a row"])
FOLD = RNG.integers(0, F, N)
LEVEL = Levels(np.array([[0.3, 0.5, 0.6], [0.4, 0.5, 0.5]], np.float32), np.ones((F, K), np.float32))
LENGTH, SHARED, OWN = SETTING = (0.7, 2.0, 0.5)


@pytest.fixture(autouse=True)
def _tight(monkeypatch):
    monkeypatch.setattr(gp, "TOLERANCE", 1e-6)


def training(seen):
    """Cells that each fold is fitted to, [F, N, K]."""
    return seen[None] & (np.arange(F)[:, None] != FOLD)[..., None]


def fitted(seen, targets=Y):
    both = jax.tree.map(lambda y: np.stack([y] * F), targets)
    # Traced anew at every call: the module's constants may differ.
    fit = jax.jit(lambda x, plan, *given: gp.fit(x, *given, LEVEL, (SETTING,), plan))
    return fit(X, gp.plan(seen), both, training(seen).astype(np.float32))


def predicted(model, x=NEW):
    """Quality and relative cost of every fold, [F, n, K]."""
    of_rows = jax.vmap(gp.predict, (None, 0, None))
    of_folds = jax.jit(jax.vmap(of_rows, (gp.Process(None, None, 0), None, 0)))
    return jax.tree.map(lambda y: np.asarray(y)[:, :, 0], of_folds(model, x, LEVEL))


def rbf(x, z, length):
    return np.exp(-((x[:, None].astype(np.float64) - z[None]) ** 2).sum(-1) / (2 * length**2))


def median_distance(seen):
    rows = X[seen.any(1)]
    return np.median([np.linalg.norm(a - b) for i, a in enumerate(rows) for b in rows[:i]])


def dense(f, seen, smooth):
    """Posterior mean of quality [n, K] from ``smooth(x, z)``: m + k* (K + I)^-1 (y - m) over the fold's cells."""
    row, model = np.nonzero(training(seen)[f])
    level = LEVEL.quality[f].astype(np.float64)

    def between(x, of, z, to):
        return (SHARED + OWN * (of[:, None] == to[None])) * smooth(x, z)

    prior = between(X[row], model, X[row], model)
    dual = np.linalg.solve(prior + np.eye(len(row)), Y.quality[row, model] - level[model])
    return np.stack([level[k] + between(NEW, np.full(len(NEW), k), X[row], model) @ dual for k in range(K)], 1)


@pytest.mark.modes
@PATTERNS
def test_posterior_mean_is_the_dense_algebra_fold_by_fold(seen):
    model = fitted(seen)
    length = LENGTH * median_distance(seen)
    np.testing.assert_allclose(model.length, [length], rtol=1e-5)
    for f in range(F):
        want = dense(f, seen, lambda x, z: rbf(x, z, length))
        np.testing.assert_allclose(predicted(model).quality[f], want, atol=2e-5)


@PATTERNS
def test_unseen_cells_may_hold_anything_finite(seen):
    other = jax.tree.map(lambda y: np.where(seen, y, -5.0).astype(np.float32), Y)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *(predicted(fitted(seen, y)) for y in (Y, other))
    )


@pytest.mark.modes
@PATTERNS
def test_many_rows_go_through_their_centres(monkeypatch, seen):
    """Subset of regressors: the dense algebra with K_nm (K_mm + jitter)^-1 K_mn for the kernel."""
    monkeypatch.setattr(gp, "ROWS", N - 1)
    monkeypatch.setattr(gp, "CENTRES", 12)
    monkeypatch.setattr(gp, "CHUNK", 8)
    model = fitted(seen)
    centres, length = np.asarray(model.centres), float(model.length[0])
    assert centres.shape == (12, D)
    assert all((c == X[seen.any(1)]).all(1).any() for c in centres)
    inverse = np.linalg.inv(rbf(centres, centres, length) + gp.JITTER * np.eye(12))
    for f in range(F):
        want = dense(f, seen, lambda x, z: rbf(x, centres, length) @ inverse @ rbf(centres, z, length))
        np.testing.assert_allclose(predicted(model).quality[f], want, atol=1e-4)


def test_a_part_of_very_many_rows_is_used(monkeypatch):
    """Those with most answers first."""
    monkeypatch.setattr(gp, "ROWS", N // 2)
    monkeypatch.setattr(gp, "MOST", 20)
    monkeypatch.setattr(gp, "CHUNK", 8)
    cells = gp.plan(SEVERAL).cells
    cells = cells[cells < N * K]
    rows = np.unique(cells // K)
    assert len(rows) == 20
    np.testing.assert_array_equal(np.sort(cells), np.flatnonzero(SEVERAL & np.isin(np.arange(N), rows)[:, None]))
    left = SEVERAL.sum(1)[np.setdiff1d(np.arange(N), rows)]
    assert SEVERAL.sum(1)[rows].min() >= left.max()


def test_every_chunk_of_cells_is_of_one_model(monkeypatch):
    """As many chunks for every pattern of so many cells, so that one program serves all of them."""
    monkeypatch.setattr(gp, "ROWS", N // 2)
    monkeypatch.setattr(gp, "CHUNK", 8)
    plans = [gp.plan(np.eye(K, dtype=bool)[RNG.integers(0, K, N)]) for _ in range(3)]
    assert len({plan.cells.shape for plan in plans}) == 1
    for chunk in plans[0].cells.reshape(-1, 8):
        cells = chunk[chunk < N * K]
        assert (cells % K == chunk[0] % K).all()


def test_cost_is_the_minimum_of_the_huber_objective(monkeypatch):
    """At it, the dual of every cell is its residual, cut at HUBER_DELTA."""
    monkeypatch.setattr(gp, "HUBER_ITERATIONS", 100)
    cost = Y.cost.copy()
    cost[::5] *= 20.0
    model = fitted(SEVERAL, Outcomes(Y.quality, cost))
    dual = training(SEVERAL) * np.clip(cost - predicted(model, X).cost, -HUBER_DELTA, HUBER_DELTA)
    assert (np.abs(dual) == HUBER_DELTA).sum() > 3
    want = SHARED * dual.sum(-1, keepdims=True) + OWN * dual
    np.testing.assert_allclose(model.weights.cost[:, 0], want, atol=1e-4)


def test_it_learns_a_smooth_contrast_that_no_line_has():
    """Model 0 answers where the first two coordinates have one sign, model 1 elsewhere; one answer a prompt."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    first = 0.5 + 0.4 * np.tanh(2 * x[:, 0] * x[:, 1])
    truth = np.stack([first, 1 - first], 1)
    seen = np.eye(2, dtype=bool)[rng.integers(0, 2, 400)]
    quality = (rng.random((400, 2)) < truth).astype(np.float32)
    spec = NuisanceSpec(("ridge", "gp"), folds=3, penalties=(30.0,), processes=((0.5, 0.3, 0.3),))
    outcomes = Outcomes(quality, np.ones((400, 2), np.float32))
    _, model = nuisance.fit_outcomes(jax.random.key(0), x, outcomes, seen, spec)
    process, line = np.asarray(model.out_of_fold.quality) - truth
    assert np.mean(process**2) < 0.5 * np.mean(line**2)
    assert model.weights.quality[0] > 0.9
