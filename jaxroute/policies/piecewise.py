"""The exact answer for every cost weight at once.

For one prompt, the utilities quality_k - cost_weight * cost_k are K lines in the cost weight. Their upper envelope is
convex and piecewise linear, so the best model is piecewise constant with at most K - 1 breakpoints, and both its cost
and its quality fall from piece to piece. ``breakpoints`` finds the breakpoints of one prompt in exact arithmetic;
``envelope`` finds those of a whole batch in floating point, inside jit.

Unavailable models are ignored, whatever their entries hold.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute.arguments import checked, known
from jaxroute.numerics import masked_argmax, masked_max
from jaxroute.policies.decisions import Available, Scalar, masked
from jaxroute.types import InputError, Outcomes


class Envelope(NamedTuple):
    """The best model of each prompt at every cost weight in [0, inf).

    ``models[..., 0]`` is best from 0, ``models[..., j]`` from ``breakpoints[..., j - 1]`` on. After the last
    piece breakpoints are inf and models repeat the last piece's model.
    """

    breakpoints: Float[Array, "*batch K-1"]
    models: Int[Array, "*batch K"]


@checked
def breakpoints(
    quality: np.ndarray, cost: np.ndarray, low: float, high: float, available: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Exactly where the best model of one prompt changes, as the cost weight goes from ``low`` to ``high``.

        (quality_i - quality_j) / (cost_i - cost_j)   for consecutive i, j on the upper envelope

    Host side. The floats are converted to fractions, so no tie arises from rounding; only the returned breakpoints are
    rounded, once. Only pieces of positive length count: a model that is best at a single cost weight has none, and
    there is no breakpoint at an end of the interval. Of identical lines the lowest index is returned.

    Args:
        quality: [K].
        cost: [K].
        low: first cost weight, quality per unit of the cost array, finite.
        high: last cost weight, >= low; may be inf.
        available: [K], True where a model can be chosen.

    Returns:
        Interior cost weights [P - 1], ascending, float64, and the best model of each of the P pieces. With
        low == high one piece, the argmax there, the lowest index on ties.

    Raises:
        InputError: no model available, a quality or cost not finite, or not low <= high.

    Example:
        >>> weights, models = breakpoints(np.array([0.5, 1.0]), np.array([0.0, 2.0]), 0.0, np.inf)
        >>> print(weights, models)
        [0.25] [1 0]

    Reference: "piecewise constant in the budget parameter" of Causal LLM Routing: End-to-End Regret
    Minimization from Observational Data, by Tsiourvas, Sun and Perakis, https://arxiv.org/abs/2505.16037
    (2025).
    """
    chex.assert_equal_shape([quality, cost])
    chex.assert_rank(quality, 1)
    if not (np.isfinite(low) and low <= high):
        raise InputError(f"cost weights [{low}, {high}]: low must be finite and not above high")
    lines = _lines(np.asarray(quality), np.asarray(cost), available)
    start = Fraction(float(low))
    utility = {k: q - start * c for k, (q, c) in lines.items()}
    if low == high:
        return np.empty(0), np.array([max(lines, key=lambda k: (utility[k], -k))])

    # Just right of a tie the smallest cost wins, and of identical lines the lowest index.
    best = max(lines, key=lambda k: (utility[k], -lines[k][1], -k))
    weights: list[float] = []
    models = [best]
    while True:
        best_quality, best_cost = lines[best]
        crossings = [((best_quality - q) / (best_cost - c), c, k) for k, (q, c) in lines.items() if c < best_cost]
        if not crossings or (nearest := min(crossings))[0] >= high:
            return np.array(weights, float), np.array(models)
        crossing, _, best = nearest
        weights.append(float(crossing))
        models.append(best)


