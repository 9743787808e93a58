"""The format of an artefact: its description, its vectors, and what verify says of them and of every export."""

import importlib
import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from commands import run
from router_kinds import router

from jaxroute.serving import export, folder, kinds, portable, schema, vectors
from jaxroute.serving.exports import checking, comparing, program, writing
from jaxroute.system import wording
from jaxroute.types import InputError


def vectors_of(path):
    return json.loads((path / folder.VECTORS).read_text())


@pytest.mark.parametrize("name", kinds.KINDS)
def test_vectors_are_what_the_router_decides(name, tmp_path):
    router(name).save(tmp_path / "router")
    kept, read = vectors_of(tmp_path / "router"), portable.load(tmp_path / "router")
    features = np.float32(kept["features"])
    assert features.shape == (10, 5)
    assert (len(kept["cost_weights"]), len(kept["budgets"]), kept["prompts"]) == (5, 2, None)
    for weight, scores, names in zip(kept["cost_weights"], kept["scores"], kept["decisions"], strict=True):
        np.testing.assert_array_equal(read.scores(features, weight), np.float32(scores))
        assert read.route(features, cost_weight=weight).models == names
    for one in kept["budgets"]:
        (cheap, share), (dear, rest) = read.weights(budget=one["budget"])
        assert (one["cost_weights"], one["shares"]) == ([cheap, dear], [share, rest])
        assert [read.route(features, cost_weight=w).models for w in (cheap, dear)] == one["decisions"]
    assert (kept["quality"] is None) == (name in ("per_weight", "interval"))
    if kept["quality"] is not None:
        np.testing.assert_array_equal(read.predict(features), np.float32([kept["quality"], kept["cost"]]))


def test_vectors_of_texts_and_of_routers_that_take_no_budget(tmp_path):
    router("plug_in", features=256, encoder="hashed").without("b").save(tmp_path / "router")
    kept = vectors_of(tmp_path / "router")
    assert kept["prompts"] == list(vectors.PROMPTS)
    assert kept["budgets"] == []
    assert {row[1] for at in kept["scores"] for row in at} == {None}
    router("plug_in", summary={"costs_unknown": 3}).save(tmp_path / "other")
    assert vectors_of(tmp_path / "other")["cost_weights"] == [0.0]
    assert vectors_of(tmp_path / "other")["cost"] is None


def test_typical_features_have_the_mean_and_covariance_of_the_projection():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    deviation = np.array([3.0, 1.0, 0.5])
    axes = {"mean": np.arange(5.0), "basis": turn[:, :3] / deviation, "deviation": deviation}
    x = vectors.typical(axes, 50_000)
    np.testing.assert_allclose(x.mean(0), axes["mean"], atol=0.06)
    np.testing.assert_allclose(np.cov(x.T), turn[:, :3] * deviation**2 @ turn[:, :3].T, atol=0.15)


def test_the_schema_is_one_and_says_what_the_library_says(tmp_path):
    """What the reader refuses by the schema, the library `jsonschema` refuses too, and nothing else."""
    library = pytest.importorskip("jsonschema")
    router("affine").save(tmp_path / "router")
    meta = json.loads((tmp_path / "router" / folder.META).read_text())
    rules = schema.read("router.schema.json")
    library.Draft202012Validator.check_schema(rules)
    refused = 0
    for name in rules["properties"]:
        for value in (None, True, 0, -1, 1.5, "", "a", [], ["a", "a"], ["a", " "], ["a\n"], {}, {"hidden": [0]}, 99):
            edited = {**meta, name: value}
            try:
                schema.check(edited, rules, "router.json")
            except ValueError:
                refused += 1
                assert not library.Draft202012Validator(rules).is_valid(edited), (name, value)
            else:
                assert library.Draft202012Validator(rules).is_valid(edited), (name, value)
    assert refused > 40


