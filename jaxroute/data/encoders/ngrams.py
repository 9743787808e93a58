"""The hashed encoder in NumPy alone: the same n-grams as ``hashed``, projected by their hashes instead of a table.

An n-gram's 64-bit hash itself says to which ENTRIES of the 256 columns it adds, with which signs, so there is no random
table to hold and neither SciPy nor scikit-learn to import. A text of 400 characters takes some tenths of a millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from jaxroute.data.encoders.hashed import DIMENSIONS, ENTRIES

IDENTITY = "hashed n-grams 2"  # must change whenever the numbers change, because caches are keyed by it
BLOCK = 2048
WORDS = re.compile(r"\w+")
SPACES = re.compile(r"\s+")
LENGTHS = (3, 4, 5)
BASE = np.uint64(0x9E3779B97F4A7C15)


def embed(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Hashed and projected n-gram counts of each text: words, pairs of words, 3 to 5 characters within a word.

        x = sum_kind sum_g log(1 + count_g) / |log(1 + count)|_kind  sum_e sign_e(g) unit(column_e(g)),   then x / |x|

    Args:
        texts: N strings.

    Returns:
        float32 [N, 256], rows of unit norm (a text without any n-gram gives zeros).

    Example:
        >>> x = embed(["What is 2 + 2?", "What is 2 + 3?", "Translate this poem."])
        >>> x.shape, bool(x[0] @ x[1] > x[0] @ x[2])
        ((3, 256), True)

    Reference:
        as for ``hashed``.
    """
    features = np.zeros((len(texts), DIMENSIONS), np.float32)
    for row, text in enumerate(texts):
        lowered = str(text).lower()
        x = _projected(_words(lowered)) + _projected(_characters(lowered))
        features[row] = x / (np.sqrt(x @ x) or 1.0)
    return features


def _words(text: str) -> np.ndarray:
    """Hashes of words and of pairs of neighbours."""
    words = WORDS.findall(text)
    single = _mixed(np.fromiter((crc32(word.encode("utf-8", "replace")) for word in words), np.uint64, len(words)))
    return np.concatenate([single, _mixed(single[:-1] * BASE + single[1:])])


def _characters(text: str) -> np.ndarray:
    """Hashes of sequences of characters within a word and the spaces around it."""
    padded = SPACES.sub(" ", f" {text} ")
    code = np.frombuffer(padded.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    space = (code == 32).astype(np.int64)
    spaces = np.concatenate([[0], np.cumsum(space)])
    found = []
    for length in LENGTHS:
        starts = len(code) - length + 1
        if starts < 1:
            continue
        rolled = np.full(starts, length, np.uint64)
        for place in range(length):
            rolled = rolled * BASE + code[place : place + starts]
        inside = spaces[length - 1 : length - 1 + starts] - spaces[1 : 1 + starts]  # spaces between the two ends
        found.append(rolled[inside == 0])
    return _mixed(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the result depends on every bit given."""
    z = hashes + BASE
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _projected(hashes: np.ndarray) -> np.ndarray:
    """Normalised counts, projected; [256]."""
    if not len(hashes):
        return np.zeros(DIMENSIONS)
    distinct, count = np.unique(hashes, return_counts=True)
    value = np.log1p(count)
    value /= np.sqrt(value @ value) * np.sqrt(ENTRIES)
    bits = (distinct[None] >> (np.uint64(9) * np.arange(ENTRIES, dtype=np.uint64)[:, None])) & np.uint64(511)
    signed = np.where(bits >> np.uint64(8), value, -value)
    return np.bincount((bits & np.uint64(255)).astype(np.int64).ravel(), signed.ravel(), DIMENSIONS)
