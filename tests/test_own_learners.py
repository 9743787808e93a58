"""Outcome learners of one's own: cross-fitted like ours, scikit-learn's as they are, plain errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jaxroute import nuisance, projection
from jaxroute.nuisance import learners
from jaxroute.types import InputError, Logs, NuisanceSpec

N, K, D = 180, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
ACTION = RNG.integers(0, K, N).astype(np.int32)
QUALITY = (1 / (1 + np.exp(-X @ RNG.normal(size=(D, K))))).astype(np.float32)
COST = np.array([0.01, 0.1, 1.0], np.float32) * np.exp(0.3 * X[:, :1])
ROWS = np.arange(N)
LOGS = Logs(X, ACTION, QUALITY[ROWS, ACTION], COST[ROWS, ACTION], np.full(N, 1 / K, np.float32), np.ones((N, K), bool))
SPEC = NuisanceSpec(("mean",), folds=3)


class Ours:
    """No library's: least squares with an intercept."""

    def fit(self, features, y):
        self.b = np.linalg.lstsq(np.c_[features, np.ones(len(y))], y, rcond=None)[0]

    def predict(self, features):
        return np.c_[features, np.ones(len(features))] @ self.b


@dataclasses.dataclass
class Unhashable:
    level: float = 0.5

    def fit(self, features, y):
        self.level = float(np.mean(y))

    def predict(self, features):
        return np.full((len(features), 1), self.level)


def fit(*outcome_models, **changes):
    spec = dataclasses.replace(SPEC, outcome_models=outcome_models, **changes)
    return nuisance.fit(jax.random.key(0), LOGS, spec)


@pytest.mark.slow
@pytest.mark.parametrize("regressor", [Ridge(1.0), Ours(), make_pipeline(StandardScaler(), Ridge(1.0))])
def test_every_row_is_predicted_by_a_copy_that_never_saw_it(regressor):
    """Fold by fold and model by model, written out: projected features in, quality cut to [0, 1] out."""
    nuisances, model = fit(regressor)
    fold = np.asarray(model.outcomes.fold)
    expected = np.zeros((N, K))
    x = np.asarray(projection.project(model.outcomes.folds.projection, jnp.asarray(X)), float)
    for f in range(3):
        for k in range(K):
            seen = (fold != f) & (k == ACTION)
            copied = clone(regressor) if hasattr(regressor, "get_params") else Ours()
            copied.fit(x[seen], QUALITY[seen, k].astype(float))
            expected[fold == f, k] = np.clip(copied.predict(x[fold == f]), 0, 1)
    np.testing.assert_allclose(nuisances.outcomes.quality, expected, atol=1e-5)
    assert not hasattr(regressor, "coef_")
    assert not hasattr(regressor, "b")


def test_it_joins_the_stack_and_predicts_new_prompts():
    nuisances, model = fit("mean", Ours(), KNeighborsRegressor(5), KNeighborsRegressor(9))
    assert learners.candidate_names(model.outcomes.spec) == [
        "mean",
        "Ours",
        "KNeighborsRegressor",
        "KNeighborsRegressor_2",
    ]
    np.testing.assert_allclose(model.outcomes.weights.quality.sum(), 1, atol=1e-5)
    assert model.outcomes.weights.quality[1] > 0.5
    new = nuisance.predict(model, jnp.asarray(X[:20]))
    assert np.abs(new.outcomes.quality - QUALITY[:20]).mean() < 0.1
    assert np.all(np.asarray(nuisances.outcomes.cost) > 0)


def test_reweighing_finds_the_object_itself():
    near, far = KNeighborsRegressor(3), KNeighborsRegressor(30)
    _, model = fit("mean", near, far)
    cells = nuisance.as_cells(LOGS)
    for position, one in ((1, near), (2, far)):
        part = nuisance.reweigh(model.outcomes, *cells, dataclasses.replace(SPEC, outcome_models=(one,)))
        np.testing.assert_array_equal(part.weights.quality, np.eye(3)[position])


def test_few_rows_get_the_mean_and_a_record_without_hash_will_do():
    rare = np.where(np.arange(N) < 8, 2, np.arange(N) % 2).astype(np.int32)  # eight answers of model 2
    logs = LOGS._replace(action=rare, quality=QUALITY[ROWS, rare], cost=COST[ROWS, rare])
    spec = dataclasses.replace(SPEC, outcome_models=(Unhashable(), Ours()), combine="select")
    _, model = nuisance.fit(jax.random.key(0), logs, spec)
    assert np.isfinite(np.asarray(model.outcomes.out_of_fold.quality)).all()
    fold = np.asarray(model.outcomes.fold)
    for f in range(3):
        seen = (fold != f) & (rare == 2)
        constant = np.asarray(model.outcomes.out_of_fold.quality)[-1][fold == f, 2]
        np.testing.assert_allclose(constant, QUALITY[seen, 2].mean(), atol=1e-5)


class Breaks(Ours):
    def fit(self, features, y):
        raise RuntimeError("out of luck\nand more")


class Long(Ours):
    def predict(self, features):
        return np.zeros(len(features) + 1)


class Wild(Ours):
    def predict(self, features):
        return np.full(len(features), np.nan)


class Words(Ours):
    def predict(self, features):
        return np.full(len(features), "0.5")


@pytest.mark.parametrize(
    ("learner", "words"),
    [
        (Ridge, r"Ridge is a class: give an object, Ridge\(...\)"),
        (object(), "has no method fit"),
        (Breaks(), r"outcome model Breaks: fit on \d+ rows of model 0 fails: RuntimeError: out of luck"),
        (Long(), r"outcome model Long: predict gives shape \(\d+,\) for \d+ rows"),
        (Wild(), "outcome model Wild: predict is not finite, row 0 of model 0"),
        (Words(), "outcome model Words: predict gives str[0-9]+ for model 0; give numbers"),
        (KNeighborsRegressor(100), "outcome model KNeighborsRegressor: predict for model 0 fails: ValueError"),
        ("rigde", "unknown outcome model 'rigde': choose from mean, ridge"),
    ],
)
def test_a_wrong_learner_is_one_line(learner, words):
    with pytest.raises(InputError, match=words) as caught:
        fit("mean", learner)
    assert "\n" not in str(caught.value)
