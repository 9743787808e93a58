import engine_problem
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from engine_problem import D, K, regret

from jaxroute.engine import networks, training
from jaxroute.types import Examples, Hyperparams, Spec

N, RNG = 40, np.random.default_rng(0)
EXAMPLES = jax.tree.map(lambda x: jnp.asarray(x[0, :N]), engine_problem.EXAMPLES)


def test_every_epoch_visits_every_row_once():
    counts = training.start(jnp.zeros(N), optax.sgd(1.0))
    state = training.run_steps(
        counts, 0, lambda p, rows, _: p[rows].sum(), optax.sgd(1.0), num_rows=N, batch_size=8, steps=10
    )
    np.testing.assert_array_equal(state.params, -2.0)  # two epochs of five steps, gradient 1 per visit


def test_epochs_are_shuffled_differently():
    def order(first):
        # Rows of one step, read off a one-step gradient.
        state = training.start(jnp.zeros(N), optax.sgd(1.0))
        state = training.run_steps(
            state, first, lambda p, rows, _: p[rows].sum(), optax.sgd(1.0), num_rows=N, batch_size=8, steps=1
        )
        return np.asarray(state.params)

    assert (order(0) != order(5)).any()  # the same position of two epochs
    np.testing.assert_array_equal(order(7), order(7))


def test_resuming_gives_the_same_bits():
    network = networks.router(K, (8,))
    h, spec = Hyperparams(seed=3), Spec(hidden=(8,), steps=12)
    loss = training.router_loss(network, regret, spec, h, EXAMPLES)
    optimise = training.optimiser(h, spec.steps)

    def steps(state, first, count):
        run = jax.jit(lambda s, f: training.run_steps(s, f, loss, optimise, num_rows=N, batch_size=16, steps=count))
        return run(state, first)

    begin = training.init(network, h, spec, D)
    whole = steps(begin, 0, 12)
    halves = steps(steps(begin, 0, 5), 5, 7)
    jax.tree.map(np.testing.assert_array_equal, whole, halves)
    assert int(whole.step) == 12


def test_optimiser_is_adamw_with_decay_on_kernels_only():
    h = Hyperparams(learning_rate=0.1, weight_decay=0.5)
    steps = 40
    transform = training.optimiser(h, steps)
    params = {"kernel": jnp.array([[2.0]]), "bias": jnp.array([2.0])}
    state = transform.init(params)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 2, steps)
    m = v = 0.0
    kernel = bias = 2.0
    for t in range(1, 6):
        gradient = 0.3 * t
        updates, state = transform.update(
            {"kernel": jnp.array([[gradient]]), "bias": jnp.array([gradient])}, state, params
        )
        params = optax.apply_updates(params, updates)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        direction = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        rate = 0.1 * float(schedule(t - 1))
        kernel -= rate * (direction + 0.5 * kernel)
        bias -= rate * direction
    np.testing.assert_allclose(params["kernel"][0, 0], kernel, rtol=1e-5)
    np.testing.assert_allclose(params["bias"][0], bias, rtol=1e-5)


def test_minibatches_do_not_depend_on_the_point():
    """Under vmap all points draw the same rows: with equal parameters they make equal steps."""
    network = networks.router(K, ())
    spec = Spec(hidden=(), steps=4, dropout=0.2)

    def final(seed):
        h = Hyperparams(seed=seed)
        loss = training.router_loss(network, regret, spec, h, EXAMPLES)
        # A linear router of zeros starts equal for every seed.
        return training.run_steps(
            training.init(network, h, spec, D)._replace(),
            0,
            loss,
            training.optimiser(h, 4),
            num_rows=N,
            batch_size=8,
            steps=4,
        ).params

    together = jax.vmap(final)(jnp.arange(3))
    kernel = together["params"]["scores"]["kernel"]
    np.testing.assert_array_equal(kernel[0], kernel[2])
    assert np.abs(kernel).max() > 0


def test_policy_value_is_the_mean_utility_of_the_greedy_choice():
    network = networks.router(K, ())
    kernel = jnp.asarray(RNG.normal(size=(D, K)), jnp.float32)
    params = {"params": {"scores": {"kernel": kernel, "bias": jnp.zeros(K)}}}
    available = jnp.asarray(RNG.random((N, K)) > 0.3).at[:, 0].set(True)
    outcomes = EXAMPLES.outcomes._replace(quality=jnp.where(available, EXAMPLES.outcomes.quality, jnp.nan))
    value = training.policy_value(
        network, params, Hyperparams(cost_weight=0.5), Examples(EXAMPLES.features, outcomes, available)
    )
    scores = np.where(available, np.asarray(EXAMPLES.features @ kernel), -np.inf)
    u = np.asarray(outcomes.quality - 0.5 * outcomes.cost)
    np.testing.assert_allclose(value, u[np.arange(N), scores.argmax(1)].mean(), rtol=1e-6)


@pytest.mark.parametrize(("value", "kept"), [(2.0, "new"), (0.5, "old")])
def test_keep_best_keeps_the_better(value, kept):
    state = training.TrainState("p", (), 0, None, jnp.float32(1.0))._replace(
        params={"w": jnp.array(7.0)}, best_params={"w": jnp.array(3.0)}
    )
    after = training.keep_best(state, jnp.float32(value))
    assert float(after.best_params["w"]) == (7.0 if kept == "new" else 3.0)
    assert float(after.best_value) == max(value, 1.0)


def test_snapshots_lie_along_one_training_run():
    loss = lambda p, rows, _: p[rows].sum()
    params = training.run_snapshots(
        jnp.zeros(N), loss, Hyperparams(weight_decay=0.0), num_rows=N, batch_size=10, epochs=6, count=3
    )
    assert params.shape == (3, N)
    assert (np.diff(params.mean(1)) < 0).all()
