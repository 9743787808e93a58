"""A router's folder: older ones load, whatever is edited in it is refused or decides the same, texts stay here."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from router_kinds import FEATURES, MODELS, router
from safetensors.numpy import load, save

from jaxroute.data.encoders import hashed
from jaxroute.serving import folder, kinds, portable
from jaxroute.serving.router import Router
from jaxroute.types import InputError

OLD = Path(__file__).parent / "data" / "router_schema1"
EDITS = max(400, int(os.environ.get("FUZZ_CASES", 0)) // 20)


def test_a_folder_of_the_first_schema_decides_as_it_did(tmp_path):
    """Fitted, saved and asked by the code from before there were kinds."""
    kept = json.loads((OLD / "decisions.json").read_text())
    features = np.float32(kept["features"])
    old = Router.load(OLD / "router")
    old.save(tmp_path / "router")
    for of in (old, Router.load(tmp_path / "router")):
        for before in kept["decisions"]:
            decision = of.route(features, **before["asked"])
            np.testing.assert_array_equal(decision.index, before["index"])
            assert sorted(set(decision.cost_weight.tolist())) == before["cost_weight"]
            np.testing.assert_allclose(decision.scores[:10], before["scores"], atol=2e-6)
    assert json.loads((tmp_path / "router" / "router.json").read_text())["schema"] == 5


def edited(content: bytes, rng: np.random.Generator) -> bytes:
    """One of seven accidents."""
    place = int(rng.integers(len(content)))
    length = int(rng.integers(1, 20))
    before, part, after = content[:place], content[place : place + length], content[place + length :]
    word = rng.choice([b"NaN", b"null", b"-1", b"1e999", b'"x"', b"[]", b"true", b"\xff", b"0"])
    letter = content[:place] + bytes([rng.integers(32, 127)]) + content[place + 1 :]
    flipped = content[:place] + bytes([content[place] ^ (1 << rng.integers(8))]) + content[place + 1 :]
    ways = [letter, flipped, before + after, before + part + part + after, before, before + word + after, b""]
    return ways[int(rng.integers(7)) if rng.random() < 0.3 else int(rng.integers(2))]


def said_of(path, features, weight):
    """The decision, or the words of our own error."""
    try:
        return Router.load(path).route(features, cost_weight=weight)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_random_edits_are_refused_or_change_nothing(name, tmp_path):
    rng = np.random.default_rng(list(kinds.KINDS).index(name))
    router(name, summary={"rows": 3}).save(tmp_path / "router")
    expected = Router.load(tmp_path / "router").route(FEATURES[:8], cost_weight=40.0)
    refused = 0
    for number in range(EDITS // len(kinds.KINDS)):
        file = tmp_path / "router" / (folder.META, folder.ARRAYS, folder.VECTORS)[number % 3]
        content = file.read_bytes()
        file.write_bytes(edited(content, rng))
        found = said_of(tmp_path / "router", FEATURES[:8], 40.0)
        if isinstance(found, str):
            assert "damaged" in found or "newer" in found, found
            assert "\n" not in found
        else:
            assert found.models == expected.models
            np.testing.assert_array_equal(found.scores, expected.scores)
        refused += isinstance(found, str)
        file.write_bytes(content)
    assert refused > 0.8 * (EDITS // len(kinds.KINDS))


def test_random_edits_of_an_old_folder_end_in_our_own_error_or_a_sound_router(tmp_path):
    """Its checksum leaves out router.json, so that an edited name stays one; whatever loads gives finite scores."""
    shutil.copytree(OLD / "router", tmp_path / "router")
    rng = np.random.default_rng(9)
    loaded = 0
    for number in range(EDITS // 4):
        file = tmp_path / "router" / (folder.META, folder.ARRAYS)[number % 4 == 0]
        content = file.read_bytes()
        file.write_bytes(edited(content, rng))
        found = said_of(tmp_path / "router", np.zeros((3, 32), np.float32), 1.0)
        if not isinstance(found, str):
            assert np.isfinite(found.scores).any(1).all()
            loaded += 1
        file.write_bytes(content)
    assert 0 < loaded < EDITS // 4


NUMBER = {"name": "a", "kind": "number", "mean": 0.0, "deviation": 1.0}


def forged(path, change):
    """The folder with another content and a checksum that fits it."""
    meta = json.loads((path / folder.META).read_text())
    arrays = {name: array.copy() for name, array in load((path / folder.ARRAYS).read_bytes()).items()}
    change(meta, arrays)
    (path / folder.ARRAYS).write_bytes(save(arrays))
    files = [path / name for name in (folder.META, folder.ARRAYS, folder.VECTORS)]
    files[0].write_text(json.dumps({**meta, "sha256": "0" * 64}))
    digest = folder.checksum(*(file.read_bytes() for file in files))
    files[0].write_text(json.dumps({**meta, "sha256": digest}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda meta, arrays: arrays["cost_weights"].fill(np.nan), "cost_weights.: holds numbers that are not finite"),
        (lambda meta, arrays: arrays["axes/mean"].fill(np.inf), "'axes/mean': holds numbers that are not finite"),
        (lambda meta, arrays: arrays.pop("axes/basis"), "'axes/basis': is missing"),
        (lambda meta, arrays: arrays.pop("params/params/scores/bias"), "scores/bias': is missing"),
        (lambda meta, arrays: arrays.pop("curve/cost"), "'curve/cost': is missing"),
        (lambda meta, arrays: arrays.update(width=arrays["width"].astype(np.int64)), "int64.*expected int32"),
        (lambda meta, arrays: arrays.update({"axes/mean": arrays["axes/mean"].astype(np.float16)}), "is float16"),
        (
            lambda meta, arrays: arrays.update({"curve/cost": arrays["curve/cost"].astype(np.int64)}),
            "curve.cost.: is int64",
        ),
        (lambda meta, arrays: arrays.update(more=np.zeros(2)), "more"),
        (lambda meta, arrays: arrays.update(width=arrays["width"][:2]), "'width'"),
        (lambda meta, arrays: arrays.update({"curve/cost": arrays["curve/cost"][:1]}), "curve: cost has shape"),
        (lambda meta, arrays: arrays["curve/quality"].fill(np.nan), "curve: quality"),
        (lambda meta, arrays: meta.update(models=["a", "a", "c", "d"]), "models: is .*; it must give each once"),
        (lambda meta, arrays: meta.update(models=["a", "b", 3, "d"]), "models, 2: is 3; it must be of type string"),
        (lambda meta, arrays: meta.update(models=["a", "b", " ", "d"]), "models, 2"),
        (lambda meta, arrays: meta.update(removed=["e"]), "removed: .* some of the models"),
        (lambda meta, arrays: meta.update(removed=list(MODELS)), "at least one of them left"),
        (lambda meta, arrays: meta.update(cost_scale=0), "cost_scale"),
        (lambda meta, arrays: meta.update(settings={"hidden": ["6"]}), 'settings, hidden, 0: is "6"'),
        (lambda meta, arrays: meta.update(settings={"hidden": [6], "other": 1}), "other"),
        (lambda meta, arrays: meta.pop("encoder"), "encoder is missing"),
        (lambda meta, arrays: meta.update(num_features=6), "num_features: is 6, but the arrays take 5"),
        (lambda meta, arrays: meta.update(cost_scale=float("nan")), "NaN is no number of JSON"),
        (lambda meta, arrays: meta.update(schema=True), "schema: is True"),
        (lambda meta, arrays: arrays.update(fingerprint=np.zeros(9, np.uint8)), "'fingerprint': is not described in"),
        (lambda meta, arrays: meta.update(summary={"costs_unknown": "many"}), 'costs_unknown: is "many"'),
        (lambda meta, arrays: meta.update(summary={"chat": "nobody"}), "chat rule 'nobody'"),
        (lambda meta, arrays: meta.update(summary={"context": [{**NUMBER, "deviation": 0}]}), "deviation: is 0"),
        (
            lambda meta, arrays: meta.update(summary={"context": [{"name": "a", "kind": "category"}]}),
            "values is missing",
        ),
        (lambda meta, arrays: meta.update(summary={"context": [NUMBER, NUMBER]}), "give each once"),
        (
            lambda meta, arrays: meta.update(
                summary={"context": [NUMBER, {**NUMBER, "name": "b"}, {**NUMBER, "name": "c"}]}
            ),
            "make 6 features",
        ),
    ],
)
def test_a_fitting_checksum_makes_no_bad_router_good(change, says, tmp_path):
    router("per_weight").save(tmp_path / "router")
    forged(tmp_path / "router", change)
    for reads in (Router.load, portable.load):
        with pytest.raises(InputError, match=f"damaged .*{says}") as error:
            reads(tmp_path / "router")
        assert "\n" not in str(error.value)


def test_kinds_and_schemas_of_newer_versions_say_so(tmp_path):
    router("plug_in").save(tmp_path / "router")
    forged(tmp_path / "router", lambda meta, arrays: meta.update(kind="mixture"))
    with pytest.raises(InputError, match="'mixture'; update jaxroute"):
        Router.load(tmp_path / "router")
    forged(tmp_path / "router", lambda meta, arrays: meta.update(schema=6))
    with pytest.raises(InputError, match="schema 6 is newer"):
        Router.load(tmp_path / "router")


def test_a_link_to_no_regular_file_is_refused_at_once(tmp_path):
    router("plug_in").save(tmp_path / "router")
    (tmp_path / "router" / folder.ARRAYS).unlink()
    (tmp_path / "router" / folder.ARRAYS).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="damaged"):
        Router.load(tmp_path / "router")


def test_a_number_that_is_not_finite_is_null_in_the_summary(tmp_path):
    router("plug_in", summary={"value": float("nan"), "rows": [1.5, float("inf")]}).save(tmp_path / "router")
    assert Router.load(tmp_path / "router").summary == {"value": None, "rows": [1.5, None]}


def test_texts_go_to_an_endpoint_only_if_its_encoder_is_named(tmp_path, monkeypatch):
    asked = []

    def endpoint(texts, model, url):
        asked.append((list(texts), model, url))
        return hashed.embed(texts)

    monkeypatch.setattr("jaxroute.data.encoders.endpoint.embed", endpoint)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://there.example/v1")
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    router("interval", features=256, encoder="endpoint:small").save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    with pytest.raises(InputError, match=r"to http://there\.example/v1, model small; .*encoder='endpoint:small'"):
        loaded.route(["a text"], cost_weight=1.0)
    assert not asked
    assert len(loaded.route(np.zeros((2, 256), np.float32), cost_weight=1.0).models) == 2  # features go nowhere
    with pytest.raises(InputError, match="encoder is endpoint:small, not endpoint:large"):
        Router.load(tmp_path / "router", encoder="endpoint:large")
    named = Router.load(tmp_path / "router", encoder="endpoint:small")
    assert len(named.without("a").route(["a text"], cost_weight=1.0).models) == 1
    assert asked == [(["a text"], "small", "http://there.example/v1")]
