"""Several encoders side by side, the marks of a prompt, and the mean over windows, each against its formula by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import router_kinds

from jaxroute.data import encoders
from jaxroute.data.encoders import hub, marks
from jaxroute.serving import inputs, portable
from jaxroute.types import InputError

TEXTS = [
    "What is the capital of France?",
    "def f(xs):\n    return xs[::-1]  # Python",
    "Übersetze: Guten Morgen! 早上好",
    "Pick one:\nA) 1\nB) 22\n(c) none; why?",
    "```\nx = {1: 2}\n```",
    "?",
    "",
    " \n\t",
]


def mark(text, name):
    return float(marks.embed([text])[0, marks.NAMES.index(name)])


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("seven w", "characters", 3 / 4),  # log2(1 + 7) / 4
        ("one two\nthree", "words", 2 / 4),
        ("a\nb\nc", "lines", 2 / 4),
        ("ab12", "digits", math.sqrt(1 / 2)),
        ("aBcd", "capitals", math.sqrt(1 / 4)),
        ("a,b.", "punctuation", math.sqrt(1 / 2)),
        ("{[(a", "brackets", math.sqrt(3 / 4)),
        ("a=b", "operators", math.sqrt(1 / 3)),
        ("a_b;", "symbols of code", math.sqrt(1 / 2)),
        ("abcé", "non-ASCII", 1 / 2),
        ("abcé", "latin", 1 / 2),
        ("λόγος", "greek", 1.0),
        ("да!?", "cyrillic", math.sqrt(1 / 2)),
        ("שלום", "hebrew and arabic", 1.0),
        ("नमस्ते", "indic", 1.0),
        ("สวัสดี", "south-east asian", 1.0),
        ("ひらカタ", "kana", 1.0),
        ("안녕", "hangul", 1.0),
        ("机器学ab", "han", math.sqrt(3 / 5)),
        ("𠀀", "han", 1.0),
        ("a😀", "other", math.sqrt(1 / 2)),
        ("\U0010ffff", "other", 1.0),
        ("if a:\n    b\n\tc\nd", "indented", math.sqrt(2 / 4)),
        ("Which?\nA) x\n(b) y\n3. z", "options", math.sqrt(3 / 4)),
        ("And so on\nIt is", "options", 0.0),
        ("```\nx\n```", "fences", 2 / 3),
        ("why? how?", "questions", 2 / 3),
        ("why", "questions", 0.0),
    ],
)
def test_marks_are_what_they_say(text, name, expected):
    assert mark(text, name) == pytest.approx(expected, abs=1e-6)


def test_no_text_is_out_of_range():
    texts = [*TEXTS, "word " * 400_000, "\n" * 100_000, "?" * 70_000, "\ud800 lone", "é" * 100_000]
    x = encoders.encode(texts, "marks")
    assert x.shape == (len(texts), marks.DIMENSIONS)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert x.min() >= 0
    assert x[:, : len(marks.LENGTHS)].max() == 4
    assert x[:, len(marks.LENGTHS) :].max() <= 1
    assert (x[TEXTS.index("")] == 0).all()


def test_marks_are_frozen():
    """Saved routers rely on these numbers: if this fails, old artefacts would read other features."""
    x = encoders.encode(["Sum 1 + 2 = x?\n  A) 3\n(b) é 语 λ"], "marks")[0]
    found = {name: round(float(value), 4) for name, value in zip(marks.NAMES, x, strict=True) if value}
    assert found == {
        "characters": 1.25,
        "words": 0.9251,
        "lines": 0.5,
        "digits": 0.3111,
        "capitals": 0.2540,
        "punctuation": 0.1796,
        "brackets": 0.3111,
        "operators": 0.2540,
        "non-ASCII": 0.3111,
        "latin": 0.1796,
        "greek": 0.1796,
        "han": 0.1796,
        "indented": 0.5774,
        "options": 0.8165,
        "questions": 0.5,
    }


@pytest.mark.parametrize("encoder", ["marks", "hashed-2+marks", "marks+hashed"])
def test_a_text_encodes_the_same_in_any_company(encoder):
    many = TEXTS * 20
    together = encoders.encode(many, encoder)
    order = np.random.default_rng(0).permutation(len(many))
    np.testing.assert_array_equal(encoders.encode([many[i] for i in order], encoder), together[order])
    alone = np.concatenate([encoders.encode([text], encoder) for text in TEXTS])
    np.testing.assert_array_equal(together[: len(TEXTS)], alone)


def test_squared_distances_are_means_of_the_parts():
    hashed, other, own = (encoders.encode(TEXTS, kind) for kind in ("hashed", "hashed-2", "marks"))
    x = encoders.encode(TEXTS, "hashed+hashed-2+marks")
    assert x.shape == (len(TEXTS), 256 + 256 + marks.DIMENSIONS)
    np.testing.assert_allclose(x[:, 512:], own / np.sqrt(3), atol=1e-6)

    def squared(y):
        return ((y[:, None] - y[None]) ** 2).sum(-1)

    np.testing.assert_allclose(squared(x), (squared(hashed) + squared(other) + squared(own)) / 3, atol=1e-5)


def test_a_part_of_another_norm_is_brought_to_one(monkeypatch):
    monkeypatch.setattr("jaxroute.data.encoders.endpoint.embed", lambda texts, *_: np.full((len(texts), 4), 50.0))
    x = encoders.encode(TEXTS, "hashed+endpoint:small", cache=False)
    np.testing.assert_allclose(x[:, 256:], 0.5 / np.sqrt(2), rtol=1e-6)


def test_the_parts_of_a_name():
    assert encoders.parts("hashed") == ["hashed"]
    assert encoders.parts("hashed-2+sentence:/a+b/c+marks") == ["hashed-2", "sentence:/a+b/c", "marks"]
    assert encoders.parts("sentence-whole:x+bert-mean:y") == ["sentence-whole:x", "bert-mean:y"]
    assert encoders.parts("sentence:/old+style/path") == ["sentence:/old+style/path"]
    assert inputs.endpoints("marks+endpoint:a+endpoint:b") == ["a", "b"]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("hashed+hashed", "stands there twice"),
        ("hashed+hashd", "unknown encoder 'hashed.hashd'"),
        ("hashed+", "unknown encoder"),
        ("hashd+marks", "unknown encoder 'hashd'"),
        ("marks:x", "unknown encoder 'marks:x'"),
    ],
)
def test_names_that_are_none(encoder, message):
    with pytest.raises(InputError, match=message):
        encoders.check(encoder)
    with pytest.raises(InputError, match=message):
        encoders.encode(["a"], encoder)


def test_options_of_a_model_need_one():
    with pytest.raises(InputError, match=r"of one model on the hub, and hashed\+marks has 0"):
        encoders.encode(["a"], "hashed+marks", revision="main")
    with pytest.raises(InputError, match=r"hashed\+sentence:a\+bert-cls:b has 2"):
        encoders.encode(["a"], "hashed+sentence:a+bert-cls:b", max_tokens=16)


def test_no_texts():
    assert encoders.encode([], "hashed+marks").shape == (0, 256 + marks.DIMENSIONS)


def test_a_joined_endpoint_is_asked_only_if_it_is_named(tmp_path, monkeypatch):
    asked = []

    def embed(texts, model, url):
        asked.append(list(texts))
        return np.ones((len(texts), 4))

    monkeypatch.setattr("jaxroute.data.encoders.endpoint.embed", embed)
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    name = "hashed-2+endpoint:small"
    router_kinds.router("plug_in", features=260, encoder=name).save(tmp_path / "router")
    with pytest.raises(InputError, match=r"send every text to .*, model small; .*encoder='hashed-2\+endpoint:small'"):
        portable.load(tmp_path / "router").route(["a text"], cost_weight=1.0)
    assert not asked
    assert len(portable.load(tmp_path / "router", name).route(["a text"], cost_weight=1.0).models) == 1
    assert asked == [["a text"]]


ALONE = """
import json, sys
from jaxroute.serving import portable

