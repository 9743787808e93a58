"""The share of the predicted differences between models (contrasts) that the recipe keeps.

    share ~ N(SHARE, SHARE_DEVIATION^2),   slope_j ~ N(share, error_j^2);   the posterior's mean, cut to [0, 1]

A slope regresses observed quality on cross-fitted contrasts, which are predictions minus their models' means and minus
their prompts' means. It is 1 if differences between models are as large as predicted and 0 if the predictions are
noise. A log and a shadow sample give one slope each. The outcome model's loss cannot replace it: most of what the model
explains is the difficulty of a prompt, which is the same for every model and changes no choice. Policy values cannot
either: on a log of thousands of rows their error is larger than the differences of interest.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxroute import nuisance
from jaxroute.numerics import relative, safe_divide
from jaxroute.types import Examples, Logs

SHARE = 0.5
SHARE_DEVIATION = 0.25
"""Prior mean and standard deviation of the share. `make ablation` compares it with a fixed share of one half."""


class Slope(NamedTuple):
    """A least-squares slope of answers on predicted contrasts, and its standard error; scalars."""

    value: Float[Array, ""]
    error: Float[Array, ""]


def centred(model: nuisance.OutcomeModel) -> Float[Array, "N K"]:
    """Out-of-fold quality of the fitting rows, less the mean of each model over the row's own fold.

    Predicted levels differ between folds, and in the wrong direction: if a fold's answers happen to be good, the other
    folds taught a lower level. Subtracting a mean over all folds would leave this in and bias the slope downwards.
    """
    return _centred(nuisance.out_of_fold(model).quality, jax.nn.one_hot(model.fold, model.spec.folds), model.times)


@jax.jit
def _centred(
    quality: Float[Array, "R K"], member: Float[Array, "R F"], times: Float[Array, " R"] | None
) -> Float[Array, "R K"]:
    return quality - member @ _means(quality, member if times is None else member * times[:, None])


def of_log(logs: Logs, model: nuisance.NuisanceModel) -> Slope:
    """The slope in a log. Each row has one model's answer, so the models and the difficulty are regressors too.

        q_i = a_{t_i} + c d_i + b z_i + e_i,   d_i = mean_k r_ik,   z_i = r_{i t_i} - d_i   (r: ``centred``)
        error(b)^2 = n/(n-K-2) sum_i z'_i^2 e_i^2 / (sum_i z'_i^2)^2,   z' what a and d leave of z

    Rows of a sampled log count as often as they stand for: weighted least squares.

    Args:
        logs: N rows; rows without feedback are left out.
        model: fitted on them (rows of a shadow sample may follow).

    Returns:
        Slope; the error is inf if the predicted contrasts are all 0.

    Reference:
        Regression, Prediction and Shrinkage, by Copas (1983): the slope of new answers on predictions. The error is
        White's (1980).
    """
    times = relative(logs.weight)
    times = jnp.ones(len(logs.action)) if times is None else times
    return _of_log(logs.quality, logs.action, centred(model.outcomes)[: len(logs.action)], times)


@jax.jit
def _of_log(
    quality: Float[Array, " N"], action: Int[Array, " N"], r: Float[Array, "N K"], times: Float[Array, " N"]
) -> Slope:
    seen = jnp.isfinite(quality)
    member = jax.nn.one_hot(action, r.shape[1]) * seen[:, None]

    def within(y: Array) -> Array:
        """Less the mean of the rows that the same model answered."""
        y = jnp.where(seen, y, 0.0)
        return jnp.where(seen, y - member @ _means(y, member * times[:, None]), 0.0)

    difficulty = jnp.mean(r, 1)
    d = within(difficulty)

    def residual(y: Array) -> Array:
        y = within(y)
        return y - d * safe_divide((times * d) @ y, (times * d) @ d, 0.0)

    z = residual(jnp.take_along_axis(r, action[:, None], 1)[:, 0] - difficulty)
    q = residual(quality)
    weighted = times * z
    slope = safe_divide(weighted @ q, weighted @ z, 0.0)
    rows, used = jnp.sum(seen), r.shape[1] + 2.0
    square = safe_divide(
        rows * jnp.sum((weighted * (q - slope * z)) ** 2), (rows - used) * (weighted @ z) ** 2, jnp.inf
    )
    return Slope(slope, jnp.sqrt(jnp.where(square > 0, square, jnp.inf)))


def of_shadow(shadow: Examples, model: nuisance.NuisanceModel) -> Slope:
    """The slope in prompts with several answers, where difficulty cancels in differences within a prompt.

        b = sum_i h_i / sum_i g_i,   h_i = sum_k q_ik r_ik,   g_i = sum_k r_ik^2
        error^2 = S/(S-1) sum_i (h_i - b g_i)^2 / (sum_i g_i)^2

    q and r (``centred``) minus their models' means over the shadow, then minus their prompts' means. Prompts are
    independent but the models' answers to one prompt are not, so the error is clustered by prompt.

    Args:
        shadow: S prompts; of each prompt, the models that answered it are used.
        model: fitted with this shadow sample, whose rows come after the log's.

    Returns:
        Slope; the error is inf if the predicted contrasts are all 0, with a single prompt, or if every residual is 0
        (all answers are equally good, say): the spread of such answers is not known.
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
    return Slope(slope, jnp.sqrt(jnp.where(square > 0, square, jnp.inf)))


@jax.jit
def share(*slopes: Slope) -> Float[Array, ""]:
    """The share to keep: the mean of a normal posterior in which each slope is an independent observation.

    Example:
        >>> print(*(round(float(share(Slope(jnp.float32(1.0), jnp.float32(e)))), 2) for e in (1e-3, 0.25, jnp.inf)))
        1.0 0.75 0.5
    """
    total, precision = jnp.float32(SHARE / SHARE_DEVIATION**2), jnp.float32(1 / SHARE_DEVIATION**2)
    for slope in slopes:
        known = 1 / jnp.square(slope.error)
        total, precision = total + known * slope.value, precision + known
    return jnp.clip(total / precision, 0.0, 1.0)


def _means(y: Array, member: Float[Array, "N G"]) -> Array:
    """Weighted mean of every group's rows of y, [N] or [N, K]; 0 for a group without any."""
    count = jnp.sum(member, 0)
    return safe_divide(member.T @ y, count if y.ndim == 1 else count[:, None], 0.0)
