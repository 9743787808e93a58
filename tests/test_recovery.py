"""A wrong implementation of anything on the way would miss the known best policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, engine, losses, metrics, nuisance, policies, projection, sweep
from jaxroute.data import simulate, synthetic
from jaxroute.engine import networks
from jaxroute.types import Examples, NuisanceSpec, Outcomes, Spec

WEIGHTS = (0.0, 0.25, 1.0)
SPEC = Spec(hidden=(128, 128), steps=2000, chunk=250, dropout=0.0)


def scaled(outcomes, scale):
    return Outcomes(jnp.asarray(outcomes.quality, jnp.float32), jnp.asarray(outcomes.cost / scale, jnp.float32))


@pytest.fixture(scope="module")
def problem():
    """4,000 prompts to learn from and 1,500 to measure on, conditional means known."""
    table = synthetic.make(jax.random.key(0), num_prompts=6000)
    rows = np.random.default_rng(0).permutation(6000)
    train, validation, test = (table.rows(r) for r in np.split(rows, [4000, 4500]))
    cost = table.expected.cost.mean(0)
    best = table.expected.quality.mean(0).argmax()
    scale = (cost[best] - cost.min()) / (
        table.expected.quality.mean(0)[best] - table.expected.quality.mean(0)[cost.argmin()]
    )
    axes = projection.fit(train.features, jnp.ones(4000))
    return train, validation, test, scale, lambda t: projection.project(axes, t.features)


def conditional_regret(problem, learn, validate):
    """Regret of RM-Softmax routers, per cost weight, to the best policy there is."""
    train, validation, test, scale, project = problem
    points = sweep.grouped_grid(1, cost_weight=WEIGHTS, learning_rate=2e-3, entropy=0.02, weight_decay=0.1)
    network, mesh = networks.router(len(train.models), SPEC.hidden), sweep.mesh(jax.devices()[:1])

    def examples(table, outcomes):
        return jax.tree.map(lambda x: jnp.asarray(x)[None], Examples(project(table), outcomes, table.available))

    objective = lambda z, u, w, h: losses.softmax_regret(z, u, entropy=h.entropy, where=w)
    program = engine.Program(network, objective, SPEC, mesh)
    state = engine.train(program, points, examples(train, learn), examples(validation, validate))
    chosen = engine.choose(
        points, state, project(test)[None], jnp.asarray(test.available)[None], network=network, mesh=mesh
    )[0]
    return regrets(test, scale, jax.nn.one_hot(chosen, len(train.models)))


def regrets(test, scale, policy):
    expected = scaled(test.expected, scale)
    return np.array([metrics.regret(p, expected, w).mean() for p, w in zip(policy, WEIGHTS, strict=True)])


def best_single(problem):
    train, _, test, scale, _ = problem
    means = Outcomes(*(jnp.asarray(y.mean(0)) for y in scaled(train.expected, scale)))
    policy = [
        jnp.broadcast_to(policies.greedy(counterfactual.utility(means, w)), (len(test), len(train.models)))
        for w in WEIGHTS
    ]
    return regrets(test, scale, policy)


@pytest.mark.study
def test_full_feedback_recovers_the_best_policy(problem):
    """With every conditional mean shown, regret is within 2 points of zero at every cost weight."""
    train, validation, _, scale, _ = problem
    regret = conditional_regret(problem, scaled(train.expected, scale), scaled(validation.expected, scale))
    assert (regret < 0.02).all(), regret
    assert (regret < 0.15 * best_single(problem)).all()


@pytest.mark.study
def test_a_uniform_log_is_enough_to_beat_best_single_by_far(problem):
    """One noisy answer a prompt, doubly robust utilities: well under best single on every weight."""
    train, validation, _, scale, _ = problem
    key = jax.random.key(1)
    logs, held = (
        simulate.simulate(jax.random.fold_in(key, i), t, simulate.uniform()) for i, t in enumerate((train, validation))
    )
    logs, held = (log._replace(cost=log.cost / scale) for log in (logs, held))
    spec = NuisanceSpec(outcome_models=("ridge",))
    fitted, model = nuisance.fit(key, logs, spec)
    learn = counterfactual.doubly_robust(logs, fitted)
    validate = counterfactual.doubly_robust(held, nuisance.predict_logs(model, held))
    regret, single = conditional_regret(problem, learn, validate), best_single(problem)
    assert regret.mean() < 0.7 * single.mean(), (regret, single)
    assert (regret < single).all(), (regret, single)


@pytest.mark.study
def test_utilities_of_a_log_are_affine_in_the_cost_weight(problem):
    train, _, _, scale, _ = problem
    logs = simulate.simulate(jax.random.key(2), train, simulate.uniform())
    logs = logs._replace(cost=logs.cost / scale)
    fitted, _ = nuisance.fit(jax.random.key(3), logs, NuisanceSpec(outcome_models=("ridge",), folds=2))
    outcomes = counterfactual.doubly_robust(logs, fitted, clip=0.05)
    low, middle, high = (counterfactual.utility(outcomes, w) for w in (0.5, 1.25, 2.0))
    np.testing.assert_allclose(middle, (low + high) / 2, rtol=1e-5, atol=1e-5)
