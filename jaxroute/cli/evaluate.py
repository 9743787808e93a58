"""``jaxroute evaluate ROUTER LOG`` and ``jaxroute compare A B LOG``: what a log that routers never saw says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jaxtyping import Array, Float

from jaxroute import counterfactual, metrics, nuisance, policies
from jaxroute.cli import reading
from jaxroute.data import tables
from jaxroute.data.logs.loading import LogTable
from jaxroute.estimators import evidence
from jaxroute.estimators.evidence import Evidence
from jaxroute.recipe import levels
from jaxroute.recipe.recommended import GRID
from jaxroute.serving.router import Router
from jaxroute.types import Examples, InputError, Logs, Nuisances, NuisanceSpec

RouterPath = Annotated[Path, typer.Argument(help="A saved router: the folder that jaxroute fit wrote.")]
SPEC = NuisanceSpec(("mean", "ridge", "hierarchical"))


def evaluate(
    router: RouterPath,
    log: Annotated[Path | None, typer.Argument(help="A log that the router was not fitted on.")] = None,
    table: Annotated[Path | None, typer.Option(help="A full table instead of a log: regret, too.")] = None,
    column: reading.Column = None,
    prices: reading.Prices = None,
    quality_range: reading.QualityRange = "0,1",
    feedback: reading.Feedback = None,
    form: reading.Form = "auto",
    drop_bad: reading.DropBad = False,
    shadow: reading.Shadow = None,
    page: Annotated[Path | None, typer.Option("--report", help="Folder for report.html: the log's evidence.")] = None,
    as_json: reading.Json = False,
) -> None:
    """Value of a router by cost weight, with intervals and verdicts, from a log it has not seen.

    "flips at": how strongly a hidden confounder would have to move the odds of the logged choices before "better (or
    worse) than the logging policy" no longer follows; 1.1 is little, 3 is much. With --shadow the answers of a shadow
    sample that the router has not seen either are pooled with the log's rows.

    Examples:

      jaxroute evaluate router later_requests.parquet --report page

      jaxroute evaluate router later_requests.parquet --shadow later_answered_by_all/

      jaxroute evaluate router --table tables/routerbench
    """
    found = Router.load(router)
    if (log is None) == (table is None):
        raise InputError("give either a LOG or --table FOLDER")
    for option, given in (("--report", page), ("--shadow", shadow)):
        if given is not None and log is None:
            raise InputError(f"{option} goes with a log: give a LOG")
    if table is not None:
        lines, header = _on_table(found, table), ["normalised", "value", "regret", "quality", "cost", "best single"]
    else:
        assert log is not None
        rows = reading.read(log, column, prices, quality_range, feedback, form, drop_bad)
        judged = reading.normalised(_from_log(found, Path(router).name, rows, shadow), found.cost_scale)
        lines = _lines(judged)
        header = ["normalised", "value", "95% interval", "gain on the logger", "gain on best single"]
        header += ["flips at", "verdict"] + (["shadow's share"] if shadow else [])
        if page is not None:
            path = reading.write_page(page, judged, found.cost_scale, f"{router} on {log}")
            reading.note(f"report: {path}")
    if as_json:
        print(json.dumps([dict(zip(header, line, strict=True)) for line in lines], indent=1))
    else:
        reading.show(f"{router} on {log or table} (quality units; cost in the data's unit)", header, lines)


def compare(
    a: RouterPath,
    b: RouterPath,
    log: reading.LogPath,
    column: reading.Column = None,
    prices: reading.Prices = None,
    quality_range: reading.QualityRange = "0,1",
    feedback: reading.Feedback = None,
    form: reading.Form = "auto",
    drop_bad: reading.DropBad = False,
    shadow: reading.Shadow = None,
    as_json: reading.Json = False,
) -> None:
    """Router A minus router B on a log that neither has seen: paired difference with its 95% interval.

    Where the log supports one of them too little, the outcome model's guess is shown, as an extrapolation. With
    --shadow the answers of a shadow sample that neither has seen are pooled with the log's rows, and stand alone there.

    Example:

      jaxroute compare router_new router_old later_requests.parquet
    """
    first, second = Router.load(a), Router.load(b)
    table = reading.read(log, column, prices, quality_range, feedback, form, drop_bad)
    views = _views(first, table, shadow)
    weights = [normalised / first.cost_scale for normalised in GRID]  # for both, in the data's own unit
    (ours, we), (theirs, they) = (_policies(router, table, views, weights) for router in (first, second))
    beside = None if we is None or they is None else (we, they)
    found = evidence.gains(views.logs, views.nuisances, ours, theirs, weights, shadow=views.shadow, on_shadow=beside)
    lines = []
    for normalised, row in zip(GRID, found.to_dict("records"), strict=True):
        low, high = row["low"], row["high"]
        verdict = "not supported" if np.isnan(low) else "better" if low > 0 else "worse" if high < 0 else "undecided"
        interval = "extrapolation" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]"
        lines.append([normalised, row["cost_weight"], row["gain"], interval, verdict])
    header = ["normalised", "cost weight", "difference", "95% interval", "A is"]
    if as_json:
        print(json.dumps([dict(zip(header, line, strict=True)) for line in lines], indent=1))
    else:
        reading.show(f"{a} minus {b} on {log} (quality units)", header, lines)


class _Views(NamedTuple):
    """A log, what is predicted of it, and a shadow sample beside it."""

    logs: Logs
    nuisances: Nuisances
    shadow: Examples | None


def _views(router: Router, table: LogTable, shadow: Path | None) -> _Views:
    if unknown := [name for name in table.models if name not in router.models]:
        raise InputError(f"the log has model {unknown[0]!r}; the router knows: {', '.join(router.models)}")
    logs, used = reading.as_logs(table, router.encoder or "hashed")
    logs, beside = jax.tree.map(jnp.asarray, (logs, reading.as_shadow(shadow, table, used)))
    if beside is not None and beside.features.shape[1] != logs.features.shape[1]:
        raise InputError(
            f"{shadow}: {beside.features.shape[1]} features a prompt, the log has {logs.features.shape[1]}: "
            "make both with the same encoder"
        )
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, SPEC, shadow=beside)
    return _Views(logs, nuisances, beside)


def _policies(
    router: Router, table: LogTable, views: _Views, weights: Sequence[float]
) -> tuple[Float[Array, "L N K"], Float[Array, "L S K"] | None]:
    """The router's choices among the log's models and candidate sets, on the log and on the shadow."""
    given = router.encoder is None or table.features is not None
    index = [router.models.index(name) for name in table.models]

    def decided(prompts: Any, available: Array) -> Array:
        scores = (router.route(prompts, cost_weight=weight).scores[:, index] for weight in weights)
        return jnp.stack([policies.greedy(jnp.asarray(score), available=available) for score in scores])

    ours = decided(np.asarray(views.logs.features) if given else table.prompt, views.logs.available)
    if views.shadow is None:
        return ours, None
    return ours, decided(np.asarray(views.shadow.features), views.shadow.available)


def _from_log(router: Router, name: str, table: LogTable, shadow: Path | None) -> Evidence:
    """Evidence at the grid's normalised cost weights, costs in the router's units."""
    views = _views(router, table, shadow)
    logs, nuisances = views.logs, views.nuisances
    known = counterfactual.examples(logs, nuisances, views.shadow, clip=levels.CLIP)
    weights = [normalised / router.cost_scale for normalised in GRID]
    policy, on_shadow = _policies(router, table, views, weights)

    def best_single(prompts: Array) -> Array:
        return policies.best_single(known.outcomes, jnp.array(weights), available=known.available, prompts=prompts)

    # How the logging policy would have chosen on the shadow's prompts is not known.
    against = {
        "logging policy": evidence.logging_policy(logs, nuisances, len(weights)),
        "best single": best_single(logs.available),
    }
    both = {}
    if views.shadow is not None and on_shadow is not None:
        both = {name: on_shadow, "best single": best_single(views.shadow.available)}
    return evidence.gather(
        jax.random.key(0),
        logs,
        nuisances,
        policy,
        weights,
        against=against,
        models=table.models,
        name=name,
        shadow=views.shadow,
        on_shadow=both,
    )


def _lines(found: Evidence) -> list[list[Any]]:
    lines = []
    for row in found.values.to_dict("records"):
        shown = []
        for opponent in ("logging policy", "best single"):
            at = (found.gains["cost_weight"] == row["cost_weight"]) & (found.gains["against"] == opponent)
            gain = found.gains[at].iloc[0]
            none = np.isnan(gain["low"])
            shown.append("extrapolation" if none else f"{gain['gain']:+.3f} ± {gain['high'] - gain['gain']:.3f}")
        interval = "none" if np.isnan(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}]"
        flips = "-" if np.isnan(row["flips_at"]) else f"{row['flips_at']:.2f}"
        beside = [f"{row['shadow_share']:.0%}"] if "shadow_share" in row else []
        lines.append([row["cost_weight"], row["value"], interval, *shown, flips, row["verdict"], *beside])
    return lines


def _on_table(router: Router, path: Path) -> list[list[Any]]:
    table = tables.load(path)
    if unknown := [name for name in table.models if name not in router.models]:
        raise InputError(f"{path}: model {unknown[0]!r}; the router knows: {', '.join(router.models)}")
    prompts: Any = table.prompt if router.encoder is not None else table.features
    index = [router.models.index(name) for name in table.models]
    outcomes = jax.tree.map(jnp.asarray, table.outcomes)
    available = jnp.asarray(table.available)
    lines = []
    for normalised in GRID:
        weight = normalised / router.cost_scale
        scores = jnp.asarray(router.route(prompts, cost_weight=weight).scores[:, index])
        policy = policies.greedy(scores, available=available)
        single = policies.best_single(outcomes, weight, available=available, prompts=jnp.ones((1, len(index)), bool))
        only, answered = int(jnp.argmax(single[0])), table.available[:, int(jnp.argmax(single[0]))]
        utility = (table.outcomes.quality - weight * table.outcomes.cost)[answered, only]
        chosen = np.asarray(policy).argmax(1)
        rows = np.arange(len(table))
        lines.append(
            [
                normalised,
                float(jnp.mean(metrics.value(policy, outcomes, weight))),
                float(jnp.mean(metrics.regret(policy, outcomes, weight, available=available))),
                float(table.outcomes.quality[rows, chosen].mean()),
                float(table.outcomes.cost[rows, chosen].mean()),
                f"{table.models[only]} {utility.mean():.4f}",
            ]
        )
    return lines
