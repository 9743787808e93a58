"""Losses against a NumPy loop, their bounds, and what masks must never let through."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute.losses import (
    cost_sensitive_hinge,
    greedy_regret,
    regret_cross_entropy,
    softmax_regret,
    spo_plus,
    squared_utility_error,
)
from jaxroute.types import InputError

LOSSES = {
    "softmax_regret": partial(softmax_regret, temperature=0.7),
    "entropic_regret": partial(softmax_regret, temperature=0.7, entropy=0.3),
    "hard_ce": regret_cross_entropy,
    "gap_range_ce": partial(regret_cross_entropy, weighting="gap"),
    "gap_margin_ce": partial(regret_cross_entropy, weighting="margin"),
    "soft_label_ce": partial(regret_cross_entropy, label_temperature=0.2),
    "soft_label_gap_ce": partial(regret_cross_entropy, weighting="gap", label_temperature=0.2),
    "greedy_regret": greedy_regret,
    "squared": squared_utility_error,
    "spo_plus": spo_plus,
    "hinge": cost_sensitive_hinge,
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def one_row(name, z, u):
    """The formulas of one prompt over its available models, in plain NumPy float64."""

    def log_softmax(x):
        return x - x.max() - np.log(np.exp(x - x.max()).sum())

    g, t = u.max() - u, int(np.argmax(u))
    if name in ("softmax_regret", "entropic_regret"):
        log_pi = log_softmax(z / 0.7)
        eta = 0.3 if name == "entropic_regret" else 0.0
        return np.sum(np.exp(log_pi) * g) + eta * np.sum(np.exp(log_pi) * log_pi)
    cross_entropy = -log_softmax(z)[t]
    soft_cross_entropy = -np.sum(np.exp(log_softmax(u / 0.2)) * log_softmax(z))
    return {
        "hard_ce": cross_entropy,
        "gap_range_ce": (u.max() - u.min()) * cross_entropy,
        "gap_margin_ce": (np.sort(u)[-1] - np.sort(u)[-2] if len(u) > 1 else 0.0) * cross_entropy,
        "soft_label_ce": soft_cross_entropy,
        "soft_label_gap_ce": (u.max() - u.min()) * soft_cross_entropy,
        "greedy_regret": g[np.argmax(z)],
        "squared": np.mean((z - u) ** 2),
        "spo_plus": np.max(2 * z - u) - 2 * z[t] + u[t],
        "hinge": np.max(z + g) - z[t],
    }[name]


def rows(seed=0, count=6, models=4):
    """Random scores, utilities and masks; row 0 has everything, row 1 one model, the last row none."""
    rng = np.random.default_rng(seed)
    scores, utility = rng.normal(size=(2, count, models)).astype(np.float32)
    where = rng.uniform(size=(count, models)) < 0.6
    where[:, 1] = True
    where[0], where[1], where[-1] = True, [False, True, False, False], False
    return scores, utility, where


def test_bounds_hold_on_random_rows():
    """Also for the two convex bounds, and tight somewhere: a bound nothing comes near tests nothing."""
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        scores, utility = jnp.asarray(rng.normal(size=(2, 2000, 5)))
        where = jnp.asarray(rng.uniform(size=(2000, 5)) < 0.7)
        regret = greedy_regret(scores, utility, where=where)
        bounds = {
            "cross entropy": regret_cross_entropy(scores, utility, weighting="gap", where=where) / np.log(2),
            "softmax": softmax_regret(scores, utility, where=where) * jnp.sum(where, -1),
            "hinge": cost_sensitive_hinge(scores, utility, where=where),
            "spo+": spo_plus(scores, utility, where=where),
        }
    regret, bounds = np.asarray(regret), {name: np.asarray(bound) for name, bound in bounds.items()}
    for name, bound in bounds.items():
        assert np.all(regret <= bound + 1e-12), name
    wrong = regret > 0.1
    assert wrong.mean() > 0.2
    assert np.min(bounds["hinge"][wrong] / regret[wrong]) < 1.1


@pytest.mark.modes
@every_loss
def test_matches_numpy_row_by_row(name):
    scores, utility, where = rows()
    actual = LOSSES[name](scores, utility, where=where)
    kept = np.asarray(where)
    expected = [
        one_row(name, z[m], u[m]) if m.any() else 0.0
        for z, u, m in zip(np.asarray(scores, float), np.asarray(utility, float), kept, strict=True)
    ]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@every_loss
def test_whatever_stands_in_masked_entries_changes_nothing(name):
    """NaN and infinity there: same values, and gradients in scores, utilities and knobs finite and equal."""
    scores, utility, where = rows(2)
    loss = LOSSES[name]

    def value_and_gradients(poison):
        poisoned = jnp.where(where, scores, poison), jnp.where(where, utility, poison)
        total, gradients = jax.value_and_grad(lambda z, u: loss(z, u, where=where).sum(), (0, 1))(*poisoned)
        return total, *gradients

    value_and_gradients = jax.jit(value_and_gradients)
    clean = value_and_gradients(0.0)
    for gradient in clean[1:]:
        assert np.all(np.asarray(gradient)[~np.asarray(where)] == 0)
    for poison in (np.nan, np.inf, -np.inf):
        for actual, expected in zip(value_and_gradients(poison), clean, strict=True):
            np.testing.assert_array_equal(actual, expected)


@every_loss
def test_an_unknown_utility_of_an_available_model_makes_its_row_unknown_and_no_other(name):
    scores, utility, _ = rows(5)
    loss = jax.jit(lambda z, u, where: (LOSSES[name](z, u, where=where), jax.vmap(jax.grad(alone))(z, u, where)))

    def alone(z, u, where):
        return LOSSES[name](z, u, where=where)

    for where in (np.ones(scores.shape, bool), rows(5)[2]):
        clean, gradient = loss(scores, utility, where)
        for model in range(scores.shape[1]):
            spoilt = utility.copy()
            spoilt[:, model] = np.nan
            value, slope = loss(scores, spoilt, where)
            np.testing.assert_array_equal(np.isnan(value), where[:, model])
            np.testing.assert_array_equal(value[~where[:, model]], clean[~where[:, model]])
            np.testing.assert_array_equal(slope[~where[:, model]], gradient[~where[:, model]])
    assert np.isnan(LOSSES[name](scores[0], np.full(scores.shape[1], np.nan)))
    assert np.isnan(LOSSES[name](scores[:, :1], np.full((len(scores), 1), np.nan))).all()  # there is no other model


def test_gradients_in_the_knobs_survive_poisoned_masks():
    scores, utility, where = rows(3)
    poisoned = jnp.where(where, scores, jnp.nan), jnp.where(where, utility, jnp.inf)

    def regret(temperature, entropy):
        loss = partial(softmax_regret, temperature=temperature, entropy=entropy, where=where)
        return loss(*poisoned).sum()

    def cross_entropy(label_temperature):
        return regret_cross_entropy(*poisoned, label_temperature=label_temperature, where=where).sum()

    assert np.all(np.isfinite(jax.jit(jax.grad(regret, (0, 1)))(0.7, 0.3)))
    assert np.isfinite(jax.jit(jax.grad(cross_entropy))(0.2))


@pytest.mark.modes
@every_loss
def test_gradients_match_finite_differences(name):
    with jax.enable_x64(True):
        scores, utility, where = rows(4)
        scores, utility = scores.astype(float), utility.astype(float)
        loss = jax.jit(lambda z: LOSSES[name](z, utility, where=where))
        check_grads(loss, (scores,), 1, modes=["rev"], eps=1e-6)


def test_softmax_regret_gradients_in_closed_form():
    """dL/dz_k = pi_k (g_k - L) / T, and the entropic term adds entropy pi_k (log pi_k - H) / T."""
    z, u, temperature, entropy = np.array([0.3, -0.2, 1.0]), np.array([0.5, 0.9, 0.1]), 0.5, 0.2
    pi = np.exp(z / temperature) / np.exp(z / temperature).sum()
    g, h = u.max() - u, np.sum(pi * np.log(pi))
    expected = (pi * (g - pi @ g) + entropy * pi * (np.log(pi) - h)) / temperature
    loss = partial(softmax_regret, temperature=temperature, entropy=entropy)
    gradient = jax.jit(jax.grad(loss))(np.float32(z), np.float32(u))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_entropic_optimum_is_the_boltzmann_policy():
    """At z = T u / entropy + b the gradient is 0, and the loss is g - entropy logsumexp in closed form."""
    u, entropy, temperature = jnp.array([0.2, 0.9, 0.6]), 0.1, 2.0
    loss = partial(softmax_regret, temperature=temperature, entropy=entropy)
    value, gradient = jax.jit(jax.value_and_grad(loss))(temperature * u / entropy + 5.0, u)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    # min over pi of sum pi g + entropy sum pi log pi = -entropy log sum exp(-g / entropy)
    np.testing.assert_allclose(value, -entropy * np.log(np.exp(-(0.9 - u) / entropy).sum()), rtol=1e-5)


def test_underflowing_probabilities_have_finite_gradients():
    scores, utility = jnp.array([1000.0, -1000.0, 0.0]), jnp.array([0.0, 1.0, 0.5])
    every = jax.jit(lambda z, u: {name: jax.value_and_grad(loss)(z, u) for name, loss in LOSSES.items()})
    for name, (value, gradient) in every(scores, utility).items():
        assert np.isfinite(value), name
        assert np.all(np.isfinite(gradient)), name
    # all mass on the worst model: regret 1, entropy 0; cross entropy 1000 - (-1000)
    assert softmax_regret(scores, utility, entropy=0.5) == 1
    assert regret_cross_entropy(scores, utility) == 2000


def test_ties_go_to_the_lowest_index():
    tied = jnp.array([0.5, 0.5, 0.0])
    assert greedy_regret(jnp.array([0.0, 1.0, 1.0]), jnp.array([1.0, 0.75, 0.0])) == 0.25
    # label 0: -log softmax([1, 0, 0])_0 = log(e + 2) - 1
    cross_entropy = regret_cross_entropy(jnp.array([1.0, 0.0, 0.0]), tied)
    np.testing.assert_allclose(cross_entropy, np.log(np.e + 2) - 1, rtol=1e-6)
    assert regret_cross_entropy(jnp.array([1.0, 0.0, 0.0]), tied, weighting="margin") == 0


@every_loss
def test_jit_vmap_and_leading_axes_agree_with_one_prompt_at_a_time(name):
    loss = LOSSES[name]
    batch = rows(5)
    one = jax.jit(loss)
    alone = np.array([one(z, u, where=m) for z, u, m in zip(*batch, strict=True)])

    @jax.jit
    def others(z, u, m):
        tall = loss(*(x.reshape(2, 3, 4) for x in (z, u)), where=m.reshape(2, 3, 4)).reshape(6)
        return loss(z, u, where=m), jax.vmap(lambda z, u, m: loss(z, u, where=m))(z, u, m), tall

    for together in (loss(*batch[:2], where=batch[2]), *others(*batch)):
        np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-6)


@every_loss
def test_no_mask_is_the_mask_of_everything(name):
    scores, utility, _ = rows(6)
    everything = LOSSES[name](scores, utility, where=jnp.ones(scores.shape, bool))
    np.testing.assert_allclose(LOSSES[name](scores, utility), everything, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 1), ()])
def test_a_mask_broadcasts_as_in_numpy(shape):
    rng = np.random.default_rng(8)
    scores, utility = rng.standard_normal((2, 7, 5))
    mask = rng.random(shape) < 0.6
    for loss in LOSSES.values():
        found = loss(scores, utility, where=mask)
        whole = loss(scores, utility, where=np.broadcast_to(mask, (7, 5)))
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


def test_knobs_are_traced_so_a_sweep_compiles_once():
    scores, utility, where = rows(7)
    traces = []

    @jax.jit
    def both(temperature, entropy, label_temperature):
        traces.append(1)
        regret = softmax_regret(scores, utility, temperature=temperature, entropy=entropy, where=where)
        cross_entropy = regret_cross_entropy(scores, utility, label_temperature=label_temperature, where=where)
        return regret, cross_entropy

    for temperature, entropy, label_temperature in [(1.0, 0.0, 0.1), (0.5, 0.2, 1.0), (3.0, 0.01, 10.0)]:
        regret, cross_entropy = both(temperature, entropy, label_temperature)
        knobs = {"temperature": temperature, "entropy": entropy}
        np.testing.assert_allclose(regret, softmax_regret(scores, utility, **knobs, where=where), rtol=1e-5, atol=1e-6)
        expected = regret_cross_entropy(scores, utility, label_temperature=label_temperature, where=where)
        np.testing.assert_allclose(cross_entropy, expected, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1


def test_unknown_weighting_is_refused():
    scores, utility, _ = rows(8)
    with pytest.raises(ValueError, match="weighting must be 'none', 'gap' or 'margin', not 'range'"):
        regret_cross_entropy(scores, utility, weighting="range")


@every_loss
def test_wrong_shapes_are_refused(name):
    scores, utility, where = rows(8)
    with pytest.raises(InputError, match=r"neither fit nor broadcast: scores \(6, 4\), utility \(6, 3\)"):
        LOSSES[name](scores, utility[:, :3])
    with pytest.raises(ValueError, match="broadcast"):
        LOSSES[name](scores, utility, where=where[:, :3])
