"""Calibration of estimated propensities, from out-of-fold logits only."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute.nuisance.propensity import log_loss
from jaxroute.numerics import masked_softmax, weighted_mean

KNOTS = 33
LEAST = 1e-4


class Calibration(NamedTuple):
    """softmax(logits / temperature), then a monotone curve for each model's probability.

    inputs, outputs: [K, KNOTS] knots of the curves; None, the identity, unless calibrated isotonically.
    """

    temperature: Float[Array, ""]
    inputs: Float[Array, "K KNOTS"] | None = None
    outputs: Float[Array, "K KNOTS"] | None = None


def fit(
    kind: str,
    logits: Float[Array, "N K"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    times: Float[Array, " N"] | None = None,
) -> Calibration:
    """Fit on out-of-fold logits and the logged models.

    Args:
        kind: "temperature" (one number, minimises log loss), "isotonic" (a monotone curve per model,
            one against the rest, rows brought back to sum one), or "none".
        times: [N] how often every row counts; None: once.

    Reference: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks",
    https://arxiv.org/abs/1706.04599 (2017); Zadrozny and Elkan, "Transforming classifier scores into accurate
    multiclass probability estimates" (2002).
    """
    identity = Calibration(jnp.ones(()))
    if kind == "none":
        return identity
    if kind == "temperature":
        return identity._replace(temperature=fit_temperature(logits, action, available, times))
    if kind != "isotonic":
        raise ValueError(f"unknown calibration {kind!r}; use 'temperature', 'isotonic' or 'none'")
    from sklearn.isotonic import IsotonicRegression

    probability = np.asarray(masked_softmax(logits, available), np.float64)
    inputs, outputs = np.zeros((2, logits.shape[1], KNOTS))
    for k in range(logits.shape[1]):
        p, chosen = probability[:, k], np.asarray(action) == k
        inputs[k] = np.quantile(p, np.linspace(0.0, 1.0, KNOTS))
        curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(p, chosen, times)
        outputs[k] = curve.predict(inputs[k])
    return Calibration(jnp.ones(()), jnp.asarray(inputs, logits.dtype), jnp.asarray(outputs, logits.dtype))


@jax.jit
def apply(
    calibration: Calibration, logits: Float[Array, "N K"], available: Bool[Array, "N K"] | None
) -> Float[Array, "N K"]:
    """Calibrated probabilities; rows sum to one over available models."""
    probability = masked_softmax(logits / calibration.temperature, available)
    if calibration.inputs is not None and calibration.outputs is not None:
        curve = jax.vmap(jnp.interp, in_axes=(1, 0, 0), out_axes=1)
        probability = curve(probability, calibration.inputs, calibration.outputs)
    # A curve may end at 0, but the propensity of an available model must be positive.
    probability = jnp.maximum(probability, LEAST)
    probability = probability if available is None else jnp.where(available, probability, 0.0)
    return probability / jnp.sum(probability, -1, keepdims=True)


def fit_temperature(
    logits: Float[Array, "N K"],
    action: Int[Array, " N"],
    available: Bool[Array, "N K"],
    times: Float[Array, " N"] | None = None,
) -> Float[Array, ""]:
    """Temperature that minimises the log loss of softmax(logits / temperature).

    The loss is convex in 1/temperature, so the minimum over a dense grid is accurate enough.
    """
    temperatures = jnp.geomspace(0.25, 4.0, 81)
    losses = jax.lax.map(lambda t: weighted_mean(log_loss(logits / t, action, available), times), temperatures)
    return temperatures[jnp.argmin(losses)]
