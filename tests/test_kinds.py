"""Every kind of router: its scores against NumPy, saved and loaded to the same bits, its arrays checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute.engine import networks
from jaxroute.policies import budgets
from jaxroute.projection import Projection
from jaxroute.serving import distil, export, kinds
from jaxroute.serving.router import Router

K, D, d, L, M, J = 3, 5, 4, 3, 2, 3  # models, features, components, cost weights, members, ends
HIDDEN, SCALE = (6,), 0.01
WEIGHTS = np.float32([0.0, 50.0, 200.0])
FEATURES = np.random.default_rng(1).standard_normal((40, D)).astype(np.float32)
ANY = np.random.default_rng(2).choice([0.0, 20.0, 60.0, 120.0, 199.0, 300.0], 40)


def filled(like, rng):
    """Random arrays of the shapes of ``like``."""
    return jax.tree.map(lambda x: jnp.asarray(0.7 * rng.standard_normal(x.shape), jnp.float32), like)


def network(outputs, inputs, *lead):
    params = networks.router(outputs, HIDDEN).init(jax.random.key(0), inputs)
    return jax.tree.map(lambda x: jnp.zeros((*lead, *x.shape)), params)


def axes():
    return Projection(jnp.zeros(D), jnp.zeros((D, d)), jnp.zeros(d))


def make(name, seed=0):
    """A small random router's kind, without any training."""
    rng = np.random.default_rng(seed)
    level = jnp.asarray([0.001, 0.004, 0.02], jnp.float32)
    student = distil.Student(axes(), jnp.zeros((d, 2 * K)), jnp.zeros(2 * K), network(2 * K, d), jnp.zeros(K))
    student = filled(student, rng)._replace(level=level)
    student = student._replace(bias=student.bias + jnp.asarray([0.0] * K + [2.0] * K))
    if name == "plug_in":
        return kinds.PlugIn(student, HIDDEN)
    if name == "per_weight":
        params = filled(network(K, d, L, M), rng)
        temperature, width = jnp.asarray([1.0, 0.5, 2.0]), jnp.asarray([6, 3, 5])
        return kinds.PerWeight(filled(axes(), rng), jnp.asarray(WEIGHTS), params, HIDDEN, temperature, width)
    if name == "interval":
        ends, residual = filled(network(K, d, J, M), rng), filled(network(K, d + 3, M), rng)
        return kinds.Interval(filled(axes(), rng), jnp.asarray(WEIGHTS), ends, residual, HIDDEN, SCALE)
    params = jax.tree.map(lambda x: 0.1 * x, filled(network(K + 1, d, M), rng))
    return kinds.Affine(student, HIDDEN, filled(axes(), rng), params, HIDDEN, 0.125)


def router(name, **changes):
    decisions = np.random.default_rng(3).dirichlet(np.ones(K), (L, 50))
    outcomes = (np.random.default_rng(4).random((50, K)), np.float64([0.001, 0.004, 0.02]) * np.ones((50, K)))
    curve = budgets.curve_of_policies(WEIGHTS, decisions, outcomes)
    return Router(("a", "b", "c"), make(name), SCALE, curve, **changes)


def numpy_network(params, x, width=2**30):
    """GELU layer, masked and rescaled to its width, and a linear read-out; float64."""
    params = jax.tree.map(lambda y: np.asarray(y, float), params)["params"]
    dense = params["trunk"]["hidden_0"]
    h = x @ dense["kernel"] + dense["bias"]
    h = h * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    used = min(width, HIDDEN[0])
    h = h * (np.arange(HIDDEN[0]) < used) * np.sqrt(HIDDEN[0] / used)
    return h @ params["scores"]["kernel"] + params["scores"]["bias"]


def numpy_projected(axes, x):
    return (x - np.asarray(axes.mean, float)) @ np.asarray(axes.basis, float)


def numpy_student(student, x):
    z = numpy_projected(student.axes, x)
    z = z @ np.asarray(student.linear, float) + np.asarray(student.bias, float) + numpy_network(student.mlp, z)
    return z[:, :K], np.asarray(student.level, float) * np.maximum(z[:, K:], 0.01)


def member(params, *index):
    return jax.tree.map(lambda y: y[index], params)


