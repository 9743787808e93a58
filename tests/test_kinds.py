"""Every kind of router: its scores against NumPy, saved and loaded to the same bits, its arrays checked."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from router_kinds import FEATURES, HIDDEN, MODELS, SCALE, WEIGHTS, J, K, M, kind, router

from jaxroute.serving import export, kinds
from jaxroute.serving.router import Router
from jaxroute.types import InputError

ANY = np.random.default_rng(2).choice([0.0, 20.0, 60.0, 120.0, 199.0, 300.0], 40)


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
    return jax.tree.map(lambda y: np.asarray(y)[index], params)


@jax.jit
def scores_of(of, features, weights):
    return of.scores(features, weights)


def numpy_scores(of, x, weight):
    """One prompt at a time, straight from the formulas."""
    x, rows = x.astype(float), []
    for i, w in enumerate(weight):
        one = x[i : i + 1]
        if isinstance(of, kinds.PlugIn):
            quality, cost = numpy_student(of.student, one)
            rows.append((quality - w * cost)[0])
        elif isinstance(of, kinds.PerWeight):
            l = int(np.argmin(np.abs(WEIGHTS - w)))
            z = [
                numpy_network(member(of.params, l, m), numpy_projected(of.axes, one), int(of.width[l]))[0]
                for m in range(M)
            ]
            tempered = [np.exp(y / float(of.temperature[l])) for y in z]
            rows.append(np.log(np.mean([y / y.sum() for y in tempered], 0)))
        elif isinstance(of, kinds.Interval):
            at = numpy_projected(of.axes, one)
            j = int(np.clip(np.searchsorted(WEIGHTS, w, side="right") - 1, 0, J - 2))
            low, high = WEIGHTS[j : j + 2].astype(float)
            alpha = np.clip((w - low) / (high - low), 0, 1)
            z_low, z_high = (
                np.mean([numpy_network(member(of.end_params, j + s, m), at)[0] for m in range(M)], 0) for s in (0, 1)
            )
            inputs = np.concatenate([at[0], [alpha, np.log1p(low * SCALE), np.log1p(high * SCALE)]])[None]
            h = np.mean([numpy_network(member(of.residual, m), inputs)[0] for m in range(M)], 0)
            rows.append((1 - alpha) * z_low + alpha * z_high + alpha * (1 - alpha) * h)
        else:
            quality, cost = numpy_student(of.start, one)
            at = numpy_projected(of.axes, one)
            heads = [numpy_network(member(of.params, m), at)[0] for m in range(M)]
            scores = [((quality[0] + h[:K]) - w * cost[0] * np.exp(h[K])) / of.eta for h in heads]
            rows.append(np.mean(scores, 0))
    return np.array(rows)


@pytest.mark.modes
@pytest.mark.parametrize("name", kinds.KINDS)
def test_scores_against_numpy(name):
    of = kind(name)
    expected = numpy_scores(of, FEATURES, ANY)
    np.testing.assert_allclose(scores_of(of, FEATURES, ANY), expected, rtol=2e-4, atol=2e-4)
    decision = router(name).route(FEATURES, cost_weight=60.0)
    expected = numpy_scores(of, FEATURES, np.full(40, 60.0))
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
        student = kind(name).student if name == "plug_in" else kind(name).start
        quality, cost = numpy_student(student, FEATURES.astype(float))
        np.testing.assert_allclose(decision.quality, quality, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(decision.cost, cost, rtol=1e-4, atol=1e-5)


def test_a_cost_weight_is_decided_at_the_nearest_trained_one():
    per_weight = router("per_weight")
    for weight, nearest in ((24.9, 0), (25.1, 50), (124.0, 50), (126.0, 200), (1e6, 200)):
        near, at = (per_weight.route(FEATURES, cost_weight=w) for w in (weight, nearest))
        np.testing.assert_array_equal(near.scores, at.scores)


def test_interval_is_its_ends_at_the_ends_and_beyond():
    of = kind("interval")
    first = jax.tree.map(lambda x: np.asarray(x)[:, :1], of.end_params)
    end = kinds.PerWeight(of.axes, of.ends, first, HIDDEN, np.ones(J, np.float32), np.full(J, 99, np.int32))
    alone = dataclasses.replace(of, end_params=first)
    for weight in (*WEIGHTS, 1e6):
        w = np.full(len(FEATURES), weight)
        ours, ends = (np.asarray(scores_of(each, FEATURES, w)) for each in (alone, end))
        np.testing.assert_array_equal(ours.argmax(1), ends.argmax(1))


def test_a_mixture_decides_each_prompt_at_one_of_two_trained_weights():
    for name in kinds.KINDS:
        of = router(name)
        decision = of.route(FEATURES, budget=float(of.curve.cost.mean()), seed=5)
        assert set(decision.cost_weight) <= set(WEIGHTS.tolist())
        for weight in set(decision.cost_weight):
            mine = decision.cost_weight == weight
            np.testing.assert_array_equal(decision.index[mine], of.route(FEATURES, cost_weight=weight).index[mine])


def test_features_that_overflow_at_no_cost_are_not_blamed_on_the_cost_weight():
    features, made = FEATURES * np.float32(1e4), router("affine")
    for call in (lambda: made.route(features, cost_weight=0.0), lambda: made.choices(features, [0.0])):
        with pytest.raises(InputError, match=r"overflow at cost weight 0; its features are too large: correct or drop"):
            call()


def test_scores_that_overflow_are_refused():
    decision = router("plug_in").route(FEATURES, cost_weight=1e9)
    np.testing.assert_array_equal(decision.index, decision.cost.argmin(1))
    of = kind("plug_in")
    dear = dataclasses.replace(of, student=of.student._replace(level=1e4 * of.student.level))
    with pytest.raises(
        InputError, match=r"row 0: the scores overflow at cost weight 3e\+38; give a smaller cost weight"
    ):
        Router(MODELS, dear, SCALE).route(FEATURES, cost_weight=3e38)
    with pytest.raises(InputError, match="cost weight 1e\\+300"):
        router("plug_in").route(FEATURES, cost_weight=1e300)


def test_without_a_curve_there_are_no_budgets():
    bare = dataclasses.replace(router("per_weight"), curve=None)
    assert len(bare.route(FEATURES, cost_weight=1.0).models) == len(FEATURES)
    with pytest.raises(InputError, match="no curve"):
        bare.route(FEATURES, budget=1.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ("a", "a", "c", "d")}, "each name once"),
        ({"models": ("a", "", "c", "d")}, "none of them empty"),
        ({"models": ("a", "b\x1b[31m", "c", "d")}, "control characters"),
        ({"models": ("a", "b")}, "expected float32"),
        ({"cost_scale": 0.0}, "cost_scale"),
        ({"cost_scale": float("nan")}, "cost_scale"),
        ({"available": np.zeros(K, bool)}, "at least one"),
        ({"available": np.ones(2, bool)}, "4 booleans"),
        ({"encoder": 3}, "texts or None"),
        ({"summary": []}, "must be a dict"),
        ({"kind": "plug_in"}, "not a kind of router"),
    ],
)
def test_a_router_of_bad_parts_cannot_be_made(changes, says):
    good = {"models": MODELS, "kind": kind("per_weight"), "cost_scale": SCALE}
    with pytest.raises(InputError, match=says):
        Router(**{**good, **changes})


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("per_weight", {"cost_weights": jnp.asarray([0.0, 50.0, 50.0])}, "cost_weights': .* ascend"),
        ("per_weight", {"cost_weights": jnp.asarray([0.0, 50.0])}, r"float32\[3.*expected float32\[2"),
        ("per_weight", {"temperature": jnp.zeros(3)}, "temperature': .* positive"),
        ("per_weight", {"temperature": jnp.ones(2)}, r"'temperature': is float32\[2\], expected float32\[3\]"),
        ("per_weight", {"width": jnp.ones(3)}, r"'width': is float32\[3\], expected int32\[3\]"),
        ("per_weight", {"params": {}}, "'params/params/scores/bias': is missing"),
        ("interval", {"ends": jnp.asarray([-1.0, 0.0, 1.0])}, "ends': .* ascend"),
        ("interval", {"ends": jnp.asarray([1.0])}, "at least 2"),
        ("interval", {"cost_scale": -1.0}, "cost_scale"),
        ("affine", {"eta": 0.0}, "eta"),
        ("affine", {"start_hidden": (7,)}, "start/mlp"),
        ("plug_in", {"hidden": (6, 6)}, "'student/mlp/params/trunk/hidden_1/bias': is missing"),
        ("plug_in", {"hidden": ()}, "does not belong to this kind"),
    ],
)
def test_arrays_that_do_not_fit_are_named(name, changes, says):
    with pytest.raises(InputError, match=says):
        Router(MODELS, dataclasses.replace(kind(name), **changes), SCALE)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_every_array_must_be_finite(name):
    leaves, tree = jax.tree.flatten(kind(name))
    for i in [i for i, leaf in enumerate(leaves) if leaf.dtype == jnp.float32]:
        spoilt = np.array(leaves[i])
        spoilt[(0,) * spoilt.ndim] = np.nan
        bad = [jnp.asarray(spoilt) if i == j else leaf for j, leaf in enumerate(leaves)]
        with pytest.raises(InputError, match=r"not finite|positive|ascend"):
            Router(MODELS, jax.tree.unflatten(tree, bad), SCALE)
