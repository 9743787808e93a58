"""Finished results, each kept under a key of all that it depends on: what was computed once is not computed again.

A key is the digest of the source that ran (`experiments.source`), the versions of the libraries, the backend, and what
the computation was given. Cells are shared by all runs of one ``--out``: another config, another method or an edit of
code that had no part in them finds them finished.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import pandas as pd
from safetensors import SafetensorError

from experiments import source, storage
from experiments.problem import build, fits, held_out
from experiments.problem.table import Data
from experiments.settings import IN_ROWS, IN_TABLE, OF_LOG, OF_METHODS, Config, blank
from jaxroute.types import Nuisances

M = TypeVar("M")
T = TypeVar("T")


def fingerprint(*values: Any) -> str:
    """Digest of arrays by their bytes, of tables, tuples and dictionaries by their parts, of all else by its repr.

    >>> fingerprint((1, np.arange(2))) == fingerprint((1, np.arange(2))) != fingerprint((1, np.arange(2.0)))
    True
    """
    digest = hashlib.sha256()
    for value in values:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
        if isinstance(value, tuple | list):
            text = f"{type(value).__name__} {fingerprint(*value)}"
        elif isinstance(value, np.ndarray) and value.dtype != object:
            text = f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        else:
            text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
        digest.update(f"{len(text)} {text}".encode())
    return digest.hexdigest()


def key(functions: Iterable[Callable[..., Any]], *about: Any) -> str:
    """Of a result that these functions made of ``about``."""
    versions = [importlib.metadata.version(name) for name in storage.PACKAGES]
    return fingerprint(source.digest(*functions), *versions, jax.default_backend(), *about)[:16]


class Cells:
    """A folder of finished results. fresh: forget those of earlier processes as they are met."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.folder, self.fresh, self.made = folder, fresh, set[Path]()

    def has(self, path: Path) -> bool:
        return path.exists() and (not self.fresh or path in self.made)

    def keep(self, path: Path, make: Callable[[], M], write: Callable[[Path, M], None], read: Callable[[Path], T]) -> T:
        """What is at the path, made and written first where it is not there, or where the disk has damaged it."""
        if self.has(path):
            try:
                return read(path)
            except (OSError, ValueError, LookupError, SafetensorError) as error:
                why = str(error).partition("\n")[0]
                print(f"note: {path} is damaged ({type(error).__name__}: {why}) and is made again", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, make())
        self.made.add(path)
        return read(path)

    def frame(self, name: str, made_of: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A table of results by name and key."""
        return self.keep(self.path(name, made_of), make, storage.write_frame, pd.read_parquet)

    def arrays(self, name: str, made_of: str, make: Callable[[], T], like: T) -> T:
        """A tree of arrays, read back to the same bits into the structure ``like``."""
        path = self.path(name, made_of).with_suffix(".safetensors")
        return self.keep(path, make, storage.write_arrays, lambda found: storage.read_arrays(found, like))

    def path(self, name: str, made_of: str) -> Path:
        """The file of one table of results."""
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
        return self.folder / f"{safe}-{made_of}.parquet"


class KeptFits:
    """The fits of one config's seeds, as cells: what `problem.build.build` takes as ``keep``.

    Every seed's keys are by what its fits were made on: "log", or "table" for full feedback, which no log changes.
    """

    def __init__(self, cells: Cells, config: Config, data: Data) -> None:
        self.cells, self.config, self.rows = cells, config, data.rows
        self.table, self._made_of = fingerprint(data.table), dict[str, dict[int, str]]()

    def __call__(self, what: str, place: int, make: Callable[[], fits.Fitted], like: fits.Fitted) -> fits.Fitted:
        made_of = self.key(what, place, like.test)
        self._made_of.setdefault(what, {})[place] = made_of
        return self.cells.arrays(f"fits-{what}", made_of, make, like)

    @property
    def keys(self) -> dict[str, list[str]]:
        """Seed by seed, whichever was fitted first."""
        return {what: [found[place] for place in sorted(found)] for what, found in self._made_of.items()}

    def key(self, what: str, place: int, models: Iterable[str]) -> str:
        """Of the fits of one seed; models: whose predictions are kept."""
        made_by = build.on_table if what == "table" else build.on_log
        return self._key((made_by,), place, what, sorted(models), without=OF_LOG if what == "table" else ())

    def held_out(self, make: Callable[[], Nuisances], like: Nuisances) -> Nuisances:
        """The nuisances of `problem.held_out`."""
        made_of = self._key((held_out.log_of, held_out.fit), 0, "held out", without=("rivals", "shadow"))
        return self.cells.arrays("fits-held-out", made_of, make, like)

    def _key(self, functions: Iterable[Any], place: int, *about: Any, without: Iterable[str]) -> str:
        """without: fields of the config that do not matter, beside those of the table, the rows and the methods."""
        config = blank(self.config, *IN_TABLE, *IN_ROWS, *OF_METHODS, *without)
        return key(functions, *about, self.table, self.rows[place], self.config.draws[place], repr(config))