def numpy_scores(kind, x, weight):
    """One prompt at a time, straight from the formulas."""
    x, rows = x.astype(float), []
    for i, w in enumerate(weight):
        one = x[i : i + 1]
        if isinstance(kind, kinds.PlugIn):
            quality, cost = numpy_student(kind.student, one)
            rows.append((quality - w * cost)[0])
        elif isinstance(kind, kinds.PerWeight):
            l = int(np.argmin(np.abs(WEIGHTS - w)))
            z = [
                numpy_network(member(kind.params, l, m), numpy_projected(kind.axes, one), int(kind.width[l]))[0]
                for m in range(M)
            ]
            tempered = [np.exp(y / float(kind.temperature[l])) for y in z]
            rows.append(np.log(np.mean([y / y.sum() for y in tempered], 0)))
        elif isinstance(kind, kinds.Interval):
            at = numpy_projected(kind.axes, one)
            j = int(np.clip(np.searchsorted(WEIGHTS, w, side="right") - 1, 0, J - 2))
            low, high = WEIGHTS[j : j + 2].astype(float)
            alpha = np.clip((w - low) / (high - low), 0, 1)
            z_low, z_high = (
                np.mean([numpy_network(member(kind.end_params, j + s, m), at)[0] for m in range(M)], 0) for s in (0, 1)
            )
            inputs = np.concatenate([at[0], [alpha, np.log1p(low * SCALE), np.log1p(high * SCALE)]])[None]
            h = np.mean([numpy_network(member(kind.residual, m), inputs)[0] for m in range(M)], 0)
            rows.append((1 - alpha) * z_low + alpha * z_high + alpha * (1 - alpha) * h)
        else:
            quality, cost = numpy_student(kind.start, one)
            at = numpy_projected(kind.axes, one)
            heads = [numpy_network(member(kind.params, m), at)[0] for m in range(M)]
            scores = [((quality[0] + h[:K]) - w * cost[0] * np.exp(h[K])) / kind.eta for h in heads]
            rows.append(np.mean(scores, 0))
    return np.array(rows)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_scores_against_numpy(name):
    kind = make(name)
    expected = numpy_scores(kind, FEATURES, ANY)
    np.testing.assert_allclose(kind.scores(FEATURES, jnp.asarray(ANY)), expected, rtol=2e-4, atol=2e-4)
    decision = router(name).route(FEATURES, cost_weight=60.0)
    expected = numpy_scores(kind, FEATURES, np.full(40, 60.0))
    np.testing.assert_array_equal(decision.index, expected.argmax(1))
    assert len(set(decision.models)) > 1


@pytest.mark.parametrize("name", kinds.KINDS)
def test_saved_loaded_exported_and_reduced_it_is_the_same_router(name, tmp_path):
    before = router(name)
    before.save(tmp_path / "router")
    after = Router.load(tmp_path / "router")
    target = float(np.median(before.curve.quality))
    budget = float(before.curve.cost.mean())
    for way in (
        {"cost_weight": 70.0},
        {"normalised_cost_weight": 0.3},
        {"budget": budget},
        {"quality_target": target},
    ):
        ours, theirs = (r.route(FEATURES, **way) for r in (before, after))
        for part in ("index", "scores", "quality", "cost", "cost_weight"):
            np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
    less = after.without("b")
    assert "b" not in less.route(FEATURES, cost_weight=70.0).models
    for of in (after, less):
        program = export.call(export.stablehlo(of))
        for rows in (1, 40):
            scores = np.asarray(program(FEATURES[:rows], np.float32(70.0)))
            decision = of.route(FEATURES[:rows], cost_weight=70.0)
            np.testing.assert_allclose(scores, decision.scores, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(scores.argmax(1), decision.index)
    assert len(repr(after)) < 120


@pytest.mark.parametrize("name", kinds.KINDS)
def test_what_is_not_predicted_is_nan(name):
    decision = router(name).route(FEATURES, cost_weight=1.0)
    known = name in ("plug_in", "affine")
    assert np.isfinite(decision.quality).all() == np.isfinite(decision.cost).all() == known
    assert np.isnan(decision.quality).all() == np.isnan(decision.cost).all() == (not known)
    if known:
        student = make(name).student if name == "plug_in" else make(name).start
        quality, cost = numpy_student(student, FEATURES.astype(float))
        np.testing.assert_allclose(decision.quality, quality, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(decision.cost, cost, rtol=1e-4, atol=1e-5)
