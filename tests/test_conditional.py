"""Routers of every cost weight: exact where they must be, and the surrogate's gradient where they learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_problem import KEY, scrambled, start

from jaxroute import engine, losses, policies, sweep
from jaxroute.engine import training
from jaxroute.learn import conditional
from jaxroute.types import ConditionalExamples, Hyperparams, Outcomes, Spec

N, K, D = 96, 4, 5
RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(N, D)), jnp.float32)
PREDICTED = Outcomes(
    jnp.asarray(RNG.random((N, K)), jnp.float32), jnp.asarray(RNG.random((N, K)) * [0.1, 0.5, 1.0, 3.0], jnp.float32)
)
TRUE = Outcomes(
    jnp.asarray(1 / (1 + np.exp(-2 * np.asarray(FEATURES) @ RNG.normal(size=(D, K)))), jnp.float32),
    jnp.asarray(np.broadcast_to([0.05, 0.2, 0.4, 0.8], (N, K)), jnp.float32),
)
ENDS = jnp.array([0.0, 0.2, 0.7, 2.0])
FINE = jnp.asarray(np.linspace(0.0, 2.0, 301), jnp.float32)
HYPERPARAMS = Hyperparams(entropy=0.1, learning_rate=0.02)


def entropic(scores, utility, where, h):
    return losses.softmax_regret(scores, utility, temperature=h.temperature, entropy=h.entropy, where=where)


def hard_labels(scores, utility, where, h):
    return losses.regret_cross_entropy(scores, utility, where=where)


def examples(initial, ends=ENDS):
    return ConditionalExamples(FEATURES, TRUE, jnp.asarray(np.ones((N, K), bool)), initial, ends)


def utilities(outcomes, weights):
    """[L, N, K]"""
    quality, cost = (np.asarray(y) for y in outcomes)
    return quality - np.asarray(weights)[:, None, None] * cost


def end_utilities(scales, ends=ENDS):
    """Scores [N, J, K] at the ends: utilities, each end on a scale of its own."""
    return jnp.asarray(np.moveaxis(np.float32(scales)[:, None, None] * utilities(TRUE, ends), 0, 1), jnp.float32)


@partial(jax.jit, static_argnames="network")
def scores_on(network, params, data, weights):
    """[L, N, K]"""
    return jax.lax.map(lambda w: conditional.scores_at(network, params, HYPERPARAMS, data, w), weights)


def choices(network, params, data):
    """[L, N] on the fine grid."""
    return np.asarray(scores_on(network, params, data, FINE)).argmax(-1)


keep_on_evidence = jax.jit(conditional.keep_on_evidence, static_argnums=0)


def train(network, data, objective=entropic, steps=120):
    data = jax.tree.map(lambda x: np.asarray(x)[None], data)
    spec = Spec(hidden=(8,), batch_size=32, steps=steps, chunk=steps // 2, dropout=0.0)
    program = engine.Program(network, objective, spec, sweep.mesh(jax.devices()[:1]), conditional.EVERY_WEIGHT)
    state = engine.train(program, sweep.grouped_grid(1, entropy=0.1, learning_rate=0.02), data, data)
    return jax.tree.map(lambda x: np.asarray(x)[0, 0], state)


@pytest.fixture(scope="module")
def tuned():
    """The affine router trained from a poor plug-in."""
    return conditional.affine(K, (8,)), train(conditional.affine(K, (8,)), examples(PREDICTED))


def regret(chosen):
    """Mean regret [L] of choices [L, N] over the fine grid, against the true outcomes."""
    u = utilities(TRUE, FINE)
    return np.mean(u.max(-1) - np.take_along_axis(u, chosen[..., None], -1)[..., 0], -1)


def test_position_is_the_place_between_ends():
    weights = np.array([0.0, 0.05, 0.2, 0.45, 0.7, 1.999, 2.0, 7.0], ENDS.dtype)
    interval, alpha = conditional.position(ENDS, weights)
    np.testing.assert_array_equal(interval, [0, 0, 1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(alpha, [0, 0.25, 0, 0.5, 0, 1.299 / 1.3, 1, 1], rtol=1e-5)


@pytest.mark.modes
def test_affine_starts_exactly_as_the_plug_in():
    network = conditional.affine(K, (8,))
    scores = scores_on(network, start(network, D), examples(PREDICTED), FINE)
    plug_in = jax.jit(policies.greedy)(jnp.asarray(utilities(PREDICTED, FINE), jnp.float32))
    np.testing.assert_array_equal(jax.nn.one_hot(np.asarray(scores).argmax(-1), K), plug_in)
    assert len(np.unique(np.asarray(scores).argmax(-1))) == K  # not one model throughout


def test_affine_scores_are_their_formula():
    params = scrambled(conditional.affine(K, ()), D, size=0.3)
    kernel, bias = (np.asarray(params["params"]["scores"][name], float) for name in ("kernel", "bias"))
    heads = np.asarray(FEATURES, float) @ kernel + bias
    quality, cost = (np.asarray(y, float) for y in PREDICTED)
    weights = RNG.random(N)
    expected = (quality + heads[:, :K] - weights[:, None] * cost * np.exp(heads[:, K:])) / 0.125
    apply = jax.jit(conditional.affine(K, ()).apply)
    got = apply(params, FEATURES, PREDICTED, ENDS, jnp.asarray(weights, jnp.float32), 8)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parameters", ["start", "trained", "random"])
def test_chosen_predicted_cost_never_rises_with_the_cost_weight(tuned, parameters):
    network, state = tuned
    random = scrambled(network, D, size=2.0)
    params = {"start": start(network, D), "trained": state.params, "random": random}[parameters]
    chosen = choices(network, params, examples(PREDICTED))
    cost = np.take_along_axis(np.asarray(PREDICTED.cost)[None], chosen[..., None], -1)[..., 0]
    assert (np.diff(cost, axis=0) <= 0).all()
    assert (cost[0] > cost[-1]).any()


def test_affine_learns_what_its_plug_in_got_wrong(tuned):
    network, state = tuned
    before, after = (
        regret(choices(network, p, examples(PREDICTED))).mean() for p in (start(network, D), state.best_params)
    )
    assert after < 0.5 * before


def test_a_start_that_cannot_be_beaten_is_kept():
    """Already optimal on validation: no later step is better, so the best parameters are the first."""
    network = conditional.affine(K, (8,))
    state = train(network, examples(TRUE))
    jax.tree.map(np.testing.assert_array_equal, state.best_params["params"]["scores"]["kernel"], np.zeros((8, K + 1)))
    assert np.abs(state.params["params"]["scores"]["kernel"]).max() > 0


@pytest.mark.parametrize(("errors", "kept"), [(1.0, True), (1e6, False)])
def test_trained_parameters_are_kept_on_evidence_only(tuned, errors, kept):
    network, state = tuned
    data = examples(PREDICTED)
    got = keep_on_evidence(network, state.best_params, HYPERPARAMS, data, errors)
    first = jax.jit(lambda: network.init(training.init_key(HYPERPARAMS), D))()
    close = partial(np.testing.assert_allclose, atol=1e-6)  # two programs draw the start, to rounding
    jax.tree.map(close, got, state.best_params if kept else first)
    # The evidence: row by row, over the ends and middles of the intervals.
    weights = jnp.array([0.0, 0.2, 0.7, 2.0, 0.1, 0.45, 1.35])
    after, before = (
        np.take_along_axis(
            utilities(TRUE, weights), np.asarray(scores_on(network, p, data, weights)).argmax(-1)[..., None], -1
        )[..., 0]
        for p in (state.best_params, first)
    )
    gain = np.mean(after - before, 0)
    threshold = gain.mean() / (gain.std(ddof=1) / np.sqrt(N))
    assert threshold > 1
    for error, moved in ((0.99 * threshold, True), (1.01 * threshold, False)):
        params = keep_on_evidence(network, state.best_params, HYPERPARAMS, data, error)
        assert (np.abs(params["params"]["scores"]["kernel"]).max() > 0) == moved


def test_interval_is_exact_at_its_ends_whatever_the_residual():
    network = conditional.interval(K, (8,))
    params = scrambled(network, D)
    scores = RNG.normal(size=(N, len(ENDS), K)).astype(np.float32)
    got = np.asarray(scores_on(network, params, examples(scores), jnp.append(ENDS, 0.1)))
    np.testing.assert_array_equal(got[:-1], np.moveaxis(scores, 1, 0))
    assert np.abs(got[-1] - (scores[:, 0] + scores[:, 1]) / 2).max() > 0.1  # the residual acts


def test_interpolation_is_exact_where_ends_share_a_scale():
    shift = RNG.normal(size=(N, len(ENDS), 1)).astype(np.float32)
    network = conditional.interval(K, (8,))
    data = examples(jnp.asarray(np.asarray(end_utilities([7.0] * 4)) + shift))
    chosen = choices(network, start(network, D), data)  # residual 0
    assert regret(chosen).max() < 1e-6


def test_interpolation_finds_a_model_that_wins_at_neither_end():
    outcomes = Outcomes(jnp.array([1.0, 0.75, 0.0]), jnp.array([1.0, 0.5, 0.0]))  # model 1 is best in (0.5, 1.5)
    low, high = (np.float32(3.0) * np.asarray(outcomes.quality - w * outcomes.cost) for w in (0.0, 2.0))
    alpha = np.float32([0.0, 0.24, 0.26, 0.74, 0.76, 1.0])
    scores = conditional.interpolate(*(np.tile(z, (6, 1)) for z in (low, high)), alpha)
    assert np.asarray(scores).argmax(-1).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_without_a_common_scale_interpolation_errs_and_the_residual_learns():
    ends = jnp.array([0.0, 2.0])
    data = examples(end_utilities([100.0, 5.0], ends), ends)
    network = conditional.interval(K, (8,))
    state = train(network, data)
    before, after = (regret(choices(network, p, data)).mean() for p in (start(network, D), state.best_params))
    assert before > 1e-2
    assert after < 0.7 * before


def test_ablations_of_the_interpolation():
    low, high = (jnp.asarray(RNG.normal(size=(3, K)), jnp.float32) for _ in range(2))
    alpha = jnp.array([0.0, 0.4, 1.0])
    a = np.asarray(alpha)[:, None]
    np.testing.assert_allclose(conditional.interpolate(low, high, alpha), (1 - a) * low + a * high, rtol=1e-6)
    soft = lambda z: np.exp(z / 0.5) / np.exp(z / 0.5).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        conditional.interpolate_probabilities(low, high, alpha, temperature=0.5),
        (1 - a) * soft(np.asarray(low)) + a * soft(np.asarray(high)),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(conditional.nearest(low, high, alpha), np.stack([low[0], low[1], high[2]]))


@pytest.mark.slow
def test_plain_network_sees_the_cost_weight():
    network = conditional.plain(K, (8,))
    state = train(network, examples(()))
    after = regret(choices(network, state.best_params, examples(()))).mean()
    u = utilities(TRUE, FINE)
    best_single = (u.max(-1, keepdims=True) - u).mean(1).min(-1).mean()
    assert after < best_single


def test_cost_weights_are_uniform_on_a_random_interval():
    weights = conditional.draw(jax.random.key(0), ENDS, 6000)
    counts, _ = np.histogram(weights, [0.0, 0.1, 0.2, 0.45, 0.7, 1.35, 2.0])
    assert counts.sum() == 6000
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(1000))


@pytest.mark.parametrize(
    ("kind", "objective"), [("affine", entropic), ("interval", entropic), ("plain", entropic), ("affine", hard_labels)]
)
def test_gradients(kind, objective):
    """Along a random direction, against a central difference."""
    network = getattr(conditional, kind)(K, (4,))
    initial = {"affine": PREDICTED, "interval": end_utilities([5.0] * 4), "plain": ()}[kind]
    mask = (RNG.random((N, K)) > 0.3) | (np.arange(K) == 0)
    holes = jax.tree.map(lambda y: np.where(mask, y, np.nan), TRUE)
    data = examples(initial)._replace(outcomes=holes, available=mask)
    rows = jnp.arange(24)

    @jax.jit
    def value_and_gradient(params):
        loss = conditional.loss(network, objective, Spec(dropout=0.0), HYPERPARAMS, data)
        return jax.value_and_grad(lambda p: loss(p, rows, KEY))(params)

    params, direction = (scrambled(network, D, seed, size=0.3) for seed in (1, 2))
    above, below = (
        value_and_gradient(jax.tree.map(lambda p, v, e=e: np.asarray(p) + e * np.asarray(v), params, direction))[0]
        for e in (np.float32(1e-2), np.float32(-1e-2))
    )
    _, gradient = value_and_gradient(params)
    slope = sum(np.vdot(g, v) for g, v in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(slope, (above - below) / 2e-2, rtol=2e-2, atol=2e-2)
    assert max(np.abs(g).max() for g in jax.tree.leaves(gradient)) > 1e-4
