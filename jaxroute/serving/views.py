"""A log, and a table beside it, as a router sees them: its features, its choices among the data's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute import nuisance, policies
from jaxroute.data import logs as people
from jaxroute.data import scale, shadow
from jaxroute.estimators.verdict import FEWEST_EFFECTIVE_ROWS
from jaxroute.numerics import as_arrays
from jaxroute.serving import alike, new_models
from jaxroute.serving.router import Router
from jaxroute.system import maps
from jaxroute.types import Examples, InputError, Logs, Nuisances, NuisanceSpec, Table, UnsupportedLogError

SPEC = NuisanceSpec(("mean", "ridge", "hierarchical"))
"""Nuisances of the log that judges: quick to fit, and no network among them."""


class View(NamedTuple):
    """A log as arrays, its nuisances, and a shadow sample beside it; encoder, revision: what made the features of both.

    context: the columns beside the text that are among the features.
    taught: the shadow sample with a stand-in for unknown costs (``data.shadow.priced``).
    answered: its prompts, for a router that encodes them in another way.
    """

    logs: Logs
    nuisances: Nuisances
    shadow: Examples | None
    taught: Examples | None
    encoder: str | None
    revision: str | None
    answered: Table | None
    context: list[dict[str, Any]]


def of(router: Router, log: people.LogTable, table: Table | None) -> View:
    """The log and the shadow with features as the router takes them.

    Raises:
        InputError: a table beside a log whose qualities are something else, see ``logs.check_shadow``.
        UnsupportedLogError: features whose squares overflow or vanish, or rows that count as few by their weight.
    """
    people.check_shadow(log, table)
    if why := _unfit(log):
        raise UnsupportedLogError(why)
    encoder, beside = None, log.context if router.context else None
    if log.features is None:
        assert log.prompt is not None, "a log has prompts or features"
        log, encoder = replace(log, features=router.features(log.prompt, beside)), router.encoder
    else:  # of the router's width, before anything is fitted
        log = replace(log, features=router.features(log.features, beside))
    logs = as_arrays(people.as_logs(replace(log, context={})))
    answered = taught = None
    if table is not None:
        table = shadow.matched(table, log.models)
        shown = shadow.examples(table, log.models, encoder=encoder, revision=router.revision, columns=router.context)
        answered = jax.tree.map(jnp.asarray, shown)
        if answered.features.shape[1] != logs.features.shape[1]:
            raise InputError(
                f"the shadow sample has {answered.features.shape[1]} features per prompt and the log "
                f"{logs.features.shape[1]}; make both with the same encoder"
            )
        taught = shadow.priced(answered, logs, log.models)
    maps.make_room()
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, SPEC, shadow=taught)
    return View(logs, nuisances, answered, taught, encoder, router.revision, table, router.context)


def said_of(log: people.LogTable, view: View, *routers: Router) -> list[str]:
    """What a person has to know of the rows that judge: groups that could not be kept together or are too few, people's
    ratings, rated answers that cost otherwise than all do, and what was read otherwise than the routers' own logs."""
    folded = people.folding(log, SPEC.folds)
    found = [
        said
        for said in (folded and f"{folded}.", people.crowded(log), people.rating(log), people.rated_costs(log))
        if said
    ]
    rows = alike.looked_at(log)
    seen, first = log.rows(rows), np.asarray(view.logs.features)[rows]
    return [*found, *alike.said(log, seen, [_features(one, view, first, seen) for one in routers], routers)]


def _unfit(log: people.LogTable) -> str:
    if log.features is not None and (why := scale.unfit(log.features)):
        return why
    why = scale.uneven(log.weight, FEWEST_EFFECTIVE_ROWS)
    return why and f"{why}; a value takes {FEWEST_EFFECTIVE_ROWS}: correct the weights, or give more rows"


def policies_of(
    router: Router, log: people.LogTable, view: View, weights: Sequence[float]
) -> tuple[Float[Array, "L N K"], Float[Array, "L S K"] | None]:
    """The router's choices among the log's models and candidate sets, on the log and on the shadow."""
    index = positions(router, log.models)

    def decided(features: Array, of: people.LogTable | Table, available: Array) -> Array:
        own = _features(router, view, np.asarray(features), of)
        found = (scores(router, own, weight, index) for weight in weights)
        available = choosable(router, index, available)
        return jnp.stack([policies.greedy(z, available=available) for z in found])

    ours = decided(view.logs.features, log, view.logs.available)
    if view.shadow is None or view.answered is None:
        return ours, None
    return ours, decided(view.shadow.features, view.answered, view.shadow.available)


