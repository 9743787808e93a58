"""Routers decide in NumPy as they do in JAX, and nothing of JAX, SciPy or scikit-learn is imported for it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import router_kinds
from router_kinds import FEATURES

from jaxroute.data import encoders, tables
from jaxroute.serving import asking, blocks, decisions, dense, kinds, portable
from jaxroute.types import InputError

WEIGHTS = np.float32([0.0, 20.0, 50.0, 130.0, 500.0])


def in_jax(kind, features, weight):
    """Scores and predictions of a kind's own functions in JAX."""
    with jax.default_matmul_precision("highest"):
        scores, predicted = jax.jit(lambda kind, x, w: (kind.scores(x, w), kind.predict(x)))(kind, features, weight)
    return np.asarray(scores), predicted


@pytest.mark.parametrize("rows", [100_000, pytest.param(1_000_000, marks=pytest.mark.study)])
@pytest.mark.parametrize("name", kinds.KINDS)
def test_decisions_are_those_of_jax(name, rows):
    """Except where the two best scores are within 1e-6 of the row's largest one in size, or of 1."""
    router, rng = router_kinds.router(name), np.random.default_rng(5)
    features = rng.standard_normal((rows, FEATURES.shape[1]), np.float32)
    weight = rng.choice(WEIGHTS, rows)
    expected, predicted = in_jax(router.kind, features, weight)
    found = router.scores(features, weight)
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=1e-6 * np.abs(expected).max())
    differ = found.argmax(1) != expected.argmax(1)
    best, size = np.sort(expected[differ], 1)[:, -2:], np.maximum(1, np.abs(expected[differ]).max(1))
    print(f"{name}: {differ.sum()} of {rows} decisions differ")
    assert differ.mean() < 1e-3
    assert (best[:, 1] - best[:, 0] <= 1e-6 * size).all()
    if predicted is not None:
        for own, theirs in zip(router.predict(features), predicted, strict=True):
            np.testing.assert_allclose(own, theirs, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_choices_at_many_cost_weights_are_those_of_each(name, monkeypatch):
    """In blocks, with a model removed; where two scores differ by rounding alone either may be chosen."""
    monkeypatch.setattr(blocks, "ROWS", 16)
    monkeypatch.setattr(asking, "WEIGHTS", 2)
    router = router_kinds.router(name).without("b")
    found = router.choices(FEATURES, WEIGHTS)
    assert (found.shape, found.dtype) == ((len(WEIGHTS), len(FEATURES)), np.int32)
    for chosen, weight in zip(found, WEIGHTS, strict=True):
        scores = router.scores(FEATURES, weight)
        own = np.take_along_axis(scores, chosen[:, None], 1)[:, 0]
        assert (scores.max(1) - own <= 1e-6 * np.maximum(1, np.abs(scores[:, [0, 2, 3]]).max(1))).all()
    assert len(np.unique(found)) > 1
    if name in ("plug_in", "affine"):
        with pytest.raises(InputError, match=r"overflow at cost weight 3e\+38"):
            router.choices(1e4 * FEATURES, [0.0, 3e38])


@pytest.mark.parametrize("models", [1, 3, 300])
def test_the_best_model_at_every_cost_weight_is_the_first_of_the_largest_scores(models):
    """To the bit, with equal scores, and numbered as the models that are left."""
    rng = np.random.default_rng(models)
    intercept, slope = (rng.integers(0, 4, (models, 500)).astype(np.float32) / 7 for _ in range(2))
    weights, places = np.array([0.0, 0.3, 1.0, 1e30]), np.sort(rng.permutation(400)[:models])
    scores = intercept + np.float32(-weights)[:, None, None] * slope
    found = decisions.best(intercept, slope, weights, places)
    np.testing.assert_array_equal(found, places[scores.argmax(1)])
    assert found.dtype == np.min_scalar_type(places[-1])


def test_a_network_that_was_made_ready_computes_what_its_layers_say():
    """The kernels that were halved change no bit, in few rows and in many, and the layers are in order of their number.

    In a layer of members the products are the same for each.
    """
    rng = np.random.default_rng(0)
    sizes = {f"hidden_{number}": 4 for number in range(11)}
    shaped = {name: {"kernel": rng.standard_normal((4, 4)), "bias": rng.standard_normal(4)} for name in sorted(sizes)}
    trunk = {name: {key: np.float32(one) for key, one in layer.items()} for name, layer in shaped.items()}
    last = {"kernel": np.float32(rng.standard_normal((4, 3))), "bias": np.float32(rng.standard_normal(3))}
    params = {"params": {"trunk": trunk, "scores": last}}
    for rows in (1, 64, 200):
        x = expected = np.float32(rng.standard_normal((rows, 4)))
        for number in range(11):
            z = expected @ trunk[f"hidden_{number}"]["kernel"] + trunk[f"hidden_{number}"]["bias"]
            inner = z * (dense.LINEAR + dense.CUBIC * (z * z))
            expected = z * (np.tanh(inner) + np.float32(1)) * np.float32(0.5)
        expected = expected @ last["kernel"] + last["bias"]
        np.testing.assert_array_equal(dense.apply(dense.ready(params), x), expected)
        members = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), params)
        np.testing.assert_allclose(dense.apply(dense.ready(members), x), [expected, expected], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5000])
