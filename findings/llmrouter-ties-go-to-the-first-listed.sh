#!/usr/bin/env bash
# llmrouter-lib==0.4.0: the Elo router rates models by battles, and each question is won by one model: the first listed
# of those with the best grade. With grades of 0 and 1 most questions are tied, where several models are right or none
# is, so every tie counts as a victory over all models that are listed later. The ratings then follow the order of the
# file's rows, and one more model that is right as often as the rest is rated lower the later it stands. Nothing warns.
# Below 2,000 questions that three models answered, right on 60%, 71% and 79% of them. Seen: listed from the worst to
# the best, the worst is rated 1158, the others 1019 and 823, and it answers everything; the same rows listed from the
# best to the worst rate them 759, 973 and 1269. By the grades of two models at a time, ties left out, they are 924,
# 1001 and 1076, in whatever order. The routers of kNN, SVM and MLP take the same winner as the label to learn. Exits
# with 0 while this is so.
# llmrouter imports PyTorch and more for other routers and for encoding: stand-ins spare their download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 pandas==2.3.3 scikit-learn==1.7.2 scipy==1.16.2 pyyaml==6.0.3 pydantic==2.12.5
"${pip[@]}" --no-deps llmrouter-lib==0.4.0
FOLDER="$folder" "$folder/bin/python" - <<'PY'
import json
import os
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import sklearn.linear_model  # before the stand-ins, which it would look into

for name in ("PIL", "litellm", "torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils",
             "torch.utils.data", "tqdm", "transformers"):
    sys.modules[name] = MagicMock()
sys.modules["torch.nn"].Module = sys.modules["torch"].nn.Module = type("Module", (), {"__init__": lambda self: None})
import pandas as pd
from llmrouter.models.elorouter import EloRouter, EloRouterTrainer
from llmrouter.models.elorouter.trainer import compute_elo_mle

QUESTIONS, ACCURACY = 2000, {"worst": 0.6, "middle": 0.7, "best": 0.8}
rng, folder = np.random.default_rng(0), Path(os.environ["FOLDER"])
RIGHT = {name: rng.random(QUESTIONS) < share for name, share in ACCURACY.items()}


def routed(order):
    """Ratings and the model that answers, from a file whose rows list the models in an order."""
    rows = [{"task_name": "qa", "query": f"question {i}", "model_name": name, "performance": float(RIGHT[name][i]),
             "embedding_id": i} for i in range(QUESTIONS) for name in order]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kept = str(folder / "ratings.pkl")
    (folder / "config.yaml").write_text(json.dumps({
        "data_path": {"routing_data_train": str(folder / "rows.jsonl")},
        "model_path": {"save_model_path": kept, "load_model_path": kept}}))
    router = EloRouter(str(folder / "config.yaml"))
    EloRouterTrainer(router).train()
    choice = router.route_single({"query": "any"})["model_name"]
    return np.array([router.elo_scores[name] for name in ACCURACY]), choice


def apart(order):
    """Ratings by the questions on which two models have different grades, both ways, as the trainer lists battles."""
    battles = []
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            for won, lost in ((one, other), (other, one)):
                count = int((RIGHT[won] & ~RIGHT[lost]).sum())
                battles += count * [(won, lost, "model_a"), (lost, won, "model_b")]
    ratings = compute_elo_mle(pd.DataFrame(battles, columns=["model_a", "model_b", "winner"]))
    return np.array([ratings[name] for name in ACCURACY])


print({name: round(float(right.mean()), 2) for name, right in RIGHT.items()})
up, first = routed(["worst", "middle", "best"])
down, second = routed(["best", "middle", "worst"])
print("listed from the worst:", up.round(), first, "\nlisted from the best:", down.round(), second)
fair = [apart(order) for order in (["worst", "middle", "best"], ["best", "middle", "worst"])]
print("ties left out:", fair[0].round())
assert np.abs(np.array(fair) - [924, 1001, 1076]).max() < 2
assert (first, second) == ("worst", "best")
assert np.abs(up - [1158, 1019, 823]).max() < 3 and np.abs(down - [759, 973, 1269]).max() < 3
PY
