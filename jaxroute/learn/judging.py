"""What the log says of a router that was fitted to it, and what a saved router keeps of that."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxroute import estimators, policies, recipe
from jaxroute.estimators import evidence, loggers
from jaxroute.learn.inputs import MethodInput, MethodResult
from jaxroute.recipe import priors
from jaxroute.serving import kinds, portable, posterior
from jaxroute.types import Examples, Key


def gather(
    key: Key,
    name: str,
    models: Sequence[str],
    given: MethodInput,
    result: MethodResult,
    clip: float | None,
    learn: Examples,
    shadow: Examples | None,
) -> evidence.Evidence:
    """Against best single and the logging policy at every cost weight; each row decided out of fold."""
    logs, weights = given.logs, jnp.asarray(given.cost_weights)
    rows, ours = len(logs.action), result.policy(given.cost_weights)
    single = partial(policies.best_single, learn.outcomes, weights, available=learn.available, weight=given.times)
    best = single(prompts=given.available[:rows])
    clip = estimators.trusted_clip(logs, ours[:, :rows], best) if clip is None else clip
    own = loggers.of_log(logs, given.nuisances, clip=clip)
    against = {"logging policy": jnp.broadcast_to(own, (len(weights), *own.shape)), "best single": best}
    on_shadow = None
    if shadow is not None:  # how the logging policy would have chosen there is not known
        on_shadow = {name: ours[:, rows:], "best single": single(prompts=given.available[rows:])}
    return evidence.gather(
        key,
        logs,
        given.nuisances,
        ours[:, :rows],
        weights,
        against=against,
        models=models,
        name=name,
        clip=clip,
        shadow=shadow,
        on_shadow=on_shadow,
        among={"best single": int(jnp.sum(jnp.any(given.available, 0)))},
    )


def by_cost_weight(
    found: evidence.Evidence, learn: Examples, scale: float, times: Array | None, allowed: np.ndarray | None
) -> list[dict[str, Any]]:
    """What the artefact keeps of the evidence."""
    gains = found.gains[found.gains["against"] == "best single"]
    weights = jnp.asarray(found.values["cost_weight"].to_numpy(), jnp.float32)
    anyone = jnp.ones((1, len(found.models)), bool) if allowed is None else jnp.asarray(allowed)[None]
    single = policies.best_single(learn.outcomes, weights, available=learn.available, prompts=anyone, weight=times)
    singles = np.asarray(jnp.argmax(single[:, 0], -1))
    records = []
    spent = estimators.accounts(found).drop(columns="best_single").to_dict("records")
    every = zip(found.values.to_dict("records"), gains.to_dict("records"), singles, spent, strict=True)
    for row, gain, best, account in every:
        weight, interval = row["cost_weight"], [row["low"], row["high"]]
        records.append(
            {
                "normalised_cost_weight": round(weight * scale, 6),
                "cost_weight": weight,
                "value": row["value"],
                "interval": None if np.isnan(row["low"]) else interval,
                "label": row["label"],
                "verdict": row["verdict"],
                "reasons": row["reasons"],
                "shadow_share": float(row.get("shadow_share", 0.0)),
                "best_single": int(best),
                "gain": gain["gain"],
                "gain_interval": None if np.isnan(gain["low"]) else [gain["low"], gain["high"]],
                "gain_shadow_share": float(gain.get("shadow_share", 0.0)),
                **{str(name): None if y != y else y for name, y in account.items()},  # JSON has no NaN
            }
        )
    return records


def uncertain(kind: kinds.Kind, cells: Examples) -> posterior.Posterior:
    """The posterior of a router from the answers that it learned from; see ``serving.posterior``."""
    axes = portable.axes(kinds.on_host(kinds.arrays(kind)))
    features, outcomes, observed = jax.tree.map(np.asarray, cells)
    components = portable.project(axes, features)
    return posterior.fit(components, axes["deviation"], outcomes.quality, outcomes.cost, observed)


def of_prior(found: dict[str, Any], prior: recipe.Prior, models: Sequence[str]) -> dict[str, Any]:
    """What the log says of a prior: see ``recipe.priors.Trusted``."""
    each = zip(models, *(np.asarray(y).tolist() for y in prior), found["followed"], found["level"], strict=True)
    names = ("model", "expected", "deviation", "followed", "level")
    line = {name: found[name] for name in priors.OF_ALL}
    return {**line, "by_model": [dict(zip(names, one, strict=True)) for one in each]}
