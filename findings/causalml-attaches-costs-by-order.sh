#!/usr/bin/env bash
# causalml==0.18.0: get_treatment_costs takes the cost of each treatment by name and returns the costs as columns, and
# beside them the conditions that the columns are of. But the columns stand in the order of the dictionary, and the
# conditions in another: the control first, the others sorted by name. So unless the dictionary happens to be in that
# order, costs belong to other treatments than those that were named. Nothing warns, and no order is documented.
# get_actual_value and CounterfactualValueEstimator then give wrong values and choose by them. Below are three models,
# with their prices from the lowest to the highest: small (the control), medium and large. large answers well more often
# (0.80 to 0.75), and costs 0.3 of a good answer instead of 0.02. Seen: large is charged 0.02 and medium 0.3, the values
# are 0.78 and 0.45 instead of 0.50 and 0.73, and large, the worst of the three, is chosen for every prompt. With the
# dictionary sorted by name it is medium. Exits with 0 while this is so.
# causalml imports XGBoost for its default propensity model: an empty stand-in spares its download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 scipy==1.16.2 scikit-learn==1.7.2
"${pip[@]}" --no-deps causalml==0.18.0
"$folder/bin/python" - <<'PY'
import sys
from types import ModuleType

import numpy as np

sys.modules["xgboost"] = ModuleType("xgboost")
from causalml.optimize import CounterfactualValueEstimator, get_actual_value, get_treatment_costs

GOOD = {"small": 0.60, "medium": 0.75, "large": 0.80}  # the share of good answers of each model
PRICES = {"small": 0.001, "medium": 0.02, "large": 0.3}  # of an answer, where a good one is worth 1
TRUE = {name: GOOD[name] - PRICES[name] for name in GOOD}

models = np.repeat(list(GOOD), 100)
good = np.concatenate([np.arange(100) < 100 * share for share in GOOD.values()]).astype(float)
worth = np.ones(len(models))


def valued(prices):
    """The price of each model as the package pairs them, its mean value in the log, and the model chosen for prompts."""
    free = dict.fromkeys(prices, 0.0)  # no cost that only a good answer has
    if_good, always, names = get_treatment_costs(models, "small", free, prices)
    value = get_actual_value(models, good, worth, names, if_good, always)
    gains = np.tile([GOOD[name] - GOOD["small"] for name in names[1:]], (len(models), 1))
    expected = np.array([GOOD[name] for name in models])
    best = CounterfactualValueEstimator(models, "small", names[1:], expected, gains, worth, if_good, always).predict_best()
    priced = {str(name): float(price) for name, price in zip(names, always[0])}
    return priced, {name: round(float(value[models == name].mean()), 3) for name in GOOD}, {str(names[row]) for row in best}


def by_name(prices):
    return {name: prices[name] for name in ("small", "large", "medium")}  # the control, then sorted


print("true values", TRUE)
for title, prices in (("by price", PRICES), ("by name", by_name(PRICES))):
    priced, values, chosen = valued(prices)
    print(f"{title}: prices {priced}, values {values}, chosen {chosen}")
    if title == "by name":
        assert priced == PRICES and values == {name: round(value, 3) for name, value in TRUE.items()}
        assert chosen == {max(TRUE, key=TRUE.get)} == {"medium"}
    else:
        assert priced == {"small": 0.001, "medium": 0.3, "large": 0.02}
        assert values == {"small": 0.599, "medium": 0.45, "large": 0.78}
        assert chosen == {min(TRUE, key=TRUE.get)} == {"large"}
PY
