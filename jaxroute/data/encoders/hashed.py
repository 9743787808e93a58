"""The offline encoder: hashed n-grams, without a model or a download.

``embed`` counts words, pairs of words and sequences of 3 to 5 characters, hashes them to 2^18 columns and projects
these to 256 with a fixed sparse random matrix. Nothing is fitted, so a text has the same features in training,
evaluation and production, whatever else is in the batch. The features describe wording, not meaning; use a sentence
encoder if one is available.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

IDENTITY = "hashed n-grams 1"  # must change whenever the numbers change, because caches are keyed by it
DIMENSIONS = 256
COLUMNS = 2**18  # hashed columns each for words and for characters
ENTRIES = 4  # non-zero entries in a row of the projection
LENGTHS = (3, 4, 5)
WORDS = re.compile(r"\w+")
BLOCK = 2048  # texts at a time; bounds the memory of the n-grams


def embed(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Hashed and projected n-gram counts of each text.

        x = P^T [words / |words|, characters / |characters|],  then x / |x|

    P is a sparse matrix of random signs, so inner products of x equal those of the counts up to noise of about
    1 / sqrt(256). Counts enter as log(1 + count).

    Args:
        texts: N strings.

    Returns:
        float32 [N, 256], rows of unit norm (a text of white space only gives zeros).

    Example:
        >>> x = embed(["What is 2 + 2?", "What is 2 + 3?", "Translate this poem."])
        >>> x.shape, bool(x[0] @ x[1] > x[0] @ x[2])
        ((3, 256), True)

    Reference:
        Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", arXiv 0902.2206, 2009;
        Li, Hastie and Church, "Very Sparse Random Projections", KDD 2006.
    """
    features = np.zeros((len(texts), DIMENSIONS), np.float32)
    for start in range(0, len(texts), BLOCK):
        block = [str(text).lower() for text in texts[start : start + BLOCK]]
        parts = (
            _counted([_words(text) for text in block], lambda gram: [gram]),
            _counted([text.split() for text in block], _characters),
        )
        for row, ((word, weight), (character, share)) in enumerate(zip(*parts, strict=True)):
            x = _projected(np.concatenate([word, character + COLUMNS]), np.concatenate([weight, share]))
            features[start + row] = x / (np.sqrt(x @ x) or 1.0)
    return features


def _words(text: str) -> list[str]:
    """Words, and pairs of neighbours."""
    words = WORDS.findall(text)
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def _characters(word: str) -> list[str]:
    """Sequences of characters of a word between two spaces; a word that is shorter counts as it is, once."""
    word, found = f" {word} ", []
    for length in LENGTHS:
        found += [word[start : start + length] for start in range(max(len(word) - length, 0) + 1)]
        if len(word) <= length:
            break
    return found


def _counted(pieces: list[list[str]], grams_of: Callable[[str], list[str]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(columns in ascending order, log(1 + count), of norm 1) of the n-grams of every text's pieces.

    Each piece is divided, and each n-gram hashed, once.
    """
    known: dict[str, int] = {}
    places = [[known.setdefault(piece, len(known)) for piece in text] for text in pieces]
    grams: dict[str, int] = {}
    divided = [[grams.setdefault(gram, len(grams)) for gram in grams_of(piece)] for piece in known]
    columns = np.abs(_murmur([gram.encode("utf-8", "surrogatepass") for gram in grams]).astype(np.int64)) % COLUMNS
    each = [columns[of_piece] for of_piece in divided]
    found = []
    for of_text in places:
        every = np.concatenate([each[place] for place in of_text]) if of_text else columns[:0]
        column, count = np.unique(every, return_counts=True)
        value = np.log1p(count.astype(float))
        found.append((column, value / (np.sqrt(value @ value) or 1.0)))
    return found


def _murmur(keys: list[bytes]) -> np.ndarray:
    """The signed 32-bit MurmurHash3 of every key, of seed 0; keys of one length at a time.

    >>> print(_murmur([b"", b"hello", b"words"]))
    [          0   613153351 -1964897834]
    """
    hashes, lengths = np.zeros(len(keys), np.uint32), np.array([len(key) for key in keys], int)
    for length in np.unique(lengths):
        mine = np.flatnonzero(lengths == length)
        whole = np.frombuffer(b"".join(keys[i] + bytes(-length % 4) for i in mine), "<u4").reshape(len(mine), -1)
        h = np.zeros(len(mine), np.uint32)
        for place in range(whole.shape[1]):
            k = whole[:, place] * np.uint32(0xCC9E2D51)
            h ^= _turned(k, 15) * np.uint32(0x1B873593)
            if place < length // 4:
                h = _turned(h, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        h ^= np.uint32(length)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        hashes[mine] = h ^ (h >> np.uint32(16))
    return hashes.view(np.int32)


def _turned(x: np.ndarray, bits: int) -> np.ndarray:
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))


def _projected(column: np.ndarray, value: np.ndarray) -> np.ndarray:
    """P^T of a text's counts; [DIMENSIONS]."""
    places, signs = _projection()
    return np.bincount(places[column].ravel(), (signs[column] * value[:, None]).ravel(), DIMENSIONS)


@cache
def _projection() -> tuple[np.ndarray, np.ndarray]:
    """P as the columns and signs [2 COLUMNS, ENTRIES] of its rows: ENTRIES random signs each, in random columns."""
    # The raw stream of a bit generator never changes between versions of NumPy (unlike ``integers``), so an artefact
    # saved today gets the same features with later versions.
    raw = np.random.PCG64(20250522).random_raw(2 * COLUMNS * ENTRIES).reshape(-1, ENTRIES)
    sign = np.float32(1 / np.sqrt(ENTRIES))
    return (raw % DIMENSIONS).astype(np.uint8), np.where(raw >= np.uint64(1 << 63), sign, -sign)
