"""Rows on disk: NumPy files, written block by block and mapped, never read whole.

    disk.write(folder, examples.corrected(blocks_of_logs, model, clip=0.05), num_rows)
    learn = disk.open_rows(folder)                                     # Examples [N, ...], no row read yet
    block = disk.read(learn, starts, run)                              # some of them, in memory

What `streaming.train` trains on. Features are float16 by default: a million rows of 384 are 0.8 GB.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxroute.types import Examples, InputError, Outcomes


def write(folder: Path | str, blocks: Iterable[Examples], num_rows: int) -> None:
    """Write rows block by block: features as float16, outcomes as float32. The folder appears when all are there.

    Args:
        folder: becomes features.npy [N, D], quality.npy, cost.npy and available.npy [N, K].
        blocks: consecutive rows, any number in each; outcomes in the units of the points' cost weight.
        num_rows: N, of all blocks together.

    Raises:
        InputError: another number of rows than said, or the folder is there already.

    Example:
        >>> import tempfile
        >>> block = Examples(np.ones((2, 3)), Outcomes(np.ones((2, 4)), np.ones((2, 4))), np.ones((2, 4), bool))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/rows", [block, block, block], 6)
        ...     print(open_rows(f"{folder}/rows").features.shape)
        (6, 3)
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: is there already; name another folder, or remove it")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files: dict[str, np.ndarray] = {}
    done = 0
    for block in blocks:
        end = done + len(block.available)
        if end > num_rows:
            raise InputError(f"{folder}: {num_rows} rows were said, and there are more")
        for name, values in _named(block).items():
            if not done:
                dtype = {"features": np.float16, "available": np.bool_}.get(name, np.float32)
                shape = (num_rows, values.shape[1])
                files[name] = np.lib.format.open_memmap(_file(part, name), "w+", dtype, shape)
            files[name][done:end] = values
        done = end
    if done < num_rows or not done:
        raise InputError(f"{folder}: {num_rows} rows were said, and {done} came")
    files.clear()  # unmapped, hence written
    os.replace(part, folder)


def open_rows(folder: Path | str) -> Examples:
    """Rows on disk as arrays that are mapped, not read.

    Args:
        folder: as `write` leaves it; features may be of any floating type.

    Returns:
        Examples [N, ...], NumPy.

    Raises:
        InputError: a file is missing or no NumPy file, or shapes or types do not fit each other.
    """
    found: dict[str, Any] = {}
    for name in ("features", "quality", "cost", "available"):
        file = _file(Path(folder), name)
        try:
            found[name] = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be mapped ({error}); `disk.write` makes such files") from error
        wanted = np.bool_ if name == "available" else np.floating
        if found[name].ndim != 2 or not np.issubdtype(found[name].dtype, wanted):
            raise InputError(f"{file}: {found[name].dtype} {found[name].shape}; needs {wanted.__name__}, two axes")
        like = found["features"].shape[:1] if name in ("features", "quality") else found["quality"].shape
        if found[name].shape[: len(like)] != like or not found[name].size:
            raise InputError(f"{file}: {found[name].shape} does not fit the other files, {like}")
    return Examples(found["features"], Outcomes(found["quality"], found["cost"]), found["available"])


def read(learn: Examples, starts: Int[np.ndarray, " R"], run: int) -> Examples:
    """The rows of some runs, copied into memory: [R * run, ...].

    Raises:
        InputError: a feature, or an outcome of an available model, is not a finite number.
    """
    block = jax.tree.map(lambda x: np.concatenate([x[start : start + run] for start in starts]), learn)
    for name, values in _named(block).items():
        fine = np.isfinite(values)
        if name in ("quality", "cost"):
            fine |= ~block.available
        if not fine.all():
            row = int(np.flatnonzero(~fine.all(1))[0])
            raise InputError(f"{name}: row {starts[row // run] + row % run} is not finite; drop such rows")
    return block


def _named(block: Examples) -> dict[str, np.ndarray]:
    named = {"features": block.features, **block.outcomes._asdict(), "available": block.available}
    return {name: np.asarray(values) for name, values in named.items()}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"
