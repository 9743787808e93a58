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
SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
PLACES = np.uint64(9) * np.arange(ENTRIES, dtype=np.uint64)[:, None]
COLUMN, SIGN = np.uint64(255), np.uint64(256)


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
    single = _mixed(np.array([crc32(word.encode("utf-8", "replace")) for word in words], np.uint64))
    return np.concatenate([single, _mixed(single[:-1] * BASE + single[1:])])


def _characters(text: str) -> np.ndarray:
    """Hashes of sequences of characters within a word and the spaces around it."""
    padded = SPACES.sub(" ", f" {text} ")
    code = np.frombuffer(padded.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    spaces = np.cumsum(code == 32)  # up to each character, itself included
    found, rolled = [], code
    for length in range(2, LENGTHS[-1] + 1):
        rolled = rolled[:-1] * BASE + code[length - 1 :]  # the sum of code_i BASE^(length - 1 - i) from each start
        if length in LENGTHS and len(rolled):
            inside = spaces[length - 2 : -1] == spaces[: len(rolled)]  # no space between the two ends
            found.append(rolled[inside] + np.uint64(length * int(BASE) ** length % 2**64))
    return _mixed(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the result depends on every bit given."""
    z = hashes + BASE
    z ^= z >> SHIFTS[0]
    z *= FACTORS[0]
    z ^= z >> SHIFTS[1]
    z *= FACTORS[1]
    z ^= z >> SHIFTS[2]
    return z


def _projected(hashes: np.ndarray) -> np.ndarray:
    """Normalised counts, projected; [256]."""
    if not len(hashes):
        return np.zeros(DIMENSIONS)
    distinct, count = _counted(hashes)
    value = np.log1p(count)
    value /= np.sqrt(value @ value) * np.sqrt(ENTRIES)
    bits = distinct >> PLACES
    signed = np.where(bits & SIGN, value, -value)
    return np.bincount((bits & COLUMN).astype(np.int64).ravel(), signed.ravel(), DIMENSIONS)


def _counted(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct hashes in order and their counts, as np.unique, whose own checks take longer than a short text."""
    ordered = np.sort(hashes)
    new = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    ends = np.concatenate([[0], new, [len(ordered)]])
    return ordered[ends[:-1]], ends[1:] - ends[:-1]
