"""The offline encoder: a fixed function of each text alone."""

import io

import numpy as np
import pytest

from jaxroute.data import encoders
from jaxroute.types import InputError

TEXTS = [
    "What is the capital of France?",
    "What is the capital of Spain?",
    "Write a Python function that reverses a list.",
    "def reverse(xs): return xs[::-1]  # Python, list",
    "Übersetze: Guten Morgen! 早上好",
    "?",
    "word " * 5000,
]


def test_shape_dtype_and_unit_norm():
    x = encoders.encode(TEXTS)
    assert x.shape == (len(TEXTS), 256)
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, rtol=1e-6)


def test_a_text_encodes_the_same_in_any_batch(monkeypatch):
    together = encoders.encode(TEXTS)
    alone = np.concatenate([encoders.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, alone)
    monkeypatch.setattr(encoders.hashed, "BLOCK", 2)
    np.testing.assert_array_equal(together, encoders.encode(np.array(TEXTS, object)))


def test_it_is_what_scikit_learn_and_scipy_compute():
    """Its formula with their vectorisers, sparse matrices and norms, on texts of many alphabets and white spaces."""
    from scipy.sparse import csr_array, hstack
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    rng, alphabet = np.random.default_rng(0), list("abcABC 12_ßé中文😀\n\t.,!İ\u00a0\u2003")
    texts = [*TEXTS, "", " ", "a", " a\nb ", *("".join(rng.choice(alphabet, n)) for n in range(0, 300, 10))]
    shared = {"n_features": encoders.hashed.COLUMNS, "norm": None, "alternate_sign": False}
    parts = []
    for vectorizer in (
        HashingVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", **shared),
        HashingVectorizer(ngram_range=(3, 5), analyzer="char_wb", **shared),
    ):
        counts = vectorizer.transform(texts)
        np.log1p(counts.data, out=counts.data)
        parts.append(normalize(counts))
    places, signs = encoders.hashed._projection()
    start = np.arange(0, places.size + 1, places.shape[1])
    projection = csr_array((signs.ravel().astype(float), places.ravel().astype(int), start), (len(places), 256))
    expected = normalize((hstack(parts, "csr") @ projection).toarray())
    np.testing.assert_allclose(encoders.encode(texts), expected, rtol=1e-6, atol=1e-12)


def test_the_function_is_frozen():
    """Saved routers rely on these numbers: if this fails, old artefacts would read other features."""
    x = encoders.encode(["What is the capital of France?"])[0]
    first = [
        0.0443675,
        0.0,
        0.0,
        0.088735,
        0.0443675,
        -0.0443675,
        -0.0443675,
        0.0,
        0.0,
        -0.0443675,
        -0.0443675,
        0.0,
        0.0,
        0.088735,
        0.0,
        0.1331025,
    ]
    np.testing.assert_allclose(x[:16], first, atol=1e-6)


def test_inner_products_are_those_of_the_counts():
    """Against scikit-learn's exact n-gram cosine, without hashing or projection."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    rng = np.random.default_rng(0)
    vocabulary = np.array([f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nrst"])
    texts = [" ".join(rng.choice(vocabulary[: 30 + 3 * n], 20)) for n in range(30)]
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+").fit_transform(texts)
    characters = CountVectorizer(ngram_range=(3, 5), analyzer="char_wb").fit_transform(texts)
    damped = [normalize(counts.astype(float).log1p()).toarray() for counts in (words, characters)]
    exact = np.hstack(damped) / np.sqrt(2)
    x = encoders.encode(texts)
    error = (x @ x.T - exact @ exact.T)[np.triu_indices(30, 1)]
    assert np.sqrt(np.mean(error**2)) < 1.5 / np.sqrt(256)
    assert abs(error.mean()) < 0.05


def test_texts_that_differ_have_different_features():
    x = encoders.encode(TEXTS)
    similarity = x @ x.T
    assert similarity[0, 1] > 0.5 > similarity[0, 2]
    assert (similarity[~np.eye(len(TEXTS), dtype=bool)] < 0.99).all()


def test_empty_texts_and_no_texts():
    assert (encoders.encode(["", "  \n"]) == 0).all()
    assert encoders.encode([]).shape == (0, 256)


@pytest.mark.parametrize(
    ("texts", "encoder", "message"),
    [
        (["a"], "hashd", "unknown encoder 'hashd'; use one of: hashed, hashed-2, sentence, bert-mean"),
        ("a text", "hashed", "put it into a list"),
        (["a"], "hashed:x", "unknown encoder 'hashed:x'"),
        (["a"], "endpoint", "the endpoint's model is missing"),
        (["a"], "bert-mean:/no/such/folder", "no such folder"),
        (["a", None], "hashed", "text 1 is None"),
        (["a", float("nan")], "hashed", "text 1 is nan"),
    ],
)
def test_bad_input_is_refused(texts, encoder, message):
    with pytest.raises(InputError, match=message):
        encoders.encode(texts, encoder)


def test_a_bar_is_for_terminals_and_others_get_no_line(capsys, monkeypatch):
    """A gateway encodes a text per request: an empty line each would fill its log."""
    many = [f"text {i}" for i in range(100)]
    encoders.encode(many)
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    encoders.encode(many)
    assert "encoding" in terminal.getvalue()
    encoders.encode(many, progress=False)
    assert terminal.getvalue().count("encoding") < 10


def test_hashed_2_is_the_same_in_any_company():
    """A text alone, among others, and as routers that were fitted earlier have it."""
    odd = [
        "",
        " \n\t",
        "a",
        "?? !",
        "\ud800 b\udfffc",
        "\u0130stanbul \u2003 ss\u1e9e",
        "\x1c\x1d one\x1ftwo",
        "the " * 3000,
    ]
    texts = [*TEXTS, *odd, *(f"{word} {word * 3} and {i}" for i, word in enumerate(odd))]
    together = encoders.encode(texts, "hashed-2")
    for text, features in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoders.encode([text], "hashed-2")[0], features)
    known = encoders.encode(["What is 2 + 2? What is it?"], "hashed-2")[0]
    assert np.flatnonzero(np.abs(known) > 0.15).tolist() == [40, 61, 80, 81, 107, 123, 185, 217, 253]
    assert known.max() == np.float32(0.27928057312965393)
