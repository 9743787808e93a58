"""A real full-feedback table: simulated logs of a weak router, every method, measured on the table.

    make experiment CONFIG=real DATA=<folder>            SMOKE=1 for seconds, on 800 of its prompts

The training rows of the split are logged once, at most 5,000 of them. 10 seeds over split, logging and initialisation;
ridges, kNN and networks are fitted in addition to the library's own stack of outcome models, for plug-in routers of
their own. ParetoBandit's table (3,609 prompts, 4 models): 781 s beside other work on two cores; mean regret of the
recommended recipe (with its former levels) 3.89 ± 0.14 points, stacked plug-in 3.92 ± 0.14, rm_softmax 4.03 ± 0.14,
best single model 4.04 ± 0.13, stacked plug-in with full feedback 3.67 ± 0.13.
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config

SMOKE = ("random", "best_single", "oracle", "plug_in_ridge", "recommended", "rm_softmax")


def get_config(smoke: bool = False) -> Config:
    if smoke:
        # A new table's shapes are compiled anew, and every method and learner has programs of its own. The log has as
        # many rows as the test part, on which the evidence is fitted, so both share theirs.
        few = ("ridge",)
        nuisance = dataclasses.replace(default(smoke=True).nuisance, outcome_models=few)
        return dataclasses.replace(
            default(smoke=True), name="real-smoke", log_size=200, methods=SMOKE, nuisance=nuisance
        )
    return Config(
        name="real",
        seeds=10,
        log_size=5000,
        rivals=("ridge", "hierarchical", "knn", "mlp"),
    )
