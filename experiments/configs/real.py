"""A real full-feedback table: simulated logs of a weak router, every method, measured on the table.

    make experiment CONFIG=real DATA=<folder>            SMOKE=1 shrinks it to seconds

All training rows of the split are logged once. 10 seeds over split, logging and initialisation. The outcome models
are the stack of before the Gaussian process, with which the tables in experiments/README.md were measured;
``nuisance=NuisanceSpec(), rivals=("ridge", "knn")`` is today's.
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config
from jaxroute.types import NuisanceSpec, Spec


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="real-smoke", log_size=500)
    return Config(
        name="real",
        seeds=10,
        log_size=5000,
        nuisance=NuisanceSpec(("mean", "ridge", "hierarchical", "knn", "mlp")),
        training=Spec(),
    )
