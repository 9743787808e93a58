"""Results of a small simulated routing problem, as reports take them."""

import numpy as np
import pandas as pd

from jaxroute import report

MODELS = {  # name: (ability, cost in USD per prompt)
    "gpt-4-1106-preview": (1.55, 8.2e-3),
    "claude-v2": (0.95, 6.1e-3),
    "claude-v1": (1.0, 5.6e-3),
    "gpt-3.5-turbo-1106": (0.85, 7.1e-4),
    "Yi-34B-Chat": (0.75, 4.4e-4),
    "Mixtral-8x7B-Instruct": (0.6, 3.3e-4),
    "llama-2-70b-chat": (0.35, 4.9e-4),
    "WizardLM-13B-V1.2": (0.2, 1.7e-4),
    "mistral-7b-chat": (-0.1, 1.1e-4),
}
NOISE = {  # spread of the error with which a router predicts quality
    "knn": 0.20,
    "plug_in_ridge": 0.17,
    "plug_in_mlp": 0.14,
    "rm_classification": 0.19,
    "rm_softmax": 0.145,
    "rm_softmax_entropic": 0.12,
    "rm_softmax_entropic_full": 0.04,
}
KINDS = {
    **dict.fromkeys(("knn", "plug_in_ridge", "plug_in_mlp", "recommended"), "plug-in"),
    **dict.fromkeys(("best_single", "cheapest", "random"), "no routing"),
    **dict.fromkeys(("oracle", "conditional_oracle", "rm_softmax_entropic_full"), "ceiling"),
}
COST_SCALE = 0.031
WEIGHTS = (0.0, 0.05, 0.1, 0.17, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)


def tidy(frame):
    """The columns of results, and what reports group by; "rm_..." and one letter are learned."""
    kinds = {m: KINDS.get(m, "no routing" if m.startswith("single:") else "learned") for m in frame["method"].unique()}
    return frame[list(report.COLUMNS)].assign(kind=frame["method"].map(kinds))


def simulate(seeds=5, models=MODELS, noise=NOISE, weights=WEIGHTS, prompts=500):
    """Results of routers that see each model's success probability through noise, in the tidy schema."""
    records = []
    ability, price = (np.array([m[i] for m in models.values()]) for i in (0, 1))
    for seed in range(seeds):
        draw = np.random.default_rng(seed)
        difficulty = draw.normal(size=(prompts, 1))
        chance = 1 / (1 + np.exp(-1.6 * (ability - difficulty + 0.5 * draw.normal(size=(prompts, len(models))))))
        quality = (draw.random(chance.shape) < chance).astype(float)
        cost = price * draw.lognormal(0, 0.4, size=(prompts, 1))
        best = int(chance.mean(0).argmax())
        scores = {m: chance + s * draw.normal(size=chance.shape) for m, s in noise.items()}
        one_hot = np.eye(len(models))
        scores |= {f"single:{m}": np.tile(1e6 * one_hot[k], (prompts, 1)) for k, m in enumerate(models)}
        scores |= {"best_single": np.tile(1e6 * one_hot[best], (prompts, 1)), "oracle": quality}
        scores |= {"cheapest": -1e6 * cost, "random": 1e6 * draw.random(chance.shape)}
        for method, score in scores.items():
            points = []
            for weight in weights:
                utility = quality - weight * cost / COST_SCALE
                choice = np.argmax(score - weight * cost / COST_SCALE, 1)
                row = np.arange(prompts)
                numbers = {
                    "utility": utility[row, choice].mean(),
                    "regret": (utility.max(1) - utility[row, choice]).mean(),
                    "quality": quality[row, choice].mean(),
                    "cost": cost[row, choice].mean(),
                    "rci": np.mean(quality[row, choice] < quality.max(1)),
                }
                numbers |= {f"share:{m}": np.mean(choice == k) for k, m in enumerate(models)}
                points.append(numbers)
                records += [(method, weight, seed, name, value) for name, value in numbers.items()]
            whole = {"mean_regret": np.mean([p["regret"] for p in points])}
            whole["peak"] = max(p["quality"] for p in points)
            whole["qnc"] = np.nan if method == "random" else 0.5
            records += [(method, np.nan, seed, name, value) for name, value in whole.items()]
    frame = pd.DataFrame(records, columns=["method", "cost_weight", "seed", "metric", "value"])
    constants = {"dataset": "simulated", "logger": "uniform", "log_size": 2000, "estimator": "doubly_robust"}
    constants |= {"hyperparameters": "{}", "split": "test", "standard_error": np.nan}
    return tidy(frame.assign(**constants))


META = {
    "title": "test: simulated",
    "dataset": "simulated",
    "num_prompts": 500,
    "models": list(MODELS),
    "cost_scale": COST_SCALE,
    "seeds": [0, 1, 2, 3, 4],
    "timing": {"nuisances": "12 s", "sweep": "34 s", "evaluation": "3 s"},
    "config": {"seeds": 5, "methods": list(NOISE), "spec": {"hidden": [128, 128], "steps": 400}},
    "environment": {
        "python": "3.11.9",
        "jax": "0.10.2",
        "device": "cpu",
        "git": "ac28967",
        "packages": {"numpy": "2.4"},
    },
}


def tiny(values, metric="regret", weights=(0.5,)):
    """One row per method, weight and seed from {method: value per seed}; the same value at every weight."""
    records = [(m, w, s, v) for m, vs in values.items() for w in weights for s, v in enumerate(vs)]
    frame = pd.DataFrame(records, columns=["method", "cost_weight", "seed", "value"])
    filled = dict.fromkeys(("dataset", "logger", "estimator", "hyperparameters", "split"), "x")
    return tidy(frame.assign(metric=metric, log_size=100, standard_error=np.nan, **filled))
