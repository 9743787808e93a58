#!/usr/bin/env bash
# coba==8.1.0: LinTSLearner (Thompson sampling) reports 1 as the probability of every action that it draws: it draws
# values of all actions, and then calls the best of them certain. The probability is documented as that of taking the
# action, and Environments.logged writes it into the log as the propensity. So weights of inverse propensity weighting
# are 1 and 0, the values of all policies that choose one model always add up to the mean reward of the log, and no
# policy is ever valued above the log that it is to improve. Its seed, moreover, is not used for the draws, which come
# from one fixed generator: runs with other seeds are the same run, so their spread, the error of a comparison, is 0.
# Nothing warns. Below two models answer 50% and 80% of their prompts well, and 8 logs of 1,000 rows are valued by
# SequentialCB(eval="ips"). Seen: the second alone has the value 0.64, below the 0.74 of the log, and the first 0.10,
# where by the probabilities of the draws (normal, from counts and means) they are 0.80 and 0.50; 5 seeds give one log,
# where those of BanditEpsilonLearner, which draws by its seed, give 5. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check coba==8.1.0 numpy==2.3.3
"$folder/bin/python" - <<'PY'
from statistics import NormalDist

import numpy as np
from coba.environments import Environments
from coba.evaluators import SequentialCB
from coba.learners import BanditEpsilonLearner, FixedLearner, LinTSLearner

MODELS, GOOD, ROWS, SPREAD = [(1, 0), (0, 1)], {(1, 0): 0.5, (0, 1): 0.8}, 1000, 10.0


def logged(learner, seed, rows=ROWS):
    """A log written by the learner, without features of the prompts; the seed is that of the rewards."""
    return Environments.from_lambda(
        rows, lambda row, rng: None, lambda row, prompt, rng: MODELS,
        lambda row, prompt, model, rng: float(rng.random() < GOOD[model]), seed=seed).logged(learner)[0]


def columns(log):
    rows = list(log.read())
    chosen = np.array([MODELS.index(tuple(row["action"])) for row in rows])
    return chosen, *(np.array([row[key] for row in rows]) for key in ("reward", "probability"))


def by_coba(log, model):
    policy = FixedLearner([float(model == other) for other in range(2)])
    return np.mean([row["reward"] for row in SequentialCB(["reward"], learn=None, eval="ips").evaluate(log, policy)])


def probabilities(chosen, reward):
    """Of each choice: the mean of a model varies by SPREAD / (count + 1), around the sum of rewards / (count + 1)."""
    count, total, found = np.zeros(2), np.zeros(2), []
    for model, good in zip(chosen, reward):
        middle, width = total / (count + 1), np.sqrt(SPREAD * np.sum(1 / (count + 1)))
        found.append(NormalDist().cdf((middle[model] - middle[1 - model]) / width))
        count[model] += 1
        total[model] += good
    return np.array(found)


results = []
for seed in range(8):
    log = logged(LinTSLearner(v=SPREAD, features=["a"]), seed)
    chosen, reward, probability = columns(log)
    values = [by_coba(log, model) for model in range(2)]
    assert (probability == 1).all() and abs(sum(values) - reward.mean()) < 1e-9
    drawn = probabilities(chosen, reward)
    results.append([reward.mean(), *values, *(np.mean(reward * (chosen == model) / drawn) for model in range(2))])
mean, first, second, first_by_hand, second_by_hand = np.mean(results, axis=0)
print(f"mean reward of the log {mean:.3f}; by coba: first {first:.3f}, second {second:.3f}; "
      f"by hand: first {first_by_hand:.3f}, second {second_by_hand:.3f}; true: 0.5, 0.8")
assert second < mean < 0.78 < second_by_hand < 0.85 and first < 0.2 and 0.4 < first_by_hand < 0.6

different = {}
for kind, learner in (("Thompson sampling", lambda seed: LinTSLearner(v=SPREAD, features=["a"], seed=seed)),
                      ("epsilon greedy", lambda seed: BanditEpsilonLearner(epsilon=0.5, seed=seed))):
    different[kind] = len({tuple(columns(logged(learner(seed), 0, 100))[0]) for seed in range(1, 6)})
    print(f"{kind}: {different[kind]} different logs from 5 seeds")
assert different == {"Thompson sampling": 1, "epsilon greedy": 5}
PY
