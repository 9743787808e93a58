"""Parts of a table that share no conversation, no user and no near-duplicate prompt.

Rows are tied when they have the same group or the same normalised text (case, punctuation and white space
apart), and ties chain: what is tied stays on one side. Every part comes in random order with tied rows next
to each other, so a prefix of a part is a smaller random sample of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from jaxroute.types import InputError, Table

FRACTIONS = (0.6, 0.15, 0.25)

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def split(seed: int, table: Table, fractions: Sequence[float] = FRACTIONS) -> Parts:
    """Train, validation and test rows: whole groups, near-duplicates together.

    Tied rows are drawn in random order and cut at the fractions; a block that straddles a cut goes where
    its middle lies, so sizes are off by at most half a block at each cut.

    Args:
        seed: same seed, same split.
        table: N rows.
        fractions: shares of the three parts, summing to 1.

    Returns:
        Three index arrays, together every row once, each in random order.

    Raises:
        InputError: fractions are no shares, or the table has too few separate groups for them.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=1000)
        >>> train, validation, test = split(0, table)
        >>> len(train) + len(validation) + len(test), set(table.group[train]) & set(table.group[test])
        (1000, set())
    """
    train, validation, test = _cut(np.random.default_rng(seed), tied(table), _shares(fractions))
    return train, validation, test


def split_tasks(seed: int, table: Table, fractions: Sequence[float] = FRACTIONS) -> Parts:
    """Train, validation and test rows where no task of the test part occurs in the other two.

    Tasks are drawn in random order until the test share is full; the rest is split like ``split``. Rows of
    the remaining tasks that are tied to a test row are left out, so nothing of the test part leaks.

    Args:
        seed: same seed, same split.
        table: N rows of at least two tasks.
        fractions: shares of the three parts, summing to 1; the test share is met as nearly as whole tasks
            allow, with at least one task on either side.

    Returns:
        Three index arrays without common rows, each in random order.

    Raises:
        InputError: fractions are no shares, only one task, or nothing left to train on.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=1000)
        >>> train, validation, test = split_tasks(0, table)
        >>> set(table.task[train]) & set(table.task[test])
        set()
    """
    train, validation, test = _shares(fractions)
    rng = np.random.default_rng(seed)
    tasks, task, sizes = np.unique(table.task.astype(str), return_inverse=True, return_counts=True)
    if len(tasks) < 2:
        raise InputError(f"split_tasks: the only task is '{tasks[0]}'; use split, or a table of several tasks")
    order = rng.permutation(len(tasks))
    reached = np.cumsum(sizes[order]) / len(table)
    held_out = order[: np.clip(1 + np.argmin(np.abs(reached - test)), 1, len(tasks) - 1)]
    block = tied(table)
    test_rows = rng.permutation(np.flatnonzero(np.isin(task, held_out)))
    rest = np.flatnonzero(~np.isin(block, block[test_rows]))
    if not len(rest):
        raise InputError("split_tasks: every prompt is tied to a held-out task; use split")
    kept = train + validation if train + validation > 0 else 1.0
    first, second = _cut(rng, block[rest], np.array([train / kept, 1 - train / kept]))
    return rest[first], rest[second], test_rows


def near_duplicates(prompts: Sequence[str] | np.ndarray) -> int:
    """How many prompts repeat an earlier one, case, punctuation and white space apart.

    Args:
        prompts: N texts.

    Returns:
        N minus the number of different normalised texts.

    Example:
        >>> near_duplicates(["What is 2 + 2?", "what is 2 + 2", "What is 2 + 3?"])
        1
    """
    return len(prompts) - len({_fingerprint(str(prompt)) for prompt in prompts})


def tied(table: Table) -> np.ndarray:
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

    group = np.unique(table.group, return_inverse=True)[1]
    text = np.unique([_fingerprint(str(prompt)) for prompt in table.prompt], return_inverse=True)[1]
    # One node a group and one a text; every row is an edge between its two.
    nodes = group.max() + text.max() + 2
    edges = coo_array((np.ones(len(table), np.int8), (group, group.max() + 1 + text)), (nodes, nodes))
    return connected_components(edges, directed=False)[1][group]


def _fingerprint(prompt: str) -> bytes:
    words = " ".join(re.sub(r"[\W_]+", " ", prompt.casefold()).split())
    # Texts of punctuation or emoji alone would all look alike: they count as they stand.
    return hashlib.blake2b((words or prompt).encode(errors="surrogatepass"), digest_size=16).digest()


def _shares(fractions: Sequence[float]) -> np.ndarray:
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"fractions are {tuple(fractions)}; give three shares (train, validation, test) of sum 1")
    return shares


def _cut(rng: np.random.Generator, block: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    """Rows of each part: blocks in random order, cut at the cumulative shares."""
    number = np.unique(block, return_inverse=True)[1]
    sizes = np.bincount(number)
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    # Rounded: 0.6 + 0.15 + 0.25 must not fall a bit short of the last row.
    part = np.searchsorted(np.round(np.cumsum(shares)[:-1] * len(block), 6), middle, side="right")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = np.argsort(place[number], kind="stable")
    parts = [rows[part[place[number[rows]]] == p] for p in range(len(shares))]
    if any(share > 0 and not len(rows) for share, rows in zip(shares, parts, strict=True)):
        raise InputError(
            f"split: {len(block)} prompts in {len(sizes)} separate groups are too few for shares of "
            f"{', '.join(f'{share:g}' for share in shares)}; use a larger table or other fractions"
        )
    return parts
