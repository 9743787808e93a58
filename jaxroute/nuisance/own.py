"""An outcome learner of one's own: any object with ``fit(features, y)`` and ``predict(features)``, and no line here.

    NuisanceSpec(outcome_models=("hierarchical", sklearn.linear_model.Ridge(alpha=100.0)))

Every model, target (quality, relative cost) and fold gets a fresh copy of it, fitted on the rows that this model
answered outside the fold: ``features`` [n, d] are standardised principal components, ``y`` [n] quality in [0, 1] or
cost relative to the model's mean (`targets`). What it predicts is one more candidate of the stack, like any other.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxroute.nuisance.targets import COST_CAP
from jaxroute.types import InputError, Regressor

FEWEST_ROWS = 10
"""A model with fewer answers to learn from gets the mean of what there is."""


class HostLearner(NamedTuple):
    """A learner that runs outside JAX, on one fold and target.

    fit(seed, features [N, d], target [N, K], weight [N, K]) -> fitted, from the cells with a weight above 0, which is
    how often they count;
    predict(fitted, features [N, d], num_models) -> [N, K].
    """

    fit: Callable[[int, np.ndarray, np.ndarray, np.ndarray], Any]
    predict: Callable[[Any, np.ndarray, int], np.ndarray]


def learner(label: str, regressor: Regressor) -> HostLearner:
    """One copy of the regressor per model.

    Args:
        label: what messages call it.
        regressor: never fitted itself.

    Example:
        >>> class Median:
        ...     def fit(self, features, y):
        ...         self.level = np.median(y)
        ...     def predict(self, features):
        ...         return np.full(len(features), self.level)
        >>> seen = np.array([[1, 0]] * 12 + [[0, 1]] * 3)
        >>> median = learner("Median", Median())
        >>> fitted = median.fit(0, np.zeros((15, 2)), np.tile([0.25, 0.75], (15, 1)), seen)
        >>> print(median.predict(fitted, np.zeros((1, 2)), 2))
        [[0.25 0.75]]
    """
    return HostLearner(partial(_fit, label, regressor), partial(_predict, label))


def checked(regressor: Any) -> Regressor:
    """The object itself, if it can be an outcome learner.

    Raises:
        InputError: a class instead of an object, or an object without ``fit`` or ``predict``.
    """
    if isinstance(regressor, type):
        raise InputError(f"outcome model {regressor.__name__} is a class: give an object, {regressor.__name__}(...)")
    if missing := [name for name in ("fit", "predict") if not callable(getattr(regressor, name, None))]:
        raise InputError(f"outcome model {regressor!r}: has no method {missing[0]}; it needs fit and predict")
    return regressor


def _fresh(regressor: Regressor) -> Any:
    """An unfitted copy: scikit-learn's own where the object is of its kind."""
    if hasattr(regressor, "get_params") and hasattr(regressor, "set_params"):
        from sklearn.base import clone

        return clone(regressor)
    return copy.deepcopy(regressor)


def _fit(
    label: str,
    regressor: Regressor,
    seed: int,
    features: Float[np.ndarray, "N d"],
    target: Float[np.ndarray, "N K"],
    weight: Float[np.ndarray, "N K"],
) -> list[Any]:
    """A fitted copy for every model, or the mean where there are few rows."""
    fitted: list[Any] = []
    for model, (y, times) in enumerate(zip(np.clip(target, 0.0, COST_CAP).T, weight.T, strict=True)):
        seen = times > 0
        if seen.sum() < FEWEST_ROWS:
            mean = np.average(y, weights=times) if seen.any() else np.average(target, weights=weight)
            fitted.append(float(mean))
            continue
        fresh = _fresh(regressor)
        what = f"fit on {seen.sum()} rows of model {model}"
        given = [np.asarray(features[seen], float), np.asarray(y[seen], float)]
        if (times[seen] != 1).any():  # rows of a sampled log
            if "sample_weight" not in inspect.signature(fresh.fit).parameters:
                raise InputError(
                    f"outcome model {label}: its fit takes no sample_weight, and the log's rows have weights; "
                    "use another outcome model for this log"
                )
            _tried(label, what, partial(fresh.fit, sample_weight=times[seen]), *given)
        else:
            _tried(label, what, fresh.fit, *given)
        fitted.append(fresh)
    return fitted


def _predict(
    label: str, fitted: Sequence[Any], features: Float[np.ndarray, "N d"], num_models: int
) -> Float[np.ndarray, "N K"]:
    x, columns = np.asarray(features, float), []
    for model, one in enumerate(fitted):
        if isinstance(one, float):
            columns.append(np.full(len(x), one))
            continue
        y = np.asarray(_tried(label, f"predict for model {model}", one.predict, x) if len(x) else np.zeros(0))
        if y.size != len(x):
            raise InputError(f"outcome model {label}: predict gives shape {y.shape} for {len(x)} rows; give one a row")
        if y.dtype.kind not in "biuf":
            raise InputError(f"outcome model {label}: predict gives {y.dtype.name} for model {model}; give numbers")
        if not (finite := np.isfinite(y.ravel().astype(float))).all():
            raise InputError(f"outcome model {label}: predict is not finite, row {np.argmin(finite)} of model {model}")
        columns.append(y.ravel())
    return np.stack(columns, 1).astype(np.float32)


def _tried(label: str, what: str, call: Callable[..., Any], *arguments: np.ndarray) -> Any:
    """The call's result; whatever it raises becomes one line."""
    try:
        return call(*arguments)
    except Exception as error:
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise InputError(f"outcome model {label}: {what} fails: {type(error).__name__}: {reason}") from error
