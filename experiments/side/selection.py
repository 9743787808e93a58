"""Can a log tell which of two routers is better? How often the better one would have been picked, table by table.

    make selection DATA=<folder of tables>        SMOKE=1 for seconds

Eight routers are fitted on one training log of a weak router or of a cost-biased policy: a plug-in per outcome model,
the stacked plug-in, the recommended recipe. The log's evidence: every row decided out of fold, self-normalised doubly
robust, pooled over the cost weights, paired on the same rows. The truth: the mean value over the same cost weights on
test prompts of the full table. A pair is picked right if both differences have the same sign. A log that was measured
with this code is not measured again. Writes results/selection/selection.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from experiments.problem import fits
from experiments.problem.table import Rows, prepare
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from jaxroute import counterfactual, estimators, nuisance, policies, recipe
from jaxroute.system import stopping
from jaxroute.types import Logs, Nuisances, Outcomes, Table

SURE = (0.0, 1.0, 2.0)  # standard errors from which a difference is looked at
REAL = "real tables"
LOGGERS = {"weak router": "weak_router", "cost-biased": "cost_biased"}


class Views(NamedTuple):
    """One router's predictions: of its own log's rows, out of fold, and of test prompts."""

    log: Outcomes
    test: Outcomes


def routers(key: Array, logs: Logs, features: Array, config: Config) -> tuple[Nuisances, dict[str, Views]]:
    """The log's nuisances and every router's predictions.

    Args:
        logs: N rows. features: of M test prompts.
    """
    own, (cells, seen) = config.nuisance, nuisance.as_cells(logs)
    nuisances, model = nuisance.fit(key, logs, fits.with_rivals(own, config.rivals))
    every, (nuisances, model) = model.outcomes, fits.without_rivals(own, nuisances, model, cells, seen)
    candidates = nuisance.predict_candidates(every, features)
    found = {
        f"plug_in_{name}": Views(nuisance.out_of_fold(part), nuisance.mix(part.weights, candidates))
        for name, part in fits.plug_ins(own, every, cells, seen).items()
    }
    recommended = recipe.recommend(logs, nuisances, model)
    views = (recipe.apply(recommended, predicted) for predicted in found["plug_in_stack"])
    return nuisances, found | {"recommended": Views(*views)}


def pooled(logs: Logs, nuisances: Nuisances, predicted: Outcomes, weights: Sequence[float]) -> estimators.Rows:
    """The plug-in's influence rows, averaged over the cost weights."""
    return _pooled(logs, nuisances, predicted, jnp.asarray(weights, jnp.float32))


@jax.jit
def _pooled(logs: Logs, nuisances: Nuisances, predicted: Outcomes, weights: Array) -> estimators.Rows:
    clip = estimators.evaluation_clip(logs.available.shape[1])

    def at(weight: Array) -> estimators.Rows:
        policy = policies.greedy(counterfactual.utility(predicted, weight), available=logs.available)
        return estimators.rows(logs, policy, weight, nuisances, clip=clip, self_normalised=True)

    every = jax.lax.map(at, weights)
    return jax.tree.map(lambda y: y[0], every)._replace(influence=jnp.mean(every.influence, 0))


def measure(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """A row per pair of routers of one seed's log: difference and error from the log, difference in truth."""
    test = table.rows(rows.test)
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    nuisances, views = routers(key, logs, jnp.asarray(test.features), config)
    evidence = {name: pooled(logs, nuisances, view.log, config.cost_weights) for name, view in views.items()}
    regret = {name: common.regret(view.test, test, config.cost_weights) for name, view in views.items()}
    records = []
    for a, b in itertools.combinations(views, 2):
        found = estimators.difference(evidence[a], evidence[b])
        seen = {"difference": float(found.value), "standard_error": float(found.standard_error)}
        records.append({"seed": seed, "a": a, "b": b, **seen, "truth": (regret[b] - regret[a]) / 100})
    return pd.DataFrame(records)


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    for table, centre in design.centres(options.data, smoke=options.smoke):
        data, renamed = prepare(centre), centre.name.replace("study", "selection")
        for logger, policy in list(LOGGERS.items())[: 1 if options.smoke else None]:
            config = dataclasses.replace(centre, name=renamed, logger=policy)
            found = common.each_log(config, data, options.out, measure)
            yield found.assign(dataset=table.name, logger=logger)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per logger and dataset, and over the real tables: share of pairs picked right, among all that differ and among
    those the log is surer of, in percent, with the 95% interval of a bootstrap over seeds; and points lost a pair by
    picking what the log says, and by tossing a coin, against always knowing. Pairs of one seed share a log, so seeds
    are what is drawn.
    """
    found = found[(found["truth"] != 0) & (found["difference"] != 0)]
    right, apart = np.sign(found["difference"]) == np.sign(found["truth"]), 100 * found["truth"].abs()
    z = (found["difference"] / found["standard_error"]).abs()
    found = found.assign(right=right, lost=np.where(right, 0.0, apart), coin=apart / 2, z=z)
    datasets = list(found["dataset"].unique())
    lines = []
    for logger, dataset in itertools.product(found["logger"].unique(), [*datasets, *[REAL] * (len(datasets) > 1)]):
        there = found["dataset"] != design.SYNTHETIC if dataset == REAL else found["dataset"] == dataset
        mine = found[(found["logger"] == logger) & there]
        line: dict[str, object] = {"logger": logger, "dataset": dataset}
        for least in SURE:
            among = mine[mine["z"] >= least]
            head = "pairs" if least == 0 else f"z > {least:g}"
            line |= {head: len(among), f"{head}: right": share(among)}
        lines.append(line | {"lost": f"{mine['lost'].mean():.2f}", "by a coin": f"{mine['coin'].mean():.2f}"})
    return pd.DataFrame(lines)


def share(pairs: pd.DataFrame, draws: int = 2000) -> str:
    """Percent of pairs picked right, and 2.5% and 97.5% of what a bootstrap over seeds makes of it."""
    if pairs.empty:
        return "-"
    by_seed = pairs.groupby("seed")["right"].agg(["sum", "count"]).to_numpy()
    drawn = by_seed[np.random.default_rng(0).integers(0, len(by_seed), (draws, len(by_seed)))].sum(1)
    low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return f"{100 * pairs['right'].mean():.0f} ({low:.0f} to {high:.0f})"


def main(arguments: list[str] | None = None) -> int:
    return common.command("selection", __doc__, measured, summary, arguments)


if __name__ == "__main__":
    stopping.leave(main())
