"""The closed loop: the outcome model against dense algebra, each rule by hand, and a loop that learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.loop import bayes, learned, problem, report, rounds, rules, simulate
from experiments.loop.policies import NETWORKS, POLICIES
from experiments.loop.rules import Believed, Knobs
from experiments.methods import reinforce
from experiments.study import design

ROWS, MODELS, WIDTH = 60, 3, 4


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = np.c_[np.ones(ROWS), rng.normal(size=(ROWS, WIDTH - 1))].astype(np.float32)
    return x, rng.integers(0, MODELS, ROWS), rng.normal(size=(2, ROWS)).astype(np.float32)


def dense(x, action, y, shared, own):
    """Mean and covariance (over noise^2) of all coefficients at once, g before the models' own."""
    size = x.shape[1]
    precision = np.zeros(((MODELS + 1) * size,) * 2)
    precision[:size, :size] = np.diag(shared + MODELS * own)
    right = np.zeros(len(precision))
    for k in range(MODELS):
        at, mine = slice((k + 1) * size, (k + 2) * size), x[action == k]
        precision[at, at] = mine.T @ mine + np.diag(own)
        precision[:size, at] = precision[at, :size] = -np.diag(own)
        right[at] = mine.T @ y[action == k]
    covariance = np.linalg.inv(precision)
    return covariance @ right, covariance, right


@jax.jit
def fitted(x, action, y):
    statistics = bayes.summed(x, action, y, jnp.ones(ROWS), MODELS)
    posterior = bayes.fit(statistics, jnp.full((2, 3), jnp.array([3.0, 10.0, 5.0])))
    return posterior, bayes.deviations(posterior, x, action)


def test_the_outcome_model_is_the_posterior_of_all_coefficients_at_once(rows):
    x, action, y = rows
    posterior, (marginal, contrast) = fitted(*map(jnp.asarray, rows))
    shared = np.array([bayes.COMMON_LEVEL] + [3.0] * (WIDTH - 1))
    own = np.array([10.0] + [5.0] * (WIDTH - 1))
    mean, covariance, right = dense(x, action, y[0], shared, own)
    np.testing.assert_allclose(posterior.mean[0], mean[WIDTH:].reshape(MODELS, WIDTH), atol=1e-5)
    noise = np.sqrt((y[0] @ y[0] - right @ mean) / ROWS)
    np.testing.assert_allclose(posterior.noise[0], noise, rtol=1e-5)
    blocks = covariance[WIDTH:, WIDTH:].reshape(MODELS, WIDTH, MODELS, WIDTH)
    between = noise**2 * np.einsum("nd,kdle,ne->nkl", x, blocks, x)
    variance = np.einsum("nkk->nk", between)
    np.testing.assert_allclose(marginal, np.sqrt(variance), rtol=1e-4)
    n = np.arange(ROWS)
    difference = variance + variance[n, action][:, None] - 2 * between[n, :, action]
    np.testing.assert_allclose(contrast, np.sqrt(np.maximum(difference, 0)), atol=1e-4)
    np.testing.assert_array_equal(np.asarray(contrast)[n, action], 0)


def test_the_marginal_likelihood_is_that_of_the_rows(rows):
    """Differences between ratios, against a Gaussian with the rows' covariance and its best scale."""
    x, action, y = rows
    statistics = jax.jit(bayes.summed, static_argnums=4)(*map(jnp.asarray, rows), jnp.ones(ROWS), MODELS)
    same = action[:, None] == action[None]

    def exact(shared, level, own):
        common = np.array([1 / bayes.COMMON_LEVEL] + [1 / shared] * (WIDTH - 1))
        apart = np.array([1 / level] + [1 / own] * (WIDTH - 1))
        covariance = np.eye(ROWS) + (x * common) @ x.T + same * ((x * apart) @ x.T)
        scale = y[0] @ np.linalg.solve(covariance, y[0]) / ROWS
        return -0.5 * (ROWS * np.log(scale) + np.linalg.slogdet(covariance)[1])

    ratios = [(3.0, 10.0, 5.0), (30.0, 50.0, 250.0)]
    likelihood = jax.jit(bayes.log_likelihood, static_argnums=2)
    found = [float(likelihood(statistics, jnp.array(r), 0)) for r in ratios]
    np.testing.assert_allclose(found[0] - found[1], exact(*ratios[0]) - exact(*ratios[1]), rtol=1e-3)


