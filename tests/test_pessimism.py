import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, losses, metrics, policies
from jaxroute.engine import networks, training
from jaxroute.estimators import pessimism
from jaxroute.numerics import as_arrays
from jaxroute.types import Examples, Hyperparams, Logs, Nuisances, Outcomes, Spec

TRUTH = np.array([0.5, 0.6, 0.3])
N, K = 1000, 3


def make_log(seed=0):
    """The third model is the worst, hardly ever logged, and predicted to be the best."""
    rng = np.random.default_rng(seed)
    propensity = np.array([0.5, 0.498, 0.002])
    action = rng.choice(K, size=N, p=propensity)
    quality = (rng.random(N) < TRUTH[action]).astype(np.float32)
    quality[0] = np.nan
    logs = Logs(
        jnp.asarray(rng.normal(size=(N, 2)), jnp.float32),
        jnp.asarray(action),
        as_arrays(quality),
        jnp.ones(N),
        jnp.asarray(propensity[action], jnp.float32),
        jnp.ones((N, K), bool),
    )
    predicted = jnp.tile(jnp.array([0.5, 0.6, 0.8]), (N, 1))
    cost = jnp.tile(jnp.array([0.1, 0.2, 0.1]), (N, 1))
    return logs, Nuisances(jnp.tile(jnp.asarray(propensity, jnp.float32), (N, 1)), Outcomes(predicted, cost))


def lowered(logs, nuisances, strength):
    error = pessimism.standard_error(nuisances.propensity, pessimism.noise(logs, nuisances), rows=N)
    return pessimism.pessimistic(nuisances.outcomes, error, strength=strength)


@pytest.mark.modes
def test_error_by_hand():
    logs, nuisances = make_log()
    q, a = np.asarray(logs.quality, np.float64), np.asarray(logs.action)
    predicted = np.asarray(nuisances.outcomes.quality, np.float64)[0]
    for k in range(K):
        mine = q[(a == k) & ~np.isnan(q)]
        variance = (((mine - predicted[k]) ** 2).sum() + 2.5) / (len(mine) + 10)
        found = pessimism.noise(logs, nuisances)
        np.testing.assert_allclose(found[k], np.sqrt(variance), rtol=1e-5)
        error = pessimism.standard_error(nuisances.propensity, found, rows=N)
        p = float(nuisances.propensity[0, k])
        np.testing.assert_allclose(error[:, k], np.sqrt(variance / (1 + N * p)), rtol=1e-5)


def test_error_is_that_of_a_local_mean():
    # The mean of the answers of model k among 200 like prompts, over many logs; empty ones are rare.
    rng, p, rows = np.random.default_rng(1), 0.2, 200
    counts = rng.binomial(rows, p, 20_000)
    means = rng.binomial(counts, 0.4) / counts
    error = pessimism.standard_error(jnp.array([[p]]), jnp.sqrt(jnp.array([0.24])), rows=rows)
    np.testing.assert_allclose(float(error[0, 0]), means.std(), rtol=0.03)


def test_strength_zero_changes_nothing_and_utilities_stay_affine():
    logs, nuisances = make_log()
    jax.tree.map(np.testing.assert_array_equal, lowered(logs, nuisances, 0.0), nuisances.outcomes)
    low = lowered(logs, nuisances, 1.5)
    low_end, high_end, middle = (counterfactual.utility(low, w) for w in (0.0, 2.0, 0.5))
    np.testing.assert_allclose(middle, 0.75 * low_end + 0.25 * high_end, atol=1e-6)
    np.testing.assert_array_equal(low.cost, nuisances.outcomes.cost)


def test_a_model_never_tried_keeps_the_largest_error():
    logs, nuisances = make_log()
    nobody = logs._replace(quality=jnp.full(N, jnp.nan))
    np.testing.assert_array_equal(pessimism.noise(nobody, nuisances), 0.5)
    error = pessimism.standard_error(jnp.zeros((1, K)), pessimism.noise(nobody, nuisances), rows=N)
    np.testing.assert_array_equal(error, 0.5)


@pytest.mark.modes
def test_gradient_and_jit_over_the_strength():
    logs, nuisances = make_log()
    quality = jax.jit(lambda s: lowered(logs, nuisances, s).quality.sum())
    slope = jax.grad(quality)(1.0)
    error = pessimism.standard_error(nuisances.propensity, pessimism.noise(logs, nuisances), rows=N)
    np.testing.assert_allclose(slope, -error.sum(), rtol=1e-5)


def test_pessimistic_router_avoids_the_model_without_evidence():
    logs, nuisances = make_log()
    network = networks.router(K, (4,))
    h, spec = Hyperparams(seed=0, learning_rate=3e-2, cost_weight=0.1), Spec(hidden=(4,), steps=120)
    optimise = training.optimiser(h, spec.steps)

    def regret(scores, utility, where, h):
        return losses.softmax_regret(scores, utility, temperature=h.temperature, where=where)

    @jax.jit
    def train(strength):
        examples = Examples(logs.features, lowered(logs, nuisances, strength), logs.available)
        loss = training.router_loss(network, regret, spec, h, examples)
        state = training.init(network, h, spec, 2)
        state = training.run_steps(state, 0, loss, optimise, num_rows=N, batch_size=64, steps=spec.steps)
        return network.apply(state.params, logs.features)

    truth = Outcomes(jnp.tile(jnp.asarray(TRUTH, jnp.float32), (N, 1)), nuisances.outcomes.cost)
    choice = {s: policies.greedy(train(s)) for s in (0.0, 2.0)}
    assert choice[0.0][:, 2].mean() > 0.95  # taken in by the overestimate
    assert choice[2.0][:, 2].mean() < 0.05
    value = {s: float(metrics.value(c, truth, 0.1).mean()) for s, c in choice.items()}
    assert value[2.0] > value[0.0] + 0.2  # 0.6 - 0.02 against 0.3 - 0.01
