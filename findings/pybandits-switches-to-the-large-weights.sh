#!/usr/bin/env bash
# pybandits==8.4.1: two off-policy estimators that are there to limit importance weights do not. (1)
# SwitchDoublyRobust keeps the weights that are at or above switch_threshold and drops the others, where the estimator
# of the paper that it names (Wang, Agarwal and Dudik, 2017) keeps those at or below it and trusts the outcome model
# where they are large. So a threshold of infinity, the default, gives the direct method instead of the doubly robust
# estimate, one of 0 gives the latter, and what lies between has the noise of the large weights without the correction
# by the small ones. (2) SubGaussianInverseProbabilityWeighting never uses its shrinkage_factor: it is plain inverse
# propensity weighting to the last bit. Nothing warns; the documentation says of the threshold that it switches, and
# of the factor that it shrinks. Below, three models answer 60%, 70% and 55% of their prompts well, the outcome model
# says 50% of each, and they were chosen in 90%, 9% and 1%. A policy near the log (weights of 4.4 at most) has the
# value 0.64, and one far from it (weights of 5.6 and 50) 0.625. Seen at threshold 10, in 100 logs of 20,000 rows: on
# average 0.50 and 0.53, so the worse policy wins in 9 logs of 10; by hand 0.64 and 0.60, and the better one wins in
# all. The sub-Gaussian estimate of the far policy is 0.63 and varies by 0.03 with every factor, as without; by hand
# it is 0.29 and varies by 0.008 with 0.1. Exits with 0 while this is so.
# pybandits needs JAX and more for its bandits, which the estimators do not use, so they are not installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 scipy==1.16.2 pydantic==2.12.0 loguru==0.6.0
"${pip[@]}" --no-deps pybandits==8.4.1
"$folder/bin/python" - <<'PY'
import numpy as np
from pybandits.offline_policy_estimator import (
    DirectMethod, DoublyRobust, InverseProbabilityWeighting, SubGaussianInverseProbabilityWeighting, SwitchDoublyRobust)

GOOD, MODELLED = np.array([0.60, 0.70, 0.55]), np.array([0.5, 0.5, 0.5])
LOGGED = np.array([0.90, 0.09, 0.01])
POLICIES = {"near": np.array([0.6, 0.4, 0.0]), "far": np.array([0.0, 0.5, 0.5])}
THRESHOLD, FACTOR, ROWS = 10.0, 0.1, 20_000


def by_pybandits(estimator, model, good, policy):
    return estimator.estimate_sample_rewards(
        action=model, reward=good, propensity_score=LOGGED[model], estimated_policy=np.tile(policy, (ROWS, 1)),
        expected_reward=np.tile(MODELLED, (ROWS, 1))).mean()


def switch_by_hand(model, good, policy):
    weight = policy[model] / LOGGED[model]
    return policy @ MODELLED + np.mean(np.where(weight <= THRESHOLD, weight, 0) * (good - MODELLED[model]))


def shrunk_by_hand(model, good, policy):
    weight = policy[model] / LOGGED[model]
    return np.mean(weight / (1 - FACTOR + FACTOR * weight) * good)


rng = np.random.default_rng(0)
estimates = []
for _ in range(100):
    model = rng.choice(3, size=ROWS, p=LOGGED)
    good = (rng.random(ROWS) < GOOD[model]).astype(int)
    found = {}
    for name, policy in POLICIES.items():
        def value(estimator):
            return by_pybandits(estimator, model, good, policy)
        found[f"switch {name}"] = value(SwitchDoublyRobust(switch_threshold=THRESHOLD))
        found[f"switch {name} by hand"] = switch_by_hand(model, good, policy)
        assert value(SwitchDoublyRobust()) == value(DirectMethod())
        assert value(SwitchDoublyRobust(switch_threshold=0)) == value(DoublyRobust())
        found[f"plain {name}"] = value(InverseProbabilityWeighting())
        for factor in (FACTOR, 0.5, 1.0):
            found[f"shrunk {name}"] = value(SubGaussianInverseProbabilityWeighting(shrinkage_factor=factor))
            assert found[f"shrunk {name}"] == found[f"plain {name}"]
        found[f"shrunk {name} by hand"] = shrunk_by_hand(model, good, policy)
    estimates.append(found)

columns = {name: np.array([found[name] for found in estimates]) for name in estimates[0]}
print("true values", {name: round(float(policy @ GOOD), 3) for name, policy in POLICIES.items()})
for name, values in columns.items():
    print(f"{name}: {values.mean():.3f}, varies by {values.std():.4f}")
wrong, right = (np.mean(columns[f"switch far{hand}"] > columns[f"switch near{hand}"]) for hand in ("", " by hand"))
print(f"the worse policy wins in {wrong:.0%} of the logs, by hand in {right:.0%}")
assert wrong > 0.8 and right == 0
assert abs(columns["switch near"].mean() - 0.5) < 1e-9 and abs(columns["switch near by hand"].mean() - 0.64) < 0.002
assert columns["switch far"].std() > 2 * columns["switch far by hand"].std()
assert columns["shrunk far"].std() > 2 * columns["shrunk far by hand"].std()
PY
