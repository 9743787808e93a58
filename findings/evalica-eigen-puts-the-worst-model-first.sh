#!/usr/bin/env bash
# evalica==0.4.2: eigen, one of its rankings for leaderboards of language models, ranks them backwards. The scores are
# the leading eigenvector of the transposed matrix of wins, so a model scores by those that beat it. The result is
# sorted by score like that of the six other methods, and nothing says that less is better. If every model met one
# reference alone, as in AlpacaEval or Arena-Hard, the vector also alternates between two, and which one is returned
# depends on whether the limit of iterations is even; no result says that it did not converge. Below five models, 2,000
# comparisons, then four models against a reference. Seen: a to e by bradley_terry, pagerank, elo and counting, e to a
# by eigen; against the reference the model that won 20% is first with 100 iterations, and the reference with 101.
# Exits with 0 while this is so.
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

SKILL = dict(a=2, b=1, c=0, d=-1, e=-2)
rng = np.random.default_rng(0)
pairs = [tuple(map(str, rng.choice(list(SKILL), 2, replace=False))) for _ in range(2000)]
won = [rng.random() < 1 / (1 + np.exp(SKILL[other] - SKILL[one])) for one, other in pairs]
games = *map(list, zip(*pairs)), [Winner.X if one else Winner.Y for one in won]
for method in (evalica.bradley_terry, evalica.pagerank, evalica.elo, evalica.counting, evalica.eigen):
    scores = method(*games).scores
    print(method.__name__, scores.round(3).to_dict())
    assert list(scores.index) == (list("edcba") if method is evalica.eigen else list("abcde"))

rates = dict(a=80, b=60, c=40, d=20)  # of 100 comparisons with one reference each
one = [model for model in rates for _ in range(100)]
won = [Winner.X if i < wins else Winner.Y for wins in rates.values() for i in range(100)]
for limit, first in ((100, "d"), (101, "reference")):
    scores = evalica.eigen(one, ["reference"] * 400, won, limit=limit).scores
    print(f"against a reference, {limit} iterations:", scores.round(3).to_dict())
    assert scores.idxmax() == first
PY
