"""What the study runs: one factor at a time around the centre, on every table. A cell is a config with a name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.settings import Config
from experiments.study.design import (
    BOTH,
    CEILINGS,
    FORMER,
    LEARNED,
    LOGGED,
    PLAIN,
    QUICK,
    RIVALS,
    ROWS,
    SMALL,
    STRONGER,
    SYNTHETIC,
    TABLES,
    USUAL,
    Table,
    centre,
)
from jaxroute.types import NuisanceSpec, Spec

SHADOW = 250
SPENT = 100


class Cell(NamedTuple):
    """One cell: a table, the factor that is moved, where to, and the config that says so."""

    table: str
    factor: str
    level: str
    config: Config


SAME_CEILINGS = ("logger", "shadow")
SMOKE = ("random", "best_single", "plug_in_ridge", "plug_in_knn", "plug_in_stack", "recommended", *CEILINGS)
ONE_MODEL = NuisanceSpec(outcome_models=("mean",), combine="select")
DEFAULT = NuisanceSpec().outcome_models
FIRST = ("outcome model", "former stack")
RIDGE = NuisanceSpec(outcome_models=("ridge",))
WITH_TREES = NuisanceSpec(outcome_models=(*DEFAULT, "trees"))


def cells(data: Path, *, smoke: bool = False, full: bool = False) -> list[Cell]:
    """All cells, the most telling first: the centre, then factor by factor over all tables.

    Args:
        data: folder that holds the tables' folders; the synthetic problem needs none.
        smoke: seconds instead of hours: two cells of the synthetic problem.
        full: the whole factorial of logger, log size and encoder instead of one factor at a time.
    """
    if smoke:
        small = dataclasses.replace(centre(TABLES[0], data, smoke=True), methods=SMOKE)
        return [
            Cell(SYNTHETIC, "centre", "", small),
            Cell(SYNTHETIC, "logger", "uniform", dataclasses.replace(small, logger="uniform")),
        ]
    found = [Cell(table.name, "centre", "", centre(table, data)) for table in TABLES]
    for factor, level, methods, changes in _factorial() if full else _factors():
        for table in TABLES:
            if _applies(table, factor, level):
                rivals = tuple(name for name in RIVALS if f"plug_in_{name}" in methods)
                config = dataclasses.replace(centre(table, data), methods=methods, rivals=rivals, **changes)
                found.append(Cell(table.name, factor, level, config))
    if not full:
        found += list(_equal_spend(data))
    return found


def _equal_spend(data: Path) -> Iterator[Cell]:
    """Log rows for the answers of a shadow of SPENT prompts: what the same money buys otherwise."""
    for table in TABLES:
        rows = ROWS + SPENT * table.models
        if rows <= table.logged:
            config = dataclasses.replace(centre(table, data), methods=PLAIN, log_size=rows)
            yield Cell(table.name, "equal spend", f"shadow {SPENT} as log rows", config)


LOGGERS: dict[str, dict[str, Any]] = {
    "weak router 6": {"logger_strength": 6.0},
    "uniform": {"logger": "uniform"},
    "cost-biased 2": {"logger": "cost_biased"},
    "task-dependent 2": {"logger": "task_dependent"},
}
NEW_DRAWS: dict[str, dict[str, Any]] = {
    "weak router 2": {},
    "weak router 6": LOGGERS["weak router 6"],
    "cost-biased 2": LOGGERS["cost-biased 2"],
    "weak router 2, 500 rows": {"log_size": 500},
}
"""Seeds that had no part in any choice of the recipe."""
Change = tuple[str, str, tuple[str, ...], dict[str, Any]]


def _factors() -> Iterator[Change]:
    """(factor, level, methods, changes of the config), one factor at a time."""
    for name in ("weak router 6", "uniform", "cost-biased 2"):
        yield "logger", name, LOGGED if name == "uniform" else (*LOGGED, *STRONGER), LOGGERS[name]
    yield "shadow", str(SHADOW), (*PLAIN, *LEARNED[:3]), {"shadow": SHADOW}
    yield "log size", "500", USUAL, {"log_size": 500}
    yield "logger", "task-dependent 2", LOGGED, LOGGERS["task-dependent 2"]
    yield "control", "shuffled answers", USUAL, {"shuffled": True}
    small = ("plug_in_stack", "recommended", *SMALL, *LEARNED[:3])
    yield "capacity", "linear", small, {"training": Spec(hidden=())}
    yield "encoder", "hashed", BOTH, {"encoder": "hashed"}
    yield "log size", "5000", QUICK, {"log_size": 5000}
    yield "log size", "all", BOTH, {"log_size": None}
    for level, changes in NEW_DRAWS.items():
        learned = ("rm_classification", *STRONGER * (level in ("weak router 2", "weak router 6")))
        yield "new draws", level, (*PLAIN, *learned), {**changes, "first_seed": 30}
    alone = ("best_single", "plug_in_stack", *LEARNED[:3], "recommended")
    yield "outcome model", "means only", alone, {"nuisance": ONE_MODEL}
    yield "outcome model", "ridge only", (*alone, *SMALL), {"nuisance": RIDGE}
    yield "split", "tasks held out", BOTH, {"split": "tasks"}
    yield "log size", "1000", QUICK, {"log_size": 1000}
    for count in (4, 2, 8):
        yield "models", str(count), BOTH, {"num_models": count}
    for name, logger in LOGGERS.items():
        yield "logger, 500 rows", name, LOGGED, {**logger, "log_size": 500}
    for clip in (0.02, 0.3):
        yield "clip", str(clip), ("plug_in_stack", *LEARNED[:3], "recommended"), {"learning_clip": clip}
    estimated = NuisanceSpec(propensity="estimated")
    yield "propensity", "estimated", ("plug_in_stack", *LEARNED[:3], "recommended"), {"nuisance": estimated}
    for size in (50, 100, 500):
        yield "shadow", str(size), PLAIN, {"shadow": size}
    yield "capacity", "8 units", small, {"training": Spec(hidden=(8,))}
    former = (*(m for m in PLAIN if m != "plug_in_gp"), "plug_in_stack_full")
    yield *FIRST, former, {"nuisance": FORMER}
    yield "outcome model", "with trees", (*PLAIN, "plug_in_trees"), {"nuisance": WITH_TREES}


def _factorial() -> Iterator[Change]:
    """Logger x log size x encoder, less the centre."""
    for encoder in ("", "hashed"):
        for size in (500, 1000, 2000, 5000, 10000):
            for name, logger in {"weak router 2": {}, **LOGGERS}.items():
                if (encoder, size, name) != ("", ROWS, "weak router 2"):
                    level = f"{name}, {size} rows, {encoder or 'minilm'}"
                    yield "factorial", level, USUAL, {**logger, "log_size": size, "encoder": encoder}


def _applies(table: Table, factor: str, level: str) -> bool:
    """Whether the cell differs from others of this table: rows enough, prompts with a text, several tasks."""
    logged = table.logged
    if factor == "log size":
        return logged > ROWS if level == "all" else int(level) < logged
    if factor == "shadow":
        return ROWS + int(level) < logged or table.prompts > 3000
    if factor == "models":
        return int(level) < table.models
    if factor == "encoder":
        return table.folder != SYNTHETIC
    if factor == "split":
        return table.name != "paretobandit"
    if factor == "factorial":
        return int(level.split(", ")[1].split()[0]) < logged and not (table.folder == SYNTHETIC and "hashed" in level)
    return True


def with_ceilings(results: pd.DataFrame) -> pd.DataFrame:
    """The results with the centre's ceilings in the cells of other logging policies and of shadows.

    Full feedback does not depend on who wrote the log: the fits would be the same to the last bit. What a shadow
    closes is the gap that there is without it, so its ceiling is the centre's too.
    """
    about = {text: json.loads(text) for text in results["hyperparameters"].unique()}
    of_log = ("effective_sample_size",)
    factor = results["hyperparameters"].map(lambda text: about[text]["factor"])
    ceilings = results[(factor == "centre") & results["method"].isin(CEILINGS) & ~results["metric"].isin(of_log)]
    found = [results]
    for (dataset, text), cell in results[factor.isin(SAME_CEILINGS)].groupby(
        ["dataset", "hyperparameters"], sort=False
    ):
        new = ceilings[(ceilings["dataset"] == dataset) & ~ceilings["method"].isin(cell["method"].unique())]
        own = {name: cell[name].iloc[0] for name in ("logger", "log_size")}
        found.append(new.assign(hyperparameters=str(text), **own))
    return pd.concat(found, ignore_index=True)


def describe(cell: Cell, key: str = "") -> str:
    """JSON of the factor, its level and the settings that make it: the results' ``hyperparameters``.

    key: stands for the config, the table, the libraries and the source that made the cell's results.
    """
    config = cell.config
    return json.dumps(
        {
            "factor": cell.factor,
            "level": cell.level,
            "logger_strength": config.logger_strength,
            "shadow": config.shadow,
            "encoder": config.encoder or "the table's",
            "hidden": config.training.hidden,
            "key": key,
        }
    )
