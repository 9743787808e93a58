"""The Open Bandit Pipeline (obp) on the inputs of `problem.py`; runs in obp's own environment, without jaxroute.

obp gives intervals by a bootstrap of its row estimates, whose error is their standard deviation / sqrt(N).

Reference: Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation, by
Saito, Aihara, Matsutani and Narita (https://arxiv.org/abs/2008.07146), 2021.
"""

import inspect
import json
import sys

import numpy as np
import obp
from obp import ope


def main(path: str) -> None:
    data = np.load(path)
    methods = {
        "dm": ope.DirectMethod(),
        "ipw": ope.InverseProbabilityWeighting(),
        "snipw": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dr": ope.DoublyRobust(),
        "sndr": ope.SelfNormalizedDoublyRobust(),
        "switch": switch(float(data["threshold"])),
        "dros": ope.DoublyRobustWithShrinkage(lambda_=float(data["shrinkage"])),
    }
    if "lambda_" in inspect.signature(ope.InverseProbabilityWeighting).parameters:  # from 0.5 on
        cap = {"lambda_": float(data["cap"])}
        methods |= {
            "ipw, capped": ope.InverseProbabilityWeighting(**cap),
            "snipw, capped": ope.SelfNormalizedInverseProbabilityWeighting(**cap),
            "dr, capped": ope.DoublyRobust(**cap),
            "sndr, capped": ope.SelfNormalizedDoublyRobust(**cap),
        }
    found = {}
    for name, method in methods.items():
        values, errors = [], []
        for i in range(len(data["reward"])):
            rows = method._estimate_round_rewards(
                reward=data["reward"][i],
                action=data["action"][i],
                pscore=data["propensity"][i],
                action_dist=data["target"][i][:, :, None],
                estimated_rewards_by_reg_model=data["predicted"][i][:, :, None],
                position=np.zeros(len(data["action"][i]), int),
            )
            rows = np.broadcast_to(rows, data["action"][i].shape)
            values.append(rows.mean())
            errors.append(rows.std(ddof=1) / len(rows) ** 0.5)
        found[name] = values, errors
    print(json.dumps({"version": obp.__version__, "found": found}))


def switch(threshold: float) -> ope.SwitchDoublyRobust:
    """Its threshold is called tau in 0.4 and lambda_ in 0.5."""
    name = "tau" if "tau" in inspect.signature(ope.SwitchDoublyRobust).parameters else "lambda_"
    return ope.SwitchDoublyRobust(**{name: threshold})


main(sys.argv[1])
