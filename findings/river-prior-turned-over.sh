#!/usr/bin/env bash
# river==0.26.1: the prior parameter alpha of BayesianLinearRegression, of which the bandit LinUCBDisjoint keeps one for
# each model, means one thing in learn_one and its reciprocal in learn_many. learn_one keeps a covariance that begins
# with 1 / alpha, so alpha is the penalty of ridge regression. learn_many inverts a precision, which begins with 1 /
# alpha as well, instead of alpha. So a strong prior becomes a weak one, although learn_many is documented as exactly
# the same as learn_one row by row, and a single row by learn_many turns over the prior of all earlier rows. smoothing
# inverts the same precision, so switching it on does it, too. Nothing is to be seen with alpha=1, the default. Below
# are 20 rows with the true coefficient 1. Seen: with alpha=100 learn_one gives 0.08 and learn_many 0.97, with
# alpha=0.01 the other way round, each the ridge regression of alpha and of 1 / alpha to nine digits; a row of zeros by
# learn_many gives what learn_one learned the other value as well; with smoothing a larger alpha draws less towards 0,
# not more. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check river==0.26.1 numpy==2.4.6 scipy==1.17.1 \
  pandas==3.1.1
"$folder/bin/python" - <<'PY'
import numpy as np
import pandas as pd
from river.linear_model import BayesianLinearRegression

rng = np.random.default_rng(0)
features = rng.normal(size=(20, 2))
quality = features @ [1.0, -1.0] + 0.1 * rng.normal(size=20)
rows, first = [{"a": a, "b": b} for a, b in features], {"a": 1.0, "b": 0.0}


def ridge(penalty):
    """The coefficient of the first feature by ridge regression."""
    return np.linalg.solve(penalty * np.eye(2) + features.T @ features, features.T @ quality)[0]


def one_by_one(model):
    for row, value in zip(rows, quality, strict=True):
        model.learn_one(row, value)
    return model


def at_once(model):
    model.learn_many(pd.DataFrame(features, columns=["a", "b"]), pd.Series(quality))
    return model


print("coefficient of the first feature, whose true value is 1")
smooth = []
for alpha in (0.01, 1, 100):
    single, batch = one_by_one(BayesianLinearRegression(alpha=alpha)), at_once(BayesianLinearRegression(alpha=alpha))
    smooth.append(one_by_one(BayesianLinearRegression(alpha=alpha, smoothing=0.99)).predict_one(first))
    before, of_batch = single.predict_one(first), batch.predict_one(first)
    single.learn_many(pd.DataFrame([{"a": 0.0, "b": 0.0}]), pd.Series([0.0]))  # a row that tells nothing
    after = single.predict_one(first)
    print(f"alpha {alpha}: learn_one {before:.4f}, learn_many {of_batch:.4f}, learn_one and then zeros by learn_many "
          f"{after:.4f}, smoothing=0.99 {smooth[-1]:.4f}; ridge of alpha {ridge(alpha):.4f}, "
          f"of 1 / alpha {ridge(1 / alpha):.4f}")
    assert abs(before - ridge(alpha)) < 1e-9
    assert max(abs(of_batch - ridge(1 / alpha)), abs(after - ridge(1 / alpha))) < 1e-9
assert smooth[0] < 0.01 < 0.5 < smooth[2]
PY
