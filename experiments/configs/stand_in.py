"""The published stand-in for RM-* beside full-feedback routers of ours: raw dollar weights as a feature.

    make stand-in DATA=<folder>            SMOKE=1 for seconds

One seed, 258 s of one core. Raw weights have a meaning only if costs are in dollars, so give a real table. On the
RouterBench subset its mean regret is 19.1 points, against 14.5 for a ridge plug-in (experiments/README.md).
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config
from jaxroute.types import NuisanceSpec, Spec

METHODS = ("random", "best_single_full", "plug_in_ridge_full", "rm_softmax_full", "published_stand_in")


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="stand-in-smoke", methods=METHODS)
    return Config(
        name="stand-in",
        seeds=1,
        methods=METHODS,
        nuisance=NuisanceSpec(("ridge",)),
        training=Spec(steps=3000, chunk=500),
    )
