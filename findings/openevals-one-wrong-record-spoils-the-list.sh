#!/usr/bin/env bash
# openevals==0.2.2 (LangChain): create_json_match_evaluator compares lists of records, by default whatever their order
# (list_match_mode="same_elements"). Each record takes the best of the expected ones that are left, in the order in which
# the model wrote them, and where none has a field in common the first that is left. So a wrong record before right ones
# takes the expected record of the next one, that one of the one after, and so on: all of them count as wrong. The same
# records in another order have another score, in the mode that is there to ignore the order, and nothing warns; only
# where all records are right it does not matter. Below ten records are expected. Seen: a model that writes nine of them
# and one that is wrong has 0.9 if the wrong one is the last, 0.5 in the middle and 0.0 at the top, and is behind one
# that has three of ten right, with 0.3. The best assignment (SciPy's linear_sum_assignment) has 0.9 in every order. Mode
# "subset" does the same, and "superset" by the order of what is expected. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check openevals==0.2.2 scipy
LANGSMITH_TRACING=false "$folder/bin/python" - <<'PY'
import numpy as np
from openevals.json import create_json_match_evaluator
from scipy.optimize import linear_sum_assignment

EXPECTED = [{"name": f"item {i}", "price": i} for i in range(10)]
WRONG = {"name": "none of these", "price": -1}


def score(said, mode="same_elements", expected=EXPECTED):
    evaluate = create_json_match_evaluator(aggregator="average", list_aggregator="average", list_match_mode=mode)
    found = evaluate(outputs=said, reference_outputs=expected)
    return round(float((found[0] if isinstance(found, list) else found)["score"]), 6)


def best(said):
    same = np.array([[np.mean([one[key] == other[key] for key in other]) for other in EXPECTED] for one in said])
    return round(float(same[linear_sum_assignment(-same)].mean()), 6)


right = EXPECTED[:9]
few = EXPECTED[:3] + [WRONG | {"price": -i} for i in range(2, 9)]
orders = {"last": [*right, WRONG], "middle": [*right[:5], WRONG, *right[5:]], "top": [WRONG, *right]}
seen = {name: (score(said), best(said)) for name, said in orders.items()}
print(seen, "three of ten right:", score(few), "all right, reversed:", score(EXPECTED[::-1]))
assert seen == {"last": (0.9, 0.9), "middle": (0.5, 0.9), "top": (0.0, 0.9)}, seen
assert score(few) == 0.3
assert score(EXPECTED[::-1]) == 1.0
print("subset:", score(orders["top"], "subset"), score(orders["last"], "subset"))
assert score(orders["top"], "subset") == 0.0
superset = [score(right, "superset", expected) for expected in (orders["top"], orders["last"])]
print("superset:", superset)
assert superset == [0.0, 0.9], superset
PY
