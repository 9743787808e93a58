"""``jaxroute fit LOG --out ROUTER``: the recommended recipe, from a log to a saved router."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jaxroute.cli import reading
from jaxroute.estimators.evidence import Evidence
from jaxroute.learn import fitting
from jaxroute.serving.router import Router


def fit(
    log: reading.LogPath,
    out: Annotated[
        Path, typer.Option(help="Folder to write the router to; a router that is already there is replaced.")
    ],
    how: reading.How = reading.AS_IT_IS,
    encoder: reading.Encoder = "hashed",
    features_by: Annotated[
        str | None,
        typer.Option(
            help="The encoder that made the log's features. With it the router accepts texts, otherwise only features."
        ),
    ] = None,
    shadow: reading.Shadow = None,
    members: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of recipes that are fitted with different seeds and averaged: less noise, and longer fitting.",
        ),
    ] = 1,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same router.")] = 0,
) -> None:
    """Fit the recommended router to a log and save it.

    The report is estimated from the log, and every row is decided by a fit that did not use it. The router also learns
    from a shadow sample, whose rows are added to the evidence. Where the log does not support an estimate, the shadow
    sample is the only evidence.

    Examples:

      jaxroute fit requests.parquet --out router

      jaxroute fit spend_logs.jsonl --column quality=metadata.rating --quality-range 1,5 --out router

      jaxroute fit requests.parquet --shadow answered_by_all/ --out router
    """
    table = reading.read(log, how)
    logs, used = reading.as_logs(table, encoder)
    used = used if features_by is None else reading.made_by(features_by, table)
    answered = reading.as_shadow(shadow, table, used)
    console = Console(stderr=True)
    gathered: list[Evidence] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("reading", total=None)
        router = fitting.fit(
            jax.random.key(seed),
            logs,
            table.models,
            shadow=answered,
            encoder=used,
            members=members,
            on_stage=lambda stage: progress.update(bar, description=stage),
            on_evidence=gathered.append,
        )
    router.summary["chat"] = table.chat
    router.save(out)
    page = reading.write_page(out, reading.normalised(gathered[0], router.cost_scale), router.cost_scale, str(log))
    report(router)
    print(
        f"saved: {out}\nreport: {page}\nnext: jaxroute route {out} --normalised-cost-weight 0.5 --input PROMPTS.jsonl"
    )


def report(router: Router) -> None:
    """What the log says about the router, as a table."""
    summary: dict[str, Any] = router.summary
    shadow = summary["shadow_prompts"]
    lines = []
    for row in summary["by_cost_weight"]:
        interval = "none" if row["interval"] is None else "[{:.3f}, {:.3f}]".format(*row["interval"])
        half = row["gain_interval"]
        gain = f"{row['gain']:+.3f}" + (" (guess)" if half is None else f" ± {half[1] - row['gain']:.3f}")
        single = router.models[row["best_single"]]
        lines.append(
            [row["normalised_cost_weight"], row["cost_weight"], row["value"], interval, gain, single, row["verdict"]]
            + ([f"{row['shadow_share']:.0%}"] if shadow else [])
        )
    header = ["normalised", "cost weight", "value", "95% interval", "gain over best single", "best single", "verdict"]
    on = "the log and its shadow sample" if shadow else "the log"
    header += ["shadow's share"] if shadow else []
    reading.show(f"value on {on}, out of fold (quality units)", header, lines)
    loss = summary["distilling"]
    print(
        f"{summary['rows']} rows, {summary['rows_with_feedback']} with feedback, "
        f"{summary['rows_with_known_propensity']} with a known propensity; "
        f"{shadow} shadow prompts; "
        f"{100 * summary['share_of_contrasts']:.0f}% of the predicted contrasts kept"
        + (f"; {summary['members']} recipes averaged" if summary["members"] > 1 else "")
    )
    print(
        f"distilled into one network: {100 * loss['decides_otherwise']:.1f}% of held-out prompts decided otherwise, "
        f"at a loss of {100 * loss['predicted_utility_lost']:.2f} points as the recipe sees it"
    )
    if shadow:
        print("shadow's share: of the value, by effective rows; 100% where the log supports the router too little")
    if any(row["verdict"] == "refuse" for row in summary["by_cost_weight"]):
        print("where the verdict is refuse, the value is an extrapolation: see jaxroute doctor LOG")
