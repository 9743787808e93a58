"""The unit of cost: what a normalised cost weight of 1 means for a table or a log."""

from __future__ import annotations

import numpy as np

from jaxroute.types import Array, Outcomes, Table


def cost_scale(
    outcomes: Outcomes | Table, available: np.ndarray | None = None, weight: Array | np.ndarray | None = None
) -> tuple[float, str]:
    """The cost at which a normalised cost weight of 1 is the break-even of the best and the cheapest model.

        scale = (cost of best - cost of cheapest) / (quality of best - quality of cheapest),  all means

    The best model has the highest mean quality and the cheapest the lowest mean cost. Both are compared on the prompts
    that both answered. If the difference in quality is within two standard errors of zero, or the best model is also
    the cheapest or costs no more, there is no break-even; the largest mean cost of a model is then the scale.
    Normalised cost is cost / scale; a normalised cost weight w is the cost weight w / scale.

    Args:
        outcomes: expected or doubly robust quality and cost [N, K], or a whole table, whose own outcomes and mask are
            used.
        available: [N, K]; None means all. Unavailable entries may hold NaN.
        weight: [N], how often every row counts (``logs.weight``); None: once.

    Returns:
        (scale in the unit of cost, a phrase for reports that says where it comes from).

    Example:
        >>> quality = np.array([[0.0, 1.0], [1.0, 1.0]] * 10)
        >>> cost = np.array([[1.0, 6.0]] * 20)
        >>> scale, reason = cost_scale(Outcomes(quality, cost))  # 5 dearer, 0.5 better
        >>> print(scale, "-", reason)
        10.0 - break-even of the best and the cheapest model
    """
    if isinstance(outcomes, Table):
        return cost_scale(outcomes.outcomes, outcomes.available, weight)
    quality, cost = np.asarray(outcomes.quality, float), np.asarray(outcomes.cost, float)
    seen = np.ones(quality.shape, bool) if available is None else np.asarray(available, bool)
    times = np.ones(len(quality)) if weight is None else np.asarray(weight, float) / np.mean(weight)
    rows = times @ seen
    used = rows > 0
    mean_quality, mean_cost = (
        np.sum(times[:, None] * y, 0, where=seen) / np.where(used, rows, 1) for y in (quality, cost)
    )
    best = int(np.argmax(np.where(used, mean_quality, -np.inf)))
    cheapest = int(np.argmin(np.where(used, mean_cost, np.inf)))
    both = seen[:, best] & seen[:, cheapest]
    gain, price = ((y[:, best] - y[:, cheapest])[both] for y in (quality, cost))
    times = times[both]
    mean_gain, mean_price = (float(times @ y / times.sum()) if len(y) else np.nan for y in (gain, price))
    error = np.sqrt(np.sum((times * (gain - mean_gain)) ** 2) * len(gain) / max(len(gain) - 1, 1)) / times.sum()
    if best == cheapest:
        reason = "the best model is also the cheapest"
    elif len(gain) < 2 or mean_gain <= 2 * error:
        reason = "the best model's lead over the cheapest is within two standard errors of zero"
    elif mean_price <= 0:
        reason = "the best model costs no more than the cheapest"
    else:
        return mean_price / mean_gain, "break-even of the best and the cheapest model"
    dearest = float(np.max(mean_cost[used]))
    if dearest > 0:
        return dearest, f"mean cost of the dearest model, as {reason}"
    return 1.0, "1, as no model costs anything"
