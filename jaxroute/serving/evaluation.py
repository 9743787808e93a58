"""What a log or a full table that a router has not seen says of it.

A log gives values with intervals and verdicts (`estimators.evidence`); a full table gives values and regret themselves.
Rows that a router learned from are no evidence about it: they are left out where its fingerprint tells them, and where
nothing is left, what `learn.fit` stored stands in their place (`Stored`).
Costs and cost weights are in the data's unit; a normalised cost weight is relative to the router's cost_scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from jaxroute import counterfactual, metrics, nuisance, policies
from jaxroute.data import logs as people
from jaxroute.estimators import accounts, conclusion, evidence, loggers, trusted_clip
from jaxroute.numerics import as_arrays
from jaxroute.recipe import GRID, means
from jaxroute.serving import alike, new_models, unseen, views
from jaxroute.serving.router import Router
from jaxroute.serving.shown import Curve, Shown
from jaxroute.serving.terms import check_weights
from jaxroute.types import InputError, Outcomes, Table

OPPONENTS = (evidence.LOGGER, evidence.BEST_SINGLE)


@dataclass(frozen=True, repr=False, eq=False)
class LogEvaluation(Shown):
    """What a log says of a router. evidence: everything, for reports; cost_scale: the router's.

    left_out: what was said of rows that it had learned from.
    """

    _curves = (Curve("value", "value of the router", "low", "high"),)

    evidence: evidence.Evidence
    cost_scale: float
    left_out: tuple[str, ...] = ()

    @property
    def currency(self) -> str:
        """ "USD" where costs are known to be in US dollars, else empty."""
        return self.evidence.currency

    def conclusion(self) -> list[str]:
        """What was left out; then whether the router is better than always using one model, by how much, and why."""
        return [*self.left_out, *conclusion.of_evidence(self.evidence, self.cost_scale)]

    def to_frame(self) -> pd.DataFrame:
        """A row per cost weight.

        normalised_cost_weight, cost_weight, value, low, high (95% interval, NaN for an extrapolation), and for each
        opponent the gain on it with its interval; flips_at: the strength of a hidden confounder that would undo the
        comparison with the logging policy; effective_sample_size, label, verdict, reasons; shadow_share if there is a
        shadow sample; and the columns of ``estimators.accounts``: what 1,000 requests cost, what is saved, and the
        traffic of each model.
        """
        values = self.evidence.values
        frame = values[["cost_weight", "value", "low", "high"]].copy()
        frame.insert(0, "normalised_cost_weight", (frame["cost_weight"] * self.cost_scale).round(6))
        for opponent in OPPONENTS:
            gains = self.evidence.gains[self.evidence.gains["against"] == opponent].reset_index(drop=True)
            name = f"gain_on_{opponent.replace(' ', '_')}"
            frame[[name, f"{name}_low", f"{name}_high"]] = gains[["gain", "low", "high"]]
        unknown = ~np.isfinite(frame["value"])  # whatever the overlap says, nothing is known of such a value
        values = values.assign(verdict=values["verdict"].mask(unknown, "refuse"))
        last = ["flips_at", "effective_sample_size", "label", "verdict", "reasons", "shadow_share"]
        frame = frame.join(values[[column for column in last if column in values]])
        return frame.join(accounts(self.evidence))


@dataclass(frozen=True, repr=False, eq=False)
class TableEvaluation(Shown):
    """A router on a table of every model's answers. All [L], means over the prompts; best_single names the model.

    best_single_value: of that model, or of the next best where it has no answer, so that all means are of one set.
    left_out: what was said of prompts that the router had learned from.
    """

    _curves = (Curve("value", "value of the router"), Curve("best_single_value", "best single model"))

    normalised_cost_weight: np.ndarray
    cost_weight: np.ndarray
    value: np.ndarray
    regret: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    best_single: np.ndarray
    best_single_value: np.ndarray
    left_out: tuple[str, ...] = ()

    def conclusion(self) -> list[str]:
        """What was left out; the values themselves need no estimation."""
        return list(self.left_out)

    def to_frame(self) -> pd.DataFrame:
        """A row per cost weight, the fields as columns."""
        return pd.DataFrame({name: column for name, column in asdict(self).items() if name != "left_out"})


def on_log(
    router: Router,
    log: people.LogTable,
    *,
    shadow: Table | None = None,
    name: str = "router",
    normalised_cost_weights: Sequence[float] = GRID,
) -> LogEvaluation | unseen.Stored:
    """Value of a router by cost weight from the rows of a log that it was not fitted on.

    Args:
        router: any; it chooses among the log's models and candidate sets, and never a model that it does not know.
        log: N rows.
        shadow: prompts like the log's that every model answered and the router has not seen either.
        name: of the router, for reports.
        normalised_cost_weights: [L].

    Returns:
        LogEvaluation; Stored where the router has learned from all rows, or from all but a few.

    Raises:
        InputError: none of the models is one that the router knows, features of another width, another rule for chats
            than the router's (``alike.check``), or cost weights that are none.
    """
    check_weights(normalised_cost_weights)
    alike.check(log, [router])
    seen = unseen.seen_rows(router, log)
    if unseen.exhausted(seen):
        return unseen.stored(router, seen)
    shadow, beside = unseen.left(router, shadow)
    log = log.rows(np.flatnonzero(~seen.rows)) if seen.count else log
    view = views.of(router, log, shadow)
    weights = [normalised / router.cost_scale for normalised in normalised_cost_weights]
    policy, on_shadow = views.policies_of(router, log, view, weights)
    learn = counterfactual.examples(view.logs, view.nuisances, view.taught, clip=means.CLIP)

    times = nuisance.times(view.logs, len(learn.available))

    def best_single(prompts: Array) -> Array:
        return policies.best_single(
            learn.outcomes, jnp.array(weights), available=learn.available, prompts=prompts, weight=times
        )

    # How the logging policy would have chosen on the shadow's prompts is not known.
    left = views.not_removed(router, log.models)
    single = best_single(view.logs.available & left[None])
    clip = trusted_clip(view.logs, policy, single)
    own = loggers.of_log(view.logs, view.nuisances, clip=clip)
    against = dict(zip(OPPONENTS, (jnp.broadcast_to(own, single.shape), single), strict=True))
    both = {}
    if view.shadow is not None and on_shadow is not None:
        both = {name: on_shadow, OPPONENTS[1]: best_single(view.shadow.available & left[None])}
    found = evidence.gather(
        jax.random.key(0),
        view.logs,
        view.nuisances,
        policy,
        weights,
        against=against,
        models=log.models,
        name=name,
        clip=clip,
        shadow=view.shadow,
        on_shadow=both,
        among={OPPONENTS[1]: int(left.sum())},
    )
    lost = views.beyond(router, log, weights)
    said = (*seen.said(), *beside, *lost.said(normalised_cost_weights))
    said += (*views.absent([router], log, weights, normalised_cost_weights), *views.said_of(log, view, router))
    if removed := [name for name, stays in zip(log.models, left.tolist(), strict=True) if not stays]:
        said += (f"The router may not choose {', '.join(removed)}, so the best single model is one of the others.",)
    found = new_models.unsupported(found, lost)._replace(currency=log.currency)
    return LogEvaluation(found, router.cost_scale, said)


def on_table(
    router: Router, table: Table, *, normalised_cost_weights: Sequence[float] = GRID
) -> TableEvaluation | unseen.Stored:
    """Value, regret, quality and cost of a router on the prompts of a table that it has not learned from.

    Returns:
        TableEvaluation; Stored where the router has learned from all prompts.

    Raises:
        InputError: none of the models is one that the router knows, a prompt whose models are all unknown to it or
            removed from it, features of another width, a context column of the router that the table lacks, or a cost
            weight above 0 where costs are unknown.
    """
    check_weights(normalised_cost_weights)
    index = views.positions(router, table.models)
    unknown = table.available & np.isnan(table.outcomes.cost)
    if unknown.any() and max(normalised_cost_weights) > 0:
        raise InputError(
            f"{int(unknown.sum())} answers of the table have no cost: values have a meaning at cost weight 0 alone; "
            "give costs, or normalised_cost_weights=[0]"
        )
    seen = unseen.seen_prompts(router, table)
    if seen.rows.all():
        return unseen.stored(router, seen, "prompts of this table")
    table = table.rows(np.flatnonzero(~seen.rows)) if seen.count else table
    unknown = table.available & np.isnan(table.outcomes.cost)
    raw: Any = table.features if router.encoder is None else table.prompt
    whole = router.encoder is None and raw.shape[1] == router.num_features  # context columns included
    features = router.features(raw, None if whole else table.context or None)
    counted = Outcomes(table.outcomes.quality, np.where(unknown, 0.0, table.outcomes.cost))  # type: ignore[arg-type]
    outcomes = as_arrays(counted)
    available = jnp.asarray(table.available)
    choosable = views.choosable(router, index, available)
    anyone = jnp.ones((1, len(index)), bool)

    def at(weight: float) -> dict[str, Any]:
        policy = policies.greedy(views.scores(router, features, weight, index), available=choosable)
        chosen = np.asarray(policy).argmax(1)[:, None]
        quality, cost = (np.take_along_axis(np.asarray(y), chosen, 1).mean() for y in table.outcomes)
        single = int(jnp.argmax(policies.best_single(outcomes, weight, available=available, prompts=anyone)[0]))
        alone = policies.best_single(outcomes, weight, available=available)
        return {
            "value": float(jnp.mean(metrics.value(policy, outcomes, weight))),
            "regret": float(jnp.mean(metrics.regret(policy, outcomes, weight, available=available))),
            "quality": float(quality),
            "cost": float(cost),
            "best_single": table.models[single],
            "best_single_value": float(jnp.mean(metrics.value(alone, outcomes, weight))),
        }

    weights = [normalised / router.cost_scale for normalised in normalised_cost_weights]
    lost = new_models.beyond(router, features, weights, table.models)
    unknown_there = dict.fromkeys(("value", "regret", "quality", "cost"), np.nan)
    found = [at(weight) | (unknown_there if one else {}) for weight, one in zip(weights, lost.shares, strict=True)]
    columns = {name: np.array([record[name] for record in found]) for name in found[0]}
    without = views.left_out(router, features, weights, normalised_cost_weights, table.models)
    said = (*seen.said("prompts"), *lost.said(normalised_cost_weights), *without)
    return TableEvaluation(np.asarray(normalised_cost_weights, float), np.array(weights), **columns, left_out=said)
