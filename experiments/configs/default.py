"""The built-in default: a synthetic routing problem whose best policy is known.

    make experiment            SMOKE=1 for seconds

10 models, 6,000 prompts, the log of a biased weak router, 5 seeds, 6 cost weights; the library's own stack of outcome
models (mean, Gaussian process). 51 s from an empty compile cache on two idle cores, 5 s when it is finished. Mean
regret: stacked plug-in 28.22 ± 1.59 points, recommended recipe 28.36 ± 1.33, best router trained end to end
(rm_classification) 28.44 ± 1.46, best single model 39.15 ± 2.69 (experiments/results/default.md).
"""

from experiments.settings import Config
from jaxroute.types import NuisanceSpec, Spec

METHODS = (
    *("single:*", "random", "cheapest", "best_single", "best_single_full", "oracle", "conditional_oracle"),
    *("plug_in_stack", "plug_in_stack_full", "recommended", "recommended_full"),
    *("rm_interval", "rm_classification", "rm_softmax", "rm_softmax_full"),
)
"""Both surrogates, the interval-conditioned router and the recipe beside plain baselines and ceilings; the one that
takes longest begins first."""


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return Config(
            name="default-smoke",
            methods=METHODS,
            num_prompts=800,
            at_most=800,
            seeds=2,
            cost_weights=(0.0, 0.5, 2.0),
            nuisance=NuisanceSpec(("ridge", "mlp"), folds=3, hidden=(16,), epochs=4, snapshots=2),
            training=Spec(hidden=(16,), batch_size=64, steps=40, chunk=20),
        )
    return Config(name="default", methods=METHODS, training=Spec(hidden=(64, 64)))
