"""Do jaxroute's estimators agree with a published library, the Open Bandit Pipeline (obp 0.4.1)?

    make obp-check        (in a separate environment, .venv-obp, which includes PyTorch because obp imports it)

Runs every estimator of both libraries on the same simulated logs, policies, outcome models and cost weights, in
float64: two logging policies, a stochastic and a greedy target, an outcome model that is wrong on purpose. Prints the
largest difference per estimator and exits with 1 if one is above 1e-9.

The conventions are the same: switch keeps w <= tau, shrinkage is lambda w / (w^2 + lambda), and the self-normalised
estimators divide by the mean of w. obp has no clip, no missing feedback and no masks, so the logs have none. It takes
one reward, so it gets quality - cost_weight * cost. Intervals are not compared: those of obp are bootstraps of the row
estimates with a fixed normaliser, and jaxroute's standard errors include the noise of the normaliser.

Reference: Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation, by
Saito, Aihara, Matsutani and Narita (https://arxiv.org/abs/2008.07146), 2021.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute import estimators, policies
from jaxroute.data import simulate, synthetic
from jaxroute.types import Estimate, Logs, Nuisances, Outcomes, Table

TOLERANCE = 1e-9
THRESHOLD, SHRINKAGE = 5.0, 20.0
COST_WEIGHTS = (0.0, 50.0)  # per US dollar
OURS: dict[str, Callable[..., Estimate]] = {
    "dm": estimators.direct_method,
    "ipw": estimators.ipw,
    "snipw": estimators.snipw,
    "dr": estimators.doubly_robust,
    "sndr": estimators.self_normalised_doubly_robust,
    "switch": partial(estimators.switch_doubly_robust, threshold=THRESHOLD),
    "dros": partial(estimators.shrinkage_doubly_robust, shrinkage=SHRINKAGE),
}


def logs_of(table: Table, policy: simulate.Policy, seed: int) -> tuple[Logs, Nuisances]:
    """A simulated log in float64, with the true propensities and an outcome model that is wrong."""
    logs = simulate.simulate(jax.random.key(seed), table, policy)
    rng = np.random.default_rng(seed)
    shape = logs.available.shape
    expected = table.expected or table.outcomes
    predicted = Outcomes(
        jnp.asarray(np.asarray(expected.quality, np.float64) * 0.7 + 0.1 * rng.random(shape)),
        jnp.asarray(np.asarray(expected.cost, np.float64) * rng.uniform(0.5, 1.5, shape)),
    )
    wide = {name: jnp.asarray(getattr(logs, name), jnp.float64) for name in ("quality", "cost", "propensity")}
    logs = logs._replace(**wide)
    propensity = jnp.repeat(logs.propensity[:, None], shape[1], 1)  # only the chosen model's is read
    return logs, Nuisances(propensity, predicted)


def targets_of(nuisances: Nuisances, cost_weight: float) -> dict[str, np.ndarray]:
    """A greedy and a stochastic router on the outcome model's utilities."""
    scores = nuisances.outcomes.quality - cost_weight * nuisances.outcomes.cost
    return {
        "greedy": np.asarray(policies.greedy(scores), np.float64),
        "softmax": np.asarray(policies.softmax(scores, temperature=0.1), np.float64),
    }


def theirs(logs: Logs, target: np.ndarray, cost_weight: float, nuisances: Nuisances) -> dict[str, float]:
    """The same seven estimates by the Open Bandit Pipeline."""
    from obp import ope

    predicted = np.asarray(nuisances.outcomes.quality - cost_weight * nuisances.outcomes.cost)[:, :, None]
    action = np.asarray(logs.action)
    call = {
        "reward": np.asarray(logs.quality - cost_weight * logs.cost),
        "action": action,
        "pscore": np.asarray(logs.propensity),
        "action_dist": target[:, :, None],
        "estimated_rewards_by_reg_model": predicted,
        "position": np.zeros(len(action), int),
    }
    methods = {
        "dm": ope.DirectMethod(),
        "ipw": ope.InverseProbabilityWeighting(),
        "snipw": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dr": ope.DoublyRobust(),
        "sndr": ope.SelfNormalizedDoublyRobust(),
        "switch": ope.SwitchDoublyRobust(tau=THRESHOLD),
        "dros": ope.DoublyRobustWithShrinkage(lambda_=SHRINKAGE),
    }
    return {name: float(method.estimate_policy_value(**call)) for name, method in methods.items()}


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    table = synthetic.make(jax.random.key(0), num_prompts=3000, num_models=6)
    loggers = {"cost_biased": simulate.cost_biased(), "task_dependent": simulate.task_dependent(jax.random.key(1))}
    largest = dict.fromkeys(OURS, 0.0)
    compared = 0
    print(f"{'logger':15s} {'target':8s} {'weight':>6s}  " + "  ".join(f"{name:>8s}" for name in OURS))
    for seed, (logger, policy) in enumerate(loggers.items()):
        logs, nuisances = logs_of(table, policy, seed)
        for cost_weight in COST_WEIGHTS:
            for name, target in targets_of(nuisances, cost_weight).items():
                want = theirs(logs, target, cost_weight, nuisances)
                got = {m: float(f(logs, jnp.asarray(target), cost_weight, nuisances).value) for m, f in OURS.items()}
                print(f"{logger:15s} {name:8s} {cost_weight:6g}  " + "  ".join(f"{got[m]:8.5f}" for m in OURS))
                largest = {m: max(largest[m], abs(got[m] - want[m])) for m in OURS}
                compared += len(OURS)
    print(f"\nlargest difference from obp over {compared} estimates of {len(table)} rows:")
    for method, difference in largest.items():
        print(f"  {method:8s} {difference:.1e}")
    return 0 if max(largest.values()) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
