"""The recommended recipe beside the plug-ins it is made of. It trains no networks except those of the nuisances.

    make experiment CONFIG=recipe DATA=<folder>            SMOKE=1 for seconds

10 seeds over split, logging and initialisation, logs of 2,000 rows; the outcome models of `real`. ParetoBandit's table
(3,609 prompts, 4 models): 679 s beside other work on two cores; mean regret of the recipe (with its former levels)
3.89 ± 0.14 points, stacked plug-in 3.92 ± 0.14, Gaussian process alone 3.87 ± 0.14, best single model 4.04 ± 0.13.
"""

import dataclasses

from experiments.configs.real import get_config as real
from experiments.settings import Config

LEARNERS = ("ridge", "hierarchical", "knn", "gp", "mlp", "stack")


def get_config(smoke: bool = False) -> Config:
    config = real(smoke=smoke)
    learners = [name for name in LEARNERS if name in (*config.nuisance.outcome_models, *config.rivals, "stack")]
    return dataclasses.replace(
        config,
        name="recipe-smoke" if smoke else "recipe",
        log_size=500 if smoke else 2000,
        methods=(
            "random",
            "best_single",
            "best_single_full",
            "oracle",
            *(f"plug_in_{name}{end}" for name in learners for end in ("", "_full")),
            "recommended",
            "recommended_full",
        ),
    )
