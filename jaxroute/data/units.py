"""The unit of cost: what a normalised cost weight of 1 means for a table or a log."""

from __future__ import annotations

import numpy as np

from jaxroute.types import Outcomes, Table


def cost_scale(outcomes: Outcomes | Table, available: np.ndarray | None = None) -> tuple[float, str]:
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
        return cost_scale(outcomes.outcomes, outcomes.available)
    quality, cost = np.asarray(outcomes.quality, float), np.asarray(outcomes.cost, float)
    seen = np.ones(quality.shape, bool) if available is None else np.asarray(available, bool)
    rows = seen.sum(0)
    used = rows > 0
    mean_quality = np.sum(quality, 0, where=seen) / np.maximum(rows, 1)
    mean_cost = np.sum(cost, 0, where=seen) / np.maximum(rows, 1)
    best = int(np.argmax(np.where(used, mean_quality, -np.inf)))
    cheapest = int(np.argmin(np.where(used, mean_cost, np.inf)))
    both = seen[:, best] & seen[:, cheapest]
    gain = (quality[:, best] - quality[:, cheapest])[both]
    price = (cost[:, best] - cost[:, cheapest])[both]
    if best == cheapest:
        reason = "the best model is also the cheapest"
    elif len(gain) < 2 or gain.mean() <= 2 * gain.std(ddof=1) / np.sqrt(len(gain)):
        reason = "the best model's lead over the cheapest is within two standard errors of zero"
    elif price.mean() <= 0:
        reason = "the best model costs no more than the cheapest"
    else:
        return float(price.mean() / gain.mean()), "break-even of the best and the cheapest model"
    dearest = float(np.max(mean_cost[used]))
    if dearest > 0:
        return dearest, f"mean cost of the dearest model, as {reason}"
    return 1.0, "1, as no model costs anything"
