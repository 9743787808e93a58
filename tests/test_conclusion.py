"""Quality gained and cost saved, apart: against NumPy and simulated coverage; and what is concluded from them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxroute import estimators
from jaxroute.estimators import conclusion
from jaxroute.types import Logs, Nuisances, Outcomes

ROWS, DRAWS = 300, 200
LOGGED = jnp.array([0.5, 0.3, 0.2])
COST = jnp.array([1.0, 3.0, 8.0])


def quality_of(x):
    return 0.5 + x[:, None] * jnp.array([[0.2, -0.3, 0.4]])


def policies(x):
    """A router that takes the cheap model for half of the prompts, and the dear one for all."""
    return jax.nn.one_hot(jnp.where(x < 0, 0, 2), 3), jnp.broadcast_to(jax.nn.one_hot(2, 3), (len(x), 3))


@jax.jit
def drawn(key):
    keys = jax.random.split(key, 4)
    x = jax.random.uniform(keys[0], (ROWS,), minval=-0.5, maxval=0.5)
    action = jax.random.categorical(keys[1], jnp.log(LOGGED), shape=(ROWS,))
    quality = jax.random.bernoulli(keys[2], jnp.take_along_axis(quality_of(x), action[:, None], 1)[:, 0])
    cost = COST[action] * jnp.exp(0.5 * jax.random.normal(keys[3], (ROWS,)) - 0.125) * (1 + 0.5 * x)
    logs = Logs(x[:, None], action, quality.astype(float), cost, LOGGED[action], jnp.ones((ROWS, 3), bool))
    wrong = Outcomes(jnp.full((ROWS, 3), 0.4), jnp.full((ROWS, 3), 2.0))
    return logs, Nuisances(jnp.broadcast_to(LOGGED, (ROWS, 3)), wrong)


def test_intervals_hold_the_truth():
    """200 logs of 300 rows under an outcome model that is wrong; x is uniform, so means are known."""
    found = []
    for key in jax.random.split(jax.random.key(0), DRAWS):
        logs, nuisances = drawn(key)
        router, other = policies(logs.features[:, 0])
        found.append(estimators.spending(logs, nuisances, router[None], other[None]))
    found = pd.concat(found)
    # E over x < 0 of (q_0 - q_2) = -E[0.2 x; x < 0] = 0.025; costs are 8 and (1 E[1 + x/2; x<0] + 8 E[1 + x/2; x>0])
    cheap, dear = 0.5 - 0.0625, 0.5 + 0.0625
    truth = {"quality": 0.2 * 0.125, "saved": 1 - (1 * cheap + 8 * dear) / 8}
    for name, value in truth.items():
        bias = found[name].mean() - value
        assert abs(bias) < 4 * found[name].std() / DRAWS**0.5
        coverage = ((found[f"{name}_low"] <= value) & (value <= found[f"{name}_high"])).mean()
        assert abs(coverage - 0.95) < 0.046, (name, coverage)
    assert found["cost_other"].mean() == pytest.approx(8, rel=0.02)


def test_costs_are_those_of_all_answers_though_dear_ones_are_rated_more_often():
    """Always taking a model costs the mean of its answers, rated or not."""
    logs, nuisances = drawn(jax.random.key(5))
    means = [float(logs.cost[logs.action == k].mean()) for k in range(3)]
    dear = logs.cost > jnp.array(means)[logs.action]
    kept = logs._replace(quality=jnp.where(dear, logs.quality, jnp.nan))
    policy = jax.nn.one_hot(jnp.arange(3)[:, None].repeat(ROWS, 1), 3)
    for of in (nuisances, nuisances._replace(response=jnp.full(ROWS, 0.5))):
        found = estimators.spending(kept, of, policy, policy[::-1])
        every = estimators.spending(logs, nuisances, policy, policy[::-1])
        np.testing.assert_allclose(found["cost"], every["cost"], rtol=1e-6)
        np.testing.assert_allclose(found["saved"], every["saved"], rtol=1e-5, atol=1e-6)
    assert (found["quality"] - every["quality"]).abs().max() > 1e-3


def test_against_numpy():
    logs, nuisances = drawn(jax.random.key(3))
    router, other = (np.asarray(p) for p in policies(logs.features[:, 0]))
    row = estimators.spending(logs, nuisances, router[None], other[None]).iloc[0]
    action, n = np.asarray(logs.action), np.arange(ROWS)

    def mean(target, y, predicted):
        weight = target[n, action] / np.asarray(LOGGED)[action]
        return (target @ predicted).mean() + (weight * (y - predicted[action])).sum() / weight.sum()

    quality, cost = (np.asarray(y, float) for y in (logs.quality, logs.cost))
    gain = mean(router, quality, np.full(3, 0.4)) - mean(other, quality, np.full(3, 0.4))
    ours, theirs = (mean(p, cost, np.full(3, 2.0)) for p in (router, other))
    np.testing.assert_allclose([row["quality"], row["cost"], row["cost_other"], row["saved"]],
                               [gain, ours, theirs, 1 - ours / theirs], rtol=2e-4)  # fmt: skip


def frame(**changed):
    row = {"normalised_cost_weight": 0.5, "gain": 0.03, "low": 0.02, "high": 0.04, "reasons": [], "quality": 0.001,
           "quality_low": -0.01, "quality_high": 0.012, "saved": 0.31, "saved_low": 0.22, "saved_high": 0.4,
           "cost": 0.0069, "cost_other": 0.01}  # fmt: skip
    return pd.DataFrame(
        [row | dict(zip(changed, values, strict=True)) for values in zip(*changed.values(), strict=True)]
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quality_low": [0.005]}, r"saves 31% .* and its answers are better \(\+0.1 points"),
        ({"quality_high": [-0.001]}, "by less than the saving is worth"),
        ({"saved_low": [-0.1]}, "costs about the same .* at no measurable loss"),
        ({"saved": [-0.2], "saved_low": [-0.3], "saved_high": [-0.1]}, r"spends 20% more \(10 to 30;"),
        ({"saved": [np.nan]}, "better than always using a: no measurable loss"),
        (
            {"low": [np.nan], "reasons": [["few rows of b"]]},
            r"cannot say .* always using a\. The reason: few rows of b\.",
        ),
        ({"gain": [-0.03], "low": [-0.05], "high": [-0.01]}, "is worse than always using a"),
        ({"gain": [0.01], "low": [-0.01], "high": [0.03]}, "no evidence .* always using a: take that"),
    ],
)
def test_what_is_concluded(changed, said):
    assert re.search(said, " ".join(conclusion.of_log(frame(**changed), ["a"], 2000)))


def test_cost_weights_that_the_log_does_not_support_are_no_part_of_the_conclusion():
    found = frame(normalised_cost_weight=[0, 0.5], gain=[0.1, 0.01], low=[np.nan, -0.01], high=[np.nan, 0.03])
    said = conclusion.of_log(found, ["a", "b"], 2000)[0]
    assert "always using b at the normalised cost weights that the log supports (0.5): take" in said


def test_several_cost_weights_share_one_error():
    """An interval that excludes 0 alone does not, as one of six looks; the rows that would show the gain are said."""
    alone = {"gain": [0.01], "low": [0.0005], "high": [0.0195]}
    assert "is better" in conclusion.of_log(frame(**alone), ["a"], 2000)[0]
    six = {name: values * 6 for name, values in alone.items()}
    said = conclusion.of_log(frame(**six, normalised_cost_weight=range(6)), ["a"] * 3 + ["b"] * 3, 2000)
    assert "no evidence" in said[0]
    assert "a (from 0), b (from 3)" in said[0]
    z = 2.638257 / 1.959964  # normal quantiles of 1 - 0.025 / 6 and of 0.975
    assert f"some {round(2000 * (0.95 * z) ** 2, -2):,.0f} rows" in said[1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ["new is better than old: it saves 31% of the spend"]),
        ({"low": [np.nan]}, ["cannot say whether new or old"]),
        (
            {"gain": [-0.03, 0.03], "low": [-0.04, 0.02], "high": [-0.02, 0.04]},
            ["is better", "is worse than old, by 3.0"],
        ),
    ],
)
def test_what_is_concluded_of_two(changed, said):
    found = conclusion.of_two(frame(**(changed or {"gain": [0.03]})), "new", "old")
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


def test_an_interval_that_excludes_0_among_several_may_be_chance():
    """The verdict of one row and the conclusion over all of them do not contradict each other."""
    six = {"gain": [0.01] * 6, "low": [0.0005] + [-0.001] * 5, "high": [0.0195] + [0.021] * 5}
    said = conclusion.of_two(frame(**six, normalised_cost_weight=range(6)), "new", "old")
    assert said == [
        "There is no evidence that new or old is the better router: an interval that excludes 0, as at the normalised "
        "cost weight 0, may be chance where 6 are looked at."
    ]


def test_routers_that_decide_alike_are_said_to():
    """Not that there is no evidence that one of a router and itself is the better one."""
    frame = pd.DataFrame({"normalised_cost_weight": [0.0, 1.0], "gain": 0.0, "low": [0.0, 0.0], "high": 0.0})
    assert conclusion.of_two(frame, "new", "old") == ["new and old decide alike on the rows that the log can judge."]
    frame.loc[1, "high"] = 0.01
    assert conclusion.of_two(frame, "new", "old") == ["There is no evidence that new or old is the better router."]
