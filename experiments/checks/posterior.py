"""How often a router's 90% interval holds the true mean utility of a model, on synthetic prompts.

    python -m experiments.checks.posterior

Logs of 300, 1,000 and 4,000 rows of a weak router over six models, three each; 1,000 new prompts; normalised cost
weights 0 and 0.5. The router is the stacked plug-in of ridges. Some four minutes on one core.
"""

from __future__ import annotations

import jax
import numpy as np

import jaxroute as jr
from jaxroute.data import simulate, synthetic

ROWS, SEEDS, NEW = (300, 1000, 4000), 3, 1000
NORMAL = 1.645


def covered(rows: int, seed: int) -> dict[float, float]:
    """Share of (prompt, model) pairs whose interval holds the truth, by normalised cost weight."""
    table = synthetic.make(jax.random.key(seed), num_prompts=rows + NEW, num_models=6)
    train, new = table.rows(np.arange(rows)), table.rows(np.arange(rows, rows + NEW))
    log = simulate.simulate(jax.random.key(seed + 1), train, simulate.cost_biased(strength=0.5, floor=0.2))
    router = jr.fit(log, "plug_in_stack", models=table.models, outcome_models=["mean", "ridge"], hidden=(32,))
    assert new.expected is not None
    found = {}
    for normalised in (0.0, 0.5):
        weight = normalised / router.cost_scale
        mean, deviation = router.posterior(np.asarray(new.features), weight)
        truth = new.expected.quality - weight * new.expected.cost
        found[normalised] = float((np.abs(mean - truth) < NORMAL * deviation).mean())
    return found


def main() -> None:
    everything = []
    for rows in ROWS:
        each = [covered(rows, seed) for seed in range(SEEDS)]
        for weight in each[0]:
            shares = [one[weight] for one in each]
            everything += shares
            print(f"{rows} rows, normalised cost weight {weight}: " + ", ".join(f"{share:.3f}" for share in shares))
    print(f"mean {np.mean(everything):.3f}, least {min(everything):.3f}, most {max(everything):.3f}")


if __name__ == "__main__":
    main()