def test_an_artefact_without_its_vectors_is_damaged(tmp_path):
    router("plug_in").save(tmp_path / "router")
    (tmp_path / "router" / folder.VECTORS).unlink()
    with pytest.raises(InputError, match=r"vectors\.json is missing"):
        portable.load(tmp_path / "router")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda kept: kept.pop("scores"), "'scores'"),
        (lambda kept: kept["features"][0].append(1.0), "features|inhomogeneous"),
        (lambda kept: kept["features"][3].__setitem__(0, float("inf")), "features: hold a number that is not finite"),
        (lambda kept: kept["decisions"][0].__setitem__(0, "z"), "decisions: must name 10 of the router's models"),
        (lambda kept: kept["scores"].pop(), r"cost_weights: have the shape \[1, 5\], expected \[1, 4\]"),
        (lambda kept: kept["budgets"][0]["decisions"].pop(), "budgets: have the shape"),
        (lambda kept: kept.update(quality=[[0.5]]), r"quality: have the shape \[1, 1\], expected \[10, 4\]"),
    ],
)
def test_test_vectors_that_can_be_none_are_refused(change, says, tmp_path):
    router("plug_in").save(tmp_path / "router")
    path = tmp_path / "router" / folder.VECTORS
    kept = vectors_of(tmp_path / "router")
    change(kept)
    path.write_text(json.dumps(kept))
    with pytest.raises(InputError, match=rf"vectors\.json: damaged .*({says})"):
        checking._vectors(tmp_path / "router", "abcd")


@pytest.fixture(scope="module", params=kinds.KINDS)
def saved(request, tmp_path_factory):
    """A router of each kind; the plug-in and the per-weight one are of texts."""
    encoder = {"plug_in": "hashed", "per_weight": "hashed-2"}.get(request.param)
    path = tmp_path_factory.mktemp("saved") / "router"
    router(request.param, features=256 if encoder else 5, encoder=encoder).save(path)
    return path


def equal(checks):
    assert all(check.ran and not check.differences and check.decisions == 90 for check in checks), checks
    return len(checks)


