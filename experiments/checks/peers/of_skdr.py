"""skdr-eval on the inputs of `problem.py`; runs in its own environment, without jaxroute.

Reference: https://pypi.org/project/skdr-eval, module estimators.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from skdr_eval.estimators import EstimatorStrategy, MSEOutcomeLoss, build_strategy, dr_value_with_strategy
from skdr_eval.estimators.weight_transforms import ClipTransform


def main(path: str) -> None:
    data = np.load(path)
    family = data["family"]
    embedding = np.eye(family.max() + 1)[family]

    def clipped(cap: float, self_normalised: bool) -> EstimatorStrategy:
        return EstimatorStrategy("DR", ClipTransform(cap), MSEOutcomeLoss(), self_normalised)

    strategies = {
        "dr": clipped(np.inf, False),
        "sndr": clipped(np.inf, True),
        "dr, capped": clipped(float(data["cap"]), False),
        "sndr, capped": clipped(float(data["cap"]), True),
        "switch": build_strategy("SWITCH-DR", tau=float(data["threshold"])),
        "dros": build_strategy("DRos", lam=float(data["shrinkage"])),
        "families": build_strategy("MIPS", action_embedding=embedding, kernel=lambda e: e @ e.T),
    }
    found = {}
    for name, strategy in strategies.items():
        each = [
            dr_value_with_strategy(
                propensities=data["propensities"][i],
                policy_probs=data["target"][i],
                Y=data["reward"][i],
                q_hat=data["predicted"][i],
                A=data["action"][i],
                elig=np.ones_like(data["target"][i]),
                strategy=strategy,
                action_embedding=embedding if name == "families" else None,
            )
            for i in range(len(data["reward"]))
        ]
        found[name] = [e.V_hat for e in each], [e.SE_if for e in each]
    print(json.dumps({"version": version("skdr-eval"), "found": found}))


main(sys.argv[1])
