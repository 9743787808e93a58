"""What to buy beside a log: a shadow sample by size and rule, or more log rows for the same dollars.

    make shadow DATA=<folder of tables>        SMOKE=1 for seconds

The study's centre (2,000 rows of a weak router) on the tables that have prompts left for a pool without answers.
From it a rule draws prompts for every model, or draws at random for the models in contention only, as many as the
same dollars pay (`experiments.side.shadow_rules`); beside it stand as many more log rows as those dollars buy.
Regret to the realised oracle in points, mean over the cost weights, paired by seed. Resumable: a log that was measured
with this code is not measured again. Writes results/shadow/shadow.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import problem
from experiments.settings import Config
from experiments.side import common as side_studies
from experiments.side import shadow_rules
from experiments.side.common import Rows
from experiments.study import design as study_design
from experiments.study.tables import markdown
from jaxroute import nuisance, recipe
from jaxroute.report.summary import student_interval
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, NuisanceSpec, Outcomes, Table

POOL = {"synthetic": 950, "bbh": 800, "mmlu-pro": 1000, "routellm": 1000}
FIRST_SEED, SEEDS = 20, 6
CONTENDERS, ROWS = "contenders", "log rows"
WAYS = ("log", "random 100", "random 250", "spread 100", "doubt 100", f"{CONTENDERS} 100", f"{ROWS} 100")
"""What is bought. The number: prompts answered by all models; the last two spend the dollars of those otherwise."""
SMOKE = ("log", "random 40", "spread 40", "doubt 40", f"{CONTENDERS} 40", f"{ROWS} 10")
REAL = "real tables"
JUDGED = ("recipe", "log's share", "stack")
STEP = 25
"""Prompts and log rows come in multiples of it, so that few programs are compiled."""

Fit = tuple[Nuisances, nuisance.NuisanceModel]


class Setting(NamedTuple):
    """One log, its prompts the first of the training rows; a pool of prompts without answers, as far as rules see."""

    seed: int
    spec: NuisanceSpec
    logs: Logs
    pool: Table
    test: Table
    key: Key


def setting(config: Config, table: Table, seed: int, rows: Rows, size: int, pool: int) -> Setting:
    """The first ``size`` training prompts are the log's, the next ``pool`` the pool's. Costs are normalised."""
    train, _, test, earlier = rows
    if len(train) < size + pool:
        raise InputError(f"{len(train)} training prompts are too few for {size} log rows and a pool of {pool}")
    logs, key = side_studies.simulated_log(config, seed, table.rows(train[:size]), table.rows(earlier))
    return Setting(seed, config.nuisance, logs, table.rows(train[size : size + pool]), table.rows(test), key)


def buy(of: Setting, way: str, log: Fit) -> tuple[Examples, np.ndarray]:
    """A shadow sample and the probabilities its prompts were drawn with. log: the fit of the log alone."""
    nuisances, model = log
    rule, size = way.split()
    rng, asked = np.random.default_rng(1000 + of.seed), np.ones(of.pool.available.shape[1], bool)
    features = jnp.asarray(of.pool.features)
    if rule == CONTENDERS:
        level = recipe.recommend(of.logs, nuisances, model).level
        asked = shadow_rules.contenders(shadow_rules.chances(jax.random.key(of.seed), of.logs, nuisances, level))
        cost = np.asarray(jnp.mean(nuisances.outcomes.cost, 0))
        count = _steps(int(size) * cost.sum() / cost[asked].sum())
        drawn = np.sort(rng.permutation(len(of.pool))[:count])
        probability = np.full(len(drawn), len(drawn) / len(of.pool))
    else:
        seen = None if rule == "random" else nuisance.predict(model, features)
        drawn, probability = shadow_rules.choose(
            rule, rng, int(size), of.logs, nuisances, of.pool.features, seen, of.pool.available
        )
    part = of.pool.rows(drawn)
    outcomes = jax.tree.map(jnp.asarray, part.outcomes)
    return Examples(features[drawn], outcomes, jnp.asarray(part.available & asked)), probability


def _steps(count: float) -> int:
    return max(STEP * round(count / STEP), STEP)


def judge(
    of: Setting, fit: Fit, test: Outcomes, shadow: Examples | None = None, probability: np.ndarray | None = None
) -> dict[str, float]:
    """Regret on test prompts, points: the recipe, the same with the log's own share, the stacked plug-in.

    Args:
        fit: of the log, with the shadow where there is one. test: the stack's predictions of the test prompts.
        probability: [S] that the shadow's prompts were drawn with.
    """
    nuisances, model = fit
    ours = recipe.recommend(of.logs, nuisances, model, shadow)
    if shadow is not None and probability is not None and np.ptp(probability) > 0:
        ours = ours._replace(level=shadow_rules.weighted_levels(of.logs, nuisances, shadow, model, probability))
    before = ours._replace(share=recipe.estimate_share(of.logs, model))
    judged = (recipe.apply(ours, test), recipe.apply(before, test), test)
    regrets = (side_studies.regret(y, of.test, recipe.GRID) for y in judged)
    return {**dict(zip(JUDGED, regrets, strict=True)), "share": float(ours.share)}


def measure(
    config: Config, table: Table, seed: int, rows: Rows, *, ways: Sequence[str], size: int, pool: int, a_row: float
) -> pd.DataFrame:
    """A row per way to spend.

    Args:
        size: rows of the log. pool: prompts that a shadow is drawn from. a_row: mean cost of a log row.
    """
    of = setting(config, table, seed, rows, size, pool)
    of_all = float(np.nansum(np.nanmean(np.where(table.available, table.outcomes.cost, np.nan), 0)))
    features = jnp.asarray(of.test.features)
    log = nuisance.fit(of.key, of.logs, of.spec)
    records = []
    for way in ways:
        here, fit, more = of, log, 0
        shadow, probability = None, None
        if way.startswith(CONTENDERS) and len(table.models) == 2:
            continue
        if way.startswith(ROWS):
            more = _steps(int(way.split()[-1]) * of_all / a_row)
            if len(rows[0]) < size + more:
                continue
            here = setting(config, table, seed, rows, size + more, 0)
        elif way != "log":
            shadow, probability = buy(of, way, log)
        if way != "log":
            fit = nuisance.fit(here.key, here.logs, of.spec, shadow=shadow)
        test = nuisance.predict_outcomes(fit[1].outcomes, features)
        judged = judge(here, fit, test, shadow, probability)
        records.append({"seed": seed, "way": way, **spent(shadow, more, a_row), **judged})
    return pd.DataFrame(records)


def spent(shadow: Examples | None, more: int, a_row: float) -> dict[str, float]:
    """Prompts, models and answers bought, and their dollars in log rows."""
    if shadow is None:
        return {"prompts": more, "models": float(more > 0), "answers": more, "dollars": float(more)}
    seen = np.asarray(shadow.available)
    dollars = float(np.sum(np.where(seen, np.asarray(shadow.outcomes.cost), 0.0))) / a_row
    return {"prompts": len(seen), "models": int(seen.any(0).sum()), "answers": int(seen.sum()), "dollars": dollars}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per table, and over the real tables that have the way: what was bought, mean regrets, and the recipe less itself
    with the log alone and with as many prompts at random, 95% intervals over seeds."""
    datasets, lines = list(found["dataset"].unique()), []
    for dataset in [*datasets, *[REAL] * (len(datasets) > 1)]:
        mine = found[found["dataset"] != "synthetic" if dataset == REAL else found["dataset"] == dataset]
        wide = mine.pivot(index=["dataset", "seed"], columns="way", values="recipe")
        for way, rows in mine.groupby("way", sort=False):
            line: dict[str, Any] = {"dataset": dataset, "way": way}
            for column in ("prompts", "models", "answers", "dollars", "recipe", "stack"):
                line[column] = f"{rows[column].mean():.{2 if column in JUDGED else 0}f}" if dataset != REAL else "-"
            size = str(way).split()[-1]
            for head, other in (("less log", "log"), ("less random", f"random {size}")):
                line[head] = _gap(wide, str(way), other)
            lines.append(line)
    return pd.DataFrame(lines)


