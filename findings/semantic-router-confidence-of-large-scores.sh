#!/usr/bin/env bash
# semantic-router==1.1.1: a router's calibrator turns scores into the probability that the route is right, by Platt's
# method: a logistic regression on the score. It is fitted by Newton steps that are not checked, from a slope of 1. With
# scores of 0 to 1 (a mean of similarities) it converges; with scores of 0 to 20 and more (a sum of similarities over as
# many utterances, which the router offers) the first probabilities are all 0 or 1, the next step is huge, and the fit
# ends where it happens to be: confidences are 0 or 1, or, where the slope came out negative, the share of right answers
# for every score, with a warning that higher scores were not more often right. They were. A logistic regression does
# not depend on the unit of its regressor. Below 400 scores whose route is right with a probability from 0.05 to 0.95,
# 20 times. Seen for the score in the middle, right half of the time: between 0.42 and 0.59 for scores of 0 to 1, and
# for the same scores times 30 below 0.01 or above 0.99 in 19 draws, and in one a base rate that all scores have. Exits
# with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.3.3 scikit-learn==1.7.2 scipy==1.16.2 \
  semantic-router==1.1.1
"$folder/bin/python" - <<'PY'
import logging

import numpy as np
from semantic_router.calibration import Calibrator
from sklearn.linear_model import LogisticRegression

logging.disable(logging.CRITICAL)
PLACES = np.array([0.1, 0.5, 0.9])


def confidences(factor):
    """Of three scores, in 20 draws: the calibrator's and a logistic regression's."""
    ours, reference = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        score = rng.uniform(0, 1, 400)
        right = rng.random(400) < 1 / (1 + np.exp(3 - 6 * score))
        with np.errstate(over="ignore"):
            ours.append(Calibrator.fit(factor * score, right)(factor * PLACES))
        fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(factor * score[:, None], right)
        reference.append(fit.predict_proba(factor * PLACES[:, None])[:, 1])
    return np.array(ours), np.array(reference)


for factor in (1, 30):
    ours, reference = confidences(factor)
    print(f"scores of 0 to {factor}: confidence in the middle", ours[:, 1].round(2).tolist())
    assert np.abs(reference - [0.083, 0.5, 0.917]).max() < 0.1
    if factor == 1:
        assert np.abs(ours - reference).max() < 0.02
    else:
        step = (ours[:, 1] < 0.01) | (ours[:, 1] > 0.99)
        flat = np.ptp(ours, axis=1) < 1e-6
        print(step.sum(), "are 0 or 1,", flat.sum(), "the same for every score")
        assert (step | flat).all() and step.any() and flat.any()
PY
