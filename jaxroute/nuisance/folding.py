"""Which rows share a fold, host side: balanced at random, and the rows of one group together."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxroute.types import Key


def assign_folds(key: Key, num_rows: int, folds: int, group: np.ndarray | None = None) -> np.ndarray:
    """Fold of each row [N], balanced at random; rows of one group share a fold."""
    units, unit_of_row = np.unique(np.arange(num_rows) if group is None else group, return_inverse=True)
    order = np.asarray(jax.random.permutation(key, len(units)))
    return (order % folds)[unit_of_row].astype(np.int32)


def unfoldable(group: np.ndarray | None, action: np.ndarray, folds: int, models: Sequence[str] = ()) -> str:
    """Why the groups of a log cannot make folds; "" where they can. Rows are then folded one by one.

    Args:
        group: [N] ids. action: [N]. folds: how many. models: names, for what is said.

    Example:
        >>> unfoldable(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), 3)
        '2 groups are fewer than 3 folds'
    """
    if group is None:
        return ""
    group, action = np.asarray(group), np.asarray(action)
    if (count := len(np.unique(group))) < folds:
        return f"{count} group{'s are' if count != 1 else ' is'} fewer than {folds} folds"
    rows = np.bincount(action)
    spread = np.bincount(np.unique(np.stack([action, group]), axis=1)[0], minlength=len(rows))
    held = np.flatnonzero((rows >= folds) & (spread == 1))
    if not len(held):
        return ""
    return f"one group holds all {rows[held[0]]} rows of {models[held[0]] if models else f'model {held[0]}'}"


def foldable(group: Array | np.ndarray | None, action: Array | np.ndarray, folds: int) -> np.ndarray | None:
    """The groups that share folds: those of the log, or None where they cannot make folds."""
    known = None if group is None else np.asarray(group)
    return None if unfoldable(known, np.asarray(action), folds) else known


def rows_of_folds(fold: Int[Array, " N"] | np.ndarray, folds: int) -> np.ndarray:
    """Each fold's rows [F, R], short folds filled up with N (no row).

    R is rounded up by an eighth of a fold at most, so that folds of about the same sizes compile once.

    >>> rows_of_folds(np.array([0, 1, 0, 1, 0]), 2)
    array([[0, 2, 4],
           [1, 3, 5]])
    """
    fold = np.asarray(fold)
    rows = [np.flatnonzero(fold == own) for own in range(folds)]
    step = max(1, len(fold) // (8 * folds))
    width = -(-max(map(len, rows)) // step) * step
    return np.stack([np.pad(r, (0, width - len(r)), constant_values=len(fold)) for r in rows])
