#!/usr/bin/env bash
# scope-rl==0.2.1: two of the four confidence intervals of estimate_interval, which every estimator has, do not have the
# width or the level that is documented. (1) ci="hoeffding" multiplies by the number of trajectories where its own
# formula divides by it: the largest weighted reward times sqrt(log(2 / alpha) / 2 * n). So the interval gets wider with
# the log, by sqrt(n), and is n times too wide: it never tells two policies apart, and the more data there is the less.
# (2) ci="ttest" is two-sided with the quantile of a one-sided test, so "95.0% CI" is a 90% interval. Nothing warns.
# Below a log of two models, each chosen with probability 1/2, that answer 50% and 80% of their prompts well, and a
# policy that chooses the second in 80% (value 0.74; importance sampling of one step). Seen: half the width of
# Hoeffding's is 22 at 100 rows and 217 at 10,000, where the formula has 0.22 and 0.022; that of Bernstein goes from
# 0.34 to 0.021. In 2,000 logs of 500 rows the "95%" t interval holds the value in 91%, and the one by hand in 95%.
# Exits with 0 while this is so.
# scope-rl imports d3rlpy and gym, and PyTorch with them, for other estimators: stand-ins spare their download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 scipy==1.16.2 scikit-learn==1.7.2
"${pip[@]}" --no-deps scope-rl==0.2.1
"$folder/bin/python" - <<'PY'
import sys
from importlib.util import find_spec
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
from scipy.stats import t

for name in ("gym", "d3rlpy", "d3rlpy.preprocessing"):
    sys.modules[name] = MagicMock()
package = ModuleType("scope_rl.ope")  # without its __init__, which imports what draws figures
package.__path__ = [f"{find_spec('scope_rl').submodule_search_locations[0]}/ope"]
sys.modules["scope_rl.ope"] = package
from scope_rl.ope.discrete import PerDecisionImportanceSampling

GOOD, POLICY = np.array([0.5, 0.8]), np.array([0.2, 0.8])
VALUE = float(GOOD @ POLICY)


def log(rng, rows):
    model = rng.integers(2, size=rows)
    return model, (rng.random(rows) < GOOD[model]).astype(float)


def interval(model, reward, which):
    """(middle, half the width) of the "95.0% CI" by scope-rl."""
    found = PerDecisionImportanceSampling().estimate_interval(
        step_per_trajectory=1, action=model, reward=reward, pscore=np.full(len(model), 0.5),
        evaluation_policy_action_dist=np.tile(POLICY, (len(model), 1)), alpha=0.05, ci=which)
    lower, upper = found["95.0% CI (lower)"], found["95.0% CI (upper)"]
    return (lower + upper) / 2, (upper - lower) / 2


rng = np.random.default_rng(0)
widths = {}
for rows in (100, 1000, 10_000):
    model, reward = log(rng, rows)
    weighted = POLICY[model] / 0.5 * reward
    widths[rows] = [interval(model, reward, which)[1] for which in ("hoeffding", "bernstein")]
    formula = weighted.max() * np.sqrt(np.log(2 / 0.05) / (2 * rows))
    print(f"{rows} rows, half widths: hoeffding {widths[rows][0]:.2f}, its formula {formula:.3f}; "
          f"bernstein {widths[rows][1]:.3f}")
    assert abs(widths[rows][0] / formula - rows) < 1e-6 * rows
assert widths[10_000][0] > 9 * widths[100][0] > 100 and widths[10_000][1] < widths[100][1] / 9

held = []
for _ in range(2000):
    model, reward = log(rng, 500)
    middle, width = interval(model, reward, "ttest")
    by_hand = t.ppf(0.975, 499) * (POLICY[model] / 0.5 * reward).std(ddof=1) / np.sqrt(500)
    assert abs(width / by_hand - t.ppf(0.95, 499) / t.ppf(0.975, 499)) < 1e-9
    held.append([abs(middle - VALUE) < width, abs(middle - VALUE) < by_hand])
share = np.mean(held, axis=0)
print(f"\"95.0% CI\" by t: holds the value in {share[0]:.1%} of the logs, by hand in {share[1]:.1%}")
assert 0.875 < share[0] < 0.92 < 0.935 < share[1] < 0.965
PY
