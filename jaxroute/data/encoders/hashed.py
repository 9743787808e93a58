"""The offline encoder: hashed n-grams, without a model or a download.

``embed`` counts words, pairs of words and sequences of 3 to 5 characters, hashes them to 2^18 columns and projects
these to 256 with a fixed sparse random matrix. Nothing is fitted, so a text has the same features in training,
evaluation and production, whatever else is in the batch. The features describe wording, not meaning; use a sentence
encoder if one is available.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

IDENTITY = "hashed n-grams 1"  # must change whenever the numbers change, because caches are keyed by it
DIMENSIONS = 256
COLUMNS = 2**18  # hashed columns each for words and for characters
ENTRIES = 4  # non-zero entries in a row of the projection
BLOCK = 2048  # texts at a time; bounds the memory of the sparse counts


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
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    words = HashingVectorizer(
        n_features=COLUMNS, norm=None, ngram_range=(1, 2), token_pattern=r"\w+", alternate_sign=False
    )
    characters = HashingVectorizer(
        n_features=COLUMNS, norm=None, ngram_range=(3, 5), analyzer="char_wb", alternate_sign=False
    )
    features = np.zeros((len(texts), DIMENSIONS), np.float32)
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        parts = []
        for vectorizer in (words, characters):
            counts = vectorizer.transform(block)
            np.log1p(counts.data, out=counts.data)
            parts.append(normalize(counts))
        projected = (hstack(parts, "csr") @ _projection()).toarray()
        features[start : start + BLOCK] = normalize(projected)
    return features


@cache
def _projection() -> csr_array:
    """P [2 COLUMNS, DIMENSIONS]: ENTRIES random signs per row, in random columns."""
    from scipy.sparse import csr_array

    # The raw stream of a bit generator never changes between versions of NumPy (unlike ``integers``), so an artefact
    # saved today gets the same features with later versions.
    raw = np.random.PCG64(20250522).random_raw(2 * COLUMNS * ENTRIES)
    column = (raw % DIMENSIONS).astype(np.int32)
    sign = np.where(raw >> np.uint64(63), 1.0, -1.0) / np.sqrt(ENTRIES)
    start = np.arange(0, len(raw) + 1, ENTRIES, dtype=np.int32)
    return csr_array((sign, column, start), shape=(2 * COLUMNS, DIMENSIONS))
