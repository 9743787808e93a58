"""The best single model is picked on the rows that value it: what intervals of the gain over it hold, simulated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, policies
from jaxroute.estimators import by_weight, evidence
from jaxroute.types import Logs, Nuisances, Outcomes

ROWS, MODELS, DRAWS = 1000, 5, 150


@jax.jit
def drawn(key):
    """A uniform log of models that are all as good, and an outcome model that is wrong by the same for all."""
    action = jax.random.randint(key, (ROWS,), 0, MODELS)
    quality = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (ROWS,)).astype(float)
    every = jnp.full((ROWS, MODELS), 1 / MODELS)
    logs = Logs(jnp.zeros((ROWS, 1)), action, quality, jnp.ones(ROWS), every[:, 0], jnp.ones((ROWS, MODELS), bool))
    return logs, Nuisances(every, Outcomes(jnp.full((ROWS, MODELS), 0.4), jnp.ones((ROWS, MODELS))))


@jax.jit
def picked(logs, nuisances):
    learn = counterfactual.examples(logs, nuisances)
    return policies.best_single(learn.outcomes, jnp.zeros(1), available=learn.available)


def test_a_router_that_is_as_good_is_not_called_worse():
    """Every policy is worth 0.5, so the gain is 0; the picked model was lucky, and the gain looks smaller."""
    router = jnp.full((1, ROWS, MODELS), 1 / MODELS)
    lines = []
    for key in jax.random.split(jax.random.key(0), DRAWS):
        logs, nuisances = drawn(key)
        row = by_weight.gains(logs, nuisances, router, picked(logs, nuisances), [0.0]).iloc[0]
        lines.append(row[["gain", "low", "high"]].to_numpy(float))
    gain, low, high = np.array(lines).T
    higher = gain + estimators.wider(MODELS) * (high - gain)  # as the next test shows
    assert gain.mean() < -0.02
    assert (low > 0).mean() < 0.025
    assert (high < 0).mean() > 0.08
    assert (higher < 0).mean() < 0.04


def test_the_upper_ends_are_wider_by_bonferroni():
    logs, nuisances = drawn(jax.random.key(1))
    router, other = jnp.full((1, ROWS, MODELS), 1 / MODELS), picked(logs, nuisances)
    narrow, wide = (by_weight.gains(logs, nuisances, router, other, [0.0], among=n).iloc[0] for n in (1, MODELS))
    ratio = 2.575829 / 1.959964  # normal quantiles of 1 - 0.025 / 5 and of 0.975
    for part in ("gain", "quality"):
        low, high = ("low", "high") if part == "gain" else ("quality_low", "quality_high")
        assert wide[low] == narrow[low]
        assert wide[high] - wide[part] == pytest.approx(ratio * (narrow[high] - narrow[part]), rel=1e-4)
    assert estimators.wider(MODELS) == pytest.approx(ratio, rel=1e-6)
    found = evidence.gather(
        jax.random.key(2), logs, nuisances, router, [0.0],
        against={"logging policy": router, "best single": other}, among={"best single": MODELS},
    ).gains.set_index("against")  # fmt: skip
    np.testing.assert_allclose(
        found.loc["best single", ["low", "high"]].to_numpy(float), wide[["low", "high"]], atol=1e-6
    )
    assert found.loc["logging policy", "high"] == -found.loc["logging policy", "low"]
