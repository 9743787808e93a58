#!/usr/bin/env bash
# venn-abers==1.5.4: probabilities of several classes that are calibrated as they are (p_cal, y_cal, p_test) come back
# with a column less for each class that no calibration row has, though the documentation gives the shape (n_samples,
# n_classes). Every later column moves to the left, so it is read as another class, and the rows still add up to 1. With
# three classes of which two are left, the labels are taken for 0 and 1, and "probabilities" are below 0 and above 1.
# Which model answers best is such a class, and a model that is seldom the best is easily missing in a few hundred rows.
# Nothing warns. Below calibrated probabilities for 3,000 prompts, half of them to calibrate with. Seen: of four models,
# without the rows that the second won, three columns, the second of which follows the third model's probability
# (correlation 0.90; with that of the second model 0.00); of three models, without the rows that the first won, values
# from -1.01 to 2.01. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    venn-abers==1.5.4 numpy==2.3.3 pandas==2.3.3 scikit-learn==1.7.2 scipy==1.16.2
"$folder/bin/python" - <<'PY'
import numpy as np
from venn_abers import VennAbersCalibrator

rng = np.random.default_rng(0)


def calibrated(models, missing):
    """Probabilities [1500, models] that each model answers best, and what is made of them without rows of one model."""
    score = np.exp(rng.normal(size=(3000, models)))
    true = score / score.sum(1, keepdims=True)
    best = np.array([rng.choice(models, p=row) for row in true])
    rows = np.flatnonzero(best[:1500] != missing)
    return true[1500:], VennAbersCalibrator().predict_proba(p_cal=true[rows], y_cal=best[rows], p_test=true[1500:])


true, found = calibrated(4, missing=1)
follows = [np.corrcoef(true[:, model], found[:, 1])[0, 1] for model in range(4)]
print("four models, the second missing:", found.shape, "sums", found.sum(1).min().round(6), found.sum(1).max().round(6),
      "second column follows", np.round(follows, 2))
assert found.shape == (1500, 3) and np.allclose(found.sum(1), 1)
assert np.argmax(follows) == 2 and follows[2] > 0.8 and abs(follows[1]) < 0.1

true, found = calibrated(3, missing=0)
print("three models, the first missing:", found.shape, f"from {found.min():.2f} to {found.max():.2f}")
assert found.shape == (1500, 2) and found.min() < 0 and found.max() > 1
PY
