#!/usr/bin/env bash
# evalica==0.4.2: if one model of a comparison never lost, bradley_terry gives every model the score 1e-06, also those
# whose wins and losses are ordinary, and pairwise_frame then says 50% for every pair. The maximum likelihood has no
# finite score for the undefeated model alone, and others warn or hold it at a limit; here its infinite score goes into
# the mean by which all are divided, and what is then NaN is replaced by the tolerance. Nothing warns: two of the 100
# iterations are used, which reads as converged. newman does the same. Bootstrap intervals have it wherever a model
# lost so rarely that some resamples hold no loss of it. Below six models of different strength, 40 comparisons a pair.
# Seen: scores of 2.77 to 0.27; if the first model wins its 200, 1e-06 for all six, and 2.13 to 0.32 for the other five
# once it is left out. If it lost one of the 200, the 95% intervals of all other models begin at 1e-06, as a third of
# the resamples gives every model that score. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    evalica==0.4.2 numpy==2.3.3 pandas==2.3.3 scipy==1.16.2
"$folder/bin/python" - <<'PY'
import evalica
import numpy as np

NAMES, SKILL, EACH = [f"m{i}" for i in range(1, 7)], np.array([1.5, 1.0, 0.5, 0.0, -0.5, -1.0]), 40
rng = np.random.default_rng(0)
played = []
for i in range(6):
    for j in range(i):
        won = rng.random(EACH) < 1 / (1 + np.exp(SKILL[i] - SKILL[j]))
        played += [(NAMES[j], NAMES[i], bool(one)) for one in won]


def columns(games):
    first, second, won = zip(*games)
    return list(first), list(second), [evalica.Winner.X if one else evalica.Winner.Y for one in won]


undefeated = [(one, other, won or one == "m1") for one, other, won in played]
once = undefeated.copy()
once[next(i for i, game in enumerate(once) if game[:2] == ("m1", "m6"))] = ("m1", "m6", False)
others = [game for game in played if "m1" not in game[:2]]
usual, lost = evalica.bradley_terry(*columns(played)).scores, evalica.bradley_terry(*columns(undefeated))
print("ordinary:", usual.round(2).to_dict())
print("m1 undefeated:", lost.scores.to_dict(), "iterations:", lost.iterations)
assert 2.5 < usual["m1"] < 3 and 0.2 < usual["m6"] < 0.3
assert (lost.scores == 1e-6).all() and lost.iterations == 2
assert (evalica.pairwise_frame(lost.scores) == 0.5).all(axis=None)
assert (evalica.newman(*columns(undefeated)).scores == 1e-6).all()
without = evalica.bradley_terry(*columns(others)).scores
print("without m1:", without.round(2).to_dict())
assert without.max() > 2 and without.min() > 0.3
found = evalica.bootstrap(
    evalica.bradley_terry, *columns(once), n_resamples=200, bootstrap_method="percentile", random_state=0
)
share = (found.distribution == 1e-6).all(axis=1).mean()
print("m1 lost once: scores", found.result.scores.round(2).to_dict(), "low ends", found.low.to_dict(),
      f"resamples in which all are 1e-06: {share:.0%}")
assert (found.low == 1e-6).all() and 0.2 < share < 0.5
PY
