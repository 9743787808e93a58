"""Rows on disk: written block by block, mapped, never read whole; a block of them at a time visits the device.

    disk.write(folder, examples.corrected(blocks_of_logs, model, clip=0.05), num_rows)
    learn = disk.open_rows(folder)                                     # no row read yet
    state = loop.train(program, points, learn, validate)

A visit trains on one block as a chunk does on all rows, while a thread loads the next (double buffering): two blocks
are in memory, whatever the number of rows. With one block that holds every row the training is that in memory, to the
same bits. Features are float16 by default: a million rows of 384 are 0.8 GB.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Int

from jaxroute.engine.program import Program, Source, place, split
from jaxroute.types import Examples, Hyperparams, InputError, Outcomes


class Rows(NamedTuple):
    """Rows on disk, leaves [N, ...], mapped.

    block: rows of a visit, better a multiple of the batch size; all rows if there are fewer.
    run: rows that are read together, see `runs_of`; divides ``block``.
    """

    examples: Examples
    block: int = 65536
    run: int = 256


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
        ...     print(open_rows(f"{folder}/rows").examples.features.shape)
        (6, 3)
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: already exists; choose another folder, or remove it")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    files: dict[str, np.ndarray] = {}
    done = 0
    for block in blocks:
        end = done + len(block.available)
        if end > num_rows:
            raise InputError(f"{folder}: num_rows is {num_rows}, but the blocks hold more rows; pass their total")
        for name, values in _named(block).items():
            if not done:
                dtype = {"features": np.float16, "available": np.bool_}.get(name, np.float32)
                shape = (num_rows, values.shape[1])
                files[name] = np.lib.format.open_memmap(_file(part, name), "w+", dtype, shape)
            files[name][done:end] = values
        done = end
    if done < num_rows or not done:
        raise InputError(f"{folder}: num_rows is {num_rows}, but the blocks hold {done} rows; pass their total")
    files.clear()  # unmapped, hence written
    os.replace(part, folder)


def open_rows(folder: Path | str, **visits: int) -> Rows:
    """Rows on disk as NumPy arrays that are mapped, not read.

    Args:
        folder: as `write` leaves it; features may be of any floating type.
        **visits: ``block`` and ``run`` of `Rows`.

    Raises:
        InputError: a file is missing or no NumPy file, or shapes or types do not fit each other.
    """
    found: dict[str, Any] = {}
    for name in ("features", "quality", "cost", "available"):
        file = _file(Path(folder), name)
        try:
            found[name] = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be mapped into memory ({error}); write it with disk.write") from error
        wanted = np.bool_ if name == "available" else np.floating
        if found[name].ndim != 2 or not np.issubdtype(found[name].dtype, wanted):
            raise InputError(
                f"{file}: holds {found[name].dtype} of shape {found[name].shape}; it must be {wanted.__name__} with "
                "two axes"
            )
        like = found["features"].shape[:1] if name in ("features", "quality") else found["quality"].shape
        if found[name].shape[: len(like)] != like or not found[name].size:
            raise InputError(
                f"{file}: its shape {found[name].shape} does not match the other files, {like}; write all again"
            )
    return Rows(Examples(found["features"], Outcomes(found["quality"], found["cost"]), found["available"]), **visits)


def source(program: Program, rows: Rows, points: Hyperparams) -> Source:
    """Visits of one block each, the next one loaded while one is trained on.

    Raises:
        InputError: more than one group of points, or runs that do not fill a block; in a visit, a row that is not
            finite.
    """
    if np.shape(points.seed)[:-1] != (1,):
        raise InputError(
            f"points have shape {np.shape(points.seed)}; all points share the rows on disk, so make it [1, P] with the "
            "seeds along P"
        )
    learn, block, run = rows
    num_rows = len(learn.available)
    if num_rows <= block:
        block = run = num_rows
    if run < 1 or block < 1 or block % run:
        raise InputError(f"block={block}: it must be a multiple of run={run}, both at least 1")
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, block, *x.shape[1:]), x.dtype), learn)
    where = jax.tree.map(lambda spec: NamedSharding(program.mesh, spec), split(program, shapes))
    like = jax.tree.map(lambda on, part: jax.tree.map(lambda x: x.update(sharding=on), part), where, shapes)

    def load(visit: int) -> Examples:
        some = read(learn, runs_of(visit, num_rows, block, run), run)
        return place(program, jax.tree.map(lambda x: x[None], some))

    def visits(first: int, last: int) -> Generator[Examples]:
        with ThreadPoolExecutor(1) as loader:
            coming = [loader.submit(load, visit) for visit in range(first, min(first + 1, last))]
            for visit in range(first, last):
                here = coming.pop().result()
                if visit + 1 < last:
                    coming.append(loader.submit(load, visit + 1))
                yield here

    steps = block // min(program.spec.batch_size, block)
    return Source(like, steps, visits, {"count": num_rows, "block": block, "run": run})


def runs_of(visit: int, num_rows: int, block: int, run: int) -> Int[np.ndarray, " R"]:
    """First rows of the runs of ``run`` consecutive rows that are visited together; a function of the visit alone.

    An epoch cuts the rows into runs, shuffles them and deals them to blocks: what a block holds comes from all
    over the files, and is read in long pieces. Runs start at an offset drawn anew, so that rows beyond the last
    whole run or block, which an epoch leaves out, are others in the next.

    >>> print(np.sort([runs_of(visit, num_rows=12, block=6, run=3) for visit in (0, 1)], axis=None))
    [0 3 6 9]
    """
    epoch, position = divmod(visit, num_rows // block)
    generator = np.random.default_rng([epoch, num_rows])
    offset = generator.integers(num_rows % run + 1)
    runs = generator.permutation(num_rows // run)
    each = block // run
    return offset + run * np.sort(runs[position * each : (position + 1) * each])


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
