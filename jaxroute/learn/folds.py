"""Which rows a group of routers learns from, is selected on, and decides: F folds, each held out once.

In group f the rows of fold f are held out, those of fold f + 1 (modulo F) pick the best step, the others are learnt
from. So every row of the log is decided by routers that were neither trained nor selected on it. A row that stands for
several requests (``logs.weight``) is learnt from, and picks steps, as often as it stands for.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxroute.nuisance.folding import assign_folds
from jaxroute.types import InputError, Key


class Folds(NamedTuple):
    """Row numbers of every group; R, the number of rows, stands for no row where a group has fewer than another.

    learn: [F, ...], validate: [F, ...], held_out: [F, ...]. fold: [R] of each row. copies: positions in ``validate``
    for each that an unweighted sample as informative would need: 1 where no row is repeated.
    """

    learn: Int[np.ndarray, "F A"]
    validate: Int[np.ndarray, "F B"]
    held_out: Int[np.ndarray, "F B"]
    fold: Int[np.ndarray, " R"]
    copies: float = 1.0


MOST_COPIES = 4.0
"""Of a row of a log, on average. Where rows stand for more than that, those of the smallest weights are drawn."""


def split(fold: Int[np.ndarray, " R"], folds: int, times: Array | np.ndarray | None = None) -> Folds:
    """The groups of rows, given each row's fold; ``times``: how often each counts, in proportion.

    Example:
        >>> found = split(np.array([0, 1, 2, 0, 1, 2, 0]), 3)
        >>> print(found.held_out)
        [[0 3 6]
         [1 4 7]
         [2 5 7]]
        >>> print(found.validate[0], found.learn[0])
        [1 4 7] [2 5 7]
        >>> print(split(np.array([0, 1, 2, 0, 1, 2, 0]), 3, np.array([1, 2, 1, 1, 1, 1, 1])).validate[0])
        [1 1 4]
    """
    fold = np.asarray(fold)
    rows = [np.flatnonzero(fold == f) for f in range(folds)]
    held_out = used = _padded(rows, len(fold))
    inflated = 1.0
    if times is not None:
        share = np.asarray(times, float) / np.min(times)
        share = share * min(1.0, MOST_COPIES / share.mean())
        copies = np.diff(np.floor(np.cumsum(share) + 0.5), prepend=0.0).astype(int)
        used = _padded([np.repeat(r, copies[r]) for r in rows], len(fold))
        inflated = float((copies**2).sum() / copies.sum())
    others = [np.roll(used, -distance, axis=0) for distance in range(1, folds)]
    return Folds(np.concatenate(others[1:], 1), others[0], held_out, fold, inflated)


def _padded(rows: list[np.ndarray], none: int) -> Int[np.ndarray, "F B"]:
    width = max(map(len, rows))
    return np.stack([np.pad(r, (0, width - len(r)), constant_values=none) for r in rows])


def assign(
    key: Key, rows: int, folds: int, group: np.ndarray | None = None, times: Array | np.ndarray | None = None
) -> Folds:
    """Folds at random, as equal as can be; rows of one group share a fold.

    Args:
        key: of the draw. rows: R. folds: F, at least 3. group: [R] ids, or None. times: see ``split``.

    Raises:
        InputError: fewer than three folds, or a fold without a row.
    """
    if folds < 3:
        raise InputError(f"folds={folds}: one is held out, one picks the best step, so give 3 or more")
    fold = assign_folds(key, rows, folds, group)
    if (count := len(np.unique(fold))) < folds:
        what = "rows" if group is None else "groups of rows"
        raise InputError(f"{count} {what} for {folds} folds: log more, or use fewer folds")
    return split(fold, folds, times)


@jax.jit
def take(tree: Any, rows: Int[np.ndarray, "F A"]) -> Any:
    """Those rows of leaves [R, ...] as leaves [F, A, ...]; where there is no row, zeros (False)."""
    return jax.tree.map(lambda x: jnp.asarray(x).at[rows].get(mode="fill", fill_value=0), tree)


@partial(jax.jit, static_argnames="count")
def put_back(values: Array, rows: Int[np.ndarray, "F A"], count: int) -> Array:
    """The inverse of ``take``: values [F, A, ...] in the place of their rows, [count, ...]."""
    whole = jnp.zeros((count, *values.shape[2:]), values.dtype)
    return whole.at[rows].set(values, mode="drop")
