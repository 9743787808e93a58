#!/usr/bin/env bash
# ppi-python==0.2.3: ppi_mean_ci(w=...) divides the weights of the rated answers by their sum, but its interval is that
# of an estimate which does not: the spread of w * (Y - Yhat), without the estimate taken off. Its width means little.
# Both cases below have 20,000 answers, and people rated a known share of each kind. (1) People rate every answer 1, and
# the judge 0: the estimate cannot err, and the interval is 0.89 to 1.11; with a judge that says 1, too, its width is 0.
# (2) Raters are sent where the judge errs most, with shares in proportion to its error, as theory advises: the 90%
# interval has the width 0 (up to rounding) and holds the truth in none of 1,000 logs. With the estimate taken off it
# holds it in 90%. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check ppi-python==0.2.3 numpy==2.4.6 scipy==1.17.1 \
  scikit-learn==1.9.1 pandas==3.1.1 statsmodels==0.15.0 numba==0.68.1
"$folder/bin/python" - <<'PY'
import numpy as np
from ppi_py import ppi_mean_ci

ANSWERS, Z = 20_000, 1.6449  # the normal quantile of 90% intervals
hard = np.arange(ANSWERS) < ANSWERS // 5  # a fifth of the answers
rated_share = np.where(hard, 0.05, 0.005)


def interval(rng, rating, judge):
    """(lower, upper) of the mean rating of all answers by ppi-python, and by hand, with the estimate taken off."""
    asked = rng.random(ANSWERS) < rated_share
    w = 1 / rated_share[asked]
    theirs = ppi_mean_ci(rating[asked], judge[asked], judge, alpha=0.1, lam=1, w=w)
    w, error = w / w.mean(), rating[asked] - judge[asked]
    correction = (w * error).mean()
    spread = np.hypot((w * (error - correction)).std() / np.sqrt(len(w)), judge.std() / np.sqrt(ANSWERS))
    middle = judge.mean() + correction
    assert abs(np.mean(theirs) - middle) < 1e-12  # the same estimate
    return [float(bound[0]) for bound in theirs], [middle - Z * spread, middle + Z * spread]


ones = np.ones(ANSWERS)
for added in (0.0, 1.0):
    theirs, by_hand = interval(np.random.default_rng(0), ones, ones - added)
    print(f"all ratings 1, the judge {1 - added:.0f}: {np.round(theirs, 4)}, by hand {np.round(by_hand, 4)}")
    assert (theirs[1] - theirs[0] > 0.2) == bool(added) and by_hand[1] - by_hand[0] < 1e-9

rating, rng = np.where(hard, 0.5, 0.95), np.random.default_rng(0)  # the judge says 1: errors in the ratio of the shares
both = np.array([interval(rng, rating, ones) for _ in range(1000)])
width, held = (both[:, :, 1] - both[:, :, 0]).mean(0), ((both[:, :, 0] < 0.86) & (0.86 < both[:, :, 1])).mean(0)
print(f"true mean {rating.mean():.2f}: ppi-python's intervals have a mean width of {width[0]:.4f} and hold it in "
      f"{held[0]:.1%} of the logs; by hand {width[1]:.4f} and {held[1]:.1%}")
assert abs(rating.mean() - 0.86) < 1e-9
assert width[0] < 1e-6 and held[0] < 0.01 and 0.87 < held[1] < 0.93
PY
