"""coba on the inputs of `problem.py`; runs in its own environment, without jaxroute.

Its filter OpeRewards turns a logged reward into a function of the action. "IPS" needs nothing else; "DM" and "DR" fit a
Vowpal Wabbit model of their own, so they cannot be given the same outcome model and are not compared.

Reference: https://coba-docs.readthedocs.io, by Rucker and others.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from coba.environments import OpeRewards
from coba.primitives import LoggedInteraction


def main(path: str) -> None:
    data = np.load(path)
    values, errors = [], []
    for i in range(len(data["reward"])):
        models = list(range(data["target"].shape[2]))
        logged = (
            LoggedInteraction(None, int(a), float(r), probability=float(p), actions=models)
            for a, r, p in zip(data["action"][i], data["reward"][i], data["propensity"][i], strict=True)
        )
        rows = [
            sum(p * interaction["rewards"](k) for k, p in enumerate(target) if p > 0)
            for interaction, target in zip(OpeRewards("IPS").filter(logged), data["target"][i].tolist(), strict=True)
        ]
        values.append(np.mean(rows))
        errors.append(np.std(rows, ddof=1) / len(rows) ** 0.5)
    print(json.dumps({"version": version("coba"), "found": {"ipw": [values, errors]}}))


main(sys.argv[1])
