"""``jaxroute shadow LOG``: plan a shadow sample, which is prompts beside a log that several models answer."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from jaxroute.cli import output, reading
from jaxroute.cli.judged import unit_of
from jaxroute.data import files, saving, scale
from jaxroute.system.printing import money, two_figures
from jaxroute.types import InputError, UnsupportedLogError

if TYPE_CHECKING:
    from jaxroute.types import Logs

SIZES = (50, 100, 250, 500)


class Who(StrEnum):
    """Which models answer the prompts."""

    CONTENDERS = "contenders"
    ALL = "all"


def shadow(
    log: reading.LogPath,
    count: Annotated[
        int, typer.Option(help="Prompts that the money is enough for if every model answers them.", min=1)
    ] = 250,
    ask: Annotated[
        Who,
        typer.Option(
            help="contenders: for the same money, the models whose answers are expected to be worth most answer more "
            "prompts. all: every model answers; only such a sample is evidence of what a router is worth."
        ),
    ] = Who.CONTENDERS,
    normalised_cost_weights: Annotated[
        str | None,
        typer.Option(
            help="Cost weights, as in 0,0.5, at which the router will be used; they decide who is in contention.  "
            "[default: 0,0.1,0.25,0.5,1,2]"
        ),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(help="JSONL file of further prompts that are not in the log; some are drawn at random."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSONL file to write the drawn lines of the pool to.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed draws the same prompts.")] = 0,
    how: reading.How = reading.AS_IT_IS,
    encoder: reading.Encoder = "hashed",
    page: output.Page = None,
) -> output.Result:
    """Plan a shadow sample: prompts that several models answer beside the log, for jaxroute fit --shadow.

    The report says which models to ask, what their answers are expected to be worth, how precisely the mean quality of
    each model is known now and would be known then, what the answers would cost at the log's prices, and how many log
    rows the same money buys. Prompts are drawn at random, because rules that prefer uncertain or unusual prompts were
    not better (experiments/README.md).

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
    weights = reading.cost_weights(normalised_cost_weights)
    offered = None if pool is None else draw(pool, count, seed)
    table = reading.read(log, how)
    logs, _ = reading.as_logs(table, encoder)
    if why := scale.unfit(np.asarray(logs.features)):
        raise UnsupportedLogError(why)
    most = None if offered is None else len(offered)
    found: dict[str, Any] = {"log": str(log), "currency": table.currency}
    with output.progress({}) as on_stage:
        on_stage("what answers of several models would teach")
        found |= plan(logs, table.models, count, ask=ask, cost_weights=weights, most=most)
    asked = found["ask"]["prompts"]
    lines = [] if offered is None else [line for _, line in sorted(offered[:asked])]
    if out is not None:
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


