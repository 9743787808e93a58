"""What do the recipe's levels gain over what they were? One log after another, with only the levels changed.

    make caution DATA=<folder of tables>        SMOKE=1 for seconds

The first levels are the likeliest of the grid's (tau and s) and the outcome model's mean prediction, half each. The
former ones average over the grid, expect nothing of prices, always take a quarter of the mean prediction, and take off
1.5 deviations where the log follows quality; the recipe's are those of `jaxroute.recipe.levels` and `.caution`. The
nuisances of a log are fitted once. Seeds 400 to 405, which no choice has used: the former rule was chosen on seeds 200
to 202 of the same tables under three of these policies, among some 110 variants, and today's on seeds 200 to 223 under
eight, among some 100, the last of them after a look at seeds 300 to 311. Writes results/caution/caution.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from jaxroute import metrics, nuisance, recipe
from jaxroute.recipe import attributes, caution, levels, means
from jaxroute.system import stopping
from jaxroute.types import Logs, Nuisances, Table

FIRST_SEED, SEEDS = 400, 6
LOGGERS: dict[str, dict[str, Any]] = {
    "weak router 2": {},
    "weak router 6": {"logger_strength": 6.0},
    "cost-biased 2": {"logger": "cost_biased"},
    "uniform": {"logger": "uniform"},
    "task-dependent 2": {"logger": "task_dependent"},
    "weak router 2, 500 rows": {"log_size": 500},
    "cost-biased 2, 500 rows": {"logger": "cost_biased", "log_size": 500},
}
FIRST, FORMER, RECIPE, TRUE = "first", "former", "recipe", "true levels"
BETWEEN = "without caution", "without prices"
"""The recipe less one of its parts."""
FORMER_CAUTION, FORMER_PART = 1.5, 0.25
REAL = "real tables"


def likeliest(logs: Logs, nuisances: Nuisances) -> Float[Array, " K"]:
    """Levels at the tau and s of the largest marginal likelihood, where nothing is expected of prices."""
    return _likeliest(*levels.samples_of(logs, nuisances)[:2])


@jax.jit
def _likeliest(samples: list[means.Sample], about: Float[Array, "K C"]) -> Float[Array, " K"]:
    def at(point: Array) -> levels.Conditioned:
        return levels.conditioned(samples, 0.5, levels.covariance(point[0], point[1], about))

    each = jax.lax.map(at, jnp.asarray(levels.GRID))
    return each.mean[jnp.argmax(each.likelihood)]


def former(level: levels.Level, centre: Float[Array, " K"], rows: Float[Array, " K"]) -> Float[Array, " K"]:
    """What the recipe made of levels before: a quarter of the mean prediction whatever the log follows."""
    follows = jnp.maximum(jnp.mean(attributes.standard(jnp.log1p(rows)) * attributes.standard(level.mean)), 0.0)
    mixed = (1 - FORMER_PART) * level.mean + FORMER_PART * centre
    return mixed - FORMER_CAUTION * follows * level.deviation


def measure(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """A row per kind of levels: regret in points on one seed's log."""
    test = table.rows(rows.test)
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    nuisances, model = nuisance.fit(key, logs, config.nuisance)
    predicted = nuisance.predict_outcomes(model.outcomes, jnp.asarray(test.features))
    fitted, rows_of = recipe.recommend(logs, nuisances, model), attributes.requests(logs)
    samples, about, _ = levels.samples_of(logs, nuisances)
    alone, informed = levels.posterior(samples, about), levels.fit(logs, nuisances)
    truth = jnp.asarray(np.nanmean(np.where(test.available, test.outcomes.quality, np.nan), 0))
    variants = {
        FIRST: (likeliest(logs, nuisances) + fitted.centre) / 2,
        FORMER: former(alone, fitted.centre, rows_of),
        BETWEEN[0]: caution.settled(informed, fitted.centre, rows_of, caution=0.0),
        BETWEEN[1]: caution.settled(alone, fitted.centre, rows_of),
        RECIPE: fitted.level,
        TRUE: truth,
    }
    lost = (
        (name, common.regret(recipe.apply(fitted._replace(level=level), predicted), test, config.cost_weights))
        for name, level in variants.items()
    )
    return pd.DataFrame(lost, columns=["variant", "regret"]).assign(seed=seed)


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    seeds: dict[str, Any] = {} if options.smoke else {"first_seed": FIRST_SEED, "seeds": SEEDS}
    tables = list(design.centres(options.data, smoke=options.smoke))
    for logger, changes in list(LOGGERS.items())[: 1 if options.smoke else None]:
        for table, centre in tables:
            config = dataclasses.replace(centre, name=centre.name.replace("study", "caution"), **seeds, **changes)
            found = common.each_log(config, prepare(config), options.out, measure)
            yield found.assign(dataset=table.name, logger=logger)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per logger and dataset, over the real tables, and over all loggers: the former recipe's regret in points and what
    each change adds to it, with the 95% Student-t interval of the difference paired by seed; below 0 it helps."""
    datasets = list(found["dataset"].unique())
    everywhere = ["all"] if found["logger"].nunique() > 1 else []
    lines = []
    for logger, dataset in itertools.product([*found["logger"].unique(), *everywhere], [*datasets, REAL]):
        there = found["dataset"] != design.SYNTHETIC if dataset == REAL else found["dataset"] == dataset
        mine = found[there & ((found["logger"] == logger) | (logger == "all"))]
        if mine.empty:
            continue
        wide = mine.groupby(["seed", "variant"])["regret"].mean().unstack()
        line: dict[str, object] = {"logger": logger, "dataset": dataset, FORMER: f"{wide[FORMER].mean():.2f}"}
        for variant in (FIRST, *BETWEEN, RECIPE, TRUE):
            gap = metrics.paired_interval(wide[variant].to_numpy(), wide[FORMER].to_numpy())
            line[variant] = f"{float(gap.estimate):+.2f} ({float(gap.low):.2f} to {float(gap.high):.2f})"
        lines.append(line)
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    return common.command("caution", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
