#!/usr/bin/env bash
# mabwiser==2.7.4: UCB1 never tries an arm that it has not seen. Its bound is the mean plus alpha * sqrt(2 log(N) / n),
# which its documentation gives, and which is without limit at n = 0: UCB1 begins with one pull of each arm. But an arm
# without pulls has the bound 0, as one whose mean is known to be 0 has. So where rewards are above 0, a model that joins
# the pool (add_arm), or that the log does not have, is never chosen, whatever alpha is, and nothing warns. With rewards
# below 0 (a cost, say) it is chosen at once. Below two models answer 50% and 60% of their prompts well, and one that
# answers 90% joins. Seen: in 5,000 further choices it is never chosen with alpha 1, nor with alpha 100, where the two
# share them about equally; with 1 taken off every reward it gets 4,914 of them. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 pandas==2.3.3 scipy==1.16.2 scikit-learn==1.7.2 joblib==1.5.2
"${pip[@]}" --no-deps mabwiser==2.7.4  # it asks for seaborn as well, for the plots of its simulator
"$folder/bin/python" - <<'PY'
from collections import Counter

import numpy as np
from mabwiser.mab import MAB, LearningPolicy

GOOD, CHOICES = {"old": 0.5, "current": 0.6, "new": 0.9}, 5000  # the share of good answers of each model


def chosen(alpha, offset, joins=True):
    """How often each model is chosen, where a good answer has the reward 1 + offset and another one offset.

    The new model joins after the log was learned from, or is in the pool from the start and missing in the log alone.
    """
    rng = np.random.default_rng(0)
    reward = lambda model: float(rng.random() < GOOD[model]) + offset
    bandit = MAB(arms=["old", "current"] if joins else list(GOOD), learning_policy=LearningPolicy.UCB1(alpha=alpha))
    log = ["old", "current"] * 50
    bandit.fit(log, [reward(model) for model in log])
    if joins:
        bandit.add_arm("new")
    first = bandit.predict_expectations()["new"]
    counts = Counter()
    for _ in range(CHOICES):
        model = bandit.predict()
        counts[model] += 1
        bandit.partial_fit([model], [reward(model)])
    print(f"{'joined' if joins else 'not in the log'}, alpha {alpha}, rewards {offset} and {1 + offset}: "
          f"bound of the new model {first}, choices {dict(counts)}")
    assert first == 0
    return counts


for alpha, joins in ((1, True), (1, False), (100, True)):
    counts = chosen(alpha, 0, joins)
    assert counts["new"] == 0 and min(counts["old"], counts["current"]) > 100
assert chosen(1, -1)["new"] > 0.8 * CHOICES
PY
