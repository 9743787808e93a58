"""The study's tables, the methods that its cells compare, and its centre, which the smaller studies start from too.

The centre: a weak router of strength 2 wrote the log, 2,000 rows (or all there are), MiniLM features, 10 seeds.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.settings import Config
from jaxroute.types import NuisanceSpec, Spec

ROWS = 2000


SYNTHETIC = "synthetic"


class Table(NamedTuple):
    """A table of the study: its name there, its folder's name, the tasks taken, prompts and models about.

    pool: prompts left beside the centre's log, from which `experiments.side.shadow` draws; 0: too few.
    """

    name: str
    folder: str
    tasks: str
    prompts: int
    models: int
    pool: int = 0

    @property
    def logged(self) -> int:
        """Log rows at most: 60% train, 10% set aside for the weak router."""
        return int(0.5 * self.prompts)


TABLES = [
    Table(SYNTHETIC, SYNTHETIC, "", 6000, 10, pool=950),
    Table("routerbench", "routerbench_5shot_subset", "", 3164, 11),
    Table("bbh", "open_llm_lb_v2_carrot", "bbh", 5761, 18, pool=800),
    Table("mmlu-pro", "open_llm_lb_v2_carrot", "mmlu_pro", 12032, 18, pool=1000),
    Table("routellm", "routellm_mmlu_gsm8k", "", 15361, 2, pool=1000),
    Table("paretobandit", "paretobandit", "", 3609, 4),
]
"""The one list: what a line here adds is run, and is in every table and figure."""


def in_order(names: Iterable[Any]) -> list[str]:
    """Names of tables in the order of TABLES, each once; what is not listed comes last."""
    found = set(map(str, names))
    known = [table.name for table in TABLES if table.name in found]
    return known + sorted(found.difference(known))


PLUG_INS = tuple(f"plug_in_{name}" for name in ("ridge", "hierarchical", "knn", "gp", "mlp", "stack"))
PLAIN = ("random", "best_single", *PLUG_INS, "recommended")
LEARNED = ("rm_classification", "rm_softmax", "rm_softmax_entropic", "rm_affine")
CEILINGS = ("best_single_full", "plug_in_stack_full", "recommended_full")
SMALL = ("plug_in_student", "plug_in_student_dr", "rm_softmax_entropic_dm")
"""The same small network taught to predict utilities, or to decide, by the same outcomes."""
CONTENDERS = (
    *("cheapest", "knn_guarded", "low_rank", "rm_conditional", "rm_interval"),
    *("linucb", "pilot", "barp", "poem", "nn_policy_learner", "policy_forest"),
    *("rm_classification_soft", "rm_classification_soft_ensemble", "rm_classification_gap"),
    *("dr_weighted_classification", "rm_classification_dm", "rm_softmax_dm"),
    *("rm_softmax_ipw", "rm_softmax_switch", "rm_softmax_dros", "rm_softmax_pessimistic"),
    *("rm_classification_started", "rm_softmax_started", "rm_softmax_entropic_started"),
    *("rm_classification_calibrated", "rm_softmax_calibrated", "rm_softmax_entropic_calibrated"),
)
"""Compared at the centre alone."""
CENTRE = (
    *PLAIN,
    *LEARNED,
    *SMALL,
    *CONTENDERS,
    *CEILINGS,
    "rm_softmax_full",
    "rm_classification_full",
    "rm_affine_full",
)
USUAL = (*PLAIN, "rm_classification", "rm_softmax_entropic", *CEILINGS)
QUICK = (*PLAIN, *CEILINGS)
BOTH = (*PLAIN, *LEARNED[:3], *CEILINGS)
STRONGER = (
    *("rm_softmax", "rm_softmax_pessimistic", "rm_softmax_dros", "rm_classification_started"),
    *("rm_classification_calibrated", "rm_softmax_entropic_calibrated"),
)
"""End-to-end routers that did well at the centre, compared under two more loggers."""
LOGGED = (*PLAIN, "rm_classification", "rm_softmax_entropic")
"""Without ceilings: full feedback does not depend on who wrote the log, so the cells have the centre's."""
RIVALS = ("ridge", "hierarchical", "knn", "mlp")
FORMER = NuisanceSpec(outcome_models=("mean", "ridge", "hierarchical", "knn", "mlp"))
"""The stack before the Gaussian process; its plug-in at the centre is the first recipe, which aims refer to."""


def centre(table: Table, data: Path, *, smoke: bool = False) -> Config:
    """The centre's config for one table."""
    config = Config(
        name="study",
        data=SYNTHETIC if table.folder == SYNTHETIC else str(data / table.folder),
        tasks=table.tasks,
        seeds=10,
        log_size=ROWS,
        methods=CENTRE,
        rivals=RIVALS,
    )
    if not smoke:
        return config
    return dataclasses.replace(
        config,
        name="study-smoke",
        num_prompts=800,
        seeds=2,
        log_size=300,
        cost_weights=(0.0, 0.5, 2.0),
        rivals=(),
        nuisance=NuisanceSpec(("ridge", "knn"), folds=3, penalties=(300.0,), neighbours=(20,)),
        training=Spec(hidden=(16,), batch_size=64, steps=40, chunk=20),
    )


def centres(data: Path, *, smoke: bool = False, pool: bool = False) -> Iterator[tuple[Table, Config]]:
    """Every table under ``data`` with its centre; says which are not there.

    smoke: the first alone, small. pool: only those that have a pool.
    """
    among = [table for table in TABLES if table.pool or not pool]
    for table in among[: 1 if smoke else None]:
        if table.folder == SYNTHETIC or (data / table.folder).exists():
            yield table, centre(table, data, smoke=smoke)
        else:
            print(f"{table.name}: there is no table at {data / table.folder}", file=sys.stderr)
