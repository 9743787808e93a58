"""A search over eight numbers of a router at once, on the synthetic problem.

    make sweep            SMOKE=1 for seconds

For each seed and cost weight, 64 Sobol settings of learning rate, weight decay, temperature, entropy, clip and width;
half of the remaining ones are dropped at each rung. 6 cost weights x 5 seeds x 64 = 1,920 routers; 178 s on 2 cores
(experiments/results/speed.md has the result).
"""

from experiments.settings import Axes, Config
from jaxroute.types import NuisanceSpec, Spec


def get_config(smoke: bool = False) -> Config:
    if smoke:
        return Config(
            name="sweep-smoke",
            num_prompts=800,
            at_most=800,
            seeds=2,
            cost_weights=(0.0, 0.5, 2.0),
            nuisance=NuisanceSpec(("ridge",), folds=3),
            training=Spec(batch_size=64, steps=80, chunk=10),
            axes=Axes(count=8, width=(4, 16), hidden=((16,),), rungs=(20, 40), block=4),
        )
    return Config(
        name="sweep",
        nuisance=NuisanceSpec(("ridge", "mlp"), hidden=(64, 64)),
        axes=Axes(count=64, rungs=(50, 100)),
    )
