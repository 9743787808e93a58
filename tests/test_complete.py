"""The Gaussian process where every observed row has all its cells, against the solver for any pattern."""

import jax
import numpy as np
import pytest

from jaxroute.nuisance import complete, gp
from jaxroute.nuisance.folding import rows_of_folds
from jaxroute.nuisance.targets import Levels
from jaxroute.types import Outcomes

N, K, D, F = 41, 3, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
FOLD = RNG.integers(0, F, N)
OWN = rows_of_folds(FOLD, F)
TIMES = RNG.uniform(0.5, 2.0, N).astype(np.float32)
SETTINGS = (0.7, 2.0, 0.5), (1.5, 0.0, 1.0)
SEEN = np.ones((N, K), bool)
SEEN[5] = False  # a row without answers


def given(seen, scale=1.0):
    """Arguments of a fit but its plan; costs have tails to winsorise."""
    y = Outcomes(RNG.random((F, N, K)), scale * RNG.exponential(size=(F, N, K)) ** 3)
    kept = (np.arange(F)[:, None] != FOLD)[..., None] & seen
    level = Levels(np.full((F, K), 0.5), np.ones((F, K)))
    return jax.tree.map(np.float32, (X, y, kept * TIMES[:, None], level))


@pytest.mark.modes
def test_it_is_the_process_of_any_pattern(monkeypatch):
    monkeypatch.setattr(gp, "TOLERANCE", 1e-6)
    arguments, plan = given(SEEN), complete.plan(SEEN, OWN)
    assert isinstance(plan, complete.Plan)
    assert all(not set(rows) & set(own) - {N} for rows, own in zip(plan.rows, OWN, strict=True))
    got = jax.jit(lambda plan: complete.fit(*arguments, SETTINGS, plan))(plan)
    want = jax.jit(lambda plan: gp.fit(*arguments, SETTINGS, plan))(plan.other)
    np.testing.assert_allclose(got.length, want.length, rtol=1e-6)
    assert np.abs(want.weights.cost).max() > 0.3
    for ours, theirs in zip(got.weights, want.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max())


def test_a_row_with_some_cells_or_one_model_is_left_to_the_solver():
    some = SEEN.copy()
    some[0, 0] = False
    assert isinstance(complete.plan(some, OWN), gp.Plan)
    assert isinstance(complete.plan(SEEN[:, :1], OWN), gp.Plan)


@pytest.mark.parametrize("rows", [N, N - 1])
def test_where_nothing_is_rated_the_levels_are_left(monkeypatch, rows):
    """A fit of no row at all ended in a ZeroDivisionError."""
    monkeypatch.setattr(gp, "ROWS", rows)
    none = np.zeros_like(SEEN)
    found = complete.fit(*given(none), SETTINGS, complete.plan(none, OWN))
    assert all(np.isfinite(w).all() and not np.any(w) for w in found.weights)


@pytest.mark.modes
def test_many_rows_go_through_the_same_centres(monkeypatch):
    for name, value in (("ROWS", N - 1), ("CENTRES", 12), ("CHUNK", 8), ("TOLERANCE", 1e-6)):
        monkeypatch.setattr(gp, name, value)
    arguments, plan = given(SEEN), complete.plan(SEEN, OWN)
    assert isinstance(plan, complete.Plan)
    got, want = complete.fit(*arguments, SETTINGS, plan), gp.fit(*arguments, SETTINGS, plan.other)
    np.testing.assert_array_equal(got.centres, want.centres)
    assert np.abs(want.weights.cost).max() > 0.3

    def predicted(process, x):
        of_fold = jax.vmap(gp.predict, (gp.Process(None, None, 0), None, 0))
        return jax.vmap(of_fold, (None, 0, None))(process, x, arguments[3])

    for ours, theirs in zip(predicted(got, X + 0.1), predicted(want, X + 0.1), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_more_rows_than_the_process_takes_are_left_to_the_solver(monkeypatch):
    monkeypatch.setattr(gp, "MOST", N - 1)
    assert isinstance(complete.plan(SEEN, OWN), gp.Plan)


def test_a_variance_that_rounds_the_noise_away_is_left_to_the_solver():
    stiff = ((1.0, 1e6, 1.0),)
    arguments, plan = given(SEEN), complete.plan(SEEN, OWN)
    got, want = (jax.jit(lambda plan, fit=fit: fit(*arguments, stiff, plan)) for fit in (complete.fit, gp.fit))
    np.testing.assert_array_equal(got(plan).weights.quality, want(plan.other).weights.quality)
