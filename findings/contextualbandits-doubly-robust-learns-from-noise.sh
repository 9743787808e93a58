#!/usr/bin/env bash
# contextualbandits==0.3.30: DoublyRobustEstimator replaces every estimate of its reward model by a random number. With
# handle_invalid (the default), estimates of exactly 0 or 1 are to be replaced by draws of Beta(1, 3) and Beta(3, 1). But
# they are negated to costs first, and the test is C <= 0, which holds for all of them. So the learned policy is the
# same to the last choice whatever the reward model says, and the costs of the models that were not chosen are noise.
# Below one reward model is fitted to the rewards and one to 1 - reward: the policies are equal, and their quality is
# 0.74; with handle_invalid=False they differ, and it is 0.90 and 0.81. Five models, 300 rows, a uniform logging policy.
# Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
# Both are compiled here, which takes a minute or two of processor time.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check contextualbandits==0.3.30 \
  costsensitive==0.1.2.13.post15 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 pandas==3.1.1
"$folder/bin/python" - <<'PY'
import numpy as np
from contextualbandits.offpolicy import DoublyRobustEstimator
from contextualbandits.online import SeparateClassifiers
from sklearn.linear_model import LogisticRegression, Ridge

rows, models = 300, 5
rng = np.random.default_rng(1)
features, slopes, later = rng.normal(size=(rows, 3)), rng.normal(size=(3, models)), rng.normal(size=(4000, 3))
action = rng.integers(models, size=rows)
reward = (rng.random(rows) < 1 / (1 + np.exp(-2 * (features @ slopes)[np.arange(rows), action]))).astype(float)
quality = 1 / (1 + np.exp(-2 * later @ slopes))


def model_of(rewards):
    """A reward model, as the documentation asks for it."""
    fitted = SeparateClassifiers(LogisticRegression(), models, beta_prior=None, smoothing=None, random_state=1, njobs=1)
    return fitted.fit(features, action, rewards)


def choices(reward_model, **options):
    """The choices of a doubly robust policy for later rows."""
    learner = DoublyRobustEstimator(Ridge(), reward_model, models, random_state=1, njobs=1, **options)
    learner.fit(features, action, reward, np.full(rows, 1 / models))
    return learner.predict(later)


right, wrong = model_of(reward), model_of(1 - reward)
estimates = right.predict_proba_separate(features)
assert 0 < estimates.min() and estimates.max() < 1  # nothing to be replaced
found = {}
for options in ({}, {"handle_invalid": False}):
    chosen = [choices(reward_model, **options) for reward_model in (right, wrong)]
    found[bool(options)] = np.array_equal(*chosen), [quality[np.arange(len(later)), c].mean() for c in chosen]
    print(options or "default", "equal choices:", found[bool(options)][0],
          "quality, right and wrong reward model: {:.3f} {:.3f}".format(*found[bool(options)][1]))
assert found[False][0] and not found[True][0]
assert found[True][1][0] > found[True][1][1] > found[False][1][0] + 0.05
PY
