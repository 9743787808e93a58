#!/usr/bin/env bash
# obp==0.5.7: the estimators with built-in tuning (InverseProbabilityWeightingTuning, DoublyRobustTuning and so on) choose
# their hyperparameter for the first policy that they value, keep it as best_hyperparam, and never tune again: neither for
# another policy nor for another log. So the value of a policy depends on which policies were valued before it with the
# same OffPolicyEvaluation, silently. Below, a policy near the logging policy has the true value 0.39 and one far from it
# 0.65. Valued alone, or first, the far one has 0.51 (weights clipped at 20); after the near one it has 0.15 (clipped at
# 5, which suits the near one), and the better policy ranks last. Exits with 0 while this is so.
# obp imports PyTorch for its neural policies, which no estimator needs: an empty stand-in spares its download. The other
# libraries are newer than obp asks for, because those that it asks for do not run on Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 pandas==3.1.1 matplotlib==3.11.2 seaborn==0.13.2 pyyaml tqdm
"${pip[@]}" --no-deps --ignore-requires-python obp==0.5.7
"$folder/bin/python" - <<'PY'
import sys
from unittest.mock import MagicMock, patch

import numpy as np
import scipy.stats
import seaborn
import sklearn.linear_model

torch = MagicMock()
torch.nn.Module = torch.utils.data.Dataset = object
parts = {"torch": torch, "torch.nn": torch.nn, "torch.nn.functional": torch.nn.functional, "torch.optim": torch.optim}
with patch.dict(sys.modules, parts):
    from obp import ope

rows, models = 2000, 4
logging, quality = np.array([0.90, 0.06, 0.03, 0.01]), np.array([0.3, 0.5, 0.6, 0.7])
rng = np.random.default_rng(0)
action = rng.choice(models, rows, p=logging)
log = {"action": action, "reward": (rng.random(rows) < quality[action]).astype(float), "pscore": logging[action],
       "context": np.zeros((rows, 1)), "position": None, "n_rounds": rows, "n_actions": models}
policies = {"near": np.array([0.7, 0.1, 0.1, 0.1]), "far": np.array([0.0, 0.0, 0.5, 0.5])}


def values(*names):
    """{policy: (value, hyperparameter)} of one OffPolicyEvaluation that values these policies one after the other."""
    tuned = ope.InverseProbabilityWeightingTuning(lambdas=[1.0, 5.0, 20.0, 100.0], estimator_name="ipw")
    evaluation = ope.OffPolicyEvaluation(bandit_feedback=log, ope_estimators=[tuned])
    found = {}
    for name in names:
        shares = np.broadcast_to(policies[name][None, :, None], (rows, models, 1))
        value = evaluation.estimate_policy_values(action_dist=shares)["ipw"]
        found[name] = round(float(value), 4), tuned.best_hyperparam
    return found


print("true values:", {name: round(float(shares @ quality), 4) for name, shares in policies.items()})
alone = values("near") | values("far")
near_first, far_first = values("near", "far"), values("far", "near")
print("each alone:", alone)
print("near, then far:", near_first)
print("far, then near:", far_first)
assert alone["near"][1] == 5 and alone["far"][1] == 20
assert near_first == {"near": alone["near"], "far": (near_first["far"][0], 5.0)}
assert far_first == {"far": alone["far"], "near": (far_first["near"][0], 20.0)}
assert alone["far"][0] > alone["near"][0] and near_first["far"][0] < near_first["near"][0]
PY
