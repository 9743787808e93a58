"""``jaxroute shadow LOG``: plan a shadow sample, which is prompts beside a log that every model answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxroute.cli import output, reading
from jaxroute.cli.judged import unit_of
from jaxroute.data import files, saving
from jaxroute.system.printing import money
from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.types import Logs

SIZES = (50, 100, 250, 500)


def shadow(
    log: reading.LogPath,
    count: Annotated[int, typer.Option(help="Prompts to have answered by every model.", min=1)] = 250,
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
    """Plan a shadow sample: prompts that every model answers beside the log, for jaxroute fit --shadow.

    The report says how precisely the mean quality of each model is known now and would be known then, what the answers
    would cost at the log's prices, and how many log rows the same money buys. Prompts are drawn at random, because
    rules that prefer uncertain or unusual prompts were not better (experiments/README.md).

    Examples:

      jaxroute shadow requests.parquet --count 100 --report page

      jaxroute shadow requests.parquet --count 250 --pool prompts.jsonl --out to_answer.jsonl
    """
    if (pool is None) != (out is None):
        raise InputError("--pool and --out must be given together: prompts are drawn from the pool and written to OUT")
    if out is not None:
        saving.check_file(out)
    output.check_page(page)
    lines = [] if pool is None else draw(pool, count, seed)
    table = reading.read(log, how)
    logs, _ = reading.as_logs(table, encoder)
    found = {"log": str(log), "currency": table.currency} | plan(logs, table.models, count)
    if out is not None:
        with saving.file(out) as file:
            file.writelines(lines)
    said, sheets = _shown(found)
    conclusion, written = (
        said[:1],
        output.write_page(page, f"A shadow sample beside the log {Path(log).name}", said, sheets),
    )
    said += [f"report: {written}"] if written else []
    said += [] if out is None else [f"{count} prompts of {pool} written to {out}"]
    return output.Result(found | {"conclusion": conclusion, "report": written}, said, sheets, found["models"])


def plan(logs: Logs, models: Sequence[str], count: int) -> dict[str, Any]:
    """The cost and the benefit of a shadow sample of ``count`` prompts, as numbers.

    Args:
        logs: the checked log as arrays. models: K names.

    Returns:
        models (a record each), sizes (a record each), price_of_a_row.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxroute import nuisance
    from jaxroute.cli.doctor import QUICK
    from jaxroute.numerics import relative, weighted_mean
    from jaxroute.recipe import levels

    logs = jax.tree.map(jnp.asarray, logs)
    nuisances, _ = nuisance.fit(jax.random.key(0), logs, QUICK)
    cost = np.asarray(weighted_mean(nuisances.outcomes.cost, relative(logs.weight)))
    row = float(weighted_mean(logs.cost, relative(logs.weight)))
    sizes = sorted({0, *SIZES, count})
    errors = {size: np.asarray(levels.planned_errors(logs, nuisances, size)) for size in sizes}
    rows = np.bincount(np.asarray(logs.action), minlength=len(models))
    return {
        "models": [
            {
                "model": name,
                "rows": int(rows[k]),
                "error_now": float(errors[0][k]),
                "error_then": float(errors[count][k]),
                "cost_of_an_answer": float(cost[k]),
                "price": count * float(cost[k]),
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


def draw(pool: Path, count: int, seed: int) -> list[bytes]:
    """``count`` random lines of a JSONL file, in the order of the file."""
    import numpy as np

    with files.opened(pool) as file:
        lines = [line for _, line in files.lines(file, pool)]
    if len(lines) < count:
        raise InputError(f"{pool}: the file has {len(lines)} prompts, fewer than --count {count}; lower --count")
    return [lines[i] + b"\n" for i in sorted(np.random.default_rng(seed).choice(len(lines), count, replace=False))]


def _shown(found: dict[str, Any]) -> tuple[list[str], list[output.Sheet]]:
    count = found["count"]
    then = next(size for size in found["sizes"] if size["prompts"] == count)
    now = max(m["error_now"] for m in found["models"])
    price = money(then["price"], found["currency"])
    said = [
        f"{count} prompts answered by every model cost {price}: the largest standard error of a model's "
        f"mean quality falls from {now:.3g} to {then['largest_error']:.3g}.",
        f"Prices are in {unit_of(found['currency'])}. Errors are standard errors of mean quality, if the new answers "
        "are as noisy as those of the log.",
    ]
    header = ["prompts", "answers", "price", "log rows for it", "largest error", "median error"]
    keys = ["prompts", "answers", "price", "log_rows", "largest_error", "median_error"]
    sizes = output.Sheet("sizes", header, [[size[key] for key in keys] for size in found["sizes"]])
    header = ["model", "rows", "error now", f"with {count} prompts", "cost of an answer", f"price of {count}"]
    keys = ["model", "rows", "error_now", "error_then", "cost_of_an_answer", "price"]
    lines = [[m[key] for key in keys] for m in found["models"]]
    return said, [sizes, output.Sheet("models: standard error of mean quality", header, lines)]
