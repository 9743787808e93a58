import dataclasses
from functools import partial
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from jaxroute import nuisance, projection
from jaxroute.nuisance import calibration, combine, crossfit, folding, propensity, ridge, targets
from jaxroute.types import Logs, NuisanceSpec, Outcomes

N, K, D = 240, 3, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
LOGIT = X @ RNG.normal(size=(D, K))
PROPENSITY = (np.exp(LOGIT) / np.exp(LOGIT).sum(1, keepdims=True)).astype(np.float32)
ACTION = np.array([RNG.choice(K, p=p / p.sum()) for p in PROPENSITY.astype(np.float64)], np.int32)
QUALITY = (1 / (1 + np.exp(-X @ RNG.normal(size=(D, K)) - np.linspace(-1, 1, K)))).astype(np.float32)
COST = (np.array([0.01, 0.1, 1.0]) * np.exp(0.5 * X[:, :1] + 0.2 * RNG.normal(size=(N, K)))).astype(np.float32)
ROWS = np.arange(N)
LOGS = Logs(X, ACTION, QUALITY[ROWS, ACTION], COST[ROWS, ACTION], PROPENSITY[ROWS, ACTION], np.ones((N, K), bool))
FULL = Outcomes(jnp.asarray(QUALITY), jnp.asarray(COST))
SEEN = jnp.ones((N, K), bool)
ONES = SEEN.astype(jnp.float32)
SPEC = NuisanceSpec(folds=3, hidden=(8,), epochs=6, snapshots=2, penalties=(3.0, 30.0))
RIDGE = dataclasses.replace(SPEC, outcome_models=("ridge",), penalties=(10.0,), combine="select")


def each_fold(fits, row, spec):
    """Every fold's candidates [F, C, K] for one row."""
    predict = partial(crossfit.predict_outcomes, features=jnp.asarray(row), spec=spec)
    return jax.vmap(predict, (crossfit.fold_axes(fits),))(fits)


def test_ridge_is_the_closed_form():
    """Against scikit-learn, on targets centred as ours and with the intercept as a penalised column."""
    level = targets.levels(FULL, SEEN.astype(jnp.float32))
    target = targets.relative(FULL, level)
    coefficients = ridge.fit(jnp.asarray(X), target, ONES, level, (7.0,))
    # A column of size s penalised by 7 is a column of ones penalised by 7 / s^2 = PRIOR_ROWS.
    columns = np.c_[X, np.full(N, np.sqrt(7.0 / targets.PRIOR_ROWS))]
    got = jax.vmap(partial(ridge.predict, coefficients, level=level))(jnp.asarray(X)).quality[:, 0]
    for k in range(K):
        want = Ridge(7.0, fit_intercept=False).fit(columns, QUALITY[:, k] - level.quality[k])
        np.testing.assert_allclose(got[:, k], level.quality[k] + want.predict(columns), atol=2e-5)


def test_cost_ridge_minimises_the_huber_objective():
    cost = COST.copy()
    cost[::15] *= 12.0  # outliers, so that Huber and squared loss differ
    data = Outcomes(FULL.quality, jnp.asarray(cost))
    weight = SEEN.astype(jnp.float32)
    level = targets.levels(data, weight)
    target = targets.relative(data, level)
    b = np.asarray(ridge.fit(jnp.asarray(X), target, weight, level, (5.0,)).cost[0], np.float64)
    x = np.c_[X, np.ones(N)].astype(np.float64)
    penalty = np.r_[np.full(D, 5.0), targets.PRIOR_ROWS]

    def objective(b, k):
        r = np.abs(np.asarray(target.cost)[:, k] - 1.0 - x @ b)
        d = targets.HUBER_DELTA
        return np.where(r < d, r**2, 2 * d * r - d**2).sum() + (penalty * b**2).sum()

    for k in range(K):
        best = minimize(objective, np.zeros(D + 1), args=(k,)).fun
        squared = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ (np.asarray(target.cost)[:, k] - 1))
        assert objective(b[k], k) <= best + 0.02 * (objective(squared, k) - best) + 1e-3


@pytest.mark.parametrize("name", ["mean", "ridge", "gp", "trees"])
def test_answers_that_nobody_rated_say_what_a_model_costs(name):
    """Predicted costs average to those of all answers, where ratings depend on the prompt and where there are none."""
    answered = np.random.default_rng(5).random((N, K)) < 0.5
    rated = answered & (X[:, :1] > 0)  # costs rise with this feature
    rated[:, 1] = False
    data = Outcomes(jnp.where(rated, FULL.quality, jnp.nan), jnp.where(answered, FULL.cost, jnp.nan))
    predicted, _ = nuisance.fit_outcomes(
        jax.random.key(0), jnp.asarray(X), data, answered, dataclasses.replace(SPEC, outcome_models=(name,))
    )
    expected = (np.asarray(predicted.cost) * answered).sum(0) / answered.sum(0)
    np.testing.assert_allclose(expected, (COST * answered).sum(0) / answered.sum(0), rtol=0.05)


