"""Every baseline and every router, each learner with full feedback too, on the same splits, logs and nuisances.

    make baselines DATA=<folder>            SMOKE=1 shrinks it to seconds

5 seeds, logs of 2,000 rows; gradient-boosted trees beside the other outcome models, and in the stack. Measured
results: experiments/README.md.
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config
from jaxroute.types import NuisanceSpec


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="baselines-smoke", methods=("*",))
    learners = ("mean", "ridge", "hierarchical", "knn", "mlp", "trees")
    return Config(name="baselines", log_size=2000, methods=("*",), nuisance=NuisanceSpec(learners))
