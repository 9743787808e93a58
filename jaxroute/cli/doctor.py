"""``jaxroute doctor LOG``: what is in a log, and what can be learnt from it."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from jaxroute import estimators, fitting, nuisance
from jaxroute.cli import reading
from jaxroute.data import splits
from jaxroute.data.logs import LogTable
from jaxroute.types import Logs, NuisanceSpec

QUICK = NuisanceSpec(("mean", "ridge"), folds=3)
SHADOW = 250


def doctor(
    log: reading.LogPath,
    column: reading.Column = None,
    prices: reading.Prices = None,
    quality_range: reading.QualityRange = "0,1",
    feedback: reading.Feedback = None,
    form: reading.Form = "auto",
    drop_bad: reading.DropBad = False,
    encoder: reading.Encoder = "hashed",
    as_json: reading.Json = False,
) -> None:
    """Examine a log: models, costs, propensities, overlap, and a verdict on what can be learnt.

    Exit code 0: ok or caution. 2: bad input. 3: refuse, the log cannot carry a router.

    Examples:

      jaxroute doctor requests.parquet

      jaxroute doctor spend_logs.jsonl --column quality=metadata.rating --quality-range 1,5

      jaxroute doctor requests.csv --prices default --drop-bad --json
    """
    table = reading.read(log, column, prices, quality_range, feedback, form, drop_bad)
    logs, used = reading.as_logs(table, encoder)
    found = {"log": str(log), "features": "the log's own" if used is None else used} | examine(table, logs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    if found["verdict"] == "refuse":
        raise typer.Exit(3)


def examine(table: LogTable, logs: Logs) -> dict[str, Any]:
    """Everything the doctor says, as plain numbers and words.

    Args:
        table: the checked log. logs: the same as arrays.

    Returns:
        counts, models (a record each), targets (a uniform policy and each single model, with verdicts),
        propensities, warnings, verdict, advice.
    """
    names = table.models
    num_models = len(names)
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, QUICK)
    diagnosis = nuisance.diagnose(logs, nuisances, models=names)
    available = np.asarray(logs.available)
    uniform = available / available.sum(1, keepdims=True)
    singles = np.eye(num_models)[:, None, :] * available[None]
    left = singles.sum(2, keepdims=True) == 0  # where the one model is missing, any other has to do
    singles = np.where(left, uniform[None], singles)
    report = estimators.support(logs, jnp.asarray(np.concatenate([uniform[None], singles])), nuisances, models=names)
    needed = fitting.rows_needed(logs)
    action, quality, cost = (np.asarray(y) for y in (logs.action, logs.quality, logs.cost))
    models = []
    for k, name in enumerate(names):
        own = action == k
        judged = own & np.isfinite(quality)
        models.append(
            {
                "model": name,
                "rows": int(own.sum()),
                "share": float(own.mean()),
                "feedback": float(judged.sum() / max(own.sum(), 1)),
                "quality": float(quality[judged].mean()) if judged.any() else float("nan"),
                "cost": float(cost[own].mean()) if own.any() else float("nan"),
                "verdict": report.targets[1 + k]["verdict"],
                "rows_needed": int(needed[k]),
            }
        )
    duplicates = None if table.prompt is None else splits.near_duplicates(table.prompt)
    verdict = _overall(diagnosis.source, report.targets[0]["verdict"], [m["verdict"] for m in models])
    return {
        "counts": table.counts | ({} if duplicates is None else {"near-duplicate prompts": duplicates}),
        "models": models,
        "propensities": diagnosis.source,
        "effective_rows_of_uniform": float(report.targets[0]["effective_sample_size"]),
        "uniform": report.targets[0]["verdict"],
        "warnings": list(diagnosis.warnings),
        "verdict": verdict,
        "advice": _advice(diagnosis.source, report.targets[0]["reasons"], models, verdict),
    }


def _overall(source: str, uniform: str, singles: list[str]) -> str:
    """refuse: no choice of the logger's was random, or fewer than two models can be valued at all."""
    if source == "deterministic" or sum(verdict != "refuse" for verdict in singles) < 2:
        return "refuse"
    return "ok" if uniform == "ok" else "caution"


def _advice(source: str, reasons: Any, models: list[dict[str, Any]], verdict: str) -> list[str]:
    lines = []
    if source == "deterministic":
        lines.append(
            "Every request's model was certain, so nothing is known of the others: send a small share of requests "
            "to a random model (5% will do) and log the probability of the choice."
        )
    elif source != "known":
        lines.append("Log the probability of every choice (propensity): here it was partly or wholly estimated.")
    lines += list(reasons)
    lines += [
        f"{m['model']}: {m['rows_needed']} more answers with feedback before it is worth routing on, or leave it out."
        for m in models
        if m["rows_needed"]
    ]
    rare = [m for m in models if m["rows_needed"]]
    if rare:
        lines.append(
            f"Instead of logging more: have {SHADOW} prompts answered by every model ({SHADOW * len(models)} answers) "
            "and give them to jaxroute fit --shadow: they say of rare models what the log cannot. "
            "Their price: jaxroute shadow LOG."
        )
    if verdict != "refuse":
        usable = [m["model"] for m in models if m["verdict"] != "refuse"]
        lines.append(f"Can be learnt: routing among {', '.join(usable)}. Next: jaxroute fit LOG --out ROUTER")
    return lines


def _print(found: dict[str, Any]) -> None:
    print(f"{found['log']}: " + ", ".join(f"{count} {kind}" for kind, count in found["counts"].items()))
    print(f"features: {found['features']}; propensities: {found['propensities']}")
    header = ["model", "rows", "share", "feedback", "quality", "cost", "value of it alone", "rows needed"]
    keys = ["model", "rows", "share", "feedback", "quality", "cost", "verdict", "rows_needed"]
    reading.show("models", header, [[m[key] for key in keys] for m in found["models"]])
    print(
        f"a uniform policy: {found['uniform']} ({found['effective_rows_of_uniform']:.0f} effective rows); "
        "feedback is taken to be missing at random"
    )
    for line in found["warnings"]:
        print(f"warning: {line}")
    print(f"verdict: {found['verdict']}")
    for line in found["advice"]:
        print(f"- {line}")
