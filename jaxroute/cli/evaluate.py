"""``jaxroute evaluate ROUTER LOG`` and ``jaxroute compare A B LOG``: what a log that routers never saw says of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from jaxroute.cli import reading
from jaxroute.data import tables
from jaxroute.serving import evaluation
from jaxroute.serving.router import Router
from jaxroute.types import InputError

RouterPath = Annotated[Path, typer.Argument(help="A saved router: the folder that jaxroute fit wrote.")]
RouterEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder", help="The router's own encoder, named again; only one that sends texts to an endpoint needs it."
    ),
]


def evaluate(
    router: RouterPath,
    log: Annotated[str | None, typer.Argument(help="A log that the router was not fitted on.")] = None,
    table: Annotated[Path | None, typer.Option(help="A full table instead of a log: regret, too.")] = None,
    how: reading.How = reading.AS_IT_IS,
    shadow: reading.Shadow = None,
    encoder: RouterEncoder = None,
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
    loaded = Router.load(router, encoder)
    if (log is None) == (table is None):
        raise InputError("give either a LOG or --table FOLDER")
    for option, given in (("--report", page), ("--shadow", shadow)):
        if given is not None and log is None:
            raise InputError(f"{option} goes with a log: give a LOG")
    found: evaluation.LogEvaluation | evaluation.TableEvaluation
    if table is not None:
        found = evaluation.on_table(loaded, tables.load(table))
        header, lines = ["normalised", "value", "regret", "quality", "cost", "best single"], _of_table(found)
    else:
        assert log is not None
        rows = reading.read(log, how)
        answered = None if shadow is None else tables.load(shadow)
        found = evaluation.on_log(loaded, rows, shadow=answered, name=Path(router).name)
        header = ["normalised", "value", "95% interval", "gain on the logger", "gain on best single"]
        header, lines = header + ["flips at", "verdict"] + (["shadow's share"] if shadow else []), _of_log(found)
        if page is not None:
            judged = reading.normalised(found.evidence, found.cost_scale)
            path = reading.write_page(page, judged, found.cost_scale, f"{router} on {log}")
            reading.note(f"report: {path}")
    if as_json:
        reading.print_json(found.to_frame())
    else:
        reading.show(f"{router} on {log or table} (quality units; cost in the data's unit)", header, lines)


def compare(
    a: RouterPath,
    b: RouterPath,
    log: reading.LogPath,
    how: reading.How = reading.AS_IT_IS,
    shadow: reading.Shadow = None,
    encoder: RouterEncoder = None,
    as_json: reading.Json = False,
) -> None:
    """Router A minus router B on a log that neither has seen: paired difference with its 95% interval.

    Where the log supports one of them too little, the outcome model's guess is shown, as an extrapolation. With
    --shadow the answers of a shadow sample that neither has seen are pooled with the log's rows, and stand alone there.

    Example:

      jaxroute compare router_new router_old later_requests.parquet
    """
    first, second = Router.load(a), Router.load(b)
    if encoder is not None:
        if encoder not in (first.encoder, second.encoder):
            raise InputError(f"--encoder {encoder}: the routers' own are {first.encoder} and {second.encoder}")
        first, second = (dataclasses.replace(r, may_send=r.encoder == encoder) for r in (first, second))
    table = reading.read(log, how)
    answered = None if shadow is None else tables.load(shadow)
    found = evaluation.compare(first, second, table, shadow=answered)
    if as_json:
        reading.print_json(found.to_frame())
        return
    lines = []
    for row in found.to_frame().to_dict("records"):
        interval = "extrapolation" if np.isnan(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        shown = [row[column] for column in ("normalised_cost_weight", "cost_weight", "difference")]
        lines.append([*shown, interval, row["verdict"]])
    header = ["normalised", "cost weight", "difference", "95% interval", "A is"]
    reading.show(f"{a} minus {b} on {log} (quality units)", header, lines)


def _of_log(found: evaluation.LogEvaluation) -> list[list[Any]]:
    lines = []
    for row in found.to_frame().to_dict("records"):
        gains = []
        for name in ("gain_on_logging_policy", "gain_on_best_single"):
            half = row[f"{name}_high"] - row[name]
            gains.append("extrapolation" if np.isnan(half) else f"{row[name]:+.3f} ± {half:.3f}")
        interval = "none" if np.isnan(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}]"
        flips = "-" if np.isnan(row["flips_at"]) else f"{row['flips_at']:.2f}"
        share = [f"{row['shadow_share']:.0%}"] if "shadow_share" in row else []
        lines.append([row["normalised_cost_weight"], row["value"], interval, *gains, flips, row["verdict"], *share])
    return lines


def _of_table(found: evaluation.TableEvaluation) -> list[list[Any]]:
    columns = ("normalised_cost_weight", "value", "regret", "quality", "cost")
    return [
        [*(row[column] for column in columns), f"{row['best_single']} {row['best_single_value']:.4f}"]
        for row in found.to_frame().to_dict("records")
    ]
