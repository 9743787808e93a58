"""Models that a router can choose although its log never shows them: what is expected of them comes from a prior.

    quality_u(x) = b0 + c (p_u - mean p) + mean_k (quality_k(x) - m_k),    cost_u(x) = cost_u mean_k relative_k(x)

b0 and c are the shift and the scale that the log's models have to the prior (`recipe.priors`), m_k the levels of these
models. How a new model's answers differ from the others' from prompt to prompt is unknown, so its contrast is 0: it
finds a prompt as hard, and as long, as the log's models do on average. Both are means of what the router's network
predicts, so the router stays one network. Its last layer knows a new model as it knew any model before the first row.

The log says nothing of such a model. Where a router chooses one, its value cannot be estimated from a log without that
model: the numbers are NaN, the verdict is refuse, and the share of these prompts is said (``unsupported``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxroute.data.priors import NewModel
from jaxroute.estimators import conclusion
from jaxroute.estimators.evidence import Evidence
from jaxroute.serving import kinds
from jaxroute.serving.posterior import Posterior
from jaxroute.serving.router import Router
from jaxroute.system.wording import named
from jaxroute.types import InputError


class Beyond(NamedTuple):
    """Where a router chooses models that the data lack.

    names: of these models. shares: by cost weight the traffic of every model of the router; {} where it chooses none
    of them.
    """

    names: tuple[str, ...]
    shares: list[dict[str, float]]

    @property
    def at(self) -> np.ndarray:
        """[L], True where the data cannot say what the router is worth."""
        return np.array([bool(one) for one in self.shares])

    def reasons(self) -> list[str]:
        """Why there is no value; "" where there is one."""
        return [
            " and ".join(
                f"{name} is chosen for {one[name]:.1%} of the prompts, and the data never show it"
                for name in self.names
                if one.get(name)
            )
            for one in self.shares
        ]

    def said(self, normalised: Sequence[float]) -> list[str]:
        """At which cost weights there is no value, in a sentence; nothing where there are values everywhere.

        Example:
            >>> print(*Beyond(("new",), [{"old": 0.75, "new": 0.25}, {}]).said([0.0, 1.0]))
            At a normalised cost weight of 0 the value cannot be estimated: the data never show new (chosen for 25%).
        """
        weights = [f"{weight:g}" for weight, one in zip(normalised, self.shares, strict=True) if one]
        if not weights:
            return []
        of = "a normalised cost weight" if len(weights) == 1 else "normalised cost weights"
        most = {name: [one[name] for one in self.shares if one.get(name)] for name in self.names}
        shown = (f"{name} (chosen for {_range(shares)})" for name, shares in most.items() if shares)
        return [
            f"At {of} of {', '.join(weights)} the value cannot be estimated: the data never show {', '.join(shown)}."
        ]


def add(router: Router, new: Sequence[NewModel], features: Any, found: Evidence) -> Router:
    """The router with further models to choose; what it says of the log's models stays as it is.

    Budgets and quality targets were measured without the new models: they need ``router.without`` them.

    Args:
        router: a plug-in, of ``learn.fit`` with a prior. new: U models that its log does not have; none: it stays.
        features: [N, D] of the log's prompts, on which the new models' traffic is counted.
        found: the evidence of that fit.

    Returns:
        Router of K + U models; ``summary["new_models"]`` says what is expected of the new ones, and
        ``summary["by_cost_weight"]`` has no value where it chooses one of them.

    Raises:
        InputError: a router that is limited by latency, which is unknown for a new model.
    """
    if not new:
        return router
    summary, kind, layer = dict(router.summary), router.kind, router.last_layer
    assert isinstance(kind, kinds.PlugIn), "methods that take a prior make plug-ins"
    prior, names = summary["prior"], [one.model for one in new]
    usual, mean_level = (np.mean([one[name] for one in prior["by_model"]]) for name in ("expected", "level"))
    level = np.array([prior["shift"] + prior["scale"] * (one.expected - usual) for one in new])
    above, cost = level - mean_level, np.array([one.cost for one in new])
    summary["new_models"] = [{**one._asdict(), "level": float(m)} for one, m in zip(new, level, strict=True)]
    summary["measured_without"] = [*summary.get("measured_without", ()), *names]
    wider = dataclasses.replace(
        router,
        models=(*router.models, *names),
        kind=dataclasses.replace(kind, student=_student(kind.student, above, cost)),
        available=np.append(router.available, np.ones(len(new), bool)),
        last_layer=None if layer is None else _last_layer(layer, above, cost, np.asarray(kind.student.level)),
        summary=summary,
    )
    rows = summary["by_cost_weight"]
    lost = beyond(wider, np.asarray(features), [row["cost_weight"] for row in rows], router.models)
    said = lost.said([row["normalised_cost_weight"] for row in rows])
    summary["conclusion"] = [*said, *conclusion.of_evidence(unsupported(found, lost), router.cost_scale)]
    summary["by_cost_weight"] = [_told(*one) for one in zip(rows, lost.shares, lost.reasons(), strict=True)]
    return wider


def of_fit(summary: Mapping[str, Any]) -> Beyond:
    """``beyond`` of the router's own log, as ``add`` has counted it."""
    names = tuple(one["model"] for one in summary.get("new_models") or ())
    every = [row["shares"] for row in summary["by_cost_weight"]]
    return Beyond(names, [one if any(one.get(name) for name in names) else {} for one in every])


