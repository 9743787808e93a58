"""What should a loss learn from: doubly robust outcomes, predictions, or predictions with doubly robust means?

    make outcomes DATA=<folder of tables>        SMOKE=1 for seconds

The losses of `make experiment` on three estimates of what every model would have answered, beside the recipe and the
stacked plug-in, on every table of the study and under three logging policies. Seeds 400 to 405, which no choice has
used: `learn.estimates.calibrated` was looked at on seeds 200 to 202 of the same tables, under weak router 2 and in part
under the cost-biased policy. A method that was run with this code is not run again. Writes
results/outcomes/outcomes.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

from experiments import run
from experiments.methods import SURROGATES
from experiments.side import common
from experiments.study import design
from experiments.study.cells import LOGGERS
from jaxroute import metrics
from jaxroute.system import stopping

FIRST_SEED, SEEDS = 400, 6
POLICIES: dict[str, dict[str, Any]] = {
    "weak router 2": {},
    **{name: LOGGERS[name] for name in ("cost-biased 2", "weak router 6")},
}
ROBUST, PREDICTED, CALIBRATED = "", "_dm", "_calibrated"
RIVALS = ("plug_in_stack", "recommended")
METHODS = (*RIVALS, *(f"{loss}{outcomes}" for loss in SURROGATES for outcomes in (ROBUST, PREDICTED, CALIBRATED)))
REAL = "real tables"


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    """Mean regrets in points, a row per method and seed, one logging policy and table after another."""
    seeds: dict[str, Any] = {} if options.smoke else {"first_seed": FIRST_SEED, "seeds": SEEDS}
    tables = list(design.centres(options.data, smoke=options.smoke))
    for logger, changes in list(POLICIES.items())[: 1 if options.smoke else None]:
        for table, centre in tables:
            name = centre.name.replace("study", "outcomes")
            config = dataclasses.replace(centre, name=name, methods=METHODS, rivals=(), **seeds, **changes)
            with redirect_stdout(io.StringIO()):
                found = pd.read_parquet(run.run(config, options.out, held_out_log=False) / "results.parquet")
            jax.clear_caches()  # every program maps memory, and the system grants so many maps
            found = found[found["metric"] == "mean_regret"]
            regret = 100 * found["value"]
            yield found[["method", "seed"]].assign(regret=regret, dataset=table.name, logger=logger)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A line per logging policy, dataset and loss: its regret in points on doubly robust outcomes, what predictions
    and calibrated outcomes add to it, and how far the last is behind the recipe and the stacked plug-in, with 95%
    Student-t intervals of the differences paired by seed; below 0 it is better."""
    lines = []
    datasets = [*found["dataset"].unique(), REAL]
    for logger in found["logger"].unique():
        for dataset in datasets:
            there = found["dataset"] != design.SYNTHETIC if dataset == REAL else found["dataset"] == dataset
            mine = found[there & (found["logger"] == logger)]
            if mine.empty:
                continue
            regret = mine.groupby(["seed", "method"])["regret"].mean().unstack()
            for loss in SURROGATES:
                line = {"logger": logger, "dataset": dataset, "loss": loss}
                line["doubly robust"] = f"{regret[loss].mean():.2f}"
                line["predictions"] = difference(regret[loss + PREDICTED], regret[loss + ROBUST])
                line["calibrated"] = difference(regret[loss + CALIBRATED], regret[loss + ROBUST])
                for rival in RIVALS:
                    line[f"calibrated less {rival}"] = difference(regret[loss + CALIBRATED], regret[rival])
                lines.append(line)
    return pd.DataFrame(lines)


def difference(mine: pd.Series, other: pd.Series) -> str:
    """Mean of the differences by seed, and its interval.

    >>> difference(pd.Series([1.0, 2.0, 3.0]), pd.Series([2.0, 2.0, 2.0]))
    '+0.00 (-2.48 to 2.48)'
    """
    gap = metrics.paired_interval(jnp.asarray(mine), jnp.asarray(other))
    return f"{float(gap.estimate):+.2f} ({float(gap.low):.2f} to {float(gap.high):.2f})"


def main(arguments: list[str] | None = None) -> int:
    return common.command("outcomes", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
