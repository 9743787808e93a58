"""How much of the predicted difference between models is true: the share of contrasts that a recipe keeps.

    share ~ N(SHARE, DOUBT^2),   slope_j ~ N(share, error_j^2);   the posterior's mean, cut to [0, 1]

A slope regresses answers on cross-fitted contrasts, predictions less their models' means and less their prompts'
means: 1 where differences between models are as large as predicted, 0 where they are noise. A log and a shadow
sample give one each. The outcome model's own loss does not tell: most of what it explains is how difficult a prompt
is, which is the same for every model and changes no choice. Nor do policy values: their error on a log of
thousands of rows is larger than what is at stake.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute import nuisance
from jaxroute.numerics import safe_divide
from jaxroute.types import Examples, Logs

SHARE = 0.5
DOUBT = 0.25
"""Mean and standard deviation of the share before anything is seen. `make ablation` has a fixed half beside it."""


class Slope(NamedTuple):
    """A least-squares slope of answers on predicted contrasts, and its standard error; scalars."""

    value: Float[Array, ""]
    error: Float[Array, ""]


def centred(model: nuisance.OutcomeModel) -> Float[Array, "N K"]:
    """Out-of-fold quality of the fitting rows, less the mean of each model over the row's own fold.

    Levels differ between folds, and against the truth: where a fold's answers happen to be good, the rest of the log
    taught a lower level. A mean over all folds would leave that in, and pull the slope down.
    """
    quality = nuisance.out_of_fold(model).quality
    member = jax.nn.one_hot(model.fold, model.spec.folds)
    return quality - member @ _means(quality, member)


def of_log(logs: Logs, model: nuisance.NuisanceModel) -> Slope:
    """The slope that a log shows: one model's answer a row, so models and difficulty are regressors too.

        q_i = a_{t_i} + c d_i + b z_i + e_i,   d_i = mean_k r_ik,   z_i = r_{i t_i} - d_i   (r: ``centred``)
        error(b)^2 = n/(n-K-2) sum_i z'_i^2 e_i^2 / (sum_i z'_i^2)^2,   z' what a and d leave of z

    Args:
        logs: N rows; those without feedback are left out.
        model: fitted on them (rows of a shadow sample may follow).

    Returns:
        Slope; error inf where nothing is predicted.

    Reference:
        Regression, Prediction and Shrinkage, by Copas (1983): the slope of new answers on predictions. The error is
        White's (1980).
    """
    r = centred(model.outcomes)[: len(logs.action)]
    seen = jnp.isfinite(logs.quality)
    member = jax.nn.one_hot(logs.action, r.shape[1]) * seen[:, None]

    def within(y: Array) -> Array:
        """Less the mean of the rows that the same model answered."""
        y = jnp.where(seen, y, 0.0)
        return jnp.where(seen, y - member @ _means(y, member), 0.0)

    difficulty = jnp.mean(r, 1)
    d = within(difficulty)

    def left(y: Array) -> Array:
        y = within(y)
        return y - d * safe_divide(d @ y, d @ d, 0.0)

    z = left(jnp.take_along_axis(r, jnp.asarray(logs.action)[:, None], 1)[:, 0] - difficulty)
    q = left(jnp.asarray(logs.quality))
    slope = safe_divide(z @ q, z @ z, 0.0)
    rows, used = jnp.sum(seen), r.shape[1] + 2.0
    square = safe_divide(rows * jnp.sum((z * (q - slope * z)) ** 2), (rows - used) * (z @ z) ** 2, jnp.inf)
    return Slope(slope, jnp.sqrt(jnp.where(square > 0, square, jnp.inf)))


def of_shadow(shadow: Examples, model: nuisance.NuisanceModel) -> Slope:
    """The slope that prompts with several answers show: difficulty drops out of differences within a prompt.

        b = sum_i h_i / sum_i g_i,   h_i = sum_k q_ik r_ik,   g_i = sum_k r_ik^2
        error^2 = S/(S-1) sum_i (h_i - b g_i)^2 / (sum_i g_i)^2

    q and r (``centred``) less their models' means over the shadow, then less their prompts' means. Prompts are
    independent, the models' answers to one are not, hence an error clustered by prompt.

    Args:
        shadow: S prompts; a prompt counts with the models that answered it.
        model: fitted with this shadow sample, whose rows come after the log's.

    Returns:
        Slope; error inf where nothing is predicted or one prompt is all there is.
    """
    quality = jnp.asarray(shadow.outcomes.quality)
    seen = jnp.asarray(shadow.available) & jnp.isfinite(quality)

    def contrasts(y: Array) -> Array:
        for axis in (0, 1):
            count = jnp.maximum(jnp.sum(seen, axis, keepdims=True), 1)
            y = jnp.where(seen, y, 0.0)
            y = y - jnp.sum(y, axis, keepdims=True) / count
        return jnp.where(seen, y, 0.0)

    q, r = contrasts(quality), contrasts(centred(model.outcomes)[-len(quality) :])
    h, g, total = jnp.sum(q * r, 1), jnp.sum(r**2, 1), jnp.sum(r**2)
    slope = safe_divide(jnp.sum(h), total, 0.0)
    prompts = jnp.sum(g > 0)
    square = safe_divide(prompts * jnp.sum((h - slope * g) ** 2), (prompts - 1.0) * total**2, jnp.inf)
    return Slope(slope, jnp.sqrt(square))


def share(*slopes: Slope) -> Float[Array, ""]:
    """The share to keep: mean of a normal posterior, every slope an independent observation of it.

    Example:
        >>> print(*(round(float(share(Slope(jnp.float32(1.0), jnp.float32(e)))), 2) for e in (1e-3, 0.25, jnp.inf)))
        1.0 0.75 0.5
    """
    total, precision = jnp.float32(SHARE / DOUBT**2), jnp.float32(1 / DOUBT**2)
    for slope in slopes:
        known = 1 / jnp.square(slope.error)
        total, precision = total + known * slope.value, precision + known
    return jnp.clip(total / precision, 0.0, 1.0)


def _means(y: Array, member: Float[Array, "N G"]) -> Array:
    """Mean of every group's rows of y, [N] or [N, K]; 0 for a group without any."""
    count = jnp.maximum(jnp.sum(member, 0), 1.0)
    return (member.T @ y) / (count if y.ndim == 1 else count[:, None])