@checked
def interval_endpoints(outcomes: Outcomes, num: int, *, high: float, available: np.ndarray | None = None) -> np.ndarray:
    """Cost weights 0 = w_0 < ... < w_num = high, with about equally many changes of the best model in each interval.

        quantiles at 0, 1/num, ..., 1 of {0, high} and the distinct (quality_i - quality_j) / (cost_i - cost_j)
        in (0, high), over all prompts and pairs of models

    Host side. Quantiles are interpolated between distinct values, so the ends ascend strictly even if pairs tie.

    Args:
        outcomes: quality and cost [N, K]; predictions rather than realised outcomes, as 0/1 outcomes have few
        breakpoints.
        num: number of intervals, at least 1.
        high: last cost weight, above 0, quality per unit of the cost array.
        available: [N, K], True where a model can be chosen.

    Returns:
        [num + 1], float64; evenly spaced if no pair has a breakpoint below ``high``.

    Raises:
        InputError: ``num`` under 1, ``high`` not above 0 and finite, or an available outcome not finite.

    Example:
        >>> outcomes = Outcomes(np.array([[0.0, 0.5], [0.0, 0.75]]), np.array([[0.0, 2.0], [0.0, 1.0]]))
        >>> print(interval_endpoints(outcomes, 3, high=2.0))  # the pairs change places at 0.25 and 0.75
        [0.   0.25 0.75 2.  ]

    Reference: Causal LLM Routing: End-to-End Regret Minimization from Observational Data, by Tsiourvas, Sun
    and Perakis, https://arxiv.org/abs/2505.16037 (2025), whose intervals this reconstructs.
    """
    quality, cost = (np.asarray(y, float) for y in outcomes)
    chex.assert_equal_shape([quality, cost])
    chex.assert_rank(quality, 2)
    if num < 1 or not 0 < high < np.inf:
        raise InputError(f"num={num}, high={high}: num must be at least 1, and high finite and above 0")
    usable = np.ones(quality.shape, bool) if available is None else np.asarray(available)
    if not np.isfinite([quality[usable], cost[usable]]).all():
        raise InputError(
            "quality and cost of every available model must be finite; mask missing models with available="
        )
    first, second = np.triu_indices(quality.shape[1], 1)
    pairs = usable[:, first] & usable[:, second] & (cost[:, first] != cost[:, second])
    gained, paid = (np.where(usable, y, 0.0)[:, first] - np.where(usable, y, 0.0)[:, second] for y in (quality, cost))
    weights = gained[pairs] / paid[pairs]
    inside = weights[(weights > 0) & (weights < high)]
    return np.quantile(np.unique([0.0, *inside, high]), np.linspace(0.0, 1.0, num + 1))


@checked
def envelope(
    quality: Float[Array, "*batch K"], cost: Float[Array, "*batch K"], available: Available = None
) -> Envelope:
    """``breakpoints`` over cost weights [0, inf) for every prompt at once, in floating point, inside jit.

    Goes from the most expensive piece to the cheapest: from model i the next breakpoint is the smallest of
    (quality_i - quality_j) / (cost_i - cost_j) over cheaper j. If several j share it, the cheapest follows.

    Args:
        quality: [..., K].
        cost: [..., K].
        available: [..., K], True where a model can be chosen.

    Returns:
        Envelope(breakpoints [..., K-1] ascending, padded with inf; models [..., K], the best model of each
        piece, after the last piece that piece's model again). Rounding may leave a piece of length zero
        (equal breakpoints), which ``select`` skips. Model 0 throughout in a row without an available model.

    Raises:
        InputError: a quality or a cost of an available model that is NaN (outside jit; inside, the row's breakpoints
            are NaN).

    Example:
        >>> pieces = envelope(jnp.array([0.5, 0.25, 1.0]), jnp.array([0.0, 1.0, 2.0]))
        >>> print(pieces.breakpoints, pieces.models)
        [0.25  inf] [2 0 0]
        >>> print(select(pieces, 1.0))
        0
    """
    if known(quality, cost, available):
        usable = True if available is None else np.asarray(available)
        for name, value in (("quality", quality), ("cost", cost)):
            if (unknown := np.isnan(np.asarray(value, float)) & usable).any():
                place = tuple(map(int, np.argwhere(unknown)[0]))
                raise InputError(f"{name}, entry {place}, is nan; mask missing models with available=")
    return _envelope(quality, cost, available)


