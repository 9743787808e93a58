#!/usr/bin/env bash
# alpaca-eval==0.6.6: lc_standard_error, the error beside the length-controlled win rate (the number by which
# AlpacaEval ranks models), is no error of it. The win rate is the mean of what a logistic regression predicts for
# each prompt, and the error is the spread of these predictions over the prompts, divided by the root of their number.
# What the verdicts vary by is not in it, since predictions have no noise: it says how much prompts differ in
# difficulty. Where they do not differ, it is near 0. Nothing warns: the README explains the standard error of the
# plain win rate alone. Below models that are as good as the baseline are compared with it on 805 prompts. Seen: if
# all prompts are as hard, errors of 0.04 points, and if they differ (log odds of winning by 0.5 per standard
# deviation) of 0.30, where over 40 evaluations the win rate varies by 1.6 and 1.9. By these errors two models that
# are equal differ "significantly" at 5% in 90% and 80% of the comparisons, and by the error of the plain win rate,
# 1.76, in 10% and 0% of the 20. In the leaderboard that the package has, the errors are 0.16 to 0.80 of those of the
# plain win rates. Exits with 0 while this is so.
# alpaca-eval imports more for its judges: stand-ins spare their download. The difficulties of the prompts, and the
# comparisons of the baseline with itself in other lengths that it fetches to regularise, are made here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 scipy==1.16.2 scikit-learn==1.7.2 pandas==2.3.3 patsy==1.0.1
"${pip[@]}" --no-deps alpaca-eval==0.6.6
"$folder/bin/python" - "$folder/baseline.csv" <<'PY'
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pandas as pd

for name in ("datasets", "huggingface_hub", "pkg_resources", "tqdm", "yaml"):
    sys.modules[name] = MagicMock()
package = ModuleType("alpaca_eval")  # without its __init__, which imports the judges
package.__path__ = list(find_spec("alpaca_eval").submodule_search_locations)
sys.modules["alpaca_eval"] = package
from alpaca_eval.metrics import glm_winrate

warnings.simplefilter("ignore")  # of scikit-learn's next version
PROMPTS, BASELINE = 805, Path(sys.argv[1])
glm_winrate.hf_hub_download = lambda **_: BASELINE
difficulty = np.random.default_rng(1).normal(size=PROMPTS)
difficulty -= difficulty.mean()


def wins(rng, longer, slope):
    return rng.random(PROMPTS) < 1 / (1 + np.exp(-0.8 * np.tanh(longer) - slope * difficulty))


def baseline(rng):
    """The baseline against itself, told to be shorter, as it is, and longer."""
    return pd.concat([pd.DataFrame({
        "model": "baseline", "index": np.arange(PROMPTS), "preference": wins(rng, longer, 0.0).astype(float),
        "std_delta_len": longer, "instruction_difficulty": difficulty, "not_gamed_baseline": False,
    }) for longer in (-1.0, 0.0, 1.0)])


def evaluated(rng, slope):
    """(win rate, its error, length-controlled win rate, its error) in points, of a model as good as the baseline."""
    longer = rng.normal(size=PROMPTS)
    found = glm_winrate.get_length_controlled_winrate(pd.DataFrame({
        "index": np.arange(PROMPTS), "preference": np.where(wins(rng, longer, slope), 2, 1), "annotator": "judge",
        "generator_1": "baseline", "generator_2": "model",
        "output_1": ["x" * int(2000 + 300 * step) for step in longer], "output_2": ["x" * 2000] * PROMPTS,
    }), save_weights_dir=None, is_warn_extreme_changes=False)
    return [found[key] for key in ("win_rate", "standard_error", "length_controlled_winrate", "lc_standard_error")]


rng = np.random.default_rng(0)
baseline(rng).to_csv(BASELINE, index=False)
for slope in (0.0, 0.5):
    results = np.array([evaluated(rng, slope) for _ in range(40)])
    rate, plain, theirs = results[:, 2], results[:, 1], results[:, 3]
    gap = np.abs(rate[::2] - rate[1::2])  # between two models that are equal
    wrong, right = (np.mean(gap > 1.96 * np.hypot(error[::2], error[1::2])) for error in (theirs, plain))
    print(f"difficulty {slope}: length-controlled win rate {rate.mean():.1f}, varies by {rate.std(ddof=1):.2f}; "
          f"its error {theirs.mean():.3f}, of the plain one {plain.mean():.2f}; "
          f"equal models differ in {wrong:.0%} and {right:.0%}")
    assert rate.std(ddof=1) > 3 * theirs.mean() and 0.6 < rate.std(ddof=1) / plain.mean() < 1.4
    assert wrong > 0.5 and right < 0.2

shipped = "leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
board = pd.read_csv(Path(package.__path__[0]) / shipped)
ratio = (board["lc_standard_error"] / board["standard_error"]).dropna()
print(f"leaderboard: {len(ratio)} models, ratio of the errors {ratio.min():.2f} to {ratio.max():.2f}")
assert ratio.median() < 0.6 and ratio.max() < 1 and len(ratio) > 20
PY
