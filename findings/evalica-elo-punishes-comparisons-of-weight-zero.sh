#!/usr/bin/env bash
# evalica==0.4.2: weights of comparisons mean something else in elo than in its other methods. The weight multiplies
# the points that were scored, and not those that were expected, so a comparison of weight 0 is not left out: both
# models lose half of K. Below 1 the ratings of all sink with every comparison, and above 1 they rise, so that a rating
# then also says how often a model was compared. Weights that are all the same are enough. Nothing warns. Below eleven
# models that win half of their comparisons, the first of which has five times as many as each other. Seen: a comparison
# of weight 0 takes 2 points from the winner and 2 from the loser, the default K being 4, and 100 of them 200 points
# each. Without weights the first is rated 982 and the others 991 to 1012; with a weight of 0.5 for all, 910 and 974 to
# 984; with 2, 1127 and 1027 to 1067. bradley_terry gives the same scores for all three. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    evalica==0.4.2 numpy==2.3.3 pandas==2.3.3 scipy==1.16.2
"$folder/bin/python" - <<'PY'
import evalica
import numpy as np
from evalica import Winner

left_out = evalica.elo(["a"], ["b"], [Winner.X], weights=[0.0]).scores
hundred = evalica.elo(["a"] * 100, ["b"] * 100, [Winner.X] * 100, weights=[0.0] * 100).scores
print("weight 0:", left_out.to_dict(), "a hundred times:", hundred.to_dict())
assert left_out.tolist() == [998.0, 998.0] and hundred.tolist() == [800.0, 800.0]

OTHERS = [f"other {i}" for i in range(10)]
games = [("often", other) for other in OTHERS] * 10 + [(OTHERS[i], OTHERS[i - 1]) for i in range(10)] * 5
rng = np.random.default_rng(0)
order = rng.permutation(len(games))
xs, ys = map(list, zip(*(games[i] for i in order)))
won = [Winner.X if one else Winner.Y for one in rng.random(len(games)) < 0.5]
apart, same = {}, []
for weight in (1.0, 0.5, 2.0):
    elo = evalica.elo(xs, ys, won, weights=[weight] * len(games)).scores
    same.append(evalica.bradley_terry(xs, ys, won, weights=[weight] * len(games)).scores.sort_index())
    apart[weight], others = elo["often"] - elo[OTHERS].mean(), elo[OTHERS]
    print(f"weight {weight}: often compared {elo['often']:.0f}, others {others.min():.0f} to {others.max():.0f}")
assert abs(apart[1.0]) < 25 and apart[0.5] < -50 and apart[2.0] > 50
assert all(np.allclose(scores, same[0], rtol=1e-3) for scores in same)
PY