router = portable.load(sys.argv[1])
texts = json.loads(sys.stdin.read())
heavy = [name for name in ("jax", "scipy", "sklearn", "pandas", "torch") if name in sys.modules]
print(json.dumps([router.scores(router.features(texts), 20.0).tolist(), heavy]))
"""


def test_a_process_that_only_decides_reads_joined_features(tmp_path):
    """The folder names the encoder and that is all: NumPy alone makes the same features and scores from it as JAX."""
    router = router_kinds.router("plug_in", 256 + marks.DIMENSIONS, encoder="hashed-2+marks")
    router.save(tmp_path / "router")
    texts = [text for text in TEXTS if text.strip()]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "router")], input=json.dumps(texts), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    scores, heavy = json.loads(done.stdout)
    assert heavy == []
    features = encoders.encode(texts, "hashed-2+marks")
    np.testing.assert_array_equal(portable.load(tmp_path / "router").features(texts), features)
    np.testing.assert_allclose(scores, router.scores(features, 20.0), rtol=1e-4, atol=1e-5)


def test_the_mean_window_is_a_loop():
    rng = np.random.default_rng(0)
    windows, count, of = rng.normal(size=(6, 3)), np.array([5.0, 2.0, 1.0, 3.0, 4.0, 2.0]), np.array([0, 0, 2, 1, 1, 1])
    found = hub._mean_window(windows, count, of, 3)
    for text in range(3):
        mine = np.flatnonzero(of == text)
        mean = sum(count[j] * windows[j] for j in mine) / count[mine].sum()
        norm = sum(count[j] * np.linalg.norm(windows[j]) for j in mine) / count[mine].sum()
        np.testing.assert_allclose(found[text], mean / np.linalg.norm(mean) * norm, rtol=1e-6)
    np.testing.assert_allclose(found[2], windows[2], rtol=1e-6)
    assert (hub._mean_window(np.zeros((1, 3)), np.ones(1), np.zeros(1, int), 1) == 0).all()


def test_a_megabyte_of_blanks_is_marked_at_once():
    """A pattern that tries every way to divide the blanks would take hours."""
    blank = marks.embed([" " * 1_000_000 + "\n", "\t" * 1_000_000])
    assert (blank[:, marks.NAMES.index("indented")] == 0).all()
    of_lines = marks.embed(["  x\n\ty\n z\n   \n"])[0, marks.NAMES.index("indented")]
    np.testing.assert_allclose(of_lines, np.sqrt(2 / 5), rtol=1e-6)
