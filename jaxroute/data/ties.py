"""Rows that must stay together, and what parts of a table share all the same.

Rows are tied if they have the same group or the same text, ignoring case, punctuation and white space. Ties are
transitive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from jaxroute.types import InputError


class Rows(Protocol):
    """What is split: a Table or a log. Without groups or prompts, no rows are tied by them."""

    @property
    def prompt(self) -> np.ndarray | None: ...

    @property
    def group(self) -> np.ndarray | None: ...

    def __len__(self) -> int: ...


class Leakage(NamedTuple):
    """What the parts of a table share. All numbers except ``near_duplicates`` are zero for a clean split.

    near_duplicates: prompts of all parts that repeat an earlier one, ignoring case, punctuation and white space.
    leaked_prompts: rows whose normalised text also occurs in an earlier part.
    leaked_groups: rows whose group also occurs in an earlier part.
    repeated_rows: rows that are listed more than once.
    """

    near_duplicates: int
    leaked_prompts: int
    leaked_groups: int
    repeated_rows: int


def near_duplicates(prompts: Sequence[str] | np.ndarray) -> int:
    """The number of prompts that repeat an earlier one, ignoring case, punctuation and white space.

    Args:
        prompts: N texts.

    Returns:
        N minus the number of distinct normalised texts.

    Example:
        >>> near_duplicates(["What is 2 + 2?", "what is 2 + 2", "What is 2 + 3?"])
        1
    """
    return len(prompts) - len({_fingerprint(str(prompt)) for prompt in prompts})


def leakage(table: Rows, parts: Sequence[np.ndarray]) -> Leakage:
    """Count what parts of a table share: near-duplicate prompts, groups, rows.

        leaked_prompts = sum_p #{rows of part p whose text is in parts 0 .. p-1},  likewise groups

    Args:
        table: N rows.
        parts: row indices of each part, for example what ``splits.split`` returns or a benchmark's own split.

    Returns:
        Leakage, all counts of rows.

    Raises:
        InputError: an index is outside the table.

    Example:
        >>> import jax
        >>> from jaxroute.data import splits, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=1000)
        >>> leakage(table, splits.split(0, table))
        Leakage(near_duplicates=0, leaked_prompts=0, leaked_groups=0, repeated_rows=0)
        >>> halves = np.arange(0, 1000, 2), np.arange(1, 1000, 2)
        >>> leakage(table, halves).leaked_groups > 100
        True
    """
    rows = np.concatenate([np.asarray(part, int) for part in parts])
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(table)):
        raise InputError(f"leakage: rows run from {rows.min()} to {rows.max()}, the table has 0 to {len(table) - 1}")
    number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    text, group = (label[rows] for label in labels(table))
    return Leakage(
        len(rows) - len(np.unique(text)),
        _leaked(number, text),
        _leaked(number, group),
        len(rows) - len(np.unique(rows)),
    )


def tied(table: Rows) -> np.ndarray:
    """Block number [N] of every row: equal for rows that must stay together.

    Blocks are the connected components of rows, groups and normalised texts.

    Args:
        table: N rows.

    Returns:
        int [N].

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=100)
        >>> bool((np.diff(table.group) == 0).sum() == (np.diff(tied(table)) == 0).sum())
        True
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    text, group = labels(table)
    # One node per group and one per text; every row is an edge between its two nodes.
    nodes = group.max() + text.max() + 2
    edges = coo_array((np.ones(len(table), np.int8), (group, group.max() + 1 + text)), (nodes, nodes))
    return connected_components(edges, directed=False)[1][group]


def labels(table: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [N] that are equal for equal texts, and for equal groups."""
    alone = np.arange(len(table))
    prompts = alone if table.prompt is None else table.prompt
    known: dict[bytes | int, int] = {}
    marks = (_fingerprint(str(prompt)) if prompt != "" else row for row, prompt in enumerate(prompts))
    text = np.fromiter((known.setdefault(mark, len(known)) for mark in marks), np.int64, len(table))
    return text, alone if table.group is None else np.unique(table.group, return_inverse=True)[1]


def _leaked(part: np.ndarray, label: np.ndarray) -> int:
    """Rows whose label occurs in a part before theirs; ``part`` ascends."""
    _, first, label = np.unique(label, return_index=True, return_inverse=True)
    return int((part > part[first][label]).sum())


def _fingerprint(prompt: str) -> bytes:
    words = " ".join(re.sub(r"[\W_]+", " ", prompt.casefold()).split())
    # Texts that hold only punctuation or emoji would all be equal, so they are compared as they are.
    return hashlib.blake2b((words or prompt).encode(errors="surrogatepass"), digest_size=16).digest()
