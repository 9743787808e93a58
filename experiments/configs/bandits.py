"""Rivals that learn from bandit feedback, beside the recipe, its stack and our pessimistic RM-Softmax.

    make experiment CONFIG=bandits DATA=<folder>            SMOKE=1 for seconds

The study's centre with three seeds. `make baselines` has the same methods among all others. Results:
experiments/README.md.
"""

import dataclasses

from experiments.configs.default import get_config as default
from experiments.settings import Config

RIVALS = ("linucb", "pilot", "barp", "poem", "nn_policy_learner", "policy_forest")
METHODS = ("random", "best_single", "plug_in_stack", "recommended", "rm_softmax_pessimistic", *RIVALS)


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return dataclasses.replace(default(smoke=True), name="bandits-smoke", methods=METHODS)
    return Config(name="bandits", seeds=3, log_size=2000, methods=METHODS)
