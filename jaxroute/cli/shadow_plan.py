"""What a shadow sample costs and is expected to gain: the numbers of ``jaxroute shadow``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxroute.types import Logs

SIZES = (50, 100, 250, 500)
MOST = 10
"""A model is asked at most so many times the prompts that every model could answer for the money."""


class Who(StrEnum):
    """Which models answer the prompts."""

    CONTENDERS = "contenders"
    ALL = "all"


def plan(
    logs: Logs,
    models: Sequence[str],
    count: int,
    *,
    ask: str = Who.CONTENDERS,
    cost_weights: Sequence[float] | None = None,
    most: int | None = None,
    rating_cost: float = 0.0,
) -> dict[str, Any]:
    """The cost and the benefit of a shadow sample for the money of ``count`` prompts, as numbers.

    Args:
        logs: the checked log as arrays. models: K names. ask: see ``Who``. cost_weights: normalised; None: of tables.
        most: prompts that there are; None: ``MOST`` times ``count``. rating_cost: of an answer, in the log's unit.

    Returns:
        ask (models, prompts, answers, price, value and value_of_all in quality units), models (a record each), sizes (a
        record each, of all models), price_of_a_row.
    """
    import jax
    import jax.numpy as jnp

    from jaxroute import counterfactual, estimators, nuisance, recipe
    from jaxroute.cli.examined import QUICK
    from jaxroute.data.units import cost_scale
    from jaxroute.numerics import relative, weighted_mean
    from jaxroute.recipe import contenders

    logs = jax.tree.map(jnp.asarray, logs)
    nuisances, model = nuisance.fit(jax.random.key(0), logs, QUICK)
    robust = counterfactual.doubly_robust(logs, nuisances, clip=estimators.evaluation_clip(len(models)))
    scale, _ = cost_scale(robust, np.asarray(logs.available), logs.weight)
    level = recipe.estimate_levels(logs, nuisances, model)
    weights = [weight / scale for weight in (recipe.GRID if cost_weights is None else cost_weights)]
    worth = contenders.worth(jax.random.key(1), logs, nuisances, level, weights)
    cost = np.maximum(np.asarray(weighted_mean(nuisances.outcomes.cost, relative(logs.weight)), float), 0.0)
    price, every = cost + rating_cost, np.full(len(models), count)
    if ask == Who.ALL:
        asked = every
    else:
        most = MOST * count if most is None else most
        asked = contenders.spend(worth, price, float(count * price.sum()), block=max(count // 4, 1), most=most)
    value, value_of_all = worth(np.stack([asked, every]))
    now, then = (contenders.errors(logs, nuisances, prompts) for prompts in (0 * asked, asked))
    row = float(weighted_mean(logs.cost, relative(logs.weight)))
    sizes = sorted({0, *SIZES, count})
    errors = {size: np.asarray(contenders.errors(logs, nuisances, size)) for size in sizes}
    rows = np.bincount(np.asarray(logs.action), minlength=len(models))
    return {
        "ask": {
            "models": [name for name, prompts in zip(models, asked, strict=True) if prompts],
            "prompts": int(asked.max()),
            "answers": int(asked.sum()),
            "price": float(asked @ price),
            "value": float(value),
            "value_of_all": float(value_of_all),
        },
        "models": [
            {
                "model": name,
                "rows": int(rows[k]),
                "asked": bool(asked[k]),
                "prompts": int(asked[k]),
                "error_now": float(now[k]),
                "error_then": float(then[k]),
                "cost_of_an_answer": float(price[k]),
                "price": float(asked[k] * price[k]),
            }
            for k, name in enumerate(models)
        ],
        "sizes": [
            {
                "prompts": size,
                "answers": size * len(models),
                "price": size * float(price.sum()),
                "log_rows": round(size * float(price.sum()) / (row + rating_cost)) if row + rating_cost else None,
                "largest_error": float(errors[size].max()),
                "median_error": float(np.median(errors[size])),
            }
            for size in sizes
        ],
        "count": count,
        "price_of_a_row": row + rating_cost,
    }