@pytest.mark.slow
@pytest.mark.parametrize("name", kinds.KINDS)
def test_the_program_of_every_kind_is_its_scores(name):
    """In NumPy, which has every operation of the program."""
    of = router(name).without("b")
    x = np.random.default_rng(4).standard_normal((50, 5), np.float32)
    for weight in (0.0, 25.0, 49.0, 130.0, 500.0):
        arrays, settings = kinds.on_host(kinds.arrays(of.kind)), kinds.settings(of.kind)
        named = program.outputs(np, of, name, arrays, settings, x, np.float32(weight))
        np.testing.assert_allclose(named["scores"], of.scores(x, weight), rtol=1e-4, atol=1e-4)
        if "cost" in named:
            np.testing.assert_allclose([named["quality"], named["cost"]], of.predict(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="the kind 'mixture' cannot be exported"):
        program.outputs(np, of, "mixture", {}, {}, x, 0.0)


@pytest.mark.slow
def test_verify_computes_a_router_anew_and_says_what_differs(saved):
    assert equal(checking.verify(saved)) == 2  # NumPy and JAX
    kept = vectors_of(saved)
    kept["scores"][2][3][0] += 10.0
    kept["decisions"][0][1] = next(name for name in "abcd" if name != kept["decisions"][0][1])
    own = portable.load(saved)
    (score, other) = comparing.compare("numpy", kept, list(own.models), checking._asked(own)).differences[::-1]
    assert score.startswith(f"row 3, cost weight {kept['cost_weights'][2]:g}: scores differ by")
    assert other.startswith("row 1, cost weight 0: ")
    assert " instead of " in other


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_in_node_it_decides_the_same_encoder_included(saved, tmp_path):
    writing.write(saved, tmp_path / "js", "js")
    assert equal(checking.verify(tmp_path / "js")) == 1
    assert (tmp_path / "js" / "export.json").read_text().count(portable.load(saved).version) == 1


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_in_node_features_that_are_no_finite_numbers_are_refused(saved, tmp_path):
    writing.write(saved, tmp_path / "js", "js")
    asked = """
        import { readFileSync } from "node:fs";
        const { load } = await import(process.argv[1] + "/router.mjs");
        const bytes = readFileSync(process.argv[1] + "/weights.safetensors");
        const router = load(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
        const x = new Array(router.arrays[process.argv[2]].data.length).fill(0), said = [];
        for (const odd of [NaN, 1e40, "a", undefined]) {
          try {
            router.route([...x.slice(1), odd], 1);
            said.push("decided");
          } catch (error) { said.push(error.message); }
        }
        console.log(JSON.stringify([said, router.route(x, 1).index]));
    """
    mean = "student/axes/mean" if "student" in portable.load(saved).arrays else "axes/mean"
    command = ["node", "--input-type=module", "-e", asked, str(tmp_path / "js"), mean]
    said, index = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert said == ["features: each must be a finite number"] * 4
    assert index >= 0


def test_verify_says_what_is_missing_of_an_export_and_of_its_runtime(saved, tmp_path, capsys, monkeypatch):
    writing.write(saved, tmp_path / "hlo", "stablehlo")
    writing.write(saved, tmp_path / "js", "js")

    def said(folder):
        code, out, err = run(capsys, "verify", folder)
        return code, " ".join((out + err).split())

    def without(*modules, error=ModuleNotFoundError):
        def imported(name, real=importlib.import_module):
            if name in modules:
                raise error(f"No module named {name!r}", name=name)
            return real(name)

        monkeypatch.setattr(importlib, "import_module", imported)

    monkeypatch.setattr(shutil, "which", lambda _: None)
    code, words = said(tmp_path / "js")
    assert code == 2
    assert "nothing was verified, because Node.js is not installed; install it" in words
    without("iree.compiler")
    assert "verified, because iree.compiler is not installed; run pip install" in said(tmp_path / "hlo")[1]
    without("iree.compiler", error=ImportError)
    assert "verified, because iree.compiler is installed and cannot be imported" in said(tmp_path / "hlo")[1]
    (tmp_path / "js" / "router.mjs").unlink()
    (tmp_path / "hlo" / "router-any.mlirbc").unlink()
    for form, file in (("js", "router.mjs"), ("hlo", "router-any.mlirbc")):
        code, words = said(tmp_path / form)
        assert (code, f"{file} is missing; export the router again" in words) == (2, True)


@pytest.mark.parametrize("half", [False, True])
def test_onnxruntime_decides_the_same(saved, tmp_path, half):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    meta = writing.write(saved, tmp_path / "onnx", "onnx", half=half)
    if half:
        assert 0 <= meta["float16"]["changed"] < 0.05 * meta["float16"]["decisions"]
    assert equal(checking.verify(tmp_path / "onnx")) == 1


def test_a_weight_that_float16_cannot_hold_is_refused(saved, tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(InputError, match="--half: a weight is 7e"):
        writing.rounded({"student": {"mlp": np.full(64, 7e4, np.float32)}})


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_in_node_a_cost_weight_between_two_trained_ones_takes_the_same_network(tmp_path):
    """Half way between, differences in 64 bits instead of 32 took the other network of one router in seven."""
    made, scales = router("per_weight"), np.float32(10 ** np.random.default_rng(0).uniform(-4, 0, 60))
    features = np.float32([[0.3, -1.0, 0.5, 2.0, -0.7]])
    script = """
        import { readFileSync } from "node:fs";
        const { load } = await import(process.argv[1] + "/router.mjs");
        const router = load(new Uint8Array(readFileSync(process.argv[1] + "/weights.safetensors")).buffer);
        const [features, trained, asked] = JSON.parse(readFileSync(0, "utf-8"));
        console.log(JSON.stringify(asked.map((weight, i) => {
          router.arrays.cost_weights.data.set(trained[i]);
          return router.route(features, weight).scores;
        })));
    """
    made.save(tmp_path / "router")
    writing.write(tmp_path / "router", tmp_path / "js", "js")
    trained = np.float32([0.1, 1.0, 3000.0]) / scales[:, None]
    asked = [float(np.float32(0.55 / scale)) for scale in scales]
    given = json.dumps([features[0].tolist(), trained.tolist(), asked])
    command = ["node", "--input-type=module", "-e", script, str(tmp_path / "js")]
    said = json.loads(subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout)
    for weights, weight, scores in zip(trained, asked, said, strict=True):
        own = replace(made, kind=replace(made.kind, cost_weights=weights))
        np.testing.assert_allclose(scores, own.scores(features, weight)[0], rtol=1e-4)


def program_of(folder, form):
    """(features, cost weight) -> scores of an export."""
    if form == "jax":
        called = export.call((folder / "router-any.jax").read_bytes())
        return lambda features, weight: np.asarray(called(features, np.float32(weight)))
    session = pytest.importorskip("onnxruntime").InferenceSession(folder / "router.onnx")
    return lambda x, w: session.run(["scores"], {"features": x, "cost_weight": np.asarray(w, np.float32)})[0]


@pytest.mark.parametrize("name", kinds.KINDS)
@pytest.mark.parametrize("form", ["onnx", "jax"])
def test_a_cost_weight_that_route_refuses_has_no_scores(tmp_path, name, form):
    """A program decided by costs that nobody knows, or at a negative cost weight for what is dearest."""
    if form == "onnx":
        pytest.importorskip("onnx")
    features = np.float32([[0.3, -1.0, 0.5, 2.0, -0.7]])
    for unknown, says in ((0, "at least 0; at any other"), (3, "0, as costs are unknown; at any other")):
        made, place = router(name, summary={"costs_unknown": unknown}), tmp_path / f"of-{unknown}"
        made.save(place / "router")
        assert writing.write(place / "router", place / "out", form)["cost_weight"].startswith(says)
        scores = program_of(place / "out", form)
        for weight in (0.0, 20.0, -1e-9, np.nan, np.inf):
            try:
                expected = made.scores(features, weight)
            except InputError:
                expected = np.full((1, 4), np.nan)
            np.testing.assert_allclose(scores(features, weight), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_iree_compiles_and_decides_the_same_for_any_batch_and_a_given_one(saved, tmp_path):
    pytest.importorskip("iree.compiler")
    pytest.importorskip("iree.runtime")
    writing.write(saved, tmp_path / "hlo", "stablehlo", batches=(4,))
    assert equal(checking.verify(tmp_path / "hlo")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["stablehlo", "jax"])
def test_programs_name_no_file_of_this_machine(saved, tmp_path, form):
    writing.write(saved, tmp_path / form, form)
    for file in (tmp_path / form).glob("router-*"):
        assert not [
            word for word in (b".py", b"/home", b"site-packages", str(tmp_path).encode()) if word in file.read_bytes()
        ]


def test_what_an_export_cannot_do_is_refused_by_name(saved, tmp_path):
    for form, options, says, in_python in (
        ("coreml", {}, "--format coreml: use one of stablehlo, jax, onnx, js", "form coreml: use one of"),
        ("js", {"half": True}, "--half is for --format onnx; js keeps float32", "half is for form onnx; js keeps"),
        ("jax", {"batches": (0,)}, "--batch 0", "batches 0"),
    ):
        with wording.as_options(), pytest.raises(InputError, match=says):
            writing.write(saved, tmp_path / "out", form, **options)
        with pytest.raises(InputError, match=f"^{in_python}"):
            writing.write(saved, tmp_path / "out", form, **options)
    assert not (tmp_path / "out").exists()
