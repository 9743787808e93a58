"""cje-eval 0.3 on the inputs of `problem.py`; runs in its own environment, without jaxroute.

From 0.4 on it has no off-policy estimator. It takes log probabilities, so targets that never make some choices are left
out, and rewards in [0, 1], so only those at cost weight 0 are compared.

Reference: Causal Judge Evaluation: https://pypi.org/project/cje-eval, module estimators.
"""

import json
import logging
import sys
from importlib.metadata import version

import numpy as np
from cje.data.models import Dataset, Sample
from cje.data.precomputed_sampler import PrecomputedSampler
from cje.estimators import CalibratedIPS


def main(path: str) -> None:
    logging.disable(logging.CRITICAL)
    data = np.load(path)
    found: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for name, mode in (("ipw", "raw"), ("snipw", "hajek")):
        found[name] = [], []
        for i, reward in enumerate(data["reward"]):
            action = data["action"][i]
            asked = data["target"][i][np.arange(len(action)), action]
            value, error = None, None
            if asked.min() > 0 and reward.min() >= 0:
                value, error = estimate(reward, asked, data["propensity"][i], mode)
            found[name][0].append(value)
            found[name][1].append(error)
    print(json.dumps({"version": version("cje-eval"), "found": found}))


def estimate(reward: np.ndarray, asked: np.ndarray, propensity: np.ndarray, mode: str) -> tuple[float, float]:
    """Value and error of inverse propensity weighting without its calibrations of rewards and weights."""
    samples = [
        Sample(
            prompt_id=str(i),
            prompt="p",
            response="r",
            reward=float(r),
            base_policy_logprob=float(np.log(p)),
            target_policy_logprobs={"target": float(np.log(q))},
        )
        for i, (r, q, p) in enumerate(zip(reward, asked, propensity, strict=True))
    ]
    sampler = PrecomputedSampler(Dataset(samples=samples, target_policies=["target"]))
    plain = CalibratedIPS(sampler, calibrate_weights=False, weight_mode=mode, clip_weight=np.inf, oua_jackknife=False)
    result = plain.fit_and_estimate()
    return float(result.estimates[0]), float(result.standard_errors[0])


main(sys.argv[1])
