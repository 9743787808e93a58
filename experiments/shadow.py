"""What to buy beside a log: a shadow sample by size and rule, or more log rows for the same dollars.

    make shadow DATA=<folder of tables>        SMOKE=1 for seconds

The study's centre (2,000 rows of a weak router) on the tables that have prompts left for a pool without answers.
From it a rule draws prompts for every model, or draws at random for the models in contention only, as many as the
same dollars pay (`experiments.shadow_rules`); beside it stand as many more log rows as those dollars buy.
Regret to the realised oracle in points, mean over the cost weights, paired by seed. Writes
results/shadow/records.jsonl, a line per fit: what is there is not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from experiments import problem, shadow_rules, study_cells
from experiments.settings import Config
from experiments.study_tables import markdown
from jaxroute import counterfactual, metrics, nuisance, policies, recipe
from jaxroute.data import logging, splits, units
from jaxroute.report.summary import student_interval
from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes, Table

POOL = {"synthetic": 950, "bbh": 800, "mmlu-pro": 1000, "routellm": 1000}
SEEDS = range(20, 26)
CONTENDERS, ROWS = "contenders", "log rows"
WAYS = ("log", "random 100", "random 250", "spread 100", "doubt 100", f"{CONTENDERS} 100", f"{ROWS} 100")
"""What is bought. The number: prompts answered by all models; the last two spend the dollars of those otherwise."""
SMOKE = ("log", "random 40", "spread 40", "doubt 40", f"{CONTENDERS} 40", f"{ROWS} 10")
JUDGED = ("recipe", "log's share", "stack")
STEP = 25
"""Prompts and log rows come in multiples of it, so that few programs are compiled."""

Fit = tuple[Nuisances, nuisance.NuisanceModel]


class Setting(NamedTuple):
    """One seed of one table: log, pool (prompts without answers, as far as rules see), test prompts, the fits' key."""

    seed: int
    config: Config
    logs: Logs
    pool: Table
    test: Table
    key: Array


def setting(config: Config, table: Table, seed: int, rows: int, pool: int) -> Setting:
    """The first ``rows`` training prompts are the log's, the next ``pool`` the pool's. Costs are normalised."""
    train, _, test = splits.split(seed, table, config.fractions)
    earlier = int(config.logger_fraction * len(table))
    train, before = train[earlier:], train[:earlier]
    if len(train) < rows + pool:
        raise InputError(f"{len(train)} training prompts are too few for {rows} log rows and a pool of {pool}")
    keys = [jax.random.fold_in(jax.random.key(seed), purpose) for purpose in range(6)]
    policy = problem.logging_policy(config, keys[problem.LOGGER], table.rows(before))
    logs = jax.tree.map(jnp.asarray, logging.simulate(keys[problem.TRAIN_LOG], table.rows(train[:rows]), policy))
    further = table.rows(train[rows : rows + pool])
    return Setting(seed, config, logs, further, table.rows(test), keys[problem.NUISANCE])


def buy(of: Setting, way: str, log: Fit) -> tuple[Examples, np.ndarray]:
    """A shadow sample and the probabilities its prompts were drawn with. log: the fit of the log alone."""
    nuisances, model = log
    rule, size = way.split()
    rng, asked = np.random.default_rng(1000 + of.seed), np.ones(of.pool.available.shape[1], bool)
    features = jnp.asarray(of.pool.features)
    if rule == CONTENDERS:
        level = recipe.log_levels(of.logs, nuisances, model)
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
    level, centre = recipe.log_levels(of.logs, nuisances, model, shadow), jnp.mean(nuisances.outcomes.quality, 0)
    share, kept = recipe.choose_share(of.logs, model, shadow), recipe.choose_share(of.logs, model)
    if shadow is not None and probability is not None and np.ptp(probability) > 0:
        level = shadow_rules.weighted_levels(of.logs, nuisances, shadow, model, probability)
    available, truth = jnp.asarray(of.test.available), jax.tree.map(jnp.asarray, of.test.outcomes)

    def regret(predicted: Outcomes) -> float:
        def at(weight: Array) -> Array:
            policy = policies.greedy(counterfactual.utility(predicted, weight), available=available)
            return jnp.mean(metrics.regret(policy, truth, weight, available=available))

        return 100 * float(jnp.mean(jax.lax.map(at, jnp.asarray(recipe.GRID))))

    ours, before = (regret(recipe.temper(test, level, centre, share=s)) for s in (share, kept))
    return {"recipe": ours, "log's share": before, "stack": regret(test), "share": float(share)}


