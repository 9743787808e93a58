"""What routers are worth: on a log or a table that they have not learned from, alone, in pairs and ranked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from jaxroute import settings
from jaxroute.api.reading import LogTable, as_asked, read_table, shadow_table
from jaxroute.recipe import GRID
from jaxroute.serving import comparison, evaluation, ranking
from jaxroute.serving.asking import as_fitted
from jaxroute.serving.router import Router
from jaxroute.serving.unseen import Stored
from jaxroute.system.printing import finite
from jaxroute.types import InputError, Table


def judged(router: Router, held: LogTable | Table | None) -> Router:
    """The router, with what the rows that were held out say of it in ``summary["held_out"]``.

    Args:
        router: fitted without them. held: N rows or prompts; None: none were held out.
    """
    if held is None:
        return router
    fresh = dataclasses.replace(router, fingerprint=None)  # what was held out is new, and needs no looking up
    grid = [row["normalised_cost_weight"] for row in router.summary["by_cost_weight"]]
    found = evaluate(fresh, held, normalised_cost_weights=grid)
    said = found.conclusion()[len(found.left_out) :]
    records = finite(found.to_frame().to_dict("records"))
    router.summary["held_out"] = {"rows": len(held), "conclusion": said, "by_cost_weight": records}
    return router


def evaluate(
    router: Router | str | os.PathLike[str],
    data: Any,
    *,
    shadow: Any = None,
    prices: Any = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> evaluation.LogEvaluation | evaluation.TableEvaluation | Stored:
    """What the rows of a log, or of a full table, that a router has not learned from say of it, by cost weight.

    Args:
        router: a Router or its folder.
        data: a log (see ``read_log``), or a ``Table`` (of ``read_table``) for values and regret without estimation.
        shadow: beside a log, prompts like its own that every model answered; see ``read_table``.
        prices: for rows of a log, and for results of an evaluation tool as its shadow sample, whose cost is unknown;
            see ``data.logs.load``.
        normalised_cost_weights: [L]; 1 is the break-even between the best and the cheapest model.

    Returns:
        LogEvaluation or TableEvaluation; ``to_frame()`` has a row per cost weight, ``left_out`` says which rows were
        no evidence. ``unseen.Stored`` where the router has learned from all: what was stored when it was fitted.

    Raises:
        InputError: bad data, a model that the router does not know, a shadow sample beside a table or beside a log
            whose values people's ratings correct, prices of no use, or cost weights that are none.

    Example:
        A router learns from the answers to half of a table's prompts and is judged on the others:

        >>> import jax
        >>> import numpy as np
        >>> import jaxroute as jr
        >>> table = jr.data.synthetic.make(jax.random.key(0), num_prompts=200, num_models=3)
        >>> known, new = (table.rows(np.arange(200) % 2 == half) for half in (0, 1))
        >>> router = jr.fit(known, "plug_in_mean", encoder=None, outcome_models=["mean"], hidden=(8,), steps=20)
        >>> found = jr.evaluate(router, new, normalised_cost_weights=[0.0, 1.0]).to_frame()
        >>> len(found), bool((found["regret"] >= 0).all())
        (2, True)
    """
    router = _loaded(router)
    if isinstance(data, Table):
        if shadow is not None:
            raise InputError("shadow= belongs to a log; a table has every model's answers")
        if prices is not None:
            raise InputError("prices= belong to a log; give those of a table to read_table")
        return evaluation.on_table(router, read_table(data), normalised_cost_weights=normalised_cost_weights)
    answered = None if shadow is None else shadow_table(shadow, prices)
    log = as_asked(data, prices, other_use=shadow is not None, **as_fitted(router))
    return evaluation.on_log(router, log, shadow=answered, normalised_cost_weights=normalised_cost_weights)


def compare(
    first: Router | str | os.PathLike[str],
    second: Router | str | os.PathLike[str],
    log: Any,
    *,
    shadow: Any = None,
    prices: Any = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> comparison.Comparison:
    """The value of the first router minus that of the second on a log that neither has seen, with paired intervals.

    Args:
        first, second: routers or their folders; cost weights are normalised by the first one's cost_scale.
        log, shadow, prices, normalised_cost_weights: see ``evaluate``.

    Returns:
        Comparison; ``to_frame()`` has a row per cost weight.

    Raises:
        InputError: bad data, or a model that a router does not know.

    Example:
        Two routers of one log, compared on another of 80 rows, which is too few for a verdict:

        >>> import jaxroute as jr
        >>> row = {"cost": 1, "propensity": 0.5}
        >>> rows = [row | {"prompt": f"p{i}", "model": "ab"[i % 2], "quality": i % 3 / 2} for i in range(160)]
        >>> log, later = rows[:80], rows[80:]
        >>> small = {"outcome_models": ["mean"], "hidden": (4,), "steps": 20}
        >>> one, other = (jr.fit(log, "plug_in_mean", seed=seed, **small) for seed in (0, 1))
        >>> jr.compare(one, other, later, normalised_cost_weights=[0.0, 1.0]).to_frame()["verdict"].tolist()
        ['not supported', 'not supported']
    """
    answered = None if shadow is None else shadow_table(shadow, prices)
    first, second = _loaded(first, "first"), _loaded(second, "second")
    return comparison.compare(
        first,
        second,
        as_asked(log, prices, other_use=shadow is not None, **as_fitted(first, second)),
        shadow=answered,
        normalised_cost_weights=normalised_cost_weights,
    )


def rank(
    routers: Sequence[Router | str | os.PathLike[str]],
    log: Any,
    *,
    names: Sequence[str] | None = None,
    prices: Any = None,
    normalised_cost_weights: Sequence[float] = GRID,
) -> ranking.Ranking:
    """The best of several routers on a log that none of them has seen, with bounds that allow for the choice.

    Args:
        routers: two or more, or their folders; cost weights are normalised by the first one's cost_scale.
        log: see ``read_log``. names: of the routers; None: their folders' names, where these differ; else
            "router 0" and so on.
        prices: for rows whose cost is unknown; see ``evaluate``.
        normalised_cost_weights: [L].

    Returns:
        Ranking; ``to_frame()`` has a row per cost weight and router.

    Raises:
        InputError: bad data, a model that a router does not know, or too few new rows.

    Example:
        >>> import jaxroute as jr
        >>> row = {"cost": 1, "propensity": 0.5}
        >>> rows = [row | {"prompt": f"p{i}", "model": "ab"[i % 2], "quality": i % 3 / 2} for i in range(160)]
        >>> log, later = rows[:80], rows[80:]
        >>> small = {"outcome_models": ["mean"], "hidden": (4,), "steps": 20}
        >>> two = [jr.fit(log, "plug_in_mean", seed=seed, **small) for seed in (0, 1)]
        >>> found = jr.rank(two, later, names=["one", "other"], normalised_cost_weights=[0.0])
        >>> found.to_frame()["router"].tolist()
        ['one', 'other']
    """
    routers = settings.several("routers", routers, "routers, or of their folders")
    loaded = [_loaded(router, f"routers[{i}]") for i, router in enumerate(routers)]
    given = [
        f"router {i}" if isinstance(r, Router) else os.path.basename(os.path.normpath(r)) for i, r in enumerate(routers)
    ]
    if names is None:
        names = given if len(set(given)) == len(given) else None
    else:
        settings.texts("names", names, "names")
        names = [str(name) for name in names]
        if len(set(names)) < len(names):
            raise settings.refused("names", names, "a list of different names")
    return ranking.rank(
        loaded,
        as_asked(log, prices, **as_fitted(*loaded)),
        names=names,
        normalised_cost_weights=normalised_cost_weights,
    )


def _loaded(router: Router | str | os.PathLike[str], name: str = "router") -> Router:
    if isinstance(router, Router):
        return router
    if not isinstance(router, str | os.PathLike):
        raise settings.refused(name, router, "a Router, or the folder of one")
    return Router.load(router)
