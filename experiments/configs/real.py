"""A real full-feedback table: simulated logs of a weak router, every method, measured on the table.

    make experiment CONFIG=real DATA=<folder>            SMOKE=1 for seconds

The training rows of the split are logged once, at most 5,000 of them. 10 seeds over split, logging and initialisation;
some minutes per table. Ridges and kNN are fitted in addition to the library's own stack of outcome models, for plug-in
routers of their own.
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="real-smoke", log_size=500)
    return Config(
        name="real",
        seeds=10,
        log_size=5000,
        rivals=("ridge", "hierarchical", "knn", "mlp"),
    )