def test_one_number_that_is_not_finite_is_found_and_large_ones_are_taken(rows):
    router, features = router_kinds.router("plug_in"), np.ones((rows, FEATURES.shape[1]), np.float32)
    for value in (np.nan, np.inf, -np.inf):
        features[-1, 2] = value
        for ask in (lambda: router.route(features, cost_weight=1.0), lambda: router.choices(features, [1.0])):
            with pytest.raises(InputError, match=f"row {rows - 1}: not finite"):
                ask()
    features[-1, 2] = 1e25  # whose square overflows
    assert np.isfinite(router.route(features, cost_weight=1.0).scores).all()


@pytest.mark.modes
@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_router_that_is_read_decides_as_it_did(name, tmp_path):
    router = router_kinds.router(name).without("b")
    router.save(tmp_path / "router")
    read = portable.load(tmp_path / "router")
    weight = np.tile(WEIGHTS, len(FEATURES) // len(WEIGHTS))
    found, expected = (one.scores(FEATURES, weight) for one in (read, router))
    np.testing.assert_array_equal(found, expected)
    assert np.isneginf(found[:, 1]).all()
    ours, theirs = (one.without("c").route(FEATURES, normalised_cost_weight=0.5) for one in (read, router))
    for part, same in zip(vars(ours).values(), vars(theirs).values(), strict=True):
        np.testing.assert_array_equal(part, same)
    whole = portable.load(_saved(router_kinds.router(name), tmp_path / "whole"))
    budget = float(router_kinds.router(name).curve.cost.mean())
    assert whole.weights(budget=budget) == router_kinds.router(name).weights(budget=budget)
    assert whole.num_features == FEATURES.shape[1]


def _saved(router, path):
    router.save(path)
    return path


def test_a_folder_that_is_damaged_or_of_an_unknown_kind_is_refused(tmp_path):
    path = _saved(router_kinds.router("affine"), tmp_path / "router")
    with pytest.raises(InputError, match="encoder is none, not x"):
        portable.load(path, "x")
    (path / "arrays.safetensors").write_bytes((path / "arrays.safetensors").read_bytes()[:-4])
    with pytest.raises(InputError, match="damaged"):
        portable.load(path)
    with pytest.raises(InputError, match="is not a router"):
        portable.load(tmp_path)


LIGHT = """
import json, sys
import numpy
before = set(sys.modules)
from jaxroute import serving
load = serving.load
added = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
router = load(sys.argv[1])
assert router.route(["What is 2 + 2?"], budget=1.0).models[0] in router.models
from jaxroute.gateway import Gate, Settings, load_settings
gate = Gate(Settings(("a", "b"), "a", sys.argv[1], cost_weight=20.0))
assert gate.problem is None, gate.problem
by = [gate.choose(text).by for text in ("What is 2 + 2?", "x" * 100)]
heavy = ("jax", "jaxlib", "flax", "scipy", "sklearn", "pandas", "pyarrow", "rich", "torch")
print(json.dumps([by, [name for name in heavy if name in sys.modules], sorted(added)]))
"""


def test_a_process_that_only_decides_imports_nothing_heavy(tmp_path):
    router = router_kinds.router("plug_in", 256, ("a", "b", "c", "d"), encoder="hashed-2")
    path = _saved(router, tmp_path / "router")
    done = subprocess.run([sys.executable, "-c", LIGHT, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by, heavy, added = json.loads(done.stdout)
    assert added == ["jaxroute"]  # beside NumPy and the standard library
    assert set(by) <= {"router", "exploration"}
    assert heavy == []


@pytest.mark.study
def test_the_two_hashed_encoders_have_equal_regret(capsys):
    """Ridge on real prompts, five splits of three tables, three cost weights; paired differences in points."""
    root = Path(__file__).parents[2] / "shared" / "data"
    names = ("paretobandit", "routellm_mmlu_gsm8k", "routerbench_5shot_subset")
    if not all((root / name).is_dir() for name in names):
        pytest.skip("the tables are not here")
    differences = []
    for name in names:
        table = tables.load(root / name)
        rows = np.random.default_rng(0).permutation(np.flatnonzero(table.available.all(1)))[:3000]
        quality, cost = (np.asarray(y)[rows] for y in table.outcomes)
        features = [encoders.encode(table.prompt[rows], e, cache=False).astype(float) for e in ("hashed", "hashed-2")]
        for seed in range(5):
            order = np.random.default_rng(seed).permutation(len(rows))
            for weight in (0.0, 0.3, 1.0):
                utility = quality - weight * cost / cost.mean()
                regrets = [ridge_regret(x, utility, order[:2000], order[2000:]) for x in features]
                differences.append(100 * (regrets[1] - regrets[0]))
    mean, error = np.mean(differences), np.std(differences, ddof=1) / np.sqrt(len(differences))
    with capsys.disabled():
        print(f"\nhashed-2 minus hashed: {mean:+.2f} points of regret, standard error {error:.2f}")
    assert abs(mean) < 0.3


def ridge_regret(x, utility, train, test):
    centre, mean = x[train].mean(0), utility[train].mean(0)
    z = x[train] - centre
    weights = np.linalg.solve(z.T @ z + 3 * np.eye(z.shape[1]), z.T @ (utility[train] - mean))
    chosen = (mean + (x[test] - centre) @ weights).argmax(1)
    return (utility[test].max(1) - utility[test][np.arange(len(test)), chosen]).mean()


def test_features_of_any_array_are_decided_as_those_of_numpy():
    router = router_kinds.router("plug_in")
    expected = router.route(FEATURES, cost_weight=20.0)
    for given in (jax.numpy.asarray(FEATURES), FEATURES.astype(float), np.asfortranarray(FEATURES)):
        decision = router.route(given, cost_weight=20.0)
        assert decision.models == expected.models
        assert decision.rows is None
    halves = FEATURES.astype(np.float16)
    assert router.route(halves, cost_weight=20.0).models == router.route(halves.astype(float), cost_weight=20.0).models
    shown = router.predict(jax.numpy.asarray(FEATURES))[0]
    np.testing.assert_array_equal(shown, expected.quality)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (iter("ab"), "prompts are a str_ascii_iterator; give a list"),
        ({"a"}, "prompts are a set; give a list"),
        (None, "prompts are a NoneType"),
        (FEATURES.astype(complex), "features are of type complex128; this router takes real numbers"),
        (np.full(FEATURES.shape, 1e300), "features, row 0: not finite"),
        (np.ma.masked_greater(FEATURES, 3.0), None),
        (np.ma.masked_array(FEATURES, np.arange(len(FEATURES))[:, None] + 0 * FEATURES == 7), "features, row 7: not"),
    ],
)
def test_what_is_neither_texts_nor_features_is_refused(prompts, said, recwarn):
    router = router_kinds.router("plug_in")
    if said is None:  # nothing is masked
        assert router.route(prompts, cost_weight=1.0).models == router.route(FEATURES, cost_weight=1.0).models
    else:
        with pytest.raises(InputError, match=re.escape(said)):
            router.route(prompts, cost_weight=1.0)
    assert not recwarn.list


@pytest.mark.parametrize("way", ["cost_weight", "normalised_cost_weight", "budget", "quality_target"])
def test_what_cost_matters_is_said_by_one_number(way):
    router = router_kinds.router("plug_in")
    one = 0.01 if way == "budget" else 0.1
    expected = router.route(FEATURES, **{way: one}).models
    for same in (np.float64(one), np.array([one]), jax.numpy.float32(one), str(one)):
        assert router.route(FEATURES, **{way: same}).models == expected
    for wrong in ("much", [one, one], {}, 1j):
        with pytest.raises(InputError, match=f"{way} is .*give one number"):
            router.route(FEATURES, **{way: wrong})


def test_cost_weights_of_another_shape_are_refused():
    router = router_kinds.router("plug_in")
    for wrong in (np.ones(3), np.ones((len(FEATURES), 1)), []):
        with pytest.raises(InputError, match="give one, or one for each of 40 prompts"):
            router.scores(FEATURES, wrong)
    for wrong in (1.0, np.ones((2, 2))):
        with pytest.raises(InputError, match="give a list of them"):
            router.choices(FEATURES, wrong)
    with pytest.raises(InputError, match=r"cost weight .*give a number"):
        router.choices(FEATURES, ["much"])
