#!/usr/bin/env bash
# arena-rank==0.1.1 (LMArena's package): style control, ContextualBradleyTerry with its defaults, hardly controls for
# style, however many battles there are. Its penalty reg=1.0 on the coefficients of style stands beside the mean of the
# log likelihood, not beside the sum, so more battles never outweigh it, and its README does not name it. Below longer
# answers win more often (log odds 1 per unit of length), and the worst model writes the longest ones. True ratings are
# 0, 0.5 and 1 (log odds). Seen: the coefficient of length is 0.08 instead of 1, from 2,000 battles as from 20,000, and
# the worst model is the first and the best the last, nearly as without style control, with 95% intervals that do not
# overlap. reg=0 gives 0.98 and the true order. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" jax==0.8.1 jaxlib==0.8.1 numpy==2.3.3 optax==0.2.8 pandas==3.1.1 jaxtyping==0.3.11
"${pip[@]}" --no-deps arena-rank==0.1.1  # it asks for datasets as well, which only its examples need
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'PY'
import numpy as np
import pandas as pd
from arena_rank.models.bradley_terry import BradleyTerry
from arena_rank.models.contextual_bradley_terry import ContextualBradleyTerry
from arena_rank.utils.data_utils import ContextualPairDataset, PairDataset

MODELS, TRUE, LENGTH = np.array(["long", "middle", "short"]), np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.0, -1.0])


def battles(count):
    """Battles of two models each; the log odds that the first wins are the differences of quality and of length."""
    rng = np.random.default_rng(0)
    first = rng.integers(3, size=count)
    second = (first + rng.integers(1, 3, size=count)) % 3
    longer = (rng.normal(size=(count, 2)) + LENGTH[np.stack([first, second], 1)]) @ [1, -1]
    won = rng.random(count) < 1 / (1 + np.exp(-(TRUE[first] - TRUE[second] + longer)))
    return pd.DataFrame({"model_a": MODELS[first], "model_b": MODELS[second], "longer": longer,
                         "winner": np.where(won, "model_a", "model_b")})


def in_log_odds(model, result, which):
    return (np.array(result[which]) - model.init_rating) / model.alpha


def controlled(rows, **options):
    """The coefficient of length, ratings and the bounds of their intervals, in log odds."""
    model = ContextualBradleyTerry(n_competitors=3, n_features=1, **options)
    result = model.compute_ratings_and_cis(ContextualPairDataset.from_pandas(rows, feature_cols=["longer"]))
    assert result["competitors"] == MODELS.tolist()
    slope = float(result["coeffs"][0]) / rows["longer"].std(ddof=0)  # the package scales features by their deviation
    return slope, *(in_log_odds(model, result, which) for which in ("ratings", "rating_lower", "rating_upper"))


few, many = battles(2000), battles(20000)
plain = BradleyTerry(n_competitors=3)
without = in_log_odds(plain, plain.compute_ratings_and_cis(PairDataset.from_pandas(many)), "ratings")
print("models:", *MODELS, "true ratings:", TRUE - TRUE.mean())
print("without style control:", without.round(2))
found = {"2,000 battles": controlled(few), "20,000 battles": controlled(many)}
found["20,000, reg=0"] = controlled(many, reg=0.0)
for title, (slope, ratings, lower, upper) in found.items():
    print(f"{title}: coefficient {slope:.2f} (true 1), ratings", *(part.round(2) for part in (ratings, lower, upper)))
for title in ("2,000 battles", "20,000 battles"):
    slope, _, lower, upper = found[title]
    assert 0.06 < slope < 0.1
    assert lower[0] > upper[1] and lower[1] > upper[2]  # the wrong order, as if it were certain
slope, ratings, _, _ = found["20,000, reg=0"]
assert abs(slope - 1) < 0.05 and np.abs(ratings - ratings.mean() - (TRUE - TRUE.mean())).max() < 0.1
PY
