"""``jaxroute shadow LOG``: plan a shadow sample, which is prompts beside a log that several models answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from jaxroute.cli import options, output, reading
from jaxroute.cli.judged import unit_of
from jaxroute.cli.progress import doing
from jaxroute.cli.shadow_plan import Who, plan
from jaxroute.cli.shadow_pool import ASK, draw, marked
from jaxroute.cli.sheets import Sheet
from jaxroute.data import saving, scale
from jaxroute.data.logs.entries import COMPARED
from jaxroute.system.printing import money, two_figures
from jaxroute.types import InputError, UnsupportedLogError


def shadow(
    log: options.LogPath,
    count: Annotated[
        int, typer.Option(help="Prompts that the money is enough for if every model answers them.", min=1)
    ] = 250,
    ask: Annotated[
        Who,
        typer.Option(
            help="contenders: for the same money, each model answers as many prompts as its answers are expected to be "
            "worth. all: every model answers every prompt; only such prompts are evidence of what a router is worth."
        ),
    ] = Who.CONTENDERS,
    normalised_cost_weights: Annotated[
        str | None,
        typer.Option(
            help="Cost weights, as in 0,0.5, at which the router will be used; they decide who is in contention.  "
            "[default: 0,0.1,0.25,0.5,1,2]"
        ),
    ] = None,
    rating_cost: Annotated[
        float,
        typer.Option(help="Cost of rating one answer, in the log's currency; it is paid beside the answer's.", min=0),
    ] = 0.0,
    pool: Annotated[
        Path | None,
        typer.Option(help="JSONL file of further prompts that are not in the log; some are drawn at random."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f'JSONL file to write the drawn prompts to, each with "{ASK}": the models to answer it.'),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed draws the same prompts.", min=0)] = 0,
    how: options.How = options.AS_IT_IS,
    encoder: options.Encoder = "hashed",
    page: output.Page = None,
) -> output.Result:
    """Plan a shadow sample: prompts that several models answer beside the log, for jaxroute fit --shadow.

    The report says which models to ask how many prompts, what their answers are expected to be worth, how precisely the
    mean quality of each model is known now and would be known then, what the answers would cost at the log's prices,
    and how many log rows the same money buys. Prompts are drawn at random, because rules that prefer uncertain or
    unusual prompts were not better (experiments/README.md).

    Examples:

      jaxroute shadow requests.parquet --count 100 --report page

      jaxroute shadow requests.parquet --count 250 --pool prompts.jsonl --out to_answer.jsonl

      jaxroute shadow requests.parquet --ask all --count 250
    """
    if (pool is None) != (out is None):
        raise InputError("--pool and --out must be given together: prompts are drawn from the pool and written to OUT")
    if out is not None:
        saving.check_file(out)
    output.check_page(page)
    weights = options.cost_weights(normalised_cost_weights)
    offered = None if pool is None else draw(pool, count, seed)
    table = reading.read(log, how)
    if table.read_as.get("score") == COMPARED:
        raise InputError(
            f"{log}: the answers of a shadow sample are rated, and those of this log are compared; a win is no "
            "rating, so that neither can be added to the other"
        )
    logs, _ = reading.as_logs(table, encoder)
    if why := scale.unfit(np.asarray(logs.features)):
        raise UnsupportedLogError(why)
    if not np.isfinite(np.asarray(logs.quality)).any():
        raise UnsupportedLogError(f"{log}: no row has a rating, so it is not known how noisy answers are; rate some")
    most = None if offered is None else len(offered)
    found: dict[str, Any] = {"log": str(log), "currency": table.currency}
    with doing("what answers of several models would teach"):
        found |= plan(logs, table.models, count, ask=ask, cost_weights=weights, most=most, rating_cost=rating_cost)
    asked = found["ask"]["prompts"]
    if offered is not None and out is not None:
        lines = marked(offered, {m["model"]: m["prompts"] for m in found["models"]})
        with saving.file(out) as file:
            file.writelines(lines)
    said, sheets = _shown(found)
    conclusion, written = (
        said[:1],
        output.write_page(page, f"A shadow sample beside the log {Path(log).name}", said, sheets),
    )
    said += [f"report: {written}"] if written else []
    said += [] if out is None else [f"{asked} prompts of {pool} written to {out}"]
    return output.Result(found | {"conclusion": conclusion, "report": written}, said, sheets, found["models"])


def _shown(found: dict[str, Any]) -> tuple[list[str], list[Sheet]]:
    asked = [m for m in found["models"] if m["prompts"]]
    ask, whole = found["ask"], min(m["prompts"] for m in found["models"])
    price, points = money(ask["price"], found["currency"]), two_figures(100 * ask["value"])
    if not asked:
        said = [
            "No answer is expected to change a decision, because the log tells the models apart. If you need evidence "
            "of what a router is worth: --ask all."
        ]
    elif whole == ask["prompts"]:
        said = [
            f"Have {whole} prompts answered by every model: this costs {price} and is expected to gain {points} points "
            "of utility."
        ]
    else:
        ordered = sorted(asked, key=lambda m: -m["prompts"])
        each = ", ".join(f"the first {m['prompts']} by {m['model']}" for m in ordered)
        said = [
            f"Draw {ask['prompts']} prompts at random and have them answered: {each}. That makes {ask['answers']:,} "
            f"answers, costs {price} and is expected to gain {points} points of utility.",
            f"For the same money every model could answer {found['count']} prompts, which is expected to gain "
            f"{two_figures(100 * ask['value_of_all'])} points.",
            f"{f'Only the first {whole}' if whole else 'None'} of these prompts would be answered by every model, and "
            "only such prompts are evidence of what a router is worth; the others teach. If you need more: --ask all.",
        ]
    if asked:
        now, then = (max(m[name] for m in asked) for name in ("error_now", "error_then"))
        said.insert(
            1,
            f"The largest standard error of the mean quality of a model that is asked falls from {now:.3g} to "
            f"{then:.3g}.",
        )
    said += [
        f"Prices are in {unit_of(found['currency'])}. Errors are standard errors of mean quality, if the new answers "
        "are as noisy as those of the log.",
    ]
    header = ["prompts", "answers", "price", "log rows for it", "largest error", "median error"]
    keys = ["prompts", "answers", "price", "log_rows", "largest_error", "median_error"]
    sizes = Sheet("sizes, if every model answers", header, [[size[key] for key in keys] for size in found["sizes"]])
    header = ["model", "rows", "prompts to ask", "error now", "error then", "cost of an answer", "price"]
    keys = ["model", "rows", "prompts", "error_now", "error_then", "cost_of_an_answer", "price"]
    lines = [[m[key] for key in keys] for m in found["models"]]
    return said, [sizes, Sheet("models: standard error of mean quality", header, lines)]
