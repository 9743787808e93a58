#!/usr/bin/env bash
# routellm==0.2.0: the sw_ranking router rates tiers of models, not models, and counts battles within a tier as if the
# tier had met an opponent of fixed strength. Such a battle says nothing of the tiers, and its row of the regression
# should be 0. But the +1 of the first model is overwritten by the -1 of the second, because both have one column. So
# every such battle pulls its tier towards the common level of 1000, and the win rate that prompts are routed by goes to
# 1/2, the more battles the arena has among models that are alike (with its ten tiers of 64 models, many). Below the four
# strong models win 75% of 2,000 battles against four weak ones, and battles within a tier are even. Seen: a win rate of
# 0.75, and of 0.70, 0.62 and 0.55 after 1,000, 4,000 and 16,000 battles within each tier were added; a router with the
# threshold 0.7 then sends everything to the weak model. With as many tiers as models, where no model meets itself, it
# stays at 0.73 to 0.75. Exits with 0 while this is so.
# routellm imports PyTorch and Hugging Face's libraries for other routers, and asks OpenAI for embeddings: stand-ins spare
# them. The arena, which it would fetch, is made here, and every prompt has the same embedding: all weights are equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 pandas==2.3.3 scikit-learn==1.7.2 scipy==1.16.2
"${pip[@]}" --no-deps routellm==0.2.0
"$folder/bin/python" - <<'PY'
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import sklearn.linear_model  # before the stand-ins, which it would look into

for name in ("openai", "torch", "datasets", "huggingface_hub", "transformers", "routellm.routers.causal_llm.configs",
             "routellm.routers.causal_llm.llm_utils", "routellm.routers.causal_llm.model",
             "routellm.routers.matrix_factorization.model"):
    sys.modules[name] = MagicMock()
from routellm.routers import routers

STRONG, WEAK = [f"strong{number}" for number in range(4)], [f"weak{number}" for number in range(4)]
PAIR = SimpleNamespace(strong="strong", weak="weak")


def battles(first, second, count, share):
    """Battles of models of two sides. The first side wins a share of them, and stands second in about half."""
    rng = np.random.default_rng(0)
    one, other = rng.choice(first, count), rng.choice(second, count)
    other = np.where(one == other, np.roll(second, 1)[[second.index(name) for name in other]], other)
    won, turned = np.arange(count) < share * count, rng.random(count) < 0.5
    return pd.DataFrame({"model_a": np.where(turned, other, one), "model_b": np.where(turned, one, other),
                         "winner_model_a": (won != turned).astype(int), "winner_model_b": (won == turned).astype(int),
                         "prompt": '["A question of some length?"]'})


def decided(table, tiers):
    """The tiers of the models, the strong model's win rate, and the choice at the threshold 0.7."""
    stored = {"battles": SimpleNamespace(to_pandas=lambda: table),
              "embeddings": SimpleNamespace(to_dict=lambda: {"embeddings": np.ones((len(table), 2))})}
    routers.load_dataset, routers.concatenate_datasets = lambda name, split: stored[name], lambda parts: parts[0]
    embedding = SimpleNamespace(data=[SimpleNamespace(embedding=np.ones(2))])
    routers.OPENAI_CLIENT = SimpleNamespace(embeddings=SimpleNamespace(create=lambda **asked: embedding))
    router = routers.SWRankingRouter(["battles"], ["embeddings"], "strong0", "weak0", tiers)
    return router.model2tier, float(router.calculate_strong_win_rate("A prompt")), router.route("A prompt", 0.7, PAIR)


across, rates = battles(STRONG, WEAK, 2000, 0.75), {2: [], 8: []}
for within in (0, 1000, 4000, 16000):
    more = [battles(side, side, within, 0.5) for side in (STRONG, WEAK)]
    table = pd.concat([across, *more], ignore_index=True)
    for tiers in rates:
        model_tiers, rate, choice = decided(table, tiers)
        print(f"{within:6,} battles within each tier, {tiers} tiers: win rate {rate:.3f}, the {choice} model answers")
        rates[tiers].append(rate)
        assert len(set(model_tiers.values())) == tiers
        assert choice == ("strong" if tiers == 8 or not within else "weak")
        if tiers == 2:
            assert all((model_tiers[name] == 0) == (name in STRONG) for name in STRONG + WEAK)
assert np.abs(np.array(rates[2]) - [0.75, 0.698, 0.624, 0.550]).max() < 0.005
assert np.abs(np.array(rates[8]) - 0.74).max() < 0.02
PY
