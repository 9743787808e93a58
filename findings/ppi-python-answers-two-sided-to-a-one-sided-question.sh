#!/usr/bin/env bash
# ppi-python==0.2.3: ppi_mean_ci(alternative="larger") returns the two-sided interval, to the last digit, unless lam is
# given: where it chooses lam itself, the default, it calls itself again without the alternative. So the lower bound is
# that of half the error, and there is an upper one. ppi_mean_pval heeds the alternative, and the two contradict each
# other. Below the test of a mean quality above 0.80 rejects at 5% (p = 0.031), while the bound at 5% is 0.799.
# ppi_ols_ci with an intercept alone, the same mean, gives 0.803 and no upper bound. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check ppi-python==0.2.3 numpy==2.4.6 scipy==1.17.1 \
  scikit-learn==1.9.1 pandas==3.1.1 statsmodels==0.15.0 numba==0.68.1
"$folder/bin/python" - <<'PY'
import numpy as np
from ppi_py import ppi_mean_ci, ppi_mean_pval, ppi_ols_ci


def scores(rng, count):
    """Ratings by people, and a judge's scores of the same answers, of which one in ten is wrong."""
    rating = (rng.random(count) < 0.82).astype(float)
    return rating, np.where(rng.random(count) < 0.9, rating, 1 - rating)


def bounds(interval):
    return [round(float(np.squeeze(bound)), 4) for bound in interval]


rng = np.random.default_rng(42)
(rating, judge), (_, others) = scores(rng, 300), scores(rng, 20_000)
sides = ("two-sided", "larger", "smaller")
chosen = [bounds(ppi_mean_ci(rating, judge, others, alpha=0.05, alternative=side)) for side in sides]
given = [bounds(ppi_mean_ci(rating, judge, others, alpha=0.05, alternative=side, lam=1)) for side in sides]
p = float(ppi_mean_pval(rating, judge, others, null=0.8, alternative="larger")[0])
ones = [np.ones((len(of), 1)) for of in (rating, others)]
least_squares = bounds(ppi_ols_ci(ones[0], rating, judge, ones[1], others, alpha=0.05, alternative="larger"))
for title, found in (("lam chosen", chosen), ("lam=1", given)):
    print(f"{title}:", dict(zip(sides, found, strict=True)))
print(f"p of a mean above 0.80: {p:.3f}; least squares on an intercept, larger: {least_squares}")
assert chosen[0] == chosen[1] == chosen[2] and np.isfinite(chosen).all()
assert given[1][0] > given[0][0] and given[1][1] == np.inf and given[2][0] == -np.inf
assert p < 0.05 and chosen[1][0] < 0.8 < least_squares[0] and least_squares[1] == np.inf
PY
