"""Bias and coverage of what `fitting.fit` reports about a router on the log and the shadow sample it was fitted on.

    python -m experiments.checks.shadow_evidence --logs 240        two minutes on 2 cores

Synthetic logs of 600 rows of a cost-biased policy over 6 models, each with 150 prompts that every model answered, and
ridges as outcome models. The recipe's out-of-fold choices are valued on the log, on the shadow sample and on both, and
compared with the value of that router on 11,250 other prompts; the same is done for its gain over the best single
model. The last line values the router of the previous log, which did not learn from this shadow sample.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from rich.progress import track

from jaxroute import counterfactual, estimators, metrics, policies, recipe
from jaxroute.data import simulate, synthetic
from jaxroute.estimators import Rows
from jaxroute.recipe import means
from jaxroute.system import parsing
from jaxroute.types import Examples, Logs, Nuisances, NuisanceSpec, Outcomes

PROMPTS, ROWS, SHADOW, MODELS = 12_000, 600, 150, 6
SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))
CLIP = 0.05
ESTIMATES = tuple(f"{part}, {what}" for what in ("value", "gain") for part in ("log", "shadow", "both"))
ELSEWHERE = "router of another log: shadow, value"


@jax.jit
def judged(
    logs: Logs, nuisances: Nuisances, of_log: Outcomes, of_shadow: Outcomes, shadow: Examples, single: jax.Array
) -> dict[str, Any]:
    """ESTIMATES of the greedy policy on out-of-fold predictions [N, K] and [S, K], at cost weight 0."""

    def rows(on_log: jax.Array, on_shadow: jax.Array) -> tuple[Rows, Rows]:
        log = estimators.rows(logs, on_log, 0.0, nuisances, clip=CLIP, self_normalised=True)
        return log, estimators.shadow_rows(shadow, on_shadow, 0.0)

    ours = rows(policies.greedy(of_log.quality), policies.greedy(of_shadow.quality))
    one = jax.nn.one_hot(single, MODELS)
    theirs = rows(jnp.broadcast_to(one, of_log.quality.shape), jnp.broadcast_to(one, of_shadow.quality.shape))
    gain = tuple(estimators.paired(a, b) for a, b in zip(ours, theirs, strict=True))
    found = [estimators.estimate(x) for log, alone in (ours, gain) for x in (log, alone, estimators.pool(log, alone))]
    return dict(zip(ESTIMATES, found, strict=True))


def truth(router: recipe.Recommended, features: jax.Array, outcomes: Outcomes, rest: np.ndarray) -> float:
    """Value of the router on the prompts ``rest``."""
    policy = policies.greedy(recipe.predict(router, features).quality)
    return float(metrics.value(policy, outcomes, 0.0)[rest].mean())


def simulated(logs: int) -> pd.DataFrame:
    """A row per log and estimate: estimate, value, low, high, truth."""
    table = synthetic.make(jax.random.key(0), num_prompts=PROMPTS, num_models=MODELS)
    features, outcomes = jnp.asarray(table.features), jax.tree.map(jnp.asarray, table.outcomes)
    policy = simulate.cost_biased(1.0, floor=0.15)
    found: list[dict[str, Any]] = []
    before: recipe.Recommended | None = None
    for number in track(range(logs), description="logs"):
        drawn = np.random.default_rng(number).permutation(PROMPTS)
        of_log, of_shadow, rest = np.split(drawn, [ROWS, ROWS + SHADOW])
        log = jax.tree.map(jnp.asarray, simulate.simulate(jax.random.key(number), table.rows(of_log), policy))
        part = table.rows(of_shadow)
        shadow = Examples(features[of_shadow], *jax.tree.map(jnp.asarray, (part.outcomes, part.available)))
        key = jax.random.key(10**6 + number)
        nuisances, router = recipe.fit(key, log, SPEC, shadow=shadow)
        predicted, on_shadow = (
            recipe.apply(router, part)
            for part in (nuisances.outcomes, recipe.shadow_predictions(router.nuisances, ROWS))
        )
        known = counterfactual.examples(log, nuisances, shadow, clip=means.CLIP)
        single = jnp.argmax(policies.best_single(known.outcomes, 0.0)[0])
        estimates = judged(log, nuisances, predicted, on_shadow, shadow, single)
        value = truth(router, features, outcomes, rest)
        gain = value - float(outcomes.quality[rest, single].mean())
        true = {name: gain if name.endswith("gain") else value for name in ESTIMATES}
        if before is not None:
            choices = policies.greedy(recipe.predict(before, shadow.features).quality)
            estimates[ELSEWHERE] = estimators.estimate(estimators.shadow_rows(shadow, choices, 0.0))
            true[ELSEWHERE] = truth(before, features, outcomes, rest)
        before = router
        for name, estimate in estimates.items():
            low, high = estimators.interval(estimate)
            found.append(
                {"estimate": name, "value": float(estimate.value), "low": low, "high": high, "truth": true[name]}
            )
    return pd.DataFrame(found)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per estimate: logs, bias, its Monte Carlo error, spread of the error, coverage of the 95% intervals."""
    error = found["value"] - found["truth"]
    inside = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
    by = found.assign(error=error, inside=inside).groupby("estimate", sort=False)
    return pd.DataFrame(
        {
            "logs": by.size(),
            "bias": by["error"].mean(),
            "of which Monte Carlo": by["error"].sem(),
            "spread": by["error"].std(),
            "coverage": by["inside"].mean(),
        }
    )


def main(arguments: list[str] | None = None) -> int:
    parser = parsing.Parser(prog="python -m experiments.checks.shadow_evidence", description=__doc__)
    parser.add_argument("--logs", type=int, default=240, help="number of simulated logs")
    print(summary(simulated(parser.parse_args(arguments).logs)).round(4).to_string())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
