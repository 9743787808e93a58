"""What every cost weight spends and gains, exactly: mean cost and quality of a policy, piece by piece.

A policy that is greedy on predicted outcomes changes at finitely many cost weights: the breakpoints of its
prompts' envelopes. ``curve`` walks through all of them and keeps mean cost and quality of every piece, so that
``policies.budgets`` meets a budget by the exact smallest cost weight rather than by the nearest point of a grid.

    curve(predicted, outcomes)     predicted decides, outcomes (a full table or doubly robust ones) are spent
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from jaxroute.types import Array, InputError, Outcomes

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Curve:
    """What every cost weight spends and gains. All [P], NumPy; piece j holds from cost_weight[j] to the next.

    cost, quality: means over the prompts. cost_error, quality_error: standard errors of the means. decided_at: the
    cost weight inside each piece at which its own policy decides (``curve_of_policies``); None where all pieces are
    one policy's (``curve``), which decides at the beginnings.

    Raises:
        InputError: arrays of different lengths, numbers that are not finite, cost weights that do not ascend from 0
            or more, an error below 0.
    """

    cost_weight: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    cost_error: np.ndarray
    quality_error: np.ndarray
    decided_at: np.ndarray | None = None

    def __post_init__(self) -> None:
        parts = {f.name: np.asarray(part) for f in fields(self) if (part := getattr(self, f.name)) is not None}
        for name, part in parts.items():
            if part.ndim != 1 or part.shape != np.shape(self.cost_weight) or not len(part):
                raise InputError(f"curve: {name} has shape {part.shape}, but cost_weight {np.shape(self.cost_weight)}")
            if not np.isfinite(part).all() or (name.endswith("_error") and (part < 0).any()):
                raise InputError(f"curve: {name} holds a number that is not finite, or an error below 0")
            if name in ("cost_weight", "decided_at") and (part[0] < 0 or (np.diff(part) <= 0).any()):
                raise InputError(f"curve: {name} must ascend from 0 or more")

    def __getitem__(self, index: np.ndarray) -> Curve:
        """The pieces of an ascending index."""
        return Curve(*(None if part is None else part[index] for part in vars(self).values()))  # type: ignore[arg-type]


def curve(
    predicted: Outcomes,
    outcomes: Outcomes,
    *,
    available: Bool[Array, "N K"] | None = None,
    weight: Float[Array, " N"] | None = None,
) -> Curve:
    """Mean cost and quality of the greedy policy at every cost weight from 0 on.

        mean_i y_{i, k_i(w)},   k_i(w) = argmax_k predicted_quality_ik - w predicted_cost_ik

    Args:
        predicted: [N, K] what the policy decides on.
        outcomes: [N, K] what is spent and gained: a full table's, or doubly robust ones of a held-out log.
        available: [N, K], True where a model can be chosen; None: all of them.
        weight: [N], how often every row counts in the means (``logs.weight``); None: once.

    Returns:
        Curve with one piece per distinct breakpoint, and one before the first.

    Raises:
        InputError: fewer than two prompts, an outcome of an available model that is not finite, a prediction that is
            NaN, or weights of which one is negative or not finite or none is above 0.

    Example:
        >>> predicted = Outcomes(np.array([[0.5, 1.0], [0.5, 0.75]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> pieces = curve(predicted, predicted)
        >>> print(pieces.cost_weight, pieces.cost, pieces.quality)
        [0.   0.25 0.5 ] [1.  0.5 0. ] [0.875 0.75  0.5  ]
    """
    quality, cost = (np.asarray(y, np.float64) for y in outcomes)
    rows = len(quality)
    if rows < 2:
        raise InputError(f"{rows} prompts are too few; a mean and its error need at least two")
    usable = np.ones(quality.shape, bool) if available is None else np.asarray(available)
    if not (np.isfinite(quality) & np.isfinite(cost))[usable].all():
        row, model = np.argwhere(usable & ~(np.isfinite(quality) & np.isfinite(cost)))[0]
        raise InputError(f"outcomes, row {row}, model {model}: not finite; mask missing answers with available=")
    import jax.numpy as jnp

    from jaxroute.policies.piecewise import envelope

    times = _times(weight, rows)
    pieces = envelope(jnp.asarray(predicted.quality), jnp.asarray(predicted.cost), jnp.asarray(usable))
    breaks, models = np.asarray(pieces.breakpoints, np.float64), np.asarray(pieces.models)
    real = np.isfinite(breaks)
    weights, place = np.unique(breaks[real], return_inverse=True)

    def means(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        walked = np.take_along_axis(y, models, 1)  # [N, K] in the order of the walk

        def along(z: np.ndarray) -> np.ndarray:
            steps = np.diff(z, axis=1)[real]
            jumps = np.bincount(place, steps, minlength=len(weights))
            return z[:, 0].sum() + np.concatenate([[0.0], np.cumsum(jumps)])

        centre = walked[:, 0].mean()  # squares around a common centre lose no digits
        about = walked - centre
        mean = along(times * about) / rows
        squares, twice, once = (along(times**2 * about**power) for power in (2, 1, 0))  # of times (y - mean)
        spread = np.maximum((squares - 2 * mean * twice + mean**2 * once) / rows, 0.0)
        return mean + centre, np.sqrt(spread / (rows - 1))

    parts = (np.concatenate([[0.0], weights]), *means(cost), *means(quality))
    first = int(len(weights) > 0 and weights[0] <= 0)  # a breakpoint at 0 leaves nothing before it
    grid, mean_cost, cost_error, mean_quality, quality_error = (part[first:] for part in parts)
    return Curve(grid, mean_cost, mean_quality, cost_error, quality_error)


def curve_of_policies(
    cost_weights: Sequence[float] | np.ndarray,
    decisions: Float[Array, "L N K"],
    outcomes: Outcomes,
    available: Bool[Array, "N K"] | None = None,
    weight: Float[Array, " N"] | None = None,
) -> Curve:
    """Mean cost and quality of one policy for each of L cost weights; between them the nearest weight's policy is used.

        mean_i sum_k decisions_lik y_ik,    piece l holds from (w_{l-1} + w_l) / 2 to (w_l + w_{l+1}) / 2

    This is how a router that predicts neither quality nor cost meets a budget: decisions are its own on a log, each
    row decided by fits that never saw it, and outcomes the log's doubly robust ones.

    Args:
        cost_weights: [L], ascending from 0 or more.
        decisions: [L, N, K] probabilities; the greedy choices of routers.
        outcomes: [N, K] what is spent and gained.
        available: [N, K], True where a model can be chosen; None: all of them.
        weight: [N], how often every row counts in the means; None: once.

    Returns:
        Curve of L pieces.

    Raises:
        InputError: shapes that do not match, fewer than two prompts, cost weights that do not ascend, mass on a model
            that is unavailable or has no finite outcome.

    Example:
        >>> decisions = np.array([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> outcomes = Outcomes(np.array([[0.5, 1.0], [0.5, 0.75]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
        >>> pieces = curve_of_policies([0.0, 0.5], decisions, outcomes)
        >>> print(pieces.cost_weight, pieces.cost, pieces.quality)
        [0.   0.25] [1.  0.5] [0.875 0.75 ]
    """
    weights, mass = np.asarray(cost_weights, np.float64), np.asarray(decisions, np.float64)
    quality, cost = (np.asarray(y, np.float64) for y in outcomes)
    rows = len(quality)
    if mass.shape != (len(weights), *quality.shape) or cost.shape != quality.shape:
        raise InputError(
            f"decisions {mass.shape} for {len(weights)} cost weights, quality {quality.shape} and cost {cost.shape}: "
            "they must be [L, N, K], [N, K] and [N, K]"
        )
    if rows < 2:
        raise InputError(f"{rows} prompts are too few; a mean and its error need at least two")
    if not (np.abs(mass.sum(-1) - 1) < 1e-4).all() or (mass < 0).any():
        raise InputError("decisions: each row's probabilities must be at least 0 and sum to 1")
    usable = np.isfinite(quality) & np.isfinite(cost)
    if available is not None:
        usable &= np.asarray(available)
    if (bad := (mass > 0) & ~usable[None]).any():
        _, row, model = np.argwhere(bad)[0]
        raise InputError(f"outcomes, row {row}, model {model}: chosen, but unavailable or not finite")

    times = _times(weight, rows)

    def means(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gained = np.einsum("lnk,nk->ln", mass, np.where(usable, y, 0.0))
        mean = (times[:, 0] * gained).mean(1)
        return mean, (times[:, 0] * (gained - mean[:, None])).std(1, ddof=1) / np.sqrt(rows)

    (mean_cost, cost_error), (mean_quality, quality_error) = means(cost), means(quality)
    starts = np.concatenate([[0.0], (weights[1:] + weights[:-1]) / 2])
    return Curve(starts, mean_cost, mean_quality, cost_error, quality_error, weights)


def _times(weight: Array | np.ndarray | None, rows: int) -> np.ndarray:
    """How often every row counts, 1 on average, [N, 1]."""
    if weight is not None:
        from jaxroute.arguments import row_weights

        row_weights(weight)
    times = np.ones(rows) if weight is None else np.asarray(weight, np.float64)
    return (times / times.mean())[:, None]


def thinned(pieces: Curve, count: int) -> Curve:
    """At most so many pieces, evenly picked: neighbouring ones of a log differ by single rows of it."""
    return pieces[np.unique(np.linspace(0, len(pieces.cost_weight) - 1, count).astype(int))]
