"""Parts of a table that share no conversation, no user and no near-duplicate prompt: tied rows (`ties`) stay together.

Every part is in random order with tied rows next to each other, so the first rows of a part are a smaller random
sample of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxroute.data.ties import Rows, labels, tied
from jaxroute.types import InputError, Table

FRACTIONS = (0.6, 0.15, 0.25)

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def split(seed: int, table: Rows, fractions: Sequence[float] = FRACTIONS) -> Parts:
    """Train, validation and test rows; groups and near-duplicates are kept together.

    Blocks of tied rows are put in random order and cut at the fractions. A block that straddles a cut goes to the part
    that holds its middle, so each cut is off by at most half a block.

    Args:
        seed: same seed, same split.
        table: N rows.
        fractions: shares of the three parts, summing to 1.

    Returns:
        Three index arrays that together hold every row once, each in random order.

    Raises:
        InputError: the fractions do not sum to 1, or the table has too few separate groups for them.

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
    """Train, validation and test rows such that no task of the test part occurs in the other two.

    Tasks are drawn in random order until the test share is reached; the rest is split as in ``split``. Rows of the
    remaining tasks that are tied to a test row are left out, so that nothing of the test part leaks.

    Args:
        seed: same seed, same split.
        table: N rows of at least two tasks.
        fractions: shares of the three parts, summing to 1. The test share is met as closely as whole tasks allow, with
            at least one task on either side.

    Returns:
        Three index arrays without common rows, each in random order.

    Raises:
        InputError: the fractions do not sum to 1, there is only one task, or nothing is left to train on.

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
        raise InputError(
            f"split_tasks: the table has only the task '{tasks[0]}'; use split, or a table of several tasks"
        )
    order = rng.permutation(len(tasks))
    reached = np.cumsum(sizes[order]) / len(table)
    held_out = order[: np.clip(1 + np.argmin(np.abs(reached - test)), 1, len(tasks) - 1)]
    block = tied(table)
    test_rows = rng.permutation(np.flatnonzero(np.isin(task, held_out)))
    rest = np.flatnonzero(~np.isin(block, block[test_rows]))
    if not len(rest):
        raise InputError("split_tasks: every prompt is tied to a held-out task, so none is left to train on; use split")
    kept = train + validation if train + validation > 0 else 1.0
    first, second = _cut(rng, block[rest], np.array([train / kept, 1 - train / kept]))
    return rest[first], rest[second], test_rows


def split_time(table: Rows, timestamp: np.ndarray, fractions: Sequence[float] = FRACTIONS) -> Parts:
    """The earliest rows to train on, later ones to validate, the latest to test.

    The log is cut at two moments, so equal timestamps stay together. Rows whose group or normalised text occurs again
    in a later part are left out of the earlier part. No user is then in two parts, and the test part is unchanged.

    Args:
        table: N rows.
        timestamp: [N], in any unit, finite.
        fractions: shares of the three parts before rows are left out; they sum to 1.

    Returns:
        Three index arrays without common rows, each in order of time.

    Raises:
        InputError: the fractions do not sum to 1, or a part has no rows.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic, ties
        >>> table = synthetic.make(jax.random.key(0), num_prompts=1000)
        >>> train, validation, test = split_time(table, np.arange(1000) // 3, (0.5, 0.25, 0.25))
        >>> int(train.max()) < int(validation.min()) <= int(validation.max()) < int(test.min())
        True
        >>> ties.leakage(table, (train, validation, test)).leaked_groups
        0
    """
    shares = _shares(fractions)
    order = np.argsort(timestamp, kind="stable")
    # Rounded, because 0.5 + 0.25 can end one bit past its row.
    ends = np.ceil(np.round(np.cumsum(shares)[:2] * len(order), 6)).astype(int)
    timestamp = np.asarray(timestamp, float)
    part = (timestamp[:, None] >= np.append(timestamp[order], np.inf)[ends]).sum(1)
    kept = np.ones(len(order), bool)
    for label in labels(table):
        last = np.zeros(label.max() + 1, int)
        np.maximum.at(last, label, part)
        kept &= part == last[label]
    parts = [order[(part == p)[order] & kept[order]] for p in range(3)]
    if any(share > 0 and not len(rows) for share, rows in zip(shares, parts, strict=True)):
        raise InputError(
            f"split_time: {len(order)} rows give parts of {', '.join(str(len(rows)) for rows in parts)} rows, because "
            "users and prompts that occur again are left out of the earlier part; use other fractions, or use split"
        )
    return parts[0], parts[1], parts[2]


def split_moment(table: Rows, timestamp: np.ndarray, moment: float) -> tuple[np.ndarray, np.ndarray]:
    """The rows before a moment, and those from it on; rows whose group or text occurs again later are in neither.

    Args:
        table: N rows.
        timestamp: [N], finite. moment: in the same unit.

    Returns:
        Two index arrays, each ascending.

    Raises:
        InputError: one of the two has no rows.

    Example:
        >>> import jax
        >>> from jaxroute.data import synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=100)
        >>> before, after = split_moment(table, np.arange(100), 80)
        >>> len(after), set(table.group[before]) & set(table.group[after])
        (20, set())
    """
    later = np.asarray(timestamp, float) >= moment
    again = np.any([np.isin(label, label[later]) for label in labels(table)], axis=0)
    before, after = np.flatnonzero(~later & ~again), np.flatnonzero(later)
    if not len(before) or not len(after):
        raise InputError(
            f"split_time: {(~later).sum()} of {len(later)} rows are before that moment, {len(before)} of them without "
            "a later row of the same group or prompt: name another moment"
        )
    return before, after


def _shares(fractions: Sequence[float]) -> np.ndarray:
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"fractions are {tuple(fractions)}; give three shares (train, validation, test) that sum to 1")
    return shares


def _cut(rng: np.random.Generator, block: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    """Rows of each part: blocks in random order, cut at the cumulative shares."""
    number = np.unique(block, return_inverse=True)[1]
    sizes = np.bincount(number)
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    # Rounded, because 0.6 + 0.15 + 0.25 can fall one bit short of the last row.
    part = np.searchsorted(np.round(np.cumsum(shares)[:-1] * len(block), 6), middle, side="right")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = np.argsort(place[number], kind="stable")
    parts = [rows[part[place[number[rows]]] == p] for p in range(len(shares))]
    if any(share > 0 and not len(rows) for share, rows in zip(shares, parts, strict=True)):
        raise InputError(
            f"split: {len(block)} prompts in {len(sizes)} separate groups are too few for the shares "
            f"{', '.join(f'{share:g}' for share in shares)}; use a larger table or other fractions"
        )
    return parts
