"""``jaxroute evaluate ROUTER LOG`` and ``jaxroute compare A B LOG``: what a log that routers never saw says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jaxtyping import Array

from jaxroute import counterfactual, evidence, levels, metrics, nuisance, policies
from jaxroute.cli import reading
from jaxroute.data import tables
from jaxroute.data.logs import LogTable
from jaxroute.evidence import Evidence
from jaxroute.recipe import GRID
from jaxroute.router import Router
from jaxroute.types import InputError, Logs, Nuisances, NuisanceSpec

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
    page: Annotated[Path | None, typer.Option("--report", help="Folder for report.html: the log's evidence.")] = None,
    as_json: reading.Json = False,
) -> None:
    """Value of a router by cost weight, with intervals and verdicts, from a log it has not seen.

    "flips at": how strongly a hidden confounder would have to move the odds of the logged choices before "better (or
    worse) than the logging policy" no longer follows; 1.1 is little, 3 is much.

    Examples:

      jaxroute evaluate router later_requests.parquet --report page

      jaxroute evaluate router --table tables/routerbench
    """
    found = Router.load(router)
    if (log is None) == (table is None):
        raise InputError("give either a LOG or --table FOLDER")
    if page is not None and log is None:
        raise InputError("--report shows a log's evidence: give a LOG")
    if table is not None:
        lines, header = _on_table(found, table), ["normalised", "value", "regret", "quality", "cost", "best single"]
    else:
        assert log is not None
        rows = reading.read(log, column, prices, quality_range, feedback, form, drop_bad)
        judged = reading.normalised(_from_log(found, Path(router).name, rows), found.cost_scale)
        lines = _lines(judged)
        header = ["normalised", "value", "95% interval", "gain on the logger", "gain on best single"]
        header += ["flips at", "verdict"]
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
    as_json: reading.Json = False,
) -> None:
    """Router A minus router B on a log that neither has seen: paired difference with its 95% interval.

    Where the log supports one of them too little, the outcome model's guess is shown, as an extrapolation.

    Example:

      jaxroute compare router_new router_old later_requests.parquet
    """
    first, second = Router.load(a), Router.load(b)
    table = reading.read(log, column, prices, quality_range, feedback, form, drop_bad)
    logs, nuisances = _prepare(first, table)
    weights = [normalised / first.cost_scale for normalised in GRID]  # for both, in the data's own unit
    ours, theirs = (jnp.stack([_policy(r, table, logs, w) for w in weights]) for r in (first, second))
    lines = []
    for normalised, row in zip(
        GRID, evidence.gains(logs, nuisances, ours, theirs, weights).to_dict("records"), strict=True
    ):
        low, high = row["low"], row["high"]
        verdict = "not supported" if np.isnan(low) else "better" if low > 0 else "worse" if high < 0 else "undecided"
        interval = "extrapolation" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]"
        lines.append([normalised, row["cost_weight"], row["gain"], interval, verdict])
    header = ["normalised", "cost weight", "difference", "95% interval", "A is"]
    if as_json:
        print(json.dumps([dict(zip(header, line, strict=True)) for line in lines], indent=1))
    else:
        reading.show(f"{a} minus {b} on {log} (quality units)", header, lines)


def _prepare(router: Router, table: LogTable) -> tuple[Logs, Nuisances]:
    if unknown := [name for name in table.models if name not in router.models]:
        raise InputError(f"the log has model {unknown[0]!r}; the router knows: {', '.join(router.models)}")
    logs, _ = reading.as_logs(table, router.encoder or "hashed")
    return logs, nuisance.fit(jax.random.key(0), logs, SPEC)[0]


def _policy(router: Router, table: LogTable, logs: Logs, weight: float) -> Array:
    """The router's choices among the log's models and candidate sets, [N, K]."""
    given = router.encoder is None or table.features is not None
    prompts: Any = np.asarray(logs.features) if given else table.prompt
    scores = router.route(prompts, cost_weight=weight).scores
    index = [router.models.index(name) for name in table.models]
    return policies.greedy(jnp.asarray(scores[:, index]), available=jnp.asarray(logs.available))


def _from_log(router: Router, name: str, table: LogTable) -> Evidence:
    """Evidence at the grid's normalised cost weights, costs in the router's units."""
    logs, nuisances = _prepare(router, table)
    level = levels.fit(logs, nuisances).mean
    cost = jnp.mean(counterfactual.doubly_robust(logs, nuisances, clip=levels.CLIP).cost, 0)
    weights = [normalised / router.cost_scale for normalised in GRID]
    available = jnp.asarray(logs.available)
    policy = jnp.stack([_policy(router, table, logs, w) for w in weights])
    singles = [jnp.broadcast_to(level - w * cost, available.shape) for w in weights]
    against = {
        "logging policy": evidence.logging_policy(logs, nuisances, len(weights)),
        "best single": jnp.stack([policies.greedy(single, available=available) for single in singles]),
    }
    key = jax.random.key(0)
    return evidence.gather(key, logs, nuisances, policy, weights, against=against, models=table.models, name=name)


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
        lines.append([row["cost_weight"], row["value"], interval, *shown, flips, row["verdict"]])
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
        utility = np.where(table.available, table.outcomes.quality - weight * table.outcomes.cost, np.nan)
        only = np.nanmean(utility, 0)
        chosen = np.asarray(policy).argmax(1)
        rows = np.arange(len(table))
        lines.append(
            [
                normalised,
                float(jnp.mean(metrics.value(policy, outcomes, weight))),
                float(jnp.mean(metrics.regret(policy, outcomes, weight, available=available))),
                float(table.outcomes.quality[rows, chosen].mean()),
                float(table.outcomes.cost[rows, chosen].mean()),
                f"{table.models[int(np.argmax(only))]} {only.max():.4f}",
            ]
        )
    return lines
