"""What is published in place of RM-*, beside full-feedback routers of ours: raw dollar weights as a feature.

    make stand-in DATA=<folder>            SMOKE=1 shrinks it to seconds

One seed. Raw weights mean something only where costs are dollars: give a real table.
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