@jax.jit
def _envelope(quality: Array, cost: Array, available: Available) -> Envelope:
    quality, available = masked(quality, available)
    cost, _ = masked(cost, available)

    def cheapest(tied: Bool[Array, "*batch K"]) -> Int[Array, "*batch"]:
        return masked_argmax(-cost, tied)

    def next_piece(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        weight, best = carry
        lost, saved = _entry(quality, best) - quality, _entry(cost, best) - cost
        cheaper = available & (saved > 0)
        crossing = jnp.where(cheaper, lost / jnp.where(cheaper, saved, 1), jnp.inf)
        nearest = jnp.min(crossing, -1)
        follower = cheapest(cheaper & (crossing == nearest[..., None]))
        weight = jnp.maximum(nearest, weight)  # rounding must not turn the order around
        best = jnp.where(nearest < jnp.inf, follower, best)
        return (weight, best), (weight, best)

    start = cheapest(available & (quality == masked_max(quality, available)[..., None]))
    carry = (jnp.zeros_like(quality[..., 0]), start)
    _, (weights, followers) = jax.lax.scan(next_piece, carry, length=quality.shape[-1] - 1)
    models = jnp.concatenate([start[None], followers])
    unknown = jnp.any(jnp.isnan(quality) | jnp.isnan(cost), -1)
    return Envelope(jnp.moveaxis(jnp.where(unknown, jnp.nan, weights), 0, -1), jnp.moveaxis(models, 0, -1))


def select(pieces: Envelope, cost_weight: Scalar | Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """The best model at a cost weight; exactly at a breakpoint the cheaper one.

    Args:
        pieces: an envelope over [...] prompts.
        cost_weight: >= 0 (inf too), a scalar or one per prompt [...].

    Returns:
        Model index [...].

    Raises:
        InputError: a cost weight that is negative or NaN, or a breakpoint that is NaN (outside jit).

    Example:
        >>> pieces = envelope(jnp.array([0.5, 1.0]), jnp.array([0.0, 2.0]))
        >>> print([int(select(pieces, weight)) for weight in (0.0, 0.25, 9.0)])
        [1, 0, 0]
    """
    if known(cost_weight) and not (np.asarray(cost_weight) >= 0).all():
        raise InputError(f"cost_weight is {cost_weight}; it must be at least 0")
    if known(pieces.breakpoints) and np.isnan(np.asarray(pieces.breakpoints, float)).any():
        raise InputError("pieces.breakpoints hold NaN: the quality or the cost of a model was NaN")
    rows = pieces.models.shape[:-1]
    cost_weight = jnp.broadcast_to(jnp.asarray(cost_weight), rows)[..., None]
    piece = jnp.sum(pieces.breakpoints <= cost_weight, -1)
    return jnp.take_along_axis(pieces.models, piece[..., None], axis=-1)[..., 0]


def _entry(x: Float[Array, "*batch K"], index: Int[Array, "*batch"]) -> Float[Array, "*batch 1"]:
    return jnp.take_along_axis(x, index[..., None], axis=-1)


def _lines(quality: np.ndarray, cost: np.ndarray, available: np.ndarray | None) -> dict[int, tuple[Fraction, Fraction]]:
    """Model -> exact (quality, cost), available models only."""
    everything = np.ones(len(quality), bool)
    models = np.flatnonzero(everything if available is None else np.asarray(available))
    if not models.size:
        raise InputError("no model is available; at least one entry of available must be True")
    if not np.isfinite([quality[models], cost[models]]).all():
        raise InputError(
            "quality and cost of every available model must be finite; mask missing models with available="
        )
    return {int(k): (Fraction(float(quality[k])), Fraction(float(cost[k]))) for k in models}