def check_limits(new: Sequence[NewModel], max_latency: float | None) -> None:
    """Refuse a limit of latency beside new models, before anything is fitted.

    Raises:
        InputError: names the first new model.
    """
    if new and max_latency is not None:
        raise InputError(
            f"{named('max_latency')}: the log never shows {new[0].model}, so its latency is unknown; drop it from the "
            "prior"
        )


def lacking(router: Router, models: Sequence[str]) -> tuple[str, ...]:
    """The router's new models that can be chosen and that data of these models lack."""
    new = {one["model"] for one in router.summary.get("new_models") or ()}.difference(models)
    return tuple(name for name, left in zip(router.models, router.available, strict=True) if left and name in new)


def beyond(
    router: Router, prompts: Any, cost_weights: Sequence[float], models: Sequence[str], context: Any = None
) -> Beyond:
    """Where the router chooses a new model that the data lack.

    Args:
        prompts, context: see ``Router.route``. models: K names of the data.
    """
    names = lacking(router, models)
    if not names:
        return Beyond((), [{} for _ in cost_weights])
    chosen = router.choices(prompts, cost_weights, context)
    shares = [_shares(router.models, one) for one in chosen]
    return Beyond(names, [one if any(one[name] for name in names) else {} for one in shares])


def unsupported(found: Evidence, lost: Beyond) -> Evidence:
    """The evidence without the numbers of the cost weights at which a model is chosen that the log lacks."""
    at = lost.at
    if not at.any():
        return found
    values, gains, frontier = (table.copy() for table in (found.values, found.gains, found.frontier))
    kept = ("cost_weight", "label", "verdict", "reasons", "shadow_share", "effective_sample_size")
    values.loc[at, [name for name in values if name not in kept]] = np.nan
    values["verdict"] = values["verdict"].mask(at, "refuse")
    reasons = zip(lost.reasons(), values["reasons"], strict=True)
    values["reasons"] = [[why] if why else old for why, old in reasons]
    weights = values.loc[at, "cost_weight"]
    numbers = [name for name in gains if name not in ("cost_weight", "against", "shadow_share")]
    gains.loc[gains["cost_weight"].isin(weights), numbers] = np.nan
    own = (frontier["kind"] == "router") & frontier["cost_weight"].isin(weights)
    frontier.loc[own, [name for name in frontier if name not in ("policy", "kind", "cost_weight")]] = np.nan
    models = (*found.models, *lost.names)
    traffic = np.pad(found.shares, ((0, 0), (0, len(lost.names))))
    traffic[at] = [[one.get(name, 0.0) for name in models] for one in lost.shares if one]
    return found._replace(values=values, gains=gains, frontier=frontier, models=models, shares=traffic)


