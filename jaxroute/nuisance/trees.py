"""Gradient-boosted trees of scikit-learn or XGBoost, pooled over models; they run on the host.

One booster predicts all models' outcomes from the leading principal components and the model as a categorical feature,
so that models with few rows share splits with the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxroute._lazy import extra
from jaxroute.nuisance.targets import COST_CAP

COMPONENTS = 32
ITERATIONS = 150
SETTINGS: dict[str, Any] = {"learning_rate": 0.06, "max_leaf_nodes": 15, "min_samples_leaf": 20}


def _booster(library: str, task: str, categorical: list[int], seed: int) -> Any:
    if library == "trees":
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
        settings = SETTINGS | {"max_iter": ITERATIONS if task == "regression" else 60}
        return kind(categorical_features=categorical or None, l2_regularization=5.0, random_state=seed, **settings)
    xgboost = extra("xgboost", "xgboost")
    kind = xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier
    return kind(n_estimators=ITERATIONS, max_depth=4, learning_rate=0.06, reg_lambda=5.0, random_state=seed)


def fit_outcome(library: str, seed: int, features: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Any:
    """Regress the observed cells of ``target`` [N, K] (weight > 0) on components and model index."""
    row, model = np.nonzero(weight > 0)
    x = np.c_[features[row, :COMPONENTS], model]
    booster = _booster(library, "regression", [x.shape[1] - 1], seed)
    times = weight[row, model]  # how often a row counts; once each is what no weights mean
    return booster.fit(
        x, np.clip(target[row, model], 0.0, COST_CAP), sample_weight=None if (times == 1).all() else times
    )


def predict_outcome(booster: Any, features: np.ndarray, num_models: int) -> np.ndarray:
    """Predictions [N, K]."""
    x = np.repeat(features[:, :COMPONENTS], num_models, 0)
    model = np.tile(np.arange(num_models), len(features))
    return np.asarray(booster.predict(np.c_[x, model])).reshape(-1, num_models).astype(np.float32)


def fit_propensity(
    library: str, seed: int, features: np.ndarray, action: np.ndarray, times: np.ndarray | None = None
) -> Any:
    """Multi-class classifier of the logged model; classes are relabelled to those that occur. times: of rows."""
    classes, label = np.unique(action, return_inverse=True)
    return classes, _booster(library, "classification", [], seed).fit(
        features[:, :COMPONENTS], label, sample_weight=times
    )


def predict_propensity(fitted: Any, features: np.ndarray, num_models: int) -> np.ndarray:
    """Log-probabilities [N, K]; a model that was never chosen gets the log of 1e-7."""
    classes, booster = fitted
    probability = np.full((len(features), num_models), 1e-7, np.float32)
    probability[:, classes] = np.maximum(booster.predict_proba(features[:, :COMPONENTS]), 1e-7)
    return np.log(probability)
