"""Do more learners in the stack make better routers, or fewer as good ones? Stacks beside the default.

    make wider-stacks DATA=<folder of tables>        SMOKE=1 for seconds

Every table of the study, three logging policies, seeds 20 to 23: other splits and logs than the study's. All learners
are fitted once a log, and every stack is made of some of them, so differences are paired. Resumable: a log that was
measured with this code is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import problem, storage, study_cells
from experiments.selection import true_value
from experiments.settings import Config
from experiments.study_tables import markdown
from jaxroute import nuisance, recipe
from jaxroute.data import logging, splits, units
from jaxroute.nuisance.learners import candidate_names
from jaxroute.types import InputError, Outcomes, Table

SEEDS = (20, 21, 22, 23)
LOGGERS = {"weak router": "weak_router", "uniform": "uniform", "cost-biased": "cost_biased"}
MORE = ("ridge", "knn", "trees")
MEASURES = ("error of the log", "error of new prompts", "stack", "recipe")


class Arm(NamedTuple):
    """A stack: its learners, and the part of its weights that is spread evenly over its candidates."""

    learners: tuple[str, ...]
    even: float = 0.0


def arms(default: tuple[str, ...]) -> dict[str, Arm]:
    return {
        "default": Arm(default),
        "default, 20% even": Arm(default, 0.2),
        "with ridge": Arm((*default, "ridge")),
        "with knn": Arm((*default, "knn")),
        "with trees": Arm((*default, "trees")),
        "with all of them": Arm((*default, *MORE)),
        "without gp": Arm(tuple(name for name in default if name != "gp")),
        "without mlp": Arm(tuple(name for name in default if name != "mlp")),
        "gp alone": Arm(("gp",)),
        "former stack": Arm(study_cells.FORMER.outcome_models),
    }


def measure(config: Config, table: Table, seed: int) -> pd.DataFrame:
    """One log: a row per arm with squared errors of quality (x 10,000) and mean regrets in points."""
    train, _, held = splits.split(seed, table, config.fractions)
    earlier = int(config.logger_fraction * len(table))
    keys = [jax.random.fold_in(jax.random.key(seed), purpose) for purpose in range(6)]
    policy = problem.logging_policy(config, keys[problem.LOGGER], table.rows(train[:earlier]))
    logged, test = table.rows(train[earlier:][: config.log_size]), table.rows(held)
    logs = jax.tree.map(jnp.asarray, logging.simulate(keys[problem.TRAIN_LOG], logged, policy))
    default = config.nuisance
    compared = arms(default.outcome_models)
    learners = tuple(sorted({name for arm in compared.values() for name in arm.learners}))
    spec = dataclasses.replace(default, outcome_models=learners)
    nuisances, model = nuisance.fit(keys[problem.NUISANCE], logs, spec)
    cells, seen = nuisance.as_cells(logs)
    candidates = nuisance.predict_candidates(model.outcomes, jnp.asarray(test.features))
    names = np.array(candidate_names(spec))
    weights = jnp.asarray(config.cost_weights, jnp.float32)

    def error(predicted: Outcomes, truth: Outcomes, known: np.ndarray) -> float:
        return 1e4 * float(np.mean((np.asarray(predicted.quality) - np.asarray(truth.quality))[known] ** 2))

    def regret(predicted: Outcomes) -> float:
        return 100 * (true_value(test, test.outcomes, weights) - true_value(test, predicted, weights))

    records = []
    for name, arm in compared.items():
        part = nuisance.reweigh(model.outcomes, cells, seen, dataclasses.replace(spec, outcome_models=arm.learners))
        own = np.isin(names, arm.learners)
        even = jnp.asarray(arm.even * own / own.sum(), jnp.float32)
        part = part._replace(weights=Outcomes(*((1 - arm.even) * w + even for w in part.weights)))
        of_log, predicted = nuisance.out_of_fold(part), nuisance.mix(part.weights, candidates)
        fitted = model._replace(outcomes=part)
        level = recipe.log_levels(logs, nuisances._replace(outcomes=of_log), fitted)
        centre = jnp.mean(of_log.quality, 0)
        tempered = recipe.temper(predicted, level, centre, share=recipe.choose_share(logs, fitted))
        known = np.asarray(seen) & np.isfinite(np.asarray(cells.quality))
        errors = error(of_log, cells, known), error(predicted, test.outcomes, test.available)
        found = (*errors, regret(predicted), regret(tempered))
        records.append({"arm": name, "seed": seed, **dict(zip(MEASURES, found, strict=True))})
    return pd.DataFrame(records)


def summary(found: pd.DataFrame, value: str) -> pd.DataFrame:
    """The default's ``value``, and every other stack's less it: mean and standard error over logs, per dataset."""
    by_log = found.pivot_table(value, ["dataset", "logger", "seed"], "arm", sort=False)
    datasets = [*found["dataset"].unique(), "all"]

    def line(name: str, values: pd.Series, form: str) -> dict[str, str]:
        parts = [values if dataset == "all" else values[dataset] for dataset in datasets]
        cells = (form.format(part.mean(), part.sem()) for part in parts)
        return {"stack": name, **dict(zip(datasets, cells, strict=True))}

    lines = [line("default", by_log["default"], "{:.2f}")]
    for arm in by_log.columns.drop("default"):
        lines.append(line(arm, by_log[arm] - by_log["default"], "{:+.2f} ± {:.2f}"))
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.wider_stacks", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the tables' folders")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--smoke", action="store_true", help="two small synthetic logs, seconds")
    options = parser.parse_args(arguments)
    seeds, loggers = (SEEDS[:2], {"uniform": "uniform"}) if options.smoke else (SEEDS, LOGGERS)
    frames = []
    try:
        for name, centre in study_cells.centres(options.data, smoke=options.smoke):
            table = problem.load_table(centre)
            table = problem.normalise(table, units.cost_scale(table)[0])
            for logger, policy in loggers.items():
                config = dataclasses.replace(centre, name="wider-stacks", logger=policy)
                folder = storage.run_folder(options.out, config)
                storage.begin(folder, config)
                for seed in seeds:
                    path = folder / f"seed-{seed}.parquet"
                    if not path.exists():
                        storage.write_frame(path, measure(config, table, seed))
                    frames.append(pd.read_parquet(path).assign(dataset=name, logger=logger))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = pd.concat(frames, ignore_index=True)
    for value in MEASURES:
        print(f"\n{value}: less the default's, mean ± standard error\n\n{markdown(summary(found, value))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
