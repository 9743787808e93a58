"""The format of an artefact: its description, its vectors, and what verify says of them and of every export."""

import json

import numpy as np
import pytest
from router_kinds import router

from jaxroute.serving import folder, kinds, portable, schema, vectors
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
