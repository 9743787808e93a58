#!/usr/bin/env bash
# vowpalwabbit==9.11.9: where only a share of the events was logged (`pdrop` of dsjson is the share that was dropped), the
# average loss that --cb_adf and --explore_eval report, the off-policy estimate of a policy's loss, is the sum of plain
# losses over the sum of the weights 1 / (1 - pdrop): the weights are in the denominator alone. --cb_explore_adf has them
# in both, and where every event was logged --cb_adf is right. Below model 1 answers 80% of its requests well and model 2
# 50%; of model 1 one request in ten was logged, of model 2 all. A policy that always chooses model 1 has the loss -0.80
# and is reported with -0.08, behind that of model 2 with its -0.50: the worse policy wins. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check vowpalwabbit==9.11.9
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import json
import re
import subprocess
import sys

# model, reward, share of such events that was dropped; each model was chosen with probability 1/2
LOG = [(1, 1, 0.9)] * 8 + [(1, 0, 0.9)] * 2 + [(2, 1, 0.0)] * 50 + [(2, 0, 0.0)] * 50
POLICIES = {"--cb_adf": ["--cb_adf"], "--explore_eval": ["--explore_eval", "--epsilon", "0", "--first_only"],
            "--cb_explore_adf": ["--cb_explore_adf", "--epsilon", "0", "--first_only"]}


def event(model, reward, dropped, first):
    """One event as dsjson. The model `first` stands first among the actions: an untrained policy chooses the first."""
    actions = [first, 3 - first]
    chosen = actions.index(model)
    return {"_label_cost": -reward, "_label_probability": 0.5, "_label_Action": chosen + 1, "_labelIndex": chosen,
            "a": [chosen + 1, 2 - chosen], "p": [0.5, 0.5], "pdrop": dropped,
            "c": {"_multi": [{"m": {f"model{action}": 1}} for action in actions]}}


def loss(first, policy, log=LOG):
    """The average loss that Vowpal Wabbit reports for a policy that always chooses the model `first`."""
    with open("log.json", "w") as file:
        file.writelines(json.dumps(event(*row, first)) + "\n" for row in log)
    command = [sys.executable, "-m", "vowpalwabbit", "--dsjson", "--testonly", *policy, "--data", "log.json"]
    said = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    return float(re.search(r"^average loss = (\S+)", said, re.MULTILINE)[1])


def by_hand(first, weighted):
    """sum(w loss / 0.5) / sum(w), w = 1 / (1 - dropped); with unit weights in the numerator unless `weighted`."""
    weights = [1 / (1 - dropped) for _, _, dropped in LOG]
    return sum(-reward / 0.5 * (w if weighted else 1) for w, (m, reward, _) in zip(weights, LOG) if m == first) / sum(weights)


found = {name: [loss(first, policy) for first in (1, 2)] for name, policy in POLICIES.items()}
found["by hand"] = [by_hand(first, True) for first in (1, 2)]
found["by hand, plain numerator"] = [by_hand(first, False) for first in (1, 2)]
every_event = [(model, reward, 0.0) for model, reward, dropped in LOG for _ in range(10 if dropped else 1)]
found["--cb_adf, every event logged"] = [loss(first, POLICIES["--cb_adf"], every_event) for first in (1, 2)]
for name, (one, two) in found.items():
    print(f"{name:30} model 1 {one:6.3f}, model 2 {two:6.3f}")
assert all(abs(x - y) < 1e-4 for name in ("--cb_explore_adf", "--cb_adf, every event logged")
           for x, y in zip(found[name], found["by hand"]))
assert all(abs(x - y) < 1e-4 for name in ("--cb_adf", "--explore_eval")
           for x, y in zip(found[name], found["by hand, plain numerator"]))
assert found["by hand"][0] < found["by hand"][1] and found["--cb_adf"][0] > found["--cb_adf"][1] + 0.1
PY