def records(
    name: str, config: Config, pool: int, ways: tuple[str, ...], seeds: range, done: set[tuple[int, str]]
) -> Iterator[dict[str, Any]]:
    """A record per seed and way that is not ``done``."""
    table = problem.load_table(config)
    table = problem.normalise(table, units.cost_scale(table)[0])
    of_all = float(np.nansum(np.nanmean(np.where(table.available, table.outcomes.cost, np.nan), 0)))
    size = config.log_size or study_cells.ROWS
    logs = [setting(config, table, seed, size, pool) for seed in seeds]
    a_row = float(np.mean([jnp.mean(of.logs.cost) for of in logs]))
    for of in logs:
        log = None
        for way in ways:
            if (of.seed, way) in done or (way.startswith(CONTENDERS) and len(table.models) == 2):
                continue
            shadow, probability, more = None, None, 0
            here = of
            if way.startswith(ROWS):
                more = _steps(int(way.split()[-1]) * of_all / a_row)
                try:
                    here = setting(config, table, of.seed, size + more, 0)
                except InputError:  # the table has not as many prompts
                    continue
            elif way != "log":
                log = log or nuisance.fit(of.key, of.logs, config.nuisance)
                shadow, probability = buy(of, way, log)
            fit = nuisance.fit(here.key, here.logs, config.nuisance, shadow=shadow)
            test = nuisance.predict_outcomes(fit[1].outcomes, jnp.asarray(of.test.features))
            yield (
                {"dataset": name, "seed": of.seed, "way": way}
                | spent(shadow, more, a_row)
                | judge(here, fit, test, shadow, probability)
            )


def spent(shadow: Examples | None, more: int, a_row: float) -> dict[str, float]:
    """Prompts, models and answers bought, and their dollars in log rows."""
    if shadow is None:
        return {"prompts": more, "models": float(more > 0), "answers": more, "dollars": float(more)}
    seen = np.asarray(shadow.available)
    dollars = float(np.sum(np.where(seen, np.asarray(shadow.outcomes.cost), 0.0))) / a_row
    return {"prompts": len(seen), "models": int(seen.any(0).sum()), "answers": int(seen.sum()), "dollars": dollars}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per table, and over all tables that have the way: what was bought, mean regrets, and the recipe less itself with
    the log alone and with as many prompts at random, 95% intervals over seeds."""
    lines = []
    for dataset in [*found["dataset"].unique(), "all"]:
        mine = found if dataset == "all" else found[found["dataset"] == dataset]
        wide = mine.pivot(index=["dataset", "seed"], columns="way", values="recipe")
        for way, rows in mine.groupby("way", sort=False):
            line: dict[str, Any] = {"dataset": dataset, "way": way, "seeds": rows["seed"].nunique()}
            for column in ("prompts", "models", "answers", "dollars", "recipe", "log's share", "stack"):
                line[column] = f"{rows[column].mean():.{2 if column in JUDGED else 0}f}" if dataset != "all" else "-"
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.shadow", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the tables' folders")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--smoke", action="store_true", help="one small synthetic log, seconds")
    options = parser.parse_args(arguments)
    folder = options.out / ("shadow-smoke" if options.smoke else "shadow")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "records.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    wanted = [t for t in study_cells.TABLES if t.name in POOL]
    seeds, ways = (SEEDS[:2], SMOKE) if options.smoke else (SEEDS, WAYS)
    try:
        for name, config in study_cells.centres(options.data, smoke=options.smoke, among=wanted):
            done = {(r["seed"], r["way"]) for r in found if r["dataset"] == name}
            for one in records(name, config, 80 if options.smoke else POOL[name], ways, seeds, done):
                found.append(one)
                with path.open("a") as file:
                    file.write(json.dumps(one) + "\n")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(summary(pd.DataFrame(found))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
