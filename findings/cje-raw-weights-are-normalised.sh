#!/usr/bin/env bash
# cje-eval==0.3.0: CalibratedIPS(calibrate_weights=False, weight_mode="raw") is documented as "uses raw importance weights
# directly (equivalent to traditional IPS)", but divides by the sum of the weights. It returns the self-normalised
# estimate, that of weight_mode="hajek", and its standard error. Below, weights 2, 1/2 and 1/4 and rewards 1, 0 and 0 give
# 2/3 by inverse propensity weighting, and 2/2.75 = 0.73 after normalisation. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check cje-eval==0.3.0
"$folder/bin/python" - <<'PY'
import logging
from math import log

import numpy as np
from cje.data.models import Dataset, Sample
from cje.data.precomputed_sampler import PrecomputedSampler
from cje.estimators import CalibratedIPS

logging.disable(logging.CRITICAL)
weights, rewards = np.tile([2.0, 0.5, 0.25], 20), np.tile([1.0, 0.0, 0.0], 20)
samples = [
    Sample(prompt_id=str(i), prompt="p", response="r", reward=r, base_policy_logprob=log(0.25),
           target_policy_logprobs={"target": log(0.25 * w)})
    for i, (w, r) in enumerate(zip(weights, rewards))
]
sampler = PrecomputedSampler(Dataset(samples=samples, target_policies=["target"]))


def value(mode):
    plain = CalibratedIPS(sampler, calibrate_weights=False, weight_mode=mode, clip_weight=np.inf, oua_jackknife=False)
    return float(plain.fit_and_estimate().estimates[0])


ipw, normalised = float(np.mean(weights * rewards)), float(weights @ rewards / weights.sum())
print(f"raw {value('raw'):.4f}, hajek {value('hajek'):.4f}; by hand: mean(w r) {ipw:.4f}, sum(w r) / sum(w) {normalised:.4f}")
assert abs(value("raw") - normalised) < 1e-9 and abs(value("raw") - ipw) > 0.01
PY
