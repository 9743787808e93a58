"""contextualbandits on the inputs of `problem.py`; runs in its own environment, without jaxroute.

Doubly robust for policies that choose one arm, and normalised capped importance sampling, which drops weights above its
limit; neither has an error.

Reference: https://contextual-bandits.readthedocs.io, module evaluation, by Cortes.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from contextualbandits import evaluation


def main(path: str) -> None:
    data = np.load(path)
    found: dict[str, list[float | None]] = {"dr": [], "snipw": [], "snipw, capped": []}
    for i in range(len(data["reward"])):
        reward, action, propensity = (data[name][i] for name in ("reward", "action", "propensity"))
        target, predicted = data["target"][i], data["predicted"][i]
        rows, choice = np.arange(len(action)), target.argmax(1)
        certain = target.max(1).min() == 1
        models = np.stack([predicted[rows, choice], predicted[rows, action]], 1)
        robust = evaluation.evaluateDoublyRobust(
            choice, data["features"][i], action, reward, propensity, models, handle_invalid=False, pmin=None
        )
        found["dr"].append(robust if certain else None)
        for name, cap in (("snipw", np.inf), ("snipw, capped", float(data["cap"]))):
            asked = target[rows, action]
            found[name].append(evaluation.evaluateNCIS(asked, reward, propensity, cmin=0.0, cmax=cap))
    print(
        json.dumps({"version": version("contextualbandits"), "found": {name: [y, None] for name, y in found.items()}})
    )


main(sys.argv[1])
