"""Can a log tell which of two routers is better? How often the better one would have been picked, table by table.

    make selection DATA=<folder of tables>        SMOKE=1 for seconds

Eight routers of one training log (a plug-in per outcome model, rivals too, the stack, the recommended recipe). The
log's evidence: every row decided out of fold, self-normalised doubly robust, pooled over the cost weights, paired
on the same rows. The truth: mean value over the same cost weights on test prompts of the full table. A pair counts
as picked right where both differences have one sign. Writes results/selection/pairs.parquet.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from experiments import outcome_models, problem, storage, study_cells
from experiments.settings import Config
from experiments.study_tables import markdown
from jaxroute import counterfactual, estimators, levels, metrics, nuisance, policies, recipe
from jaxroute.data import logging, units
from jaxroute.types import InputError, Logs, Nuisances, Outcomes, Table

SURE = (0.0, 1.0, 2.0)  # standard errors from which a difference is looked at


class Views(NamedTuple):
    """One router's predictions: of its own log's rows, out of fold, and of test prompts."""

    log: Outcomes
    test: Outcomes


def routers(key: Array, logs: Logs, features: Array, config: Config) -> tuple[Nuisances, dict[str, Views]]:
    """The log's nuisances and every router's predictions.

    Args:
        logs: N rows. features: of M test prompts.
    """
    nuisances, model = nuisance.fit(key, logs, outcome_models.fitted_learners(config))
    cells, seen = nuisance.as_cells(logs)
    every, (nuisances, model) = model.outcomes, outcome_models.without_rivals(config, nuisances, model, cells, seen)
    candidates = nuisance.predict_candidates(every, features)
    found = {
        f"plug_in_{name}": Views(nuisance.out_of_fold(part), nuisance.mix(part.weights, candidates))
        for name, part in outcome_models.plug_ins(config, every, cells, seen).items()
    }
    level = recipe.log_levels(logs, nuisances, model)
    share = recipe.choose_share(logs, model)
    centre = jnp.mean(nuisances.outcomes.quality, 0)
    tempered = (recipe.temper(y, level, centre, share=share) for y in found["plug_in_stack"])
    return nuisances, found | {"recommended": Views(*tempered)}


def pooled(logs: Logs, nuisances: Nuisances, predicted: Outcomes, weights: Array) -> estimators.Rows:
    """The plug-in's influence rows, averaged over the cost weights."""
    clip = min(levels.CLIP, 0.5 / logs.available.shape[1])

    def at(weight: Array) -> estimators.Rows:
        policy = policies.greedy(counterfactual.utility(predicted, weight), available=logs.available)
        return estimators.rows(logs, policy, weight, nuisances, clip=clip, self_normalised=True)

    every = jax.lax.map(at, weights)
    return jax.tree.map(lambda y: y[0], every)._replace(influence=jnp.mean(every.influence, 0))


def true_value(test: Table, predicted: Outcomes, weights: Array) -> float:
    """Mean value over test prompts and cost weights of the full table."""
    available, outcomes = jnp.asarray(test.available), jax.tree.map(jnp.asarray, test.outcomes)

    def at(weight: Array) -> Array:
        policy = policies.greedy(counterfactual.utility(predicted, weight), available=available)
        return jnp.mean(metrics.value(policy, outcomes, weight))

    return float(jnp.mean(jax.lax.map(at, weights)))


def pairs(config: Config, name: str) -> pd.DataFrame:
    """A row per seed and pair of routers: difference and error from the log, difference in truth."""
    table = problem.load_table(config)
    table = problem.normalise(table, units.cost_scale(table)[0])
    weights = jnp.asarray(config.cost_weights, jnp.float32)
    records = []
    for seed, (train, _, held, earlier) in enumerate(problem.split_rows(config, table)):
        keys = [jax.random.fold_in(jax.random.key(seed), purpose) for purpose in range(6)]
        policy = problem.logging_policy(config, keys[problem.LOGGER], table.rows(earlier))
        simulated = logging.simulate(keys[problem.TRAIN_LOG], table.rows(train), policy)
        logs = jax.tree.map(jnp.asarray, simulated)
        test = table.rows(held)
        nuisances, views = routers(keys[problem.NUISANCE], logs, jnp.asarray(test.features), config)
        rows = {router: pooled(logs, nuisances, view.log, weights) for router, view in views.items()}
        truth = {router: true_value(test, view.test, weights) for router, view in views.items()}
        for a, b in itertools.combinations(views, 2):
            found = estimators.difference(rows[a], rows[b])
            records.append(
                {
                    "dataset": name,
                    "seed": seed,
                    "a": a,
                    "b": b,
                    "difference": float(found.value),
                    "standard_error": float(found.standard_error),
                    "truth": truth[a] - truth[b],
                }
            )
    return pd.DataFrame(records)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per dataset: share of pairs picked right, among all that differ and among those the log is surer of, in percent;
    and points lost a pair by picking what the log says, against always knowing."""
    found = found[(found["truth"] != 0) & (found["difference"] != 0)]
    z = (found["difference"] / found["standard_error"]).abs()
    right = np.sign(found["difference"]) == np.sign(found["truth"])
    lost = np.where(right, 0.0, found["truth"].abs())
    lines = []
    for dataset in [*found["dataset"].unique(), "all"]:
        mine = (found["dataset"] == dataset) | (dataset == "all")
        line: dict[str, object] = {"dataset": dataset}
        for least in SURE:
            among = mine & (z >= least)
            head = "pairs" if least == 0 else f"z > {least:g}"
            line[head] = int(among.sum())
            line[f"{head}: right"] = 100 * right[among].mean() if among.any() else np.nan
        line["lost"] = 100 * lost[mine].mean()
        lines.append(line)
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.selection", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the tables' folders")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--smoke", action="store_true", help="one small synthetic log, seconds")
    options = parser.parse_args(arguments)
    frames = []
    try:
        for name, config in study_cells.centres(options.data, smoke=options.smoke):
            frames.append(pairs(config, name))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = pd.concat(frames, ignore_index=True)
    folder = options.out / "selection"
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_frame(folder / "pairs.parquet", found)
    print(markdown(summary(found).round(1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