def test_levels_of_cost_are_of_every_answer_and_those_of_quality_of_the_rated():
    rated, answered = ((np.random.default_rng(6).random((N, K)) < share).astype(np.float32) for share in (0.3, 0.6))
    level = targets.levels(FULL, jnp.asarray(rated), jnp.asarray(answered))
    np.testing.assert_allclose(level.cost, (COST * answered).sum(0) / answered.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(level.quality, targets.levels(FULL, jnp.asarray(rated)).quality)


def test_logistic_is_penalised_maximum_likelihood():
    weight = (ROWS % 3 != 0).astype(np.float32)
    coefficients = propensity.fit_logistic(X, ACTION, jnp.ones((N, K), bool), weight[None], (2.0,))[0, 0]
    logits = jnp.asarray(np.c_[X, np.ones(N, np.float32)]) @ coefficients.T
    kept = weight > 0
    want = LogisticRegression(C=1 / 2.0, max_iter=5000, tol=1e-9).fit(X[kept], ACTION[kept])
    # scikit-learn leaves the intercept free, ours has a penalty of 1: equal to within that.
    np.testing.assert_allclose(jax.nn.softmax(logits), want.predict_proba(X), atol=0.01)


def test_logistic_never_gives_mass_to_unavailable_models():
    available = jnp.asarray(RNG.random((N, K)) > 0.3) | jax.nn.one_hot(ACTION, K, dtype=bool)
    coefficients = propensity.fit_logistic(X, ACTION, available, jnp.ones((1, N)), (2.0,))
    assert np.isfinite(coefficients).all()
    logs = LOGS._replace(available=available, propensity=np.full(N, np.nan, np.float32))
    fitted, _ = nuisance.fit(jax.random.key(0), logs, RIDGE)
    assert (np.asarray(fitted.propensity)[~np.asarray(available)] == 0).all()
    np.testing.assert_allclose(fitted.propensity.sum(1), 1, atol=1e-5)


def test_temperature_is_recovered():
    logits = np.log(PROPENSITY)
    actions = np.array([RNG.choice(K, p=p / p.sum()) for p in np.tile(PROPENSITY.astype(float), (20, 1))])
    wide, ones = np.tile(logits, (20, 1)), jnp.ones((20 * N, K), bool)
    for sharpness in (0.5, 2.0):
        found = calibration.fit_temperature(jnp.asarray(sharpness * wide), jnp.asarray(actions), ones)
        np.testing.assert_allclose(found, sharpness, rtol=0.1)


def test_a_row_is_never_predicted_by_a_fit_that_saw_it():
    def predicted(quality):
        logs = LOGS._replace(quality=quality)
        return np.asarray(nuisance.fit(jax.random.key(0), logs, RIDGE)[0].outcomes.quality)

    before = predicted(LOGS.quality)
    changed = LOGS.quality.copy()
    changed[7] = 1.0 - changed[7]
    after = predicted(changed)
    np.testing.assert_array_equal(before[7], after[7])
    assert np.abs(before - after).max() > 1e-5  # other folds did see it


def test_groups_share_a_fold_and_folds_are_balanced():
    group = RNG.integers(0, 40, N)
    fold = folding.assign_folds(jax.random.key(0), N, 4, group)
    assert all(len(set(fold[group == g])) == 1 for g in set(group))
    alone = folding.assign_folds(jax.random.key(0), N, 4)
    np.testing.assert_array_equal(np.bincount(alone), N // 4)


def test_out_of_fold_equals_fitting_each_fold_by_hand():
    fold = folding.assign_folds(jax.random.key(1), N, 3)
    _, together = crossfit.fit_outcomes(jax.random.key(2), jnp.asarray(X), FULL, SEEN, fold, RIDGE)
    z = projection.project(projection.fit(jnp.asarray(X), jnp.ones(N), RIDGE.dimensions), jnp.asarray(X))
    for f in range(3):
        keep = fold != f
        part = Outcomes(*(y[keep] for y in FULL))
        level = targets.levels(part, SEEN[keep].astype(jnp.float32))
        target = targets.relative(part, level)
        b = ridge.fit(z[keep], target, ONES[keep], level, RIDGE.penalties)
        alone = jax.vmap(partial(ridge.predict, b, level=level))(z[~keep]).quality[:, 0]
        np.testing.assert_allclose(together.quality[0][~keep], np.clip(alone, 0, 1), atol=2e-4)


def test_every_row_is_predicted_by_its_own_fold_however_uneven():
    group = np.where(np.arange(N) < N // 3, 0, np.arange(N))  # one group of a third of the rows
    fold = folding.assign_folds(jax.random.key(3), N, 3, group)
    own = folding.rows_of_folds(fold, 3)
    np.testing.assert_array_equal(np.sort(own[own < N]), np.arange(N))
    assert own.shape[1] - np.bincount(fold).max() < max(1, N // 24)
    spec = dataclasses.replace(SPEC, outcome_models=("ridge", "knn"), folds=3, neighbours=(20,))
    fits, candidates = crossfit.fit_outcomes(jax.random.key(2), jnp.asarray(X), FULL, SEEN, fold, spec)
    for row in (0, 1, N // 3, N - 1):
        want = jax.tree.map(itemgetter(fold[row]), each_fold(fits, X[row], spec))
        got = jax.tree.map(lambda y, row=row: y[:, row], candidates)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), got, want)


def test_reweighing_to_one_learner_is_fitting_it_alone(monkeypatch):
    """Named out of alphabetical order: the candidate axis is by name, whatever order the spec has.

    Every learner draws with a key of its own, which is the same alone and among others.
    """
    drawn, fit_learner = set(), crossfit._fit_learner

    def recorded(key, *rest):
        drawn.add((rest[-2], tuple(jax.random.key_data(key).tolist())))
        return fit_learner(key, *rest)

    monkeypatch.setattr(crossfit, "_fit_learner", recorded)
    together = dataclasses.replace(SPEC, outcome_models=("ridge", "mean", "knn"), neighbours=(20,))
    fitted = nuisance.fit_outcomes(jax.random.key(0), jnp.asarray(X), FULL, SEEN, together)[1]
    for name in together.outcome_models:
        alone = dataclasses.replace(together, outcome_models=(name,))
        want, _ = nuisance.fit_outcomes(jax.random.key(0), jnp.asarray(X), FULL, SEEN, alone)
        got = nuisance.out_of_fold(nuisance.reweigh(fitted, FULL, SEEN, alone))
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), got, want)
    assert {name for name, _ in drawn} == set(together.outcome_models)
    assert len(drawn) == len({key for _, key in drawn}) == 3


def test_predicted_costs_keep_each_models_level_and_unit():
    heavy = FULL._replace(cost=FULL.cost * jnp.exp(1.2 * RNG.normal(size=(N, K)).astype(np.float32)))
    _, model = nuisance.fit_outcomes(jax.random.key(0), jnp.asarray(X), heavy, SEEN, SPEC)
    predicted = nuisance.predict_outcomes(model, jnp.asarray(X)).cost
    np.testing.assert_allclose(predicted.mean(0) / heavy.cost.mean(0), 1.0, atol=0.12)
    assert (np.asarray(predicted) > 0).all()


@pytest.mark.modes
def test_stack_is_the_best_convex_combination():
    target = RNG.random((N, K)).astype(np.float32)
    candidates = np.stack([target + RNG.normal(0, s, (N, K)) for s in (0.3, 0.4, 0.5)] + [np.ones((N, K))])
    candidates = jnp.asarray(candidates, jnp.float32)
    weight = jnp.asarray(RNG.random((N, K)), jnp.float32)
    w = combine.stack(candidates, jnp.asarray(target), weight)
    exact = [np.asarray(a, np.float64) for a in (weight, candidates)]
    loss = lambda w: (exact[0] * (np.tensordot(w, exact[1], 1) - target) ** 2).sum() / exact[0].sum()
    best = minimize(
        loss, np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints={"type": "eq", "fun": lambda w: w.sum() - 1}
    )
    np.testing.assert_allclose(np.asarray(w).sum(), 1, atol=1e-5)
    assert np.asarray(w).min() >= 0
    np.testing.assert_allclose(w, best.x, atol=0.01)
    single = combine.select(candidates, jnp.asarray(target), weight)
    np.testing.assert_array_equal(single, [1, 0, 0, 0])
    assert loss(np.asarray(w)) < loss(np.asarray(single))


@pytest.mark.modes
def test_known_propensities_are_used_and_estimated_ones_on_request():
    known, _ = nuisance.fit(jax.random.key(0), LOGS, RIDGE)
    np.testing.assert_array_equal(known.propensity[ROWS, ACTION], LOGS.propensity)
    half = LOGS._replace(propensity=np.where(ROWS % 2, LOGS.propensity, np.nan).astype(np.float32))
    mixed, _ = nuisance.fit(jax.random.key(0), half, RIDGE)
    np.testing.assert_array_equal(mixed.propensity[ROWS, ACTION][1::2], LOGS.propensity[1::2])
    estimated, _ = nuisance.fit(jax.random.key(0), LOGS, dataclasses.replace(RIDGE, propensity="estimated"))
    np.testing.assert_array_equal(mixed.propensity[ROWS, ACTION][::2], estimated.propensity[ROWS, ACTION][::2])
    np.testing.assert_allclose(estimated.propensity.sum(1), 1, atol=1e-5)
    assert np.abs(estimated.propensity - PROPENSITY).mean() < 0.08
    assert (estimated.propensity[ROWS, ACTION] != LOGS.propensity).all()


@pytest.mark.modes
def test_missing_quality_is_not_zero():
    missing = ROWS % 4 == 0
    logs = LOGS._replace(quality=np.where(missing, np.nan, LOGS.quality).astype(np.float32))
    fitted, _ = nuisance.fit(jax.random.key(0), logs, RIDGE)
    assert np.isfinite(fitted.outcomes.quality).all()
    np.testing.assert_allclose(fitted.outcomes.quality.mean(0), QUALITY.mean(0), atol=0.08)
    assert fitted.propensity.shape == (N, K)


def test_a_model_without_rows_gets_the_pools_level():
    action = np.where(ACTION == 2, 0, ACTION).astype(np.int32)
    logs = LOGS._replace(action=action, quality=QUALITY[ROWS, action], cost=COST[ROWS, action])
    fitted, model = nuisance.fit(jax.random.key(0), logs, SPEC)
    assert np.isfinite(fitted.outcomes.quality).all()
    assert np.isfinite(fitted.outcomes.cost).all()
    never = nuisance.predict(model, jnp.asarray(X)).outcomes.quality[:, 2]
    np.testing.assert_allclose(never.mean(), logs.quality.mean(), atol=0.15)


@pytest.mark.modes
def test_predict_serves_new_rows_and_equals_the_mean_over_folds():
    _, model = nuisance.fit(jax.random.key(0), LOGS, RIDGE)
    new = nuisance.predict(model, jnp.asarray(X[:4]))
    each = each_fold(model.outcomes.folds, X[0], RIDGE)
    np.testing.assert_allclose(new.outcomes.quality[0], np.mean(each.quality[:, 0], 0), rtol=1e-5)
    np.testing.assert_allclose(new.propensity.sum(1), 1, atol=1e-5)


@pytest.mark.modes
def test_every_learner_beats_the_mean_and_full_feedback_beats_the_log():
    error = {}
    for name in ("ridge", "mlp"):
        spec = dataclasses.replace(SPEC, outcome_models=(name,), epochs=60, learning_rate=1e-2)
        fitted, _ = nuisance.fit(jax.random.key(0), LOGS, spec)
        full, _ = nuisance.fit_outcomes(jax.random.key(0), jnp.asarray(X), FULL, SEEN, spec)
        error[name] = float(np.mean((fitted.outcomes.quality - QUALITY) ** 2))
        assert np.mean((full.quality - QUALITY) ** 2) < error[name] < 0.7 * QUALITY.var(0).mean()


@pytest.mark.parametrize(("field", "value"), [("outcome_models", ("rigde",)), ("propensity_models", ("x",))])
def test_unknown_learners_are_refused(field, value):
    with pytest.raises(ValueError, match=value[0]):
        nuisance.fit(jax.random.key(0), LOGS, dataclasses.replace(RIDGE, **{field: value}))


def test_too_few_rows_are_refused():
    few = jax.tree.map(lambda x: x[:5], LOGS)
    with pytest.raises(ValueError, match="5 log rows"):
        nuisance.fit(jax.random.key(0), few, RIDGE)


@pytest.mark.parametrize(
    ("fit", "penalties", "inverses"), [(ridge.fit, (1.0, 10.0), 1), (ridge.fit_hierarchical, ((1.0, 10.0),), 2)]
)
def test_ridge_has_one_chain_of_triangular_solves(fit, penalties, inverses):
    """Independent batched solves in one program deadlock jaxlib's CPU thread pool on two cores."""
    level = targets.levels(FULL, ONES)
    target = targets.relative(FULL, level)
    program = str(jax.make_jaxpr(lambda x: fit(x, target, ONES, level, penalties))(jnp.asarray(X)))
    assert program.count("triangular_solve[") == 2 * inverses  # each inverse needs the one before it
