"""What to buy beside a log: a shadow sample of all models or of those worth asking, or more log rows.

    make shadow DATA=<folder of tables>        SMOKE=1 for seconds

The setting is the study's centre (2,000 rows of a weak router) on the tables that have prompts left for a pool. Prompts
of the pool are drawn at random and answered by every model, or, for the same cost, as many of them by each model as its
answers are expected to be worth; the alternative is as many more log rows as that cost buys. The gap goes from the
first recipe, the stacked plug-in before the Gaussian process, or from today's stacked plug-in, both on the log alone,
to full feedback: the stacked plug-in that was shown every model's answer to the log's own prompts. Regret to the
realised oracle in points, averaged over the cost weights, paired by seed. A log that was measured is not measured
again. Writes results/shadow/shadow.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from experiments.study.gap import bootstrapped
from jaxroute import nuisance, recipe
from jaxroute.recipe import contenders
from jaxroute.report.summary import student_interval
from jaxroute.system import stopping
from jaxroute.types import Examples, InputError, Key, Logs, Nuisances, NuisanceSpec, Outcomes, Table

FIRST_SEED, SEEDS = 20, 6
INFORMATION, ROWS = "information", "log rows"
FIRST, FULL = "first recipe", "full feedback"
WAYS = ("log", "random 100", "random 250", f"{INFORMATION} 100", f"{ROWS} 100", FIRST, FULL)
"""What is bought. The number: prompts answered by all models; the two after those spend the dollars of 100 otherwise.
The last two are the ends of the gap."""
SMOKE = ("log", "random 40", f"{INFORMATION} 40", f"{ROWS} 10", FIRST, FULL)
SMOKE_POOL = 80
REAL = "real tables"
JUDGED = ("recipe", "log's share", "stack")
STEP = 25
"""Log rows come in multiples of it, so that few programs are compiled."""

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
    train = rows.train
    if len(train) < size + pool:
        raise InputError(
            f"{len(train)} training prompts are too few for {size} log rows and a pool of {pool}; use a larger table"
        )
    logs, key = common.simulated_log(config, seed, table.rows(train[:size]), table.rows(rows.earlier))
    return Setting(seed, config.nuisance, logs, table.rows(train[size : size + pool]), table.rows(rows.test), key)


def buy(of: Setting, way: str, log: Fit) -> Examples | None:
    """A shadow sample of prompts drawn at random; None if no answer is worth its money. log: the fit of it alone."""
    nuisances, model = log
    rule, size = way.split()
    plan = np.full(of.pool.available.shape[1], int(size))
    if rule == INFORMATION:
        level, key = recipe.recommend(of.logs, nuisances, model).level, jax.random.key(of.seed)
        price = np.asarray(jnp.mean(nuisances.outcomes.cost, 0), float)
        worth = contenders.worth(key, of.logs, nuisances, level, recipe.GRID)
        money, block = float(plan @ price), max(int(size) // 4, 1)
        plan = contenders.spend(worth, price, money, block=block, most=len(of.pool))
    if not plan.any():
        return None
    drawn = np.random.default_rng(1000 + of.seed).permutation(len(of.pool))[: plan.max()]
    order = np.argsort(drawn)
    part, asked = of.pool.rows(drawn[order]), contenders.nested(plan)[order]
    outcomes = jax.tree.map(jnp.asarray, part.outcomes)
    return Examples(jnp.asarray(part.features), outcomes, jnp.asarray(part.available & asked))


def _steps(count: float) -> int:
    return max(STEP * round(count / STEP), STEP)


def judge(of: Setting, fit: Fit, test: Outcomes, shadow: Examples | None = None) -> dict[str, float]:
    """Regret on test prompts, points: the recipe, the same with the log's own share, the stacked plug-in.

    Args:
        fit: of the log, with the shadow where there is one. test: the stack's predictions of the test prompts.
    """
    nuisances, model = fit
    ours = recipe.recommend(of.logs, nuisances, model, shadow)
    before = ours._replace(share=recipe.estimate_share(of.logs, model))
    judged = (recipe.apply(ours, test), recipe.apply(before, test), test)
    regrets = (common.regret(y, of.test, recipe.GRID) for y in judged)
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
        if way in (FIRST, FULL):
            end = former(of) if way == FIRST else ceiling(of, table.rows(rows.train[:size]))
            regret = common.regret(end, of.test, recipe.GRID)
            records.append({"seed": seed, "way": way, "recipe": regret, "stack": regret})
            continue
        here, fit, more, shadow = of, log, 0, None
        if way.startswith(ROWS):
            more = _steps(int(way.split()[-1]) * of_all / a_row)
            if len(rows.train) < size + more:
                continue
            here = setting(config, table, seed, rows, size + more, 0)
        elif way != "log":
            shadow = buy(of, way, log)
        if way != "log":
            fit = nuisance.fit(here.key, here.logs, of.spec, shadow=shadow)
        test = nuisance.predict_outcomes(fit[1].outcomes, features)
        records.append({"seed": seed, "way": way, **spent(shadow, more, a_row), **judge(here, fit, test, shadow)})
    return pd.DataFrame(records)


def former(of: Setting) -> Outcomes:
    """The first recipe's predictions of the test prompts: those of the stack before the Gaussian process."""
    _, model = nuisance.fit(of.key, of.logs, design.FORMER)
    return nuisance.predict_outcomes(model.outcomes, jnp.asarray(of.test.features))


