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
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.settings import Config
from experiments.side import common as side_studies
from experiments.side.common import Rows
from experiments.study import design as study_design
from experiments.study.tables import markdown
from jaxroute import nuisance, recipe
from jaxroute.nuisance.learners import candidate_names
from jaxroute.types import Outcomes, Table

FIRST_SEED, SEEDS = 20, 4
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
        "former stack": Arm(study_design.FORMER.outcome_models),
    }


def measure(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """One log: a row per arm with squared errors of quality (x 10,000) and mean regrets in points."""
    logged, test, earlier = (table.rows(rows[part]) for part in (0, 2, 3))
    logs, key = side_studies.simulated_log(config, seed, logged, earlier)
    default = config.nuisance
    compared = arms(default.outcome_models)
    learners = tuple(sorted({name for arm in compared.values() for name in arm.learners}))
    spec = dataclasses.replace(default, outcome_models=learners)
    nuisances, model = nuisance.fit(key, logs, spec)
    cells, seen = nuisance.as_cells(logs)
    candidates = nuisance.predict_candidates(model.outcomes, jnp.asarray(test.features))
    names = np.array(candidate_names(spec))

    def error(predicted: Outcomes, truth: Outcomes, known: np.ndarray) -> float:
        return 1e4 * float(np.mean((np.asarray(predicted.quality) - np.asarray(truth.quality))[known] ** 2))

    records = []
    for name, arm in compared.items():
        part = nuisance.reweigh(model.outcomes, cells, seen, dataclasses.replace(spec, outcome_models=arm.learners))
        own = np.isin(names, arm.learners)
        even = jnp.asarray(arm.even * own / own.sum(), jnp.float32)
        part = part._replace(weights=Outcomes(*((1 - arm.even) * w + even for w in part.weights)))
        of_log, predicted = nuisance.out_of_fold(part), nuisance.mix(part.weights, candidates)
        fitted = model._replace(outcomes=part)
        recommended = recipe.recommend(logs, nuisances._replace(outcomes=of_log), fitted)
        known = np.asarray(seen) & np.isfinite(np.asarray(cells.quality))
        errors = error(of_log, cells, known), error(predicted, test.outcomes, test.available)
        routers = predicted, recipe.apply(recommended, predicted)
        found = (*errors, *(side_studies.regret(y, test, config.cost_weights) for y in routers))
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


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    seeds, loggers = (2, {"uniform": "uniform"}) if options.smoke else (SEEDS, LOGGERS)
    for name, centre in study_design.centres(options.data, smoke=options.smoke):
        table = side_studies.normalised(centre)
        for logger, policy in loggers.items():
            config = dataclasses.replace(centre, name="wider-stacks", logger=policy, first_seed=FIRST_SEED, seeds=seeds)
            found = side_studies.each_log(config, table, options.out, measure)
            yield found.assign(dataset=name, logger=logger)


def show(found: pd.DataFrame) -> str:
    return "\n\n".join(
        f"{value}: less the default's, mean ± standard error\n\n{markdown(summary(found, value))}" for value in MEASURES
    )


def main(arguments: list[str] | None = None) -> int:
    return side_studies.command("wider_stacks", __doc__, measured, show, arguments)


if __name__ == "__main__":
    sys.exit(main())
