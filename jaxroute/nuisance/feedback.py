"""Selective feedback: its rate by model, and the response propensity that corrects for it.

ASSUMPTION, here and wherever ``Nuisances.response`` is used: feedback is missing at random. Given the prompt's
features and the model that answered, whether there is feedback does not depend on how good the answer was. It does not
hold if users complain about bad answers only. A log cannot show this; feedback requested at random can.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute import projection
from jaxroute.nuisance.folding import assign_folds, foldable
from jaxroute.nuisance.propensity import fit_logistic, log_loss
from jaxroute.numerics import as_arrays, relative, weighted_mean
from jaxroute.types import InputError, Key, Logs, NuisanceSpec

LEAST_RESPONSE = 0.02
"""Smallest response propensity, so that no row counts for more than 50."""
MODEL_DIMENSIONS = 16
"""Principal components whose effect on feedback may differ by model."""
MODEL_SCALE = 10.0
"""Scale of the models' columns: their rates are penalised 100 times less than the features' effects."""


def feedback_rate(logs: Logs) -> Float[np.ndarray, " K"]:
    """Share of each model's rows that have feedback; NaN for a model that was never chosen.

    >>> quality, ones = np.array([1.0, np.nan, 0.5]), np.ones(3)
    >>> print(feedback_rate(Logs(ones[:, None], np.array([0, 0, 1]), quality, ones, ones, np.ones((3, 2), bool))))
    [0.5 1. ]
    """
    action, K = np.asarray(logs.action), logs.available.shape[1]
    times = np.ones(len(action)) if logs.weight is None else np.asarray(logs.weight, float)
    rows = np.bincount(action, times, K)
    heard = np.bincount(action, np.where(np.isnan(np.asarray(logs.quality)), 0, times), K)
    return heard / np.where(rows, rows, np.nan)


def fit_response(
    key: Key, logs: Logs, spec: NuisanceSpec = NuisanceSpec(), *, least: float = LEAST_RESPONSE
) -> Float[Array, " N"]:
    """Cross-fitted probability h(x, a) that the answer of the chosen model a to prompt x got feedback.

        logit h = b_a + z' c + z_16' c_a,   z the prompt's principal components

    Ridge-penalised logistic regression; the penalty with the smallest out-of-fold log loss is taken. Use it as
    ``nuisances._replace(response=fit_response(key, logs))``: estimators and counterfactuals then divide their
    weights by it and take means over ALL rows,

        E[1{feedback} w r / h] = E[w r]   under missing at random,

    and doubly robust ones stay right if h is wrong but the outcome model is right. Standard errors take h as
    given.

    Args:
        key: for the folds. logs: N rows; quality NaN is no feedback.
        spec: folds, dimensions and penalties.
        least: smaller probabilities are raised to it.

    Returns:
        [N] in [least, 1]; all 1 where nothing is missing.

    Raises:
        InputError: no feedback at all, or too few rows for the folds.

    Example:
        >>> ones = jnp.ones(40)
        >>> logs = Logs(ones[:, None], jnp.arange(40) % 2, ones, ones, ones / 2, jnp.ones((40, 2), bool))
        >>> print(fit_response(jax.random.key(0), logs).min())
        1.0

    Reference: Inference and Missing Data, by Rubin (1976); Estimation of Regression Coefficients When Some
    Regressors Are Not Always Observed, by Robins, Rotnitzky and Zhao (1994).
    """
    logs = as_arrays(logs)
    N = logs.available.shape[0]
    heard = ~jnp.isnan(logs.quality)
    if not bool(heard.any()):
        raise InputError(f"logs.quality is NaN in all {N} rows; response weights need rows with feedback")
    if bool(heard.all()):
        return jnp.ones(N, logs.features.dtype)
    if 2 * spec.folds > N:
        raise InputError(f"{N} log rows are too few for {spec.folds} folds; use more rows or fewer folds")
    fold = jnp.asarray(assign_folds(key, N, spec.folds, foldable(logs.group, logs.action, spec.folds)))
    given = logs.features, logs.action, logs.available, heard, fold, relative(logs.weight)
    return jnp.clip(_cross_fit(*given, spec), least, 1.0)


@partial(jax.jit, static_argnames="spec")
def _cross_fit(
    features: Float[Array, "N D"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    heard: Bool[Array, " N"],
    fold: Int[Array, " N"],
    times: Float[Array, " N"] | None,
    spec: NuisanceSpec,
) -> Float[Array, " N"]:
    chosen = jax.nn.one_hot(action, available.shape[1], dtype=features.dtype)
    answer, both = heard.astype(jnp.int32), jnp.ones((len(heard), 2), bool)

    def one_fold(own: Array) -> Float[Array, "C N 2"]:
        keep = (fold != own).astype(features.dtype)
        keep = keep if times is None else keep * times
        z = projection.project(projection.fit(features, keep, spec.dimensions), features)
        by_model = chosen[:, :, None] * z[:, None, :MODEL_DIMENSIONS]
        x = jnp.concatenate([z, MODEL_SCALE * chosen, by_model.reshape(len(z), -1)], 1)
        (coefficients,) = fit_logistic(x, answer, both, keep[None], spec.penalties)
        return jnp.stack([x @ c[:, :-1].T + c[None, :, -1] for c in coefficients])

    every = jax.lax.map(one_fold, jnp.arange(spec.folds))  # [F, C, N, 2]
    logits = jnp.moveaxis(every, 2, 0)[jnp.arange(len(heard)), fold]  # [N, C, 2]
    losses = jax.vmap(lambda z: weighted_mean(log_loss(z, answer, both), times), 1)(logits)
    return jax.nn.softmax(logits[:, jnp.argmin(losses)], -1)[:, 1]
