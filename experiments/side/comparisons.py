"""What is a verdict between two answers worth beside ratings of answers?

    make comparisons DATA=<folder of tables>        SMOKE=1 for seconds

Three logs of as many answers are drawn of the same prompts, which every model answered: ratings of one answer a prompt,
the model drawn uniformly; and verdicts between two answers of half of the prompts, the opponent drawn uniformly, or
near in mean quality, as an arena draws it. The better quality wins, equal ones tie. The recipe is fitted to each, and
to the second kind of verdicts also with the wins as they are, not held against the same opponents
(`jaxroute.data.comparisons`). Where qualities are 0 and 1, a quality that is higher by d wins more often by d / 2, so
that twice the wins are decided on at the cost weights of the ratings (less than twice where they are not held against
the model itself). Propensities are estimated. Seeds 630 to 635, which
no choice has used: the two constants of that module were chosen on seeds 600 to 607, among twelve pairs. Writes
results/comparisons/comparisons.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.problem import build
from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from jaxroute import metrics, nuisance, recipe
from jaxroute.data import comparisons
from jaxroute.system import stopping
from jaxroute.types import Logs, Table

FIRST_SEED, SEEDS = 630, 6
SIZES = (500, 2000)
NEAR = 0.05
"""Difference in mean quality at which an opponent is drawn e times less often than an equal one."""
RATINGS, UNIFORM, ARENA, RAW = "ratings", "verdicts, uniform", "verdicts, arena", "wins as they are"
REAL = "real tables"


def rated(seed: int, table: Table) -> Logs:
    """One answer a prompt, of a model drawn uniformly."""
    action = np.random.default_rng(seed).integers(0, len(table.models), len(table))
    return _log(table, np.arange(len(table)), action, np.asarray(table.outcomes.quality)[np.arange(len(table)), action])


def compared(seed: int, table: Table, near: float, *, held: bool = True) -> Logs:
    """Two answers each of every second prompt, and which is better.

    Args:
        near: see ``NEAR``; inf: opponents are drawn uniformly. held: against the same opponents, or wins as they are.
    """
    rng, quality = np.random.default_rng(seed), np.asarray(table.outcomes.quality)
    prompts, models = np.arange(0, len(table), 2), len(table.models)
    level = quality.mean(0)
    chance = np.exp(-np.abs(level[:, None] - level) / near) * (1 - np.eye(models))
    first = rng.integers(0, models, len(prompts))
    drawn = (chance / chance.sum(1, keepdims=True)).cumsum(1)[first] < rng.random((len(prompts), 1))
    pair = np.stack([first, np.minimum(drawn.sum(1), models - 1)], 1)
    shown = quality[prompts[:, None], pair]
    won = (1 + np.sign(shown[:, 0] - shown[:, 1])) / 2
    wins, weight = np.stack([won, 1 - won], 1), np.ones(pair.shape)
    if held:
        found = comparisons.hold(pair, won, models)
        wins, weight = found.least[pair] + found.scale[pair] * wins, found.weight
    return _log(table, np.repeat(prompts, 2), pair.ravel(), wins.ravel(), weight.ravel())


def _log(
    table: Table, rows: np.ndarray, action: np.ndarray, quality: np.ndarray, weight: np.ndarray | None = None
) -> Logs:
    cost, count = np.asarray(table.outcomes.cost)[rows, action], len(rows)
    group = np.unique(rows, return_inverse=True)[1]
    mask = np.ones((count, len(table.models)), bool)
    weight = np.ones(count) if weight is None else weight
    features = np.asarray(table.features)[rows]
    unknown = np.full(count, np.nan)
    return Logs(*map(jnp.asarray, (features, action, quality, cost, unknown, mask, group, weight)))


def measure(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """A row per kind of log: regret in points of the recipe that is fitted to it."""
    train, test, key = table.rows(rows.train), table.rows(rows.test), build.keys_of(seed)[build.NUISANCE]
    train = train.rows(np.flatnonzero(np.asarray(train.available).all(1)))
    logs = {
        RATINGS: rated(seed, train),
        UNIFORM: compared(seed, train, np.inf),
        ARENA: compared(seed, train, NEAR),
        RAW: compared(seed, train, NEAR, held=False),
    }
    found = []
    for kind, log in logs.items():
        nuisances, model = nuisance.fit(key, log, config.nuisance)
        fitted = recipe.recommend(log, nuisances, model)
        decided = recipe.apply(fitted, nuisance.predict_outcomes(model.outcomes, jnp.asarray(test.features)))
        decided = decided._replace(quality=_of_ratings(kind, len(table.models)) * decided.quality)
        found.append((kind, common.regret(decided, test, config.cost_weights)))
    return pd.DataFrame(found, columns=["log", "regret"]).assign(seed=seed)


def _of_ratings(kind: str, models: int) -> float:
    """Difference of two models' ratings for a difference of 1 in their wins; as they are, none is against itself."""
    return {RATINGS: 1.0, RAW: 2 * (1 - 1 / models)}.get(kind, 2.0)


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    seeds: dict[str, Any] = {} if options.smoke else {"first_seed": FIRST_SEED, "seeds": SEEDS}
    for table, centre in design.centres(options.data, smoke=options.smoke):
        for size in SIZES[: 1 if options.smoke else None]:
            sized: dict[str, Any] = {} if options.smoke else {"log_size": size}
            config = dataclasses.replace(centre, name=f"comparisons-{table.name}-{size}", **seeds, **sized)
            found = common.each_log(config, prepare(config), options.out, measure)
            yield found.assign(dataset=table.name, answers=size)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per number of answers and table, and over the real tables: regret in points with ratings, and what each kind of
    verdicts adds to it, with the 95% Student-t interval of the difference paired by seed; below 0 it helps."""
    lines = []
    for answers, each in found.groupby("answers"):
        for dataset in [*each["dataset"].unique(), REAL]:
            mine = each[each["dataset"] != design.SYNTHETIC if dataset == REAL else each["dataset"] == dataset]
            if mine.empty:
                continue
            wide = mine.groupby(["seed", "log"])["regret"].mean().unstack()
            line: dict[str, object] = {"answers": answers, "dataset": dataset, RATINGS: f"{wide[RATINGS].mean():.2f}"}
            for kind in (UNIFORM, ARENA, RAW):
                gap = metrics.paired_interval(*(jnp.asarray(wide[name]) for name in (kind, RATINGS)))
                line[kind] = f"{float(gap.estimate):+.2f} ({float(gap.low):.2f} to {float(gap.high):.2f})"
            lines.append(line)
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    return common.command("comparisons", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