def ceiling(of: Setting, answered: Table) -> Outcomes:
    """The stack's predictions of the test prompts, where it was shown every model's answer to the log's prompts."""
    outcomes, seen = jax.tree.map(jnp.asarray, (answered.outcomes, answered.available))
    _, model = nuisance.fit_outcomes(of.key, jnp.asarray(answered.features), outcomes, seen, of.spec)
    return nuisance.predict_outcomes(model, jnp.asarray(of.test.features))


def spent(shadow: Examples | None, more: int, a_row: float) -> dict[str, float]:
    """Prompts, models and answers bought, and their dollars in log rows."""
    if shadow is None:
        return {"prompts": more, "models": float(more > 0), "answers": more, "dollars": float(more)}
    seen = np.asarray(shadow.available)
    dollars = float(np.sum(np.where(seen, np.asarray(shadow.outcomes.cost), 0.0))) / a_row
    return {"prompts": len(seen), "models": int(seen.any(0).sum()), "answers": int(seen.sum()), "dollars": dollars}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per table, and over the real tables that have the way: what was bought, mean regrets, the share of the gap that
    the recipe closes from the first recipe and from today's stacked plug-in, and the recipe less itself with the log
    alone and with as many prompts at random, 95% intervals over seeds."""
    datasets, lines = list(found["dataset"].unique()), []
    for dataset in [*datasets, *[REAL] * (len(datasets) > 1)]:
        mine = found[found["dataset"] != design.SYNTHETIC if dataset == REAL else found["dataset"] == dataset]
        wide = mine.pivot(index=["dataset", "seed"], columns="way", values="recipe")
        for way, rows in mine.groupby("way", sort=False):
            line: dict[str, Any] = {"dataset": dataset, "way": way}
            for column in ("prompts", "models", "answers", "dollars", "recipe", "stack"):
                mean = np.nan if dataset == REAL else rows[column].mean()
                line[column] = "-" if np.isnan(mean) else f"{mean:.{2 if column in JUDGED else 0}f}"
            for head, start in (("gap closed", FIRST), ("of the stack's", "log")):
                line[head] = _closed(mine, wide, str(way), start)
            size = str(way).split()[-1]
            for head, other in (("less log", "log"), ("less random", f"random {size}")):
                line[head] = _gap(wide, str(way), other)
            lines.append(line)
    return pd.DataFrame(lines)


def _closed(mine: pd.DataFrame, wide: pd.DataFrame, way: str, start: str) -> str:
    """Share of the gap that the recipe closes, and its 95% interval: a bootstrap over seeds, as in `study.gap`.

    Regrets are summed over the tables and seeds that have the way and both ends.

    Args:
        start: the way whose stacked plug-in the gap begins at; it ends at full feedback.
    """
    if way in (FIRST, FULL) or not {start, FULL} <= set(mine["way"]):
        return "-"
    begun = mine[mine["way"] == start].set_index(["dataset", "seed"])["stack"]
    ends = pd.DataFrame({"start": begun, "here": wide[way], "full": wide[FULL]}).dropna().groupby("seed").sum()
    closed, gap = (ends["start"] - ends["here"]).to_numpy(), (ends["start"] - ends["full"]).to_numpy()
    if gap.sum() <= 0:
        return "-"
    share, low, high = bootstrapped(closed, gap)
    return f"{share:.0%} ({low:.0%} to {high:.0%})"


def _gap(wide: pd.DataFrame, way: str, other: str) -> str:
    """Mean and 95% interval of the difference, a value a seed: the mean over the tables that have both."""
    if other not in wide or other == way:
        return "-"
    gap = (wide[way] - wide[other]).dropna().groupby("seed").mean().to_numpy()
    low, high = student_interval(gap)[1:] if len(gap) > 1 else (np.nan, np.nan)
    return f"{gap.mean():+.2f} [{low:+.2f}, {high:+.2f}]" if len(gap) else "-"


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    for table, centre in design.centres(options.data, smoke=options.smoke, pool=True):
        seeds, pool, ways = (2, SMOKE_POOL, SMOKE) if options.smoke else (SEEDS, table.pool, WAYS)
        size, renamed = centre.log_size or design.ROWS, centre.name.replace("study", "shadow")
        config = dataclasses.replace(centre, name=renamed, first_seed=FIRST_SEED, seeds=seeds, log_size=None)
        data = prepare(config)
        drawn = zip(config.draws, data.rows, strict=True)
        costs = [jnp.mean(setting(config, data.table, seed, rows, size, pool).logs.cost) for seed, rows in drawn]
        bought = partial(measure, ways=ways, size=size, pool=pool, a_row=float(np.mean(costs)))
        yield common.each_log(config, data, options.out, bought).assign(dataset=table.name)


def main(arguments: list[str] | None = None) -> int:
    return common.command("shadow", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
