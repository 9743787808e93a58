"""The hashed encoder in NumPy alone: the same n-grams as ``hashed``, projected by their hashes instead of a table.

An n-gram's 64-bit hash itself says to which ENTRIES of the 256 columns it adds, with which signs, so there is no random
table to hold and neither SciPy nor scikit-learn to import. A text of 400 characters takes a tenth of a millisecond.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from zlib import crc32

import numpy as np

from jaxroute.data.encoders.hashed import DIMENSIONS, ENTRIES

IDENTITY = "hashed n-grams 2"  # must change whenever the numbers change, because caches are keyed by it
BLOCK = 64  # texts that are hashed in one pass: their n-grams stay in the cache
WORDS = re.compile(r"\w+")
LENGTHS = (3, 4, 5)
BASE = np.uint64(0x9E3779B97F4A7C15)
OF_LENGTH = {length: np.uint64(length * int(BASE) ** length % 2**64) for length in LENGTHS}
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
    for start in range(0, len(texts), BLOCK):
        x = _projected(*_hashes([str(text).lower() for text in texts[start : start + BLOCK]]))
        for row, both in enumerate(x[0::2] + x[1::2], start):
            features[row] = both / (math.sqrt(both @ both) or 1.0)
    return features


def _hashes(texts: list[str]) -> tuple[np.ndarray, list[int]]:
    """Of every text the hashes of its words and their pairs, then those of its characters; and where each part ends."""
    words = [WORDS.findall(text) for text in texts]
    word = np.array([*map(crc32, map(str.encode, chain.from_iterable(words)))], np.uint64)
    mixed = _mixed(word)
    pair = mixed[:-1] * BASE + mixed[1:]
    padded = [f" {' '.join(text.split())} " for text in texts]
    starts = list(accumulate(map(len, padded), initial=0))
    grams = [(found, where.searchsorted(starts).tolist()) for found, where in _characters("".join(padded))]
    pieces: list[np.ndarray] = []
    ends, end, first = list[int](), 0, 0
    for row, of_text in enumerate(words):
        last = first + len(of_text)
        own = [word[first:last], pair[first : max(last - 1, first)]]
        within = [found[places[row] : places[row + 1]] for found, places in grams]
        for part in (own, within):
            pieces += part
            end += sum(map(len, part))
            ends.append(end)
        first = last
    return _mixed(np.concatenate(pieces)), ends


def _characters(padded: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each length: sequences of characters within a word and the spaces around it, and where each begins.

    Two spaces stand between the last word of a text and the first of the next, and no sequence goes beyond a space.
    """
    code = np.frombuffer(padded.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    spaces = (code == 32).cumsum()  # up to each character, itself included
    rolled = code
    for length in range(2, LENGTHS[-1] + 1):
        rolled = rolled[:-1] * BASE + code[length - 1 :]  # the sum of code_i BASE^(length - 1 - i) from each start
        if length in LENGTHS:
            (inside,) = (spaces[length - 2 : -1] == spaces[: len(rolled)]).nonzero()  # no space between the two ends
            yield rolled[inside] + OF_LENGTH[length], inside


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit of the result depends on every bit given."""
    z = hashes + BASE
    z ^= z >> SHIFTS[0]
    z *= FACTORS[0]
    z ^= z >> SHIFTS[1]
    z *= FACTORS[1]
    z ^= z >> SHIFTS[2]
    return z


def _projected(hashes: np.ndarray, ends: list[int]) -> np.ndarray:
    """Normalised counts of the n-grams of every part, projected; [parts, 256]."""
    first = np.empty(len(hashes) + 1, bool)  # of its kind in its part
    start = 0
    for end in ends:
        hashes[start:end].sort()
        start = end
    np.not_equal(hashes[1:], hashes[:-1], out=first[1:-1])
    for end in (0, *ends):
        first[end] = True
    (begin,) = first.nonzero()
    hashes, value = hashes[begin[:-1]], np.log1p(begin[1:] - begin[:-1])
    bits = hashes >> PLACES
    column = (bits & COLUMN).view(np.int64)
    for part, (start, end) in enumerate(pairwise([0, *begin.searchsorted(ends).tolist()])):
        own = value[start:end]
        own /= (math.sqrt(own @ own) or 1.0) * math.sqrt(ENTRIES)
        column[:, start:end] += part * DIMENSIONS
    signed = np.where(bits & SIGN, value, -value)
    return np.bincount(column.ravel(), signed.ravel(), len(ends) * DIMENSIONS).reshape(-1, DIMENSIONS)