def plan(
    logs: Logs,
    models: Sequence[str],
    count: int,
    *,
    ask: str = Who.CONTENDERS,
    cost_weights: Sequence[float] | None = None,
    most: int | None = None,
) -> dict[str, Any]:
    """The cost and the benefit of a shadow sample for the money of ``count`` prompts, as numbers.

    Args:
        logs: the checked log as arrays. models: K names. ask: see ``Who``. cost_weights: normalised; None: of tables.
        most: prompts that there are; None: no limit.

    Returns:
        ask (models, prompts, price, value and value_of_all in quality units), models (a record each), sizes (a record
        each, of all models), price_of_a_row.
    """
    import jax
    import jax.numpy as jnp

    from jaxroute import counterfactual, estimators, nuisance, recipe
    from jaxroute.cli.doctor import QUICK
    from jaxroute.data.units import cost_scale
    from jaxroute.numerics import relative, weighted_mean
    from jaxroute.recipe import contenders, levels

    logs = jax.tree.map(jnp.asarray, logs)
    nuisances, model = nuisance.fit(jax.random.key(0), logs, QUICK)
    robust = counterfactual.doubly_robust(logs, nuisances, clip=estimators.evaluation_clip(len(models)))
    scale, _ = cost_scale(robust, np.asarray(logs.available), logs.weight)
    level = recipe.estimate_levels(logs, nuisances, model)
    weights = [weight / scale for weight in (recipe.GRID if cost_weights is None else cost_weights)]
    ways = contenders.ways(jax.random.key(1), logs, nuisances, level, weights, count)
    possible = [one for one in ways[:-1] if most is None or one.prompts <= most]
    best = ways[-1] if ask == Who.ALL else contenders.fewest([*possible, ways[-1]])
    then = levels.planned_errors(logs, nuisances, best.prompts, jnp.asarray(best.asked))
    cost = np.asarray(weighted_mean(nuisances.outcomes.cost, relative(logs.weight)))
    row = float(weighted_mean(logs.cost, relative(logs.weight)))
    sizes = sorted({0, *SIZES, count})
    errors = {size: np.asarray(levels.planned_errors(logs, nuisances, size)) for size in sizes}
    rows = np.bincount(np.asarray(logs.action), minlength=len(models))
    return {
        "ask": {
            "models": [name for name, asked in zip(models, best.asked, strict=True) if asked],
            "prompts": best.prompts,
            "price": best.prompts * float(cost[best.asked].sum()),
            "value": best.value,
            "value_of_all": ways[-1].value,
        },
        "models": [
            {
                "model": name,
                "rows": int(rows[k]),
                "asked": bool(best.asked[k]),
                "error_now": float(errors[0][k]),
                "error_then": float(then[k]),
                "cost_of_an_answer": float(cost[k]),
                "price": best.prompts * float(cost[k]) if best.asked[k] else 0.0,
            }
            for k, name in enumerate(models)
        ],
        "sizes": [
            {
                "prompts": size,
                "answers": size * len(models),
                "price": size * float(cost.sum()),
                "log_rows": round(size * float(cost.sum()) / row) if row else None,
                "largest_error": float(errors[size].max()),
                "median_error": float(np.median(errors[size])),
            }
            for size in sizes
        ],
        "count": count,
        "price_of_a_row": row,
    }


def draw(pool: Path, count: int, seed: int) -> list[tuple[int, bytes]]:
    """All lines of a JSONL file in random order, at least ``count``, each with its place in the file."""
    with files.opened(pool) as file:
        lines = [line for _, line in files.lines(file, pool)]
    if len(lines) < count:
        raise InputError(f"{pool}: the file has {len(lines)} prompts, fewer than --count {count}; lower --count")
    return [(int(i), lines[i] + b"\n") for i in np.random.default_rng(seed).permutation(len(lines))]


def _shown(found: dict[str, Any]) -> tuple[list[str], list[output.Sheet]]:
    asked = [m for m in found["models"] if m["asked"]]
    left = [m["model"] for m in found["models"] if not m["asked"]]
    ask, who = found["ask"], "every model" if not left else ", ".join(m["model"] for m in asked)
    now, then = (max(m[name] for m in asked) for name in ("error_now", "error_then"))
    price = money(ask["price"], found["currency"])
    said = [
        f"Have {ask['prompts']} prompts answered by {who}: this costs {price} and is expected to gain "
        f"{two_figures(100 * ask['value'])} points of utility.",
        f"The largest standard error of the mean quality of a model that is asked falls from {now:.3g} to {then:.3g}.",
    ]
    if left:
        said += [
            f"For the same money every model could answer {found['count']} prompts, which is expected to gain "
            f"{two_figures(100 * ask['value_of_all'])} points.",
            f"Without answers of {', '.join(left)} the sample teaches, but is no evidence of what a router is worth; "
            "if you need that: --ask all.",
        ]
    said += [
        f"Prices are in {unit_of(found['currency'])}. Errors are standard errors of mean quality, if the new answers "
        "are as noisy as those of the log.",
    ]
    header = ["prompts", "answers", "price", "log rows for it", "largest error", "median error"]
    keys = ["prompts", "answers", "price", "log_rows", "largest_error", "median_error"]
    sizes = output.Sheet(
        "sizes, if every model answers", header, [[size[key] for key in keys] for size in found["sizes"]]
    )
    header = ["model", "rows", "asked", "error now", "error then", "cost of an answer", "price"]
    keys = ["error_now", "error_then", "cost_of_an_answer", "price"]
    lines = [[m["model"], m["rows"], "yes" if m["asked"] else "no", *(m[key] for key in keys)] for m in found["models"]]
    return said, [sizes, output.Sheet("models: standard error of mean quality", header, lines)]
