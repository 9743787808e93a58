"""``jaxroute shadow LOG``: plan a shadow sample, which is prompts beside a log that several models answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from jaxroute.cli import options, output, reading
from jaxroute.cli.judged import unit_of
from jaxroute.cli.progress import progress
from jaxroute.cli.sheets import Sheet
from jaxroute.data import files, saving, scale
from jaxroute.system.printing import money, two_figures
from jaxroute.types import InputError, UnsupportedLogError

if TYPE_CHECKING:
    from jaxroute.types import Logs

SIZES = (50, 100, 250, 500)
MOST = 10
"""A model is asked at most so many times the prompts that every model could answer for the money."""
ASK = "ask"
"""In every line that is drawn: the models that are to answer it."""


class Who(StrEnum):
    """Which models answer the prompts."""

    CONTENDERS = "contenders"
    ALL = "all"


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
    logs, _ = reading.as_logs(table, encoder)
    if why := scale.unfit(np.asarray(logs.features)):
        raise UnsupportedLogError(why)
    if not np.isfinite(np.asarray(logs.quality)).any():
        raise UnsupportedLogError(f"{log}: no row has a rating, so it is not known how noisy answers are; rate some")
    most = None if offered is None else len(offered)
    found: dict[str, Any] = {"log": str(log), "currency": table.currency}
    with progress({}) as on_stage:
        on_stage("what answers of several models would teach")
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


def plan(
    logs: Logs,
    models: Sequence[str],
    count: int,
    *,
    ask: str = Who.CONTENDERS,
    cost_weights: Sequence[float] | None = None,
    most: int | None = None,
    rating_cost: float = 0.0,
) -> dict[str, Any]:
    """The cost and the benefit of a shadow sample for the money of ``count`` prompts, as numbers.

    Args:
        logs: the checked log as arrays. models: K names. ask: see ``Who``. cost_weights: normalised; None: of tables.
        most: prompts that there are; None: ``MOST`` times ``count``. rating_cost: of an answer, in the log's unit.

    Returns:
        ask (models, prompts, answers, price, value and value_of_all in quality units), models (a record each), sizes (a
        record each, of all models), price_of_a_row.
    """
    import jax
    import jax.numpy as jnp

    from jaxroute import counterfactual, estimators, nuisance, recipe
    from jaxroute.cli.examined import QUICK
    from jaxroute.data.units import cost_scale
    from jaxroute.numerics import relative, weighted_mean
    from jaxroute.recipe import contenders

    logs = jax.tree.map(jnp.asarray, logs)
    nuisances, model = nuisance.fit(jax.random.key(0), logs, QUICK)
    robust = counterfactual.doubly_robust(logs, nuisances, clip=estimators.evaluation_clip(len(models)))
    scale, _ = cost_scale(robust, np.asarray(logs.available), logs.weight)
    level = recipe.estimate_levels(logs, nuisances, model)
    weights = [weight / scale for weight in (recipe.GRID if cost_weights is None else cost_weights)]
    worth = contenders.worth(jax.random.key(1), logs, nuisances, level, weights)
    cost = np.maximum(np.asarray(weighted_mean(nuisances.outcomes.cost, relative(logs.weight)), float), 0.0)
    price, every = cost + rating_cost, np.full(len(models), count)
    if ask == Who.ALL:
        asked = every
    else:
        most = MOST * count if most is None else most
        asked = contenders.spend(worth, price, float(count * price.sum()), block=max(count // 4, 1), most=most)
    value, value_of_all = worth(np.stack([asked, every]))
    now, then = (contenders.errors(logs, nuisances, prompts) for prompts in (0 * asked, asked))
    row = float(weighted_mean(logs.cost, relative(logs.weight)))
    sizes = sorted({0, *SIZES, count})
    errors = {size: np.asarray(contenders.errors(logs, nuisances, size)) for size in sizes}
    rows = np.bincount(np.asarray(logs.action), minlength=len(models))
    return {
        "ask": {
            "models": [name for name, prompts in zip(models, asked, strict=True) if prompts],
            "prompts": int(asked.max()),
            "answers": int(asked.sum()),
            "price": float(asked @ price),
            "value": float(value),
            "value_of_all": float(value_of_all),
        },
        "models": [
            {
                "model": name,
                "rows": int(rows[k]),
                "asked": bool(asked[k]),
                "prompts": int(asked[k]),
                "error_now": float(now[k]),
                "error_then": float(then[k]),
                "cost_of_an_answer": float(price[k]),
                "price": float(asked[k] * price[k]),
            }
            for k, name in enumerate(models)
        ],
        "sizes": [
            {
                "prompts": size,
                "answers": size * len(models),
                "price": size * float(price.sum()),
                "log_rows": round(size * float(price.sum()) / (row + rating_cost)) if row + rating_cost else None,
                "largest_error": float(errors[size].max()),
                "median_error": float(np.median(errors[size])),
            }
            for size in sizes
        ],
        "count": count,
        "price_of_a_row": row + rating_cost,
    }


def draw(pool: Path, count: int, seed: int) -> list[tuple[int, dict[str, Any]]]:
    """All prompts of a JSONL file in random order, at least ``count``, each with its place in the file.

    Raises:
        InputError: fewer; or a line that is no JSON object, or has the key ``ASK`` already.
    """
    with files.opened(pool) as file:
        found = [(number, _prompt(pool, number, line)) for number, line in files.lines(file, pool)]
    if len(found) < count:
        raise InputError(f"{pool}: the file has {len(found)} prompts, fewer than --count {count}; lower --count")
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def _prompt(pool: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        item = files.parse(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{pool}, row {number}: is not JSON ({error}); give one object a line") from None
    if not isinstance(item, dict):
        raise InputError(f"{pool}, row {number}: is {type(item).__name__}, not an object; give one object a line")
    if ASK in item:
        raise InputError(f"{pool}, row {number}: has {ASK!r} already, which names the models to ask; rename that key")
    return item


def marked(offered: Sequence[tuple[int, dict[str, Any]]], prompts: dict[str, int]) -> list[bytes]:
    """The lines of the drawn prompts in the order of the pool, each with the models that are to answer it.

    Args:
        offered: in the order they were drawn. prompts: how many of them every model answers, the first ones.
    """
    drawn = enumerate(offered[: max(prompts.values())])
    lines = {
        place: item | {ASK: [model for model, asked in prompts.items() if rank < asked]}
        for rank, (place, item) in drawn
    }
    return [_line(lines[place]) for place in sorted(lines)]


def _line(item: dict[str, Any]) -> bytes:
    try:
        return json.dumps(item, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a pair of UTF-16, which is a text of JSON and none of UTF-8
        return json.dumps(item).encode() + b"\n"


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
            "Only prompts that every model answers are evidence of what a router is worth, the others teach; there are "
            f"{whole or 'none'}. If you need more: --ask all.",
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
