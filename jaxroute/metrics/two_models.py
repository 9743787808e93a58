"""Summary numbers of a router between a weak and a strong model, as RouteLLM reports them."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.arguments import checked
from jaxroute.metrics.curves import Number, loud, reaches
from jaxroute.numerics import safe_divide


@checked
@partial(jax.jit, static_argnames="anchored")
def apgr(points: Float[Array, "L 2"], weak: Number, strong: Number, *, anchored: bool = False) -> Float[Array, ""]:
    """Average performance gap recovered by a router between two models (RouteLLM).

        APGR = (area under quality over share - weak * width) / ((strong - weak) * width)

    Points come from ``quality_cost_points`` with costs 0 (weak) and 1 (strong), so that the mean cost is the share of
    calls to the strong model.

    Args:
        points: [L, 2] (share of strong calls in [0, 1], mean quality).
        weak: mean quality of the weak model alone.
        strong: mean quality of the strong model alone.
        anchored: add the ends (0, weak) and (1, strong) first. Without them the width is the range of shares of the
            points, as in RouteLLM's code, and routers with different ranges cannot be compared.

    Returns:
        The recovered share: 0 for a curve at the weak model's quality, 1 for one at the strong model's, about a half
        for random routing; NaN if the width is 0 or both models are equally good.

    Example:
        >>> points = jnp.array([[0.0, 0.5], [0.5, 1.0], [1.0, 1.0]])
        >>> print(apgr(points, 0.5, 1.0))
        0.75

    Reference:
        RouteLLM: Learning to Route LLMs with Preference Data, by Ong et al.
        (https://arxiv.org/abs/2406.18665), 2024.
    """
    chex.assert_shape(points, (None, 2))
    if anchored:
        ends = jnp.array([[0.0, weak], [1.0, strong]], points.dtype)
        points = jnp.concatenate([ends, points])
    order = jnp.lexsort((points[:, 1], points[:, 0]))
    share, quality = points[order, 0], points[order, 1]
    width = share[-1] - share[0]
    recovered = jnp.trapezoid(quality, share) - weak * width
    return loud(points, safe_divide(recovered, (strong - weak) * width))


def cpt(
    points: Float[Array, "L 2"], weak: Number, strong: Number, fraction: float, *, anchored: bool = False
) -> float | None:
    """CPT(p): the first share of strong calls that recovers a fraction of the gap (RouteLLM). Host side.

    This is the first crossing of weak + fraction (strong - weak), with linear interpolation between neighbours; the
    curve need not be monotone.

    Args:
        points: [L, 2] (share of strong calls in [0, 1], mean quality).
        weak: mean quality of the weak model alone.
        strong: mean quality of the strong model alone.
        fraction: share of the gap, in [0, 1].
        anchored: add the ends (0, weak) and (1, strong) first.

    Returns:
        Share of strong calls; that of the first point if the goal is already reached there; None if the curve never
        reaches it or strong <= weak; NaN if a point is NaN.

    Example:
        >>> print(cpt(jnp.array([[0.0, 0.5], [1.0, 1.0]]), 0.5, 1.0, 0.5))
        0.5

    Reference:
        RouteLLM: Learning to Route LLMs with Preference Data, by Ong et al.
        (https://arxiv.org/abs/2406.18665), 2024.
    """
    curve = np.asarray(points)
    weak, strong = float(weak), float(strong)
    if np.isnan(curve).any():
        return float("nan")
    if strong <= weak:
        return None
    if anchored:
        curve = np.concatenate([np.array([[0.0, weak], [1.0, strong]], curve.dtype), curve])
    share, quality = curve[np.lexsort((curve[:, 1], curve[:, 0]))].T
    goal = weak + fraction * (strong - weak)
    reached = reaches(quality, goal)
    if not reached.any():
        return None
    right = int(np.argmax(reached))
    if right == 0:
        return float(share[0])
    x, y = share[right - 1 : right + 1].astype(float), quality[right - 1 : right + 1].astype(float)
    return float(np.interp(goal, y, x))
