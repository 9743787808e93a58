#!/usr/bin/env bash
# netcal==1.4.0: the sample_threshold of ECE and ACE is documented to leave out bins with fewer samples, whose
# accuracy is too noisy ("not included into the miscalibration metrics"). They are not left out: accuracy and
# confidence of such a bin are both set to 0, so it counts as perfectly calibrated, with all of its samples (ECE) or
# as a bin like the others (ACE). So a higher threshold lowers the error towards 0, and a model whose confidence
# varies more, and is spread over more bins, is the better calibrated one. Nothing warns. Below 500 prompts, 40 bins
# and two models: spread is confident between 0.2 and 1.0 and right 0.2 less often than it says, and coarse says 0.61,
# 0.71 or 0.81 and is right 0.1 less often. Seen over 20 such logs: at a threshold of 20 the ECE is 0.05 for spread
# and 0.11 for coarse, and the worse model is first in every log. Without the sparse bins it is 0.22 and 0.11, and at
# a threshold of 1, where both agree, 0.21 and 0.11. ACE is 0.03 instead of 0.22. Exits with 0 while this is so.
# netcal imports PyTorch, Pyro and more, which these metrics do not use: stand-ins spare their download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 scipy==1.16.2 scikit-learn==1.7.2 tqdm==4.67.1
"${pip[@]}" --no-deps netcal==1.4.0
"$folder/bin/python" - <<'PY'
import sys
from unittest.mock import MagicMock

import numpy as np

for name in ("gpytorch", "matplotlib", "matplotlib.pyplot", "pyro", "tensorboard", "tikzplotlib", "torch",
             "torch.distributions", "torch.nn", "torch.nn.functional", "torch.utils", "torch.utils.tensorboard"):
    sys.modules[name] = MagicMock()
from netcal.metrics.confidence import ACE, ECE

ROWS, BINS, THRESHOLD = 500, 40, 20


def by_hand(confidence, right, threshold, weigh):
    """The mean gap of the bins with enough samples, weighed by their samples (ECE) or not (ACE)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    gap = np.abs(np.bincount(place, right, BINS) - np.bincount(place, confidence, BINS)) / np.maximum(count, 1)
    kept = count >= max(threshold, 1)
    return np.average(gap[kept], weights=count[kept] if weigh else None) if kept.any() else np.nan


rng = np.random.default_rng(0)
errors = {}
for _ in range(20):
    for name, confidence, too_sure in (("spread", rng.uniform(0.2, 1, ROWS), 0.2),
                                       ("coarse", rng.choice([0.61, 0.71, 0.81], ROWS), 0.1)):
        right = (rng.random(ROWS) < confidence - too_sure).astype(int)
        for metric in (ECE, ACE):
            for threshold in (1, THRESHOLD):
                title = f"{metric.__name__}, threshold {threshold}, {name}"
                errors.setdefault(title, []).append((
                    metric(bins=BINS, sample_threshold=threshold).measure(confidence, right),
                    by_hand(confidence, right, threshold, metric is ECE)))

theirs, hand = ({title: np.array(pairs)[:, column] for title, pairs in errors.items()} for column in range(2))
for title in errors:
    print(f"{title}: netcal {theirs[title].mean():.3f}, by hand {np.nanmean(hand[title]):.3f}")
for metric in ("ECE", "ACE"):
    plain, high = ([theirs[f"{metric}, threshold {threshold}, {name}"] for name in ("spread", "coarse")]
                   for threshold in (1, THRESHOLD))
    assert np.allclose(plain, [hand[f"{metric}, threshold 1, {name}"] for name in ("spread", "coarse")])
    assert (plain[0] > plain[1]).all() and (high[0] < high[1]).all()
    assert high[0].mean() < 0.25 * np.nanmean(hand[f"{metric}, threshold {THRESHOLD}, spread"])
PY
