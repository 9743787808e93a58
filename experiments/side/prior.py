"""What is a prior of the models' mean quality worth? The recipe with none, with another task's levels, and shuffled.

    make prior DATA=<folder of tables>        SMOKE=1 for seconds

Every log is of one task or benchmark; the prior is the same models' mean quality on the others of the same table, all
of them equally trusted, as in ``jaxroute fit --prior TABLE``. Shuffled over the models it says nothing, and must do
little harm. Logs of a weak router and of a cost-biased policy, at most 2,000 rows; the nuisances of a log are fitted
once. Seeds 520 to 539, which no choice has used: the rule was chosen on seeds 200 to 229 of the same tables, among some
hundred variants. "mbpp" has some 210 log rows for 11 models, so the means are also given without it. Writes
results/prior/prior.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from jaxroute import metrics, nuisance, recipe
from jaxroute.data import priors, tables
from jaxroute.system import stopping
from jaxroute.types import Outcomes, Table

SEEDS, FIRST_SEED = 20, 520
LOGGERS = {"weak router": "weak_router", "cost-biased": "cost_biased"}
REAL, LARGE = "all", "all but mbpp"


class Pair(NamedTuple):
    """A log's prompts, by the start of their task, and where the prior comes from: other tasks ("": all others)."""

    name: str
    folder: str
    tasks: str
    others: str


PAIRS = (
    Pair("mmlu-pro from bbh", "open_llm_lb_v2_carrot", "mmlu_pro", "bbh"),
    Pair("bbh from mmlu-pro", "open_llm_lb_v2_carrot", "bbh", "mmlu_pro"),
    Pair("arc from the rest", "routerbench_5shot_subset", "arc-challenge", ""),
    Pair("mbpp from the rest", "routerbench_5shot_subset", "mbpp", ""),
    Pair("winogrande from the rest", "routerbench_5shot_subset", "winogrande", ""),
)


def measure(config: Config, table: Table, seed: int, rows: Rows, prior: recipe.Prior) -> pd.DataFrame:
    """A row per variant of one seed's log: regret of the recipe and of the model of the best level."""
    test = table.rows(rows.test)
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    nuisances, model = nuisance.fit(key, logs, config.nuisance)
    predicted = nuisance.predict_outcomes(model.outcomes, jnp.asarray(test.features))
    order = np.random.default_rng(seed).permutation(len(table.models))
    shuffled = recipe.Prior(*(y[order] for y in prior))
    records = []
    for name, known in (("none", None), ("prior", prior), ("shuffled", shuffled)):
        fitted = recipe.recommend(logs, nuisances, model, prior=known)
        decided: Outcomes = recipe.apply(fitted, predicted)
        slope = np.nan if fitted.trusted is None else float(fitted.trusted.slope)
        regret = common.regret(decided, test, config.cost_weights)
        records.append({"seed": seed, "variant": name, "regret": regret, "slope": slope})
    return pd.DataFrame(records)


def levels_elsewhere(data: Path, pair: Pair, models: tuple[str, ...]) -> recipe.Prior:
    """The prior of a log of the pair's tasks."""
    whole = tables.load(data / pair.folder)
    of_log = np.array([str(task).startswith(pair.tasks) for task in whole.task])
    other = ~of_log & np.array([str(task).startswith(pair.others) for task in whole.task])
    found = priors.load(whole.rows(np.flatnonzero(other)), models)
    assert found.prior is not None
    return found.prior


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    if options.smoke:
        centre = dataclasses.replace(design.centre(design.TABLES[0], options.data, smoke=True), name="prior-smoke")
        data = prepare(centre)
        known = priors.load(data.table.rows(data.rows[0].earlier), data.table.models)
        assert known.prior is not None
        yield common.each_log(centre, data, options.out, measure, known.prior).assign(dataset="synthetic", logger="")
        return
    for pair, (logger, policy) in itertools.product(PAIRS, LOGGERS.items()):
        table = design.Table(pair.name, pair.folder, pair.tasks, 0, 0)
        centre = design.centre(table, options.data)
        config = dataclasses.replace(
            centre, name=f"prior-{pair.tasks}", seeds=SEEDS, first_seed=FIRST_SEED, logger=policy, rivals=()
        )
        data = prepare(config)
        prior = levels_elsewhere(options.data, pair, data.table.models)
        yield common.each_log(config, data, options.out, measure, prior).assign(dataset=pair.name, logger=logger)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per logger and dataset, and over all datasets: mean regret without a prior, and what each prior adds to it, in
    points, with the 95% Student-t interval of the difference paired by seed; below 0 the prior helps. The slope
    is that of the levels on the prior: 1 where the models differ as much as it says."""
    lines = []
    names = found["dataset"].unique()
    among = {**{name: [name] for name in names}, REAL: names, LARGE: [n for n in names if not n.startswith("mbpp")]}
    for logger, (dataset, taken) in itertools.product(found["logger"].unique(), among.items()):
        mine = found[(found["logger"] == logger) & found["dataset"].isin(taken)]
        wide = mine.groupby(["seed", "variant"])["regret"].mean().unstack()
        line: dict[str, object] = {"logger": logger, "dataset": dataset, "none": f"{wide['none'].mean():.2f}"}
        for variant in ("prior", "shuffled"):
            gap = metrics.paired_interval(wide[variant].to_numpy(), wide["none"].to_numpy())
            line[variant] = f"{float(gap.estimate):+.2f} ± {float(gap.high - gap.estimate):.2f}"
            line[f"slope on {variant}"] = f"{mine.loc[mine['variant'] == variant, 'slope'].mean():.2f}"
        lines.append(line)
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    return common.command("prior", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