def _features(router: Router, view: View, features: np.ndarray, of: people.LogTable | Table) -> np.ndarray:
    """Of prompts as the router takes them, where the view's own are known: the same if both are made alike."""
    same = view.encoder is None or (router.encoder, router.revision) == (view.encoder, view.revision)
    if same and router.context == view.context:
        return router.features(features)
    raw: Any = of.features if view.encoder is None else of.prompt
    return router.features(raw, of.context or None)


def beyond(router: Router, log: people.LogTable, weights: Sequence[float]) -> new_models.Beyond:
    """Where the router chooses a new model that the log lacks."""
    raw: Any = log.prompt if log.features is None else log.features
    return new_models.beyond(router, raw, weights, log.models, log.context if router.context else None)


def absent(
    routers: Sequence[Router], log: people.LogTable, weights: Sequence[float], normalised: Sequence[float]
) -> list[str]:
    """What routers and a log lack of each other's models, see ``left_out``."""
    raw: Any = log.prompt if log.features is None else log.features
    said = []
    for place, router in enumerate(routers):
        who = "the router" if len(routers) == 1 else f"router {place + 1} of {len(routers)}"
        said += left_out(router, raw, weights, normalised, log.models, log.context if router.context else None, who)
    return said


def left_out(
    router: Router,
    prompts: Any,
    weights: Sequence[float],
    normalised: Sequence[float],
    models: Sequence[str],
    context: Any = None,
    who: str = "the router",
) -> list[str]:
    """What a router and data of other models lack of each other, a sentence each: models of the data that the router
    does not know, and models that it would choose and the data lack. A prior's new ones are `beyond`.

    Args:
        prompts, context: see ``Router.route``. weights, normalised: [L] cost weights. models: of the data.
    """
    said, strange = [], [name for name in models if name not in router.models]
    if strange:
        them = "it" if len(strange) == 1 else "them"
        said.append(
            f"{who.capitalize()} does not know {', '.join(strange)} of the data and never chooses {them}; to let it, "
            "fit it again to such data."
        )
    new = new_models.lacking(router, models)
    could = zip(router.models, router.available.tolist(), strict=True)
    places = [k for k, (name, left) in enumerate(could) if left and name not in (*models, *new)]
    shares = np.isin(router.choices(prompts, weights, context), places).mean(1) if places else np.zeros(1)
    if shares.any():
        names, most = ", ".join(router.models[k] for k in places), int(shares.argmax())
        said.append(
            f"The data never show {names}, which {who} would choose for {shares[most]:.0%} of the prompts at a "
            f"normalised cost weight of {normalised[most]:g}: its values here are those of its choice among the other "
            "models."
        )
    return said


def positions(router: Router, models: Sequence[str]) -> list[int]:
    """Where the data's models stand in the router; -1 for those that it does not know, and never chooses."""
    router.check_known(models)
    return [router.models.index(name) if name in router.models else -1 for name in models]


def scores(router: Router, features: np.ndarray, weight: float, index: Sequence[int]) -> Float[Array, "N K"]:
    """The router's scores of the data's models, -inf for those that it does not know."""
    found = router.scores(features, weight)
    return jnp.asarray(np.pad(found, ((0, 0), (0, 1)), constant_values=-np.inf)[:, list(index)])


def not_removed(router: Router, models: Sequence[str]) -> np.ndarray:
    """[K] of the data's models: False for those that are removed from the router, as by a limit of latency."""
    removed = [name for name, left in zip(router.models, router.available.tolist(), strict=True) if not left]
    return ~np.isin(models, removed)


def choosable(router: Router, index: Sequence[int], available: Array) -> Array:
    """[N, K] without the models that the router does not know, or that are removed from it."""
    left = available & jnp.asarray(np.append(router.available, False)[list(index)])[None]
    if not (able := np.asarray(left.any(1))).all():
        raise InputError(
            f"row {int(np.argmin(able))}: all models that could be chosen are removed from the router, or unknown to "
            "it; drop the row"
        )
    return left
