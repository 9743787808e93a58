"""The default problem with every method of the main job, and a plug-in of each outcome model of the former stack.

    make experiment CONFIG=full            SMOKE=1 for seconds

43 methods and single models, 5 seeds; 114 s on two cores. Mean regret: stacked plug-in 28.22 ± 1.59 points, recommended
recipe 28.36 ± 1.52, rm_classification 28.45 ± 1.46, rm_interval 30.54 ± 1.82, rm_softmax 33.80 ± 2.13
(experiments/results/full.md).
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="full-smoke", methods=())
    return dataclasses.replace(default(), name="full", methods=(), rivals=("ridge", "hierarchical", "mlp"))