def _gap(wide: pd.DataFrame, way: str, other: str) -> str:
    """Mean and 95% interval of the difference, a value a seed: the mean over the tables that have both."""
    if other not in wide or other == way:
        return "-"
    gap = (wide[way] - wide[other]).dropna().groupby("seed").mean().to_numpy()
    low, high = student_interval(gap)[1:] if len(gap) > 1 else (np.nan, np.nan)
    return f"{gap.mean():+.2f} [{low:+.2f}, {high:+.2f}]" if len(gap) else "-"


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    wanted = [table for table in study_design.TABLES if table.name in POOL]
    for name, centre in study_design.centres(options.data, smoke=options.smoke, among=wanted):
        seeds, pool, ways = (2, 80, SMOKE) if options.smoke else (SEEDS, POOL[name], WAYS)
        size, renamed = centre.log_size or study_design.ROWS, centre.name.replace("study", "shadow")
        config = dataclasses.replace(centre, name=renamed, first_seed=FIRST_SEED, seeds=seeds, log_size=None)
        table = side_studies.normalised(config)
        drawn = zip(config.draws, problem.split_rows(config, table), strict=True)
        costs = [jnp.mean(setting(config, table, seed, rows, size, pool).logs.cost) for seed, rows in drawn]
        bought = partial(measure, ways=ways, size=size, pool=pool, a_row=float(np.mean(costs)))
        yield side_studies.each_log(config, table, options.out, bought).assign(dataset=name)


def main(arguments: list[str] | None = None) -> int:
    return side_studies.command("shadow", __doc__, measured, lambda found: markdown(summary(found)), arguments)


if __name__ == "__main__":
    sys.exit(main())
