"""New prices for a fitted router, without a new fit.

A router that predicts costs predicts them as mean cost of the model, times a factor of the prompt. With the mean tokens
of every model in the log, which `learn` routers keep in ``summary["usage"]``, new prices give new means:

    ratio_k = bill(new price of k, mean tokens of k) / mean cost of k,        cost'_k(x) = ratio_k cost_k(x)

This is exact where the prices of input and output change alike, and exact on the log's average otherwise: the split of
a prompt's cost into input and output is not predicted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxroute.data import prices as price_table
from jaxroute.policies.curves import Curve
from jaxroute.serving import kinds
from jaxroute.serving.posterior import Posterior
from jaxroute.serving.router import Router
from jaxroute.types import InputError

OF_VALUES = ("by_cost_weight", "conclusion", "held_out", "evidence")
"""Parts of a summary that hold at the prices of the fit alone."""


def ratios(router: Router, prices: Mapping[str, price_table.Price]) -> dict[str, float]:
    """Mean cost of every model at new prices, over that at the prices of the fit; models without a price are left out.

    Args:
        router: with the mean tokens of its log in ``summary["usage"]``. prices: see ``data.prices.load``.

    Raises:
        InputError: the log had no token counts, a model with a new price had none or cost nothing, or no name of the
            price table is one of the router's.
    """
    usage: Mapping[str, Mapping[str, Any]] = router.summary.get("usage") or {}
    if not usage:
        raise InputError("the router's log had no token counts, so new prices say nothing of its costs: fit again")
    found = {}
    for model in router.models:
        if (price := price_table.find(prices, model)) is None:
            continue
        used = usage.get(model)
        if used is None or not used["cost"] > 0:
            raise InputError(f"{model}: the router's log had no tokens and cost of it, so it cannot be priced anew")
        counts = (np.array([used[name]]) for name in ("input_tokens", "output_tokens"))
        apart = {short: np.array([used.get(name, math.nan)]) for short, name in price_table.APART.items()}
        found[model] = float(price_table.bill(price, *counts, **apart)[0] / used["cost"])
    if not found:
        raise InputError(f"none of the router's models has a price: {', '.join(router.models)}")
    if lost := [model for model, ratio in found.items() if not ratio > 0]:
        raise InputError(f"{lost[0]}: its new price is 0, and a router needs a cost above 0: fit again")
    return found


def repriced(router: Router, prices: Mapping[str, price_table.Price]) -> Router:
    """The same router at new prices; models without a new price keep their costs.

    ``cost_scale`` stays that of the fit. Budgets and quality targets stay where all costs change alike; otherwise the
    curve has to be measured again. What was said of values holds at the old prices and is dropped.

    Raises:
        InputError: as for ``ratios``; a router that predicts no cost, whose decisions were learned at the old prices.
    """
    changed = ratios(router, prices)
    factor = np.array([changed.get(model, 1.0) for model in router.models], np.float32)
    kind = router.kind
    if isinstance(kind, kinds.PlugIn):
        kind = dataclasses.replace(kind, student=_scaled(kind.student, factor))
    elif isinstance(kind, kinds.Affine):
        kind = dataclasses.replace(kind, start=_scaled(kind.start, factor))
    else:
        raise InputError(
            f"a router of the kind {kinds.name_of(kind)} predicts no cost, and learned its decisions at the old "
            "prices: fit again"
        )
    alike = len(changed) == len(router.models) and np.allclose(factor, factor[0], rtol=1e-5)
    curve = None if router.curve is None or not alike else _curve(router.curve, float(factor[0]))
    summary = {key: value for key, value in router.summary.items() if key not in OF_VALUES}
    usage = {
        model: {**used, "cost": used["cost"] * changed.get(model, 1.0)}
        for model, used in router.summary["usage"].items()
    }
    summary |= {"usage": usage, "repriced": {model: round(ratio, 6) for model, ratio in changed.items()}}
    last_layer = router.last_layer
    if last_layer is not None:
        last_layer = Posterior(*[np.stack([part[0], (part[1].T * factor).T]) for part in last_layer])
    return dataclasses.replace(router, kind=kind, curve=curve, summary=summary, last_layer=last_layer)


def _scaled(student: Any, factor: np.ndarray) -> Any:
    return student._replace(level=student.level * jnp.asarray(factor))


def _curve(curve: Curve, factor: float) -> Curve:
    """All costs times a factor: a cost weight per unit of cost means what that over the factor means now."""
    decided = None if curve.decided_at is None else curve.decided_at / factor
    costs, errors = curve.cost * factor, curve.cost_error * factor
    return Curve(curve.cost_weight / factor, costs, curve.quality, errors, curve.quality_error, decided)
