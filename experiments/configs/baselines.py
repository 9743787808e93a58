"""Every baseline and every router, each learner also with full feedback, on the same splits, logs and nuisances.

    make baselines DATA=<folder>            SMOKE=1 for seconds

5 seeds, logs of 2,000 rows; 10 to 20 minutes of one core per table. Ridges, kNN and gradient-boosted trees are fitted
in addition to the library's own stack of outcome models, for plug-in routers of their own. Results:
experiments/README.md.
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="baselines-smoke", methods=("*",))
    return Config(
        name="baselines", log_size=2000, methods=("*",), rivals=("ridge", "hierarchical", "knn", "mlp", "trees")
    )