def test_forgetting_is_that_of_paretobandit(rows):
    """Arm by arm as in its package (0.1.1): A <- forget^dt A + x x' when its arm is rated, dt requests since the last
    time, and x' A^-1 x / forget^dt where it is asked for. Here every arm fades with every request."""
    x, action, y = rows
    forget, half = 0.9, ROWS // 2
    action = np.where(np.arange(ROWS) < half, action, action % 2)  # the last model is not chosen in the second half
    gram, moment, since = np.zeros((MODELS, WIDTH, WIDTH)), np.zeros((MODELS, WIDTH)), np.zeros(MODELS)
    for row, k, answer in zip(x, action, y[0], strict=True):
        since += 1
        gram[k] = forget ** since[k] * gram[k] + np.outer(row, row)
        moment[k] = forget ** since[k] * moment[k] + answer * row
        since[k] = 0
    first, second = (
        jax.jit(bayes.summed, static_argnums=4)(x[i], action[i], y[:, i], rounds.ages(forget, half), MODELS)
        for i in (slice(None, half), slice(half, None))
    )
    found = jax.tree.map(jnp.add, rounds.faded(first, forget, half), second)
    assert since[2] >= half
    for k in range(MODELS):
        np.testing.assert_allclose(found.gram[k], forget ** since[k] * gram[k], rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(found.moment[0, k], forget ** since[k] * moment[k], rtol=1e-3, atol=1e-6)
    width = x[0] @ np.linalg.solve(np.asarray(found.gram[1], float), x[0])
    np.testing.assert_allclose(width, x[0] @ np.linalg.solve(gram[1], x[0]) / forget ** since[1], rtol=1e-2)


def believed(mean, deviation):
    mean = jnp.array([mean])
    spread = jnp.array([deviation])
    there = jnp.ones(mean.shape, bool)
    return Believed(mean, spread, spread, spread, spread, mean, mean, jnp.zeros(mean.shape[1]), there)


compiled = jax.jit(rules.probabilities)


def chances(knobs, seen):
    return np.asarray(compiled(jax.random.key(0), seen, knobs))[0]


@pytest.mark.slow  # one program with every rule in it takes seconds to compile
def test_rules_by_hand():
    seen = believed([0.5, 0.4, 0.1], [0.05, 0.2, 0.05])
    np.testing.assert_allclose(chances(Knobs(rules.GREEDY), seen), [1, 0, 0])
    np.testing.assert_allclose(chances(Knobs(rules.UNIFORM, 0.3), seen), [0.8, 0.1, 0.1], atol=1e-6)
    np.testing.assert_array_equal(chances(Knobs(rules.UPPER, 0.1), seen), [1, 0, 0])  # 0.505, 0.42, 0.105
    np.testing.assert_array_equal(chances(Knobs(rules.UPPER, 1.0), seen), [0, 1, 0])  # 0.55, 0.6, 0.15
    sampled = chances(Knobs(rules.THOMPSON, 1.0), seen)
    assert 0.15 < sampled[1] < 0.5  # Phi(-0.1 / 0.206) = 0.31
    fading = Knobs(rules.THOMPSON, 1.0, fade=0.5)
    old, new = (chances(fading, seen._replace(age=jnp.array([9.0, age, 9.0])))[1] for age in (9.0, 0.0))
    assert old == 0  # 0.5^9 of a deviation of 0.2 is 0.0004
    assert 0.15 < new < 0.5
    told = seen._replace(informed=jnp.array([[0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(chances(Knobs(rules.INFORMED), told), [0.5, 0, 0.5], atol=1e-6)
    lost = 0.1 * chances(Knobs(rules.CONTENDERS, 0.5, loss=0.01), seen)[1]
    np.testing.assert_allclose(lost, 0.01, rtol=1e-4)


def test_barp_is_reinforce():
    """At pi = p the gradient of the loss is that of -(reward - mean) log pi, and of the entropy."""
    scores = jnp.array([[0.2, -0.3, 0.1], [0.0, 0.5, -0.5]])
    action, reward = jnp.array([1, 0]), jnp.array([1.0, 0.2])
    pi = np.asarray(jax.nn.softmax(scores))
    found = jax.jit(jax.grad(reinforce.barp_loss))(scores, action, reward, jnp.asarray(pi[[0, 1], [1, 0]]))
    score = np.eye(3)[np.asarray(action)] - pi
    policy_gradient = -(np.asarray(reward) - 0.6)[:, None] * score / 2
    entropy = -np.sum(pi * np.log(pi), 1, keepdims=True)
    of_entropy = reinforce.ENTROPY * pi * (np.log(pi) + entropy) / 2
    np.testing.assert_allclose(found, policy_gradient + of_entropy, atol=1e-6)


@pytest.fixture(scope="module")
def loop():
    _, config = next(iter(design.centres(None, smoke=True)))
    return problem.make(dataclasses.replace(config, seeds=2, first_seed=200))


@pytest.mark.study
def test_the_pilot_starts_from_the_start_log_and_forgets_it(loop):
    """A ridge regression around the start log's coefficients: before any row it predicts what they do."""
    conditions = [problem.weather("stationary", int(best), 10) for best in loop.best]
    state = simulate._start(loop, conditions, POLICIES["PILOT"])
    common = simulate._start(loop, conditions, POLICIES["LinUCB"])
    np.testing.assert_allclose(
        jax.vmap(bayes.fit)(state.seen, state.ratios).mean,
        jax.vmap(bayes.fit)(common.seen, common.ratios).mean,
        atol=1e-3,
    )
    assert float(state.seen.rows.sum()) == 0


@pytest.mark.study
def test_a_loop_learns_and_says_what_it_spent(loop):
    found = simulate.run(loop, "stationary", POLICIES["uniform 0.1"])
    assert list(found.columns[:6]) == ["seed", "round", "regret", "cumulative_regret", "dollars", "half_width"]
    mean = found.groupby("round").mean()
    assert mean["regret"].iloc[-3:].mean() < mean["regret"].iloc[0]
    assert np.all(np.diff(mean["cumulative_regret"]) > 0)
    assert found["covered"].mean() > 0.9
    greedy = simulate.run(loop, "stationary", POLICIES["no exploration"])
    assert greedy["half_width"].isna().mean() > 0.5  # without support there is no interval
    shadow = simulate.run(loop, "stationary", POLICIES["shadow sample"])
    assert shadow["dollars"].sum() > 1.02 * greedy["dollars"].sum()
    assert shadow["half_width"].notna().all()


@pytest.mark.study
def test_a_new_model_is_neither_seen_nor_chosen_before_it_arrives(loop):
    best = int(loop.best[0])
    conditions = problem.weather("new model", best, 10)
    statistics, action, _ = problem.start(
        jax.tree.map(lambda leaf: leaf[0], loop.world), loop.first[0], conditions[0], 200
    )
    assert best not in action
    assert statistics.rows[best] == 0
    arrived = [bool(each.available[best]) for each in conditions]
    assert arrived == [False] * problem.ARRIVES + [True] * (problem.ROUNDS + 1 - problem.ARRIVES)
    age = np.asarray(simulate._start(loop, [conditions] * 2, POLICIES["thompson, fading"]).age)
    assert (age == np.where(np.arange(10) == best, 0.0, problem.STARTED)).all()


@pytest.mark.study
def test_what_is_explored_for_free_costs_nothing_and_teaches(loop):
    every, greedy = (
        simulate.run(loop, "stationary", POLICIES[name]) for name in ("every answer, for free", "no exploration")
    )
    assert np.abs(every["cumulative_exploration"]).max() == 0
    assert every["cumulative_excess"].iloc[-1] < greedy["cumulative_excess"].iloc[-1]
    parts = report.parts_of(pd.concat([every.assign(table="bbh", scenario="stationary", policy="every")]))
    np.testing.assert_allclose(parts["learning"], parts["excess"])


@pytest.mark.study
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_run_and_do_better_than_chance(loop, name):
    found = learned.run(loop, "stationary", NETWORKS[name])
    uniform = simulate.run(loop, "stationary", simulate.Policy(Knobs(rules.UNIFORM, 1.0)))
    assert found["served"].mean() < uniform["served"].mean()


def test_the_verdict_counts_what_the_rows_say():
    """One policy 30% below uniform exploration on one table and 10% above it on another, without noise of seeds."""
    lines = []
    for table, level in (("bbh", 100.0), ("routellm", 50.0)):
        for policy, factor in (("uniform 0.02", 1.0), ("thompson", 0.5 if table == "bbh" else 1.1)):
            for seed in range(3):
                numbers = {"cumulative_regret": factor * level + 0.01 * seed, "cumulative_excess": factor * level}
                lines.append(
                    {"table": table, "scenario": "stationary", "policy": policy, "seed": seed, "round": 10} | numbers
                )
    found = report.verdict(pd.DataFrame(lines))
    assert [line["measure"] for line in found] == ["regret", "excess"]
    assert found[0]["per cent"] == "-30.0"  # (-50 + 5) / 2 of 75
    assert found[0]["20% below"] == "yes"
    assert found[0]["significantly worse on"] == "routellm"
    assert rounds.REQUESTS % len(design.centre(design.TABLES[0], design.Path("."), smoke=False).cost_weights) == 0