def unsupported_gains(found: pd.DataFrame, lost: np.ndarray) -> pd.DataFrame:
    """Paired gains, a row per cost weight, without the numbers where ``lost`` [L]."""
    found = found.copy()
    found.loc[lost, ["gain", "low", "high", *conclusion.PARTS]] = np.nan
    return found


def _range(shares: Sequence[float]) -> str:
    low, high = (f"{100 * share:.{0 if share >= 0.1 else 1}f}" for share in (min(shares), max(shares)))
    return f"{low}%" if low == high else f"{low} to {high}%"


def _shares(models: Sequence[str], chosen: np.ndarray) -> dict[str, float]:
    counts = np.bincount(chosen, minlength=len(models)) / len(chosen)
    return dict(zip(models, counts.tolist(), strict=True))


def _told(row: dict[str, Any], shares: Mapping[str, float], why: str) -> dict[str, Any]:
    """What a summary keeps of one cost weight: the same where no new model is chosen."""
    if not why:
        return row
    kept = ("normalised_cost_weight", "cost_weight", "label", "best_single", "shadow_share", "gain_shadow_share")
    lost = {name: None for name in row if name not in kept}
    return row | lost | {"verdict": "refuse", "reasons": [why], "shares": dict(shares)}


def _student(student: Any, above: np.ndarray, cost: np.ndarray) -> Any:
    """With outputs for new models: means of the others', their quality ``above`` [U] the mean by so much."""
    known, more = len(student.level), len(cost)

    def wider(columns: Any, shift: Any = 0.0) -> Any:
        quality, relative = jnp.split(jnp.asarray(columns), [known], -1)
        q, r = (jnp.repeat(jnp.mean(part, -1, keepdims=True), more, -1) for part in (quality, relative))
        return jnp.concatenate([quality, q + shift, relative, r], -1)

    layers = student.mlp["params"]
    scores = {name: wider(part) for name, part in layers["scores"].items()}
    return student._replace(
        linear=wider(student.linear),
        bias=wider(student.bias, jnp.asarray(above, jnp.float32)),
        mlp={"params": {**layers, "scores": scores}},
        level=jnp.append(student.level, jnp.asarray(cost, jnp.float32)),
    )


def _last_layer(layer: Posterior, above: np.ndarray, cost: np.ndarray, costs: np.ndarray) -> Posterior:
    """With new models as the others were before their first row: the variances that make these likeliest."""
    wider = []
    for y, (known, unit) in enumerate(((np.ones(len(costs)), np.ones(len(cost))), (costs, cost))):
        weights, factor, misfit, noise = (np.asarray(part[y], float) for part in layer)
        mean, spread = weights / known[:, None], factor / known[:, None, None]
        centre = np.zeros(mean.shape[1])
        centre[0] = mean[:, 0].mean()
        second = ((mean - centre) ** 2 + (spread**2).sum(2)).mean(0)
        deviation = np.sqrt(np.r_[second[0], np.full(len(second) - 1, second[1:].mean() if len(second) > 1 else 0.0)])
        first = np.eye(len(centre))[0]
        added = [
            unit[:, None] * (mean.mean(0) + (above[:, None] if y == 0 else 0.0) * first),
            unit[:, None, None] * np.diag(deviation),
            unit * np.mean(misfit / known),
            unit * np.mean(noise / known),
        ]
        wider.append([np.concatenate(pair) for pair in zip((weights, factor, misfit, noise), added, strict=True)])
    return Posterior(*[np.stack(part).astype(np.float32) for part in zip(*wider, strict=True)])
